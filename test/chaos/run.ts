import { ChaosWorld, type Pace } from './world';

/** Code that was compiled since, and the last published version of some thousands of users. */
const HEAP_TOLERANCE = 8 * 2 ** 20;

/** What a run has come to. */
export interface Outcome {
  readonly operations: number;
  readonly transitions: number;
  /** Changes that routers had to tell, of all that there were while they lived. */
  readonly compared: number;
  readonly heard: number;
  /** Statuses of which the answer was known, and how often everything was found to agree. */
  readonly statuses: number;
  readonly agreements: number;
  /** Queries that were answered, and that rejected with good reason. */
  readonly asked: number;
  readonly rejected: number;
  readonly shareExcused: number;
  readonly violations: readonly string[];
  readonly line: string;
}

/** One run from one seed. `program`: the file that each router runs. */
export async function runChaos(
  seed: number,
  { ms, pace, program }: { readonly ms: number; readonly pace: Pace; readonly program: string },
): Promise<Outcome> {
  const startedAt = Date.now();
  const world = await ChaosWorld.start(seed, program);
  const { judge, fleet, channels } = world;
  try {
    await world.run(ms, pace).catch((error: Error) => judge.fail(String(error.stack)));
    const shareExcused = world.shareExcused();
    if (judge.isFine) await world.assertEndings();
    const memory = judge.isFine ? await world.assertMemory(HEAP_TOLERANCE) : [];
    if (judge.isFine) await world.assertNothingLeft();
    const outcome = {
      operations: fleet.operations,
      transitions: channels.history.length,
      compared: world.compared,
      heard: world.heard,
      statuses: judge.compared,
      agreements: world.agreements,
      asked: judge.asked,
      rejected: judge.rejected,
      shareExcused,
      violations: judge.violations,
    };
    const percent = (part: number): string => `${(part * 100).toFixed(1)} %`;
    const line =
      `seed ${seed}: ${outcome.operations} operations, ${outcome.transitions} transitions, ${outcome.compared} of ` +
      `${outcome.heard} compared with what a router told, ${outcome.statuses} statuses, ${outcome.agreements} agreements, ` +
      `${percent(outcome.shareExcused)} of the time excused, ${outcome.violations.length} violations; ` +
      `${outcome.rejected} of ${outcome.asked + outcome.rejected} queries rejected, ${judge.lapses} leases lapsed, ` +
      `${Math.round((Date.now() - startedAt) / 1_000)} s\nfaults: ${shown(world.faultCounts)}\n` +
      `errors reported: ${shown(judge.errors)}\nmemory: ${memory.join(', ')}`;
    return { ...outcome, line };
  } finally {
    await world.end();
  }
}

function shown(counts: ReadonlyMap<string, number>): string {
  return Array.from(counts, ([name, count]) => `${name} ${count}`)
    .sort()
    .join(', ');
}
