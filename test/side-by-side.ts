import { AsyncLocalStorage } from 'node:async_hooks';
import { describe as groupOf, it as one, onTestFinished as onOneFinished } from 'vitest';

// For files whose tests wait most of the time, each with servers and routers of its own: they wait at the same time.

type End = () => unknown;

interface Running {
  readonly ends: End[];
  readonly made: Map<object, Promise<unknown>>;
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

function alone(run: () => unknown): Promise<void> {
  const ends: End[] = [];
  return running.run({ ends, made: new Map() }, async () => {
    try {
      await run();
    } finally {
      for (let end = ends.pop(); end !== undefined; end = ends.pop()) await end();
    }
  });
}

/** As vitest's, beside the other groups of the file. */
export const describe = groupOf.concurrent;

type Run = (...values: unknown[]) => unknown;

/** As vitest's, beside the other tests of the file. */
export const it = Object.assign(
  (name: string, run: () => unknown, timeout?: number): void => one.concurrent(name, () => alone(run), timeout),
  {
    each: ((cases: readonly unknown[]) => (name: string, run: Run, timeout?: number) => {
      const runOn = (values: unknown): Promise<void> =>
        alone(() => (Array.isArray(values) ? run(...values) : run(values)));
      one.concurrent.for(cases)(name, { timeout: timeout ?? 60_000 }, runOn);
    }) as typeof one.each,
  },
);
