import { AsyncLocalStorage } from 'node:async_hooks';
import { describe as groupOf, it as one, onTestFinished as onOneFinished } from 'vitest';

// For files whose tests wait most of the time, each with servers and routers of its own: they wait at the same time.

type End = () => unknown;

interface Running {
  readonly ends: End[];
  readonly made: Map<object, Promise<unknown>>;
  /** How many times as long as usual its leases are. */
  readonly pace: number;
  /** How long this process has been kept from running at once, at most. */
  stalledMs: number;
}
const running = new AsyncLocalStorage<Running>();

/**
 * Runs once the test that is running has come to its end, the last one first: before another test takes its place. Also in
 * a test of vitest's own.
 */
export function onTestFinished(end: End): void {
  const test = running.getStore();
  if (test !== undefined) test.ends.push(end);
  else onOneFinished(async () => void (await end()));
}

/** One for each test, made where it is asked for first. */
export const perTest =
  <T>(make: () => Promise<T>): (() => Promise<T>) =>
  () => {
    const { made } = running.getStore() as Running;
    const own = (made.get(make) as Promise<T> | undefined) ?? make();
    made.set(make, own);
    return own;
  };

/** Of routers that have to be found dead, or right again after so many leases: short. */
const SHORT_MS = 1_500;
const MOST_PACE = 16;
const TICK_MS = 50;
/** With leases and what is promised within some of them. */
const TIMEOUT_MS = 300_000;

/** A lease of a router in the test that is running; the test is run again with longer ones where these were too short. */
export const shortLease = (ms = SHORT_MS): number => ms * (running.getStore()?.pace ?? 1);

const tests = new Set<Running>();
let tickedAt = performance.now();
setInterval(() => {
  const now = performance.now();
  for (const test of tests) test.stalledMs = Math.max(test.stalledMs, now - tickedAt - TICK_MS);
  tickedAt = now;
}, TICK_MS).unref();

/**
 * Runs a test by itself. A router whose process stands still for much of its lease may be found dead, rightly: where that
 * was so while a test failed, it has proved nothing, and is run again with leases twice as long.
 */
async function alone(run: () => unknown): Promise<void> {
  for (let pace = 1; ; pace *= 2) {
    const test: Running = { ends: [], made: new Map(), pace, stalledMs: 0 };
    tests.add(test);
    try {
      await running.run(test, () => once(run, test.ends));
      return;
    } catch (error) {
      if (pace >= MOST_PACE || test.stalledMs < (SHORT_MS * pace) / 4) throw error;
      console.log(
        `stood still for ${Math.round(test.stalledMs)} ms, so again with leases ${pace * 2} times as long: ${error}`,
      );
    } finally {
      tests.delete(test);
    }
  }
}

async function once(run: () => unknown, ends: End[]): Promise<void> {
  try {
    await run();
  } finally {
    for (let end = ends.pop(); end !== undefined; end = ends.pop()) await end();
  }
}

/** As vitest's, beside the other groups of the file. */
export const describe = groupOf.concurrent;

type Run = (...values: unknown[]) => unknown;

/** As vitest's, beside the other tests of the file. */
export const it = Object.assign(
  (name: string, run: () => unknown, timeout = TIMEOUT_MS): void => one.concurrent(name, () => alone(run), timeout),
  {
    each: ((cases: readonly unknown[]) => (name: string, run: Run, timeout?: number) => {
      const runOn = (values: unknown): Promise<void> =>
        alone(() => (Array.isArray(values) ? run(...values) : run(values)));
      one.concurrent.for(cases)(name, { timeout: timeout ?? TIMEOUT_MS }, runOn);
    }) as typeof one.each,
  },
);
