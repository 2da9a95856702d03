/** Changes of one call at most. */
const MOST = 1_000;
/** How small a batch of changes becomes where the store does not keep up. */
const LEAST = 10;

/**
 * How many changes travel together. Halved where the time ran out, and grown by and by where it did not: a batch that is
 * given up each time would never be acknowledged, however often the store has done it. What fails at once says nothing
 * about the size, unless the store takes a heartbeat right after it: then somebody in the batch is refused, and halving finds
 * out who.
 * @internal
 */
export class BatchSize<T> {
  private limit = MOST;
  /** Who was in a batch that failed at once, until a heartbeat says whether the store is there. */
  private suspects: readonly T[] | undefined;

  get most(): number {
    return this.limit;
  }

  get hasSuspects(): boolean {
    return this.suspects !== undefined;
  }

  onAnswer(): void {
    this.limit = Math.min(MOST, this.limit + (this.limit >> 2) + 1);
  }

  onTimeout(): void {
    this.limit = Math.max(LEAST, this.limit >> 1);
  }

  suspect(batch: readonly T[]): void {
    this.suspects = batch;
  }

  /** The store is away: what failed did so for want of it. */
  clear(): void {
    this.suspects = undefined;
  }

  /** The store is there, and refuses one of the suspects. Returns it where there is only one left. */
  narrow(): T | undefined {
    const suspects = this.suspects ?? [];
    this.suspects = undefined;
    if (suspects.length === 1) return suspects[0];
    this.limit = Math.max(1, suspects.length >> 1);
    return undefined;
  }
}
