/**
 * Lets so many things through a second on average, and so many at once after a pause: a token bucket.
 * @internal
 */
export class TokenBucket {
  private tokens: number;

  constructor(
    private readonly perSecond: number,
    private readonly burst: number,
    private filledAt: number,
  ) {
    this.tokens = burst;
  }

  /** Whether one more may pass now. */
  take(now: number): boolean {
    // Before it was filled last: the clock was set back.
    const passed = Math.max(0, now - this.filledAt);
    this.filledAt = now;
    this.tokens = Math.min(this.burst, this.tokens + (passed * this.perSecond) / 1_000);
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }
}
