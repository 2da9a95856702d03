import type { Clock } from '../public/clock';

/** A clock that moves only when a test moves it. */
export interface FakeClock extends Clock {
  /**
   * Lets `ms` milliseconds pass. Every timer runs at the time at which it is due, and promises settle in between.
   */
  advance(ms: number): Promise<void>;
  /** The random number for the jitter of waits. By default it is nearly 1, so that each wait is as long as possible. */
  random: () => number;
  /** Lets promises settle; no time passes. */
  settle(): Promise<void>;
  /** Moves time in one step, as when the process stood still; then runs the timers that are due. */
  jump(ms: number): Promise<void>;
  /** Sets the clock although no time has passed, as an administrator or NTP does. Timers are not affected. */
  set(now: number): void;
  /** The number of timers that are set. */
  readonly timers: number;
}

interface Timer {
  readonly run: () => void;
  readonly due: number;
}

/**
 * A clock for tests: pass it to `createPresence({ clock })` and `memoryStore({ now: clock.now })`.
 *
 * @param start - milliseconds since the epoch; 2025-12-12T10:30:45.123Z by default
 *
 * @example
 * const clock = fakeClock();
 * const presence = createPresence({ clock });
 * await clock.advance(360_000);
 */
export function fakeClock(start: number = Date.UTC(2025, 11, 12, 10, 30, 45, 123)): FakeClock {
  const timers = new Set<Timer>();
  let elapsed = 0;
  let offset = start;

  function next(until: number): Timer | undefined {
    let soonest: Timer | undefined;
    for (const timer of timers) {
      if (timer.due <= until && (soonest === undefined || timer.due < soonest.due)) soonest = timer;
    }
    return soonest;
  }

  async function run(until: number, keepTime: boolean): Promise<void> {
    await settle();
    for (let timer = next(until); timer !== undefined; timer = next(until)) {
      timers.delete(timer);
      if (!keepTime) elapsed = Math.max(elapsed, timer.due);
      timer.run();
      await settle();
    }
  }

  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  return {
    now: () => elapsed + offset,
    setTimeout(run, ms) {
      const timer = { run, due: elapsed + Math.max(0, ms) };
      timers.add(timer);
      return timer;
    },
    clearTimeout(timer) {
      timers.delete(timer as Timer);
    },
    async advance(ms) {
      const until = elapsed + ms;
      await run(until, false);
      elapsed = until;
    },
    random: () => 1 - Number.EPSILON,
    settle,
    async jump(ms) {
      elapsed += ms;
      await run(elapsed, true);
    },
    set(now) {
      offset = now - elapsed;
    },
    get timers() {
      return timers.size;
    },
  };
}
