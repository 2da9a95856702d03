/**
 * A token bucket: it allows `perSecond` operations a second on average, and `burst` at once after a pause.
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

  /** Takes a token for one operation. Returns false where none is left. */
  take(now: number): boolean {
    // The difference is negative where the clock was set back.
    const passed = Math.max(0, now - this.filledAt);
    this.filledAt = now;
    this.tokens = Math.min(this.burst, this.tokens + (passed * this.perSecond) / 1_000);
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }
}
