import assert from 'node:assert/strict';
import { activity } from './cases/activity';
import type { Case } from './cases/case';
import { changes } from './cases/changes';
import { concurrency } from './cases/concurrency';
import { crossings } from './cases/crossings';
import { feeds } from './cases/feeds';
import { graces } from './cases/graces';
import { leases } from './cases/leases';
import { log } from './cases/log';
import { losses } from './cases/losses';
import { queries } from './cases/queries';
import { selfPreservation } from './cases/self-preservation';
import { unnoticed } from './cases/unnoticed';
import { OutOfTime, World } from './conformance-world';
import type { ConformanceHook, ConformancePart, StoreBackend } from './store-backend';

/** A check of one duty of a store. */
export interface ConformanceCase {
  /** The duty, in words. */
  readonly name: string;
  /** The hook of the backend that the case needs. */
  readonly needs?: ConformanceHook;
  /** The optional part of the store that it is about. */
  readonly part?: ConformancePart;
  /**
   * Runs the case. Rejects with an AssertionError where the store fails it. `skipped`: nothing was checked, since the backend
   * lacks the hook that the case needs, or the store the part that it is about.
   */
  run(): Promise<'passed' | 'skipped'>;
}

/** The largest factor by which the times of a case are lengthened on a busy machine. */
const MOST_SCALE = 32;

const CASES = ([] as Case[]).concat(
  changes,
  graces,
  crossings,
  leases,
  selfPreservation,
  unnoticed,
  activity,
  queries,
  feeds,
  concurrency,
  losses,
  log,
);

/**
 * The conformance suite for stores. Each duty that `PresenceStore` states is a case for any test runner, with two or three
 * routers on one backend. On a real server some cases take more than ten seconds, which the runner has to allow; cases may
 * run concurrently.
 *
 * The cases of lost data and cut connections need the hooks `lose`, `setBack` and `cutFeed` of the backend. Without one,
 * `run` resolves to `'skipped'`, and nothing was checked.
 *
 * @param open - makes a fresh, empty backend
 * @throws nothing; the cases reject with an AssertionError
 *
 * @example
 * for (const { name, run } of storeConformance(openMyBackend)) test(name, run, 120_000);
 *
 * @example
 * // A store in this process, on a fake clock.
 * const openMyBackend = async () => {
 *   const clock = fakeClock();
 *   const store = memoryStore({ now: clock.now });
 *   return {
 *     store: () => store,
 *     async pass(ms, everyMs, whileAlive) {
 *       for (let left = ms; left > 0; left -= everyMs) {
 *         await clock.advance(Math.min(left, everyMs));
 *         await whileAlive();
 *       }
 *     },
 *     standStill: (ms) => clock.advance(ms),
 *     arrive: () => clock.settle(),
 *   };
 * };
 */
export function storeConformance(open: () => Promise<StoreBackend>): ConformanceCase[] {
  return CASES.map(({ name, needs, part, check }) => ({
    name,
    ...(needs === undefined ? {} : { needs }),
    ...(part === undefined ? {} : { part }),
    async run() {
      for (let scale = 1; ; scale *= 2) {
        const outcome = await runAt(scale, open, { needs, part }, check);
        if (outcome !== 'late') return outcome;
        // The machine was too slow for the times of the case, so it runs again with times twice as long.
      }
    },
  }));
}

/** Runs a case once. `late`: it failed after taking longer than it may, which proves nothing. */
async function runAt(
  scale: number,
  open: () => Promise<StoreBackend>,
  { needs, part }: { needs: ConformanceHook | undefined; part: ConformancePart | undefined },
  check: Case['check'],
): Promise<'passed' | 'skipped' | 'late'> {
  const backend = await open();
  const world = new World(backend, scale);
  try {
    if (needs !== undefined && backend[needs] === undefined) return 'skipped';
    if (part !== undefined && (await backend.store())[part] === undefined) return 'skipped';
    await check(world);
    assert.deepEqual(world.failures, [], 'nothing fails in the background');
    return 'passed';
  } catch (error) {
    if (scale < MOST_SCALE && (world.isLate || error instanceof OutOfTime)) return 'late';
    throw error;
  } finally {
    world.end();
    await backend.close?.();
  }
}
