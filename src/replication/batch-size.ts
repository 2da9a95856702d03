/** The most changes in one call. */
const MOST = 1_000;
/** The smallest limit that time-outs lead to. */
const LEAST = 10;

/**
 * Decides how many changes one call contains. A time-out halves the limit, since a batch that times out each time would never be
 * acknowledged, even if the store had carried it out. Each answer raises the limit by a quarter.
 *
 * A call that fails at once proves nothing about the size. But if the store then accepts a heartbeat, it refuses one of the users
 * in the batch, and halving finds that user.
 * @internal
 */
export class BatchSize<T> {
  private limit = MOST;
  /** The users of a batch that failed at once, until a heartbeat shows whether the store is available. */
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

  /** The store is unavailable, so the batch did not fail because of a user in it. */
  clear(): void {
    this.suspects = undefined;
  }

  /** The store is available, so it refuses one of the suspects. Returns that one once no other is left. */
  narrow(): T | undefined {
    const suspects = this.suspects ?? [];
    this.suspects = undefined;
    if (suspects.length === 1) return suspects[0];
    this.limit = Math.max(1, suspects.length >> 1);
    return undefined;
  }
}
