import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { installPrograms } from '../test/programs';
import { type Bound, check, markdownOf, printChecked, printSection, quotedIn, type Section, svgOf } from './report.mjs';

const HELP = `npm run bench -- [options]

  --only costs,storm   these groups only
  --quick              small numbers: whether it runs, not what it costs
  --check              exit code 1 where a figure that was measured is out of its budget; where that is known to be
                       missed, out of what it is held to
  --write              writes RESULTS.md, its charts, and what README quotes; groups that did not run keep what they had
  --soak 30            minutes of churn, as a group of its own; without it there is no soak`;

/** In the order of the report. */
const GROUPS = [
  'costs',
  'storm',
  'snapshots',
  'reconnects',
  'watchers',
  'sockets',
  'expiry',
  'crash',
  'deliveries',
  'growth',
  'million',
  'router',
  'sizes',
];

const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    quick: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    soak: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit();
}
const soak = values.soak === undefined ? [] : ['soak'];
const wanted = values.only === undefined ? GROUPS.concat(soak) : values.only.split(',').concat(soak);
const unknown = wanted.find((name) => !GROUPS.includes(name) && name !== 'soak');
if (unknown !== undefined) {
  console.error(`There is no group "${unknown}": ${GROUPS.join(', ')}`);
  process.exit(2);
}
const bounds: Bound[] = JSON.parse(readFileSync(file('budget.json'), 'utf8'));

installPrograms(['redis-server']);
// What ours is compared with is installed when it is needed, and by nothing else.
const rivals = file('peers/rivals');
if (!existsSync(`${rivals}/node_modules`)) {
  console.log('Installing what is compared with …');
  execFileSync('npm', ['install', '--no-package-lock', '--no-audit', '--no-fund'], { cwd: rivals, stdio: 'inherit' });
}

const measured = new Map<string, Section[]>();
for (const name of wanted) {
  console.log(`\n# ${name}`);
  try {
    const sections = await runGroup(name);
    for (const section of sections) printSection(section);
    measured.set(name, sections);
  } catch (error) {
    // What the others find is worth having.
    console.error(error);
    process.exitCode = 1;
  }
}

const sections = Array.from(measured.values()).flat();
const checked = check(bounds, sections);
printChecked(checked.filter((bound) => bound.measured !== undefined));
if (values.write) write();
const broken = checked.filter(({ measured, isHeld }) => measured !== undefined && !isHeld);
if (values.check && broken.length > 0) process.exitCode = 1;

async function runGroup(name: string): Promise<Section[]> {
  const child: ChildProcess = fork(file('group.mts'), [name, values.quick ? 'quick' : 'whole'], {
    execArgv: ['--import', 'tsx', '--expose-gc', '--max-old-space-size=8192'],
    env: { ...process.env, SOAK_MINUTES: values.soak },
  });
  const [sections] = await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(([code]) => {
      throw new Error(`${name} has ended without a result (${code})`);
    }),
  ]);
  return sections;
}

/** What each group found the last time it was written, and when. */
interface Kept {
  [group: string]: { readonly when: string; readonly sections: Section[] };
}

function write(): void {
  const kept: Kept = existsSync(file('results.json')) ? JSON.parse(readFileSync(file('results.json'), 'utf8')) : {};
  const when = new Date().toISOString().slice(0, 10);
  for (const [name, found] of measured) kept[name] = { when, sections: found };
  writeFileSync(file('results.json'), `${JSON.stringify(kept, undefined, 2)}\n`);
  const groups = GROUPS.concat('soak').filter((name) => kept[name] !== undefined);
  const all = groups.flatMap((name) => (kept[name] as Kept[string]).sections);
  mkdirSync(file('charts'), { recursive: true });
  const chartOf = (section: Section): string | undefined => {
    const svg = svgOf(section);
    if (svg === undefined) return undefined;
    writeFileSync(file(`charts/${section.id}.svg`), svg);
    return `charts/${section.id}.svg`;
  };
  const redis = execFileSync('redis-server', ['--version'], { encoding: 'utf8' }).match(/v=([\d.]+)/)?.[1];
  const head = [
    '# Results',
    `Printed by \`npm run bench -- --write\`; nothing here is typed by hand. Measured ${Array.from(new Set(groups.map((name) => kept[name]?.when))).join(', ')} on ${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}, Redis ${redis}. Each figure beside another one was taken in the same run, in turn with it; microseconds are CPU time. To repeat: \`npm install && npm run bench\`, and \`npm run bench -- --soak 30\`.`,
  ].join('\n\n');
  const checked = check(bounds, all);
  writeFileSync(file('RESULTS.md'), markdownOf(all, checked, head, chartOf));
  const readme = file('../README.md');
  writeFileSync(readme, quotedIn(readFileSync(readme, 'utf8'), checked));
}
