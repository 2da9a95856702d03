/**
 * Time as presence sees it. The default is the system's; tests hand in a fake one.
 *
 * Implementations MUST call `run` once, not before `ms` have passed, and MUST NOT keep the process alive for it.
 */
export interface Clock {
  /** Milliseconds since the epoch. A step of the clock in either direction is survived. */
  now(): number;
  /** Calls `run` after `ms` milliseconds. */
  setTimeout(run: () => void, ms: number): unknown;
  /** Takes back a `setTimeout`; fine on one that has run. */
  clearTimeout(timer: unknown): void;
  /** A number of at least 0 and less than 1, of which waits depend in part. @default Math.random */
  random?(): number;
}

/** The chance that a clock has, or the system's. @internal */
export function randomOf(clock: Clock): () => number {
  return () => (clock.random === undefined ? Math.random() : clock.random());
}

/** @internal Looks the globals up at each call, so that fake timers of a test runner take effect. */
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
