import assert from 'node:assert/strict';
import { activity } from './cases/activity';
import type { Case } from './cases/case';
import { changes } from './cases/changes';
import { concurrency } from './cases/concurrency';
import { crossings } from './cases/crossings';
import { feeds } from './cases/feeds';
import { graces } from './cases/graces';
import { leases } from './cases/leases';
import { losses } from './cases/losses';
import { queries } from './cases/queries';
import { selfPreservation } from './cases/self-preservation';
import { unnoticed } from './cases/unnoticed';
import { OutOfTime, World } from './conformance-world';
import type { ConformanceHook, StoreBackend } from './store-backend';

/** One duty of a store, checked. */
export interface ConformanceCase {
  /** What must hold, in words. */
  readonly name: string;
  /** The hook of the backend that it uses. */
  readonly needs?: ConformanceHook;
  /**
   * Rejects with an AssertionError where it does not hold. `skipped`: nothing was checked, for the backend lacks the hook
   * that the case needs.
   */
  run(): Promise<'passed' | 'skipped'>;
}

/** How many times as long a case may take on a busy machine. */
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
);

/**
 * The conformance suite for stores: each duty that `PresenceStore` states, as a case for any test runner. Whoever writes
 * a store runs it with two and three routers on one backend. On a real server some cases take more than ten seconds, which
 * a runner has to allow; they may run at the same time.
 *
 * The cases of lost data and cut connections need the hooks `lose`, `setBack` and `cutFeed` of the backend. Where it lacks
 * one, `run` resolves to `'skipped'`, and nothing has been checked.
 *
 * @param open - makes a fresh, empty backend
 * @throws nothing; the cases reject with an AssertionError
 *
 * @example
 * for (const { name, run } of storeConformance(openMyBackend)) test(name, run, 120_000);
 *
 * @example
 * // A store in this process, whose time is a fake clock.
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
  return CASES.map(({ name, needs, check }) => ({
    name,
    ...(needs === undefined ? {} : { needs }),
    async run() {
      for (let scale = 1; ; scale *= 2) {
        const outcome = await runAt(scale, open, needs, check);
        if (outcome !== 'late') return outcome;
        // The machine was too slow for what the case is about: now it is about twice as much time.
      }
    },
  }));
}

/** `late` where what fails proves nothing, since it took longer than it may. */
async function runAt(
  scale: number,
  open: () => Promise<StoreBackend>,
  needs: ConformanceHook | undefined,
  check: Case['check'],
): Promise<'passed' | 'skipped' | 'late'> {
  const backend = await open();
  const world = new World(backend, scale);
  try {
    if (needs !== undefined && backend[needs] === undefined) return 'skipped';
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
