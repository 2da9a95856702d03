import { backoffMs } from '../public/backoff';

/** How long one is left alone after each refusal: the first may have been chance. */
const WAITS = { leastMs: 100, mostMs: 60_000, factor: 5 };
/** Where so many are refused it is not they that are wrong. */
const MOST = 100;

/**
 * Those whom the store refuses each time, though it takes others: each is tried again alone, slowly, so that nobody else
 * waits for it.
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

  /** It was refused, alone. Returns for how long it is left alone now. */
  put(one: T, now: number): number {
    const times = this.waiting.get(one)?.times ?? 0;
    const waitMs = backoffMs(times, WAITS, this.random);
    this.waiting.set(one, { times: times + 1, until: now + waitMs, waitMs });
    return waitMs;
  }

  /** One whose time has come. */
  due(now: number): T | undefined {
    for (const [one, { until, waitMs }] of this.waiting) {
      // Further away than it ever was: the clock was set back.
      if (until <= now || until - now > waitMs) return one;
    }
    return undefined;
  }

  remove(one: T): void {
    this.waiting.delete(one);
  }
}
