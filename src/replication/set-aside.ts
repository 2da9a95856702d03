/** How long one is left alone after each refusal: first it may have been chance. The last one goes on. */
const WAITS_MS: readonly number[] = [100, 1_000, 5_000, 10_000, 30_000, 60_000];
/** Where so many are refused it is not they that are wrong. */
const MOST = 100;

/**
 * Those whom the store refuses each time, though it takes others: each is tried again alone, slowly, so that nobody else
 * waits for it.
 * @internal
 */
export class SetAside<T> {
  private readonly waiting = new Map<T, { times: number; until: number }>();

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
    const waitMs = WAITS_MS[Math.min(times, WAITS_MS.length - 1)] as number;
    this.waiting.set(one, { times: times + 1, until: now + waitMs });
    return waitMs;
  }

  /** One whose time has come. */
  due(now: number): T | undefined {
    for (const [one, { times, until }] of this.waiting) {
      // Further away than it ever was: the clock was set back.
      if (until <= now || until - now > (WAITS_MS[Math.min(times, WAITS_MS.length) - 1] as number)) return one;
    }
    return undefined;
  }

  remove(one: T): void {
    this.waiting.delete(one);
  }
}
