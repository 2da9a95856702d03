/**
 * The source of time. The default is the system clock; tests pass a fake one.
 *
 * Implementations MUST call `run` once, not before `ms` have passed, and MUST NOT keep the process alive for it.
 */
export interface Clock {
  /** Milliseconds since the epoch. The clock may step in either direction. */
  now(): number;
  /** Calls `run` after `ms` milliseconds. */
  setTimeout(run: () => void, ms: number): unknown;
  /** Cancels a timer. Does nothing to one that has run. */
  clearTimeout(timer: unknown): void;
  /** A number of at least 0 and less than 1, for the jitter of waits. @default Math.random */
  random?(): number;
}

/** The clock's source of random numbers, or `Math.random`. @internal */
export function randomOf(clock: Clock): () => number {
  return () => (clock.random === undefined ? Math.random() : clock.random());
}

/** @internal Looks up the globals at each call, so that a test runner can replace them with fake timers. */
export const systemClock: Clock = {
  now: () => Date.now(),
  setTimeout(run, ms) {
    const timer = setTimeout(run, ms);
    if (typeof timer === 'object') timer.unref();
    return timer;
  },
  clearTimeout(timer) {
    clearTimeout(timer as ReturnType<typeof setTimeout>);
  },
};
