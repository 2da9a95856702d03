/** All buckets of a partition. */
const ALL = -1;

/**
 * Which buckets of one partition have lost users. Their routers assert them anew; whoever has no router any more is told
 * by nothing but the contract's key, which says "online" for as long as it lives.
 * @internal
 */
export class Losses {
  /** How often users were found to be missing, as far as that was heard. */
  private times: number | undefined;
  /** By bucket, when that was heard last. */
  private readonly at = new Map<number, number>();
  private leaseMs = 0;
  private isDue = false;

  /** Users were lost in some buckets; in no named ones: perhaps in all. */
  hear(buckets: readonly number[], times: number): void {
    this.times = times;
    this.isDue = true;
    for (const bucket of buckets.length === 0 ? [ALL] : buckets) this.at.set(bucket, Date.now());
  }

  /** What a beat learned. Whether users were lost that were not heard of. */
  isNews(times: number): boolean {
    const isNews = times > (this.times ?? times);
    this.times = times;
    return isNews;
  }

  /** At each beat: whether every router has had a lease to assert its users since the last loss. Says so once. */
  isOver({ leaseMs, ttlMs }: { readonly leaseMs: number; readonly ttlMs: number }): boolean {
    this.leaseMs = leaseMs;
    const now = Date.now();
    let latest = 0;
    for (const [bucket, at] of this.at) {
      latest = Math.max(latest, at);
      // By then the last key has gone that nobody renews.
      if (now - at > leaseMs * 2 + ttlMs || at > now) this.at.delete(bucket);
    }
    const isOver = this.isDue && now - latest > leaseMs;
    if (isOver) this.isDue = false;
    return isOver;
  }

  /** Whether a key of the contract without a record is that of a user whom no router holds. */
  isSettled(bucket: number): boolean {
    const at = Math.max(this.at.get(bucket) ?? 0, this.at.get(ALL) ?? 0);
    return at > 0 && Date.now() - at > this.leaseMs;
  }
}
