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
