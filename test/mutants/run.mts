// Plants faults in a copy of src, one at a time, and names those that no test notices. `npm run mutants -- --help` says how.
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { MUTANTS } from './all';
import { listOf } from './list';
import { type Mutant, planted, thirdOf } from './mutant';
import { type Verdict, Workshop } from './workshop';

const HELP = `npm run mutants                       all of them
npm run mutants -- --only core,wire   those of some folders, or some by name
npm run mutants -- --third            a third, by the date: in three days in a row all
npm run -s mutants -- --list          says which there are, as MUTANTS.md does, and plants none
npm run mutants -- --workers 1        so many at once; 2 where nothing is said`;

const root = fileURLToPath(new URL('../..', import.meta.url));

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    third: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    workers: { type: 'string', default: '2' },
    help: { type: 'boolean', default: false },
  },
});

interface Entry extends Mutant {
  readonly folder: string;
}

function chosen(): Entry[] {
  const all: Entry[] = [];
  for (const [folder, mutants] of Object.entries(MUTANTS))
    for (const mutant of mutants) all.push({ ...mutant, folder });
  const drawn = values.third ? thirdOf(all, new Date()) : all;
  const only = values.only?.split(',');
  const entries = drawn.filter(({ id, folder }) => only === undefined || only.includes(folder) || only.includes(id));
  if (entries.length === 0) throw new Error(`there is no mutant, nor a folder of them, called ${values.only}`);
  return entries;
}

/** All tests that are wanted, once: the whole files in as many parts as there are workshops. */
function testsOf(entries: readonly Entry[], parts: number): Array<{ tests: readonly string[]; named?: string }> {
  const plain = new Set<string>();
  const named = new Map<string, { tests: readonly string[]; named: string }>();
  for (const { tests, named: name } of entries) {
    if (name === undefined) for (const file of tests) plain.add(file);
    else named.set(`${tests} ${name}`, { tests, named: name });
  }
  const files = Array.from(plain);
  const whole = Array.from({ length: parts }, (_, part) => ({
    tests: files.filter((_, index) => index % parts === part),
  }));
  return [...whole.filter(({ tests }) => tests.length > 0), ...named.values()];
}

/** Does a job for each, in as many workshops as there are. */
async function inWorkshops<T>(jobs: readonly T[], work: (job: T, workshop: Workshop) => Promise<void>): Promise<void> {
  const left = jobs.slice();
  const serve = async (workshop: Workshop): Promise<void> => {
    for (let job = left.shift(); job !== undefined; job = left.shift()) await work(job, workshop);
  };
  await Promise.all(workshops.map(serve));
}

const seconds = (since: number): string => `${((performance.now() - since) / 1_000).toFixed(1)} s`;

function lineOf({ id, fault }: Entry, verdict: Verdict, took: string): string {
  if (verdict.kind === 'green') return `SURVIVED  ${id}: ${fault} (${took})`;
  if (verdict.kind === 'broken') return `BROKEN    ${id}: ${verdict.why} (${took})`;
  return `killed    ${id} (${took}) by ${verdict.by}`;
}

if (values.help) {
  console.log(HELP);
  process.exit();
}
if (values.list) {
  process.stdout.write(listOf(MUTANTS));
  process.exit();
}
const entries = chosen();

const begunAt = performance.now();
const bad: string[] = [];
// Before anything takes its time: code that is not there any more.
for (const entry of entries) planted(root, entry);

const workshops = Array.from({ length: Number(values.workers) }, () => new Workshop(root));
try {
  await inWorkshops(testsOf(entries, workshops.length), async ({ tests, named }, workshop) => {
    const verdict = await workshop.test(tests, named);
    const why = verdict.kind === 'noticed' ? verdict.by : verdict.kind === 'broken' ? verdict.why : undefined;
    if (why !== undefined) bad.push(`NOT GREEN without a fault: ${why}`);
  });
  if (bad.length === 0) {
    console.log(`their tests are green without a fault (${seconds(begunAt)})`);
    await inWorkshops(entries, async (entry, workshop) => {
      const since = performance.now();
      const verdict = await workshop.judge(entry);
      const line = lineOf(entry, verdict, seconds(since));
      console.log(line);
      if (verdict.kind !== 'noticed') bad.push(line);
    });
  }
} finally {
  for (const workshop of workshops) workshop.remove();
}
console.log(`\n${entries.length} faults, ${bad.length} complaints, ${seconds(begunAt)}`);
for (const line of bad) console.log(line);
if (bad.length > 0) process.exitCode = 1;
