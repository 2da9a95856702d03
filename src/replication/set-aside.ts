import { backoffMs } from '../public/backoff';

/** The wait after each refusal. The first is short, since that refusal may have been an exception. */
const WAITS = { leastMs: 100, mostMs: 60_000, factor: 5 };
/** Where this many users are refused, the store is at fault and not the users. */
const MOST = 100;

/**
 * Users whom the store refuses while it accepts others. Each is tried again alone, with growing waits, so that no other user is
 * delayed.
 * @internal
 */
export class SetAside<T> {
  private readonly waiting = new Map<T, { times: number; until: number; waitMs: number }>();

  constructor(private readonly random: () => number) {}

  get isFull(): boolean {
    return this.waiting.size >= MOST;
  }

  get isEmpty(): boolean {
    return this.waiting.size === 0;
  }

  has(one: T): boolean {
    return this.waiting.has(one);
  }

  /** This one was refused alone. Returns the wait until it is tried again. */
  put(one: T, now: number): number {
    const times = this.waiting.get(one)?.times ?? 0;
    const waitMs = backoffMs(times, WAITS, this.random);
    this.waiting.set(one, { times: times + 1, until: now + waitMs, waitMs });
    return waitMs;
  }

  /** One whose wait is over. */
  due(now: number): T | undefined {
    for (const [one, { until, waitMs }] of this.waiting) {
      // Longer than the whole wait: the clock was set back.
      if (until <= now || until - now > waitMs) return one;
    }
    return undefined;
  }

  remove(one: T): void {
    this.waiting.delete(one);
  }
}
