/** All buckets of a partition. */
const ALL = -1;
/** What is lost is found by a sweep, and told; a router that was deaf hears of it with its next beat, and then asserts. */
const NAMED_LEASES = 2;
/** Who merely heard that something was lost must wait until the sweep has been everywhere, and all others know. */
const ALL_LEASES = 6;

/**
 * Which buckets of one partition have lost users. Their routers assert them anew; whoever has no router any more is told
 * by nothing but the contract's key, which says "online" for as long as it lives.
 * @internal
 */
export class Losses {
  /** How often users were found to be missing, as far as messages have told. */
  private heard: number | undefined;
  /** The same, as the last beat learned it. */
  private said = 0;
  /** By bucket, when that was heard last. */
  private readonly at = new Map<number, number>();
  private leaseMs = 0;
  private isDue = false;

  /** Users were lost in some buckets; in no named ones: perhaps in all. */
  hear(buckets: readonly number[], times: number): void {
    this.heard = times;
    this.isDue = true;
    for (const bucket of buckets.length === 0 ? [ALL] : buckets) this.at.set(bucket, Date.now());
  }

  /** A message has come: whether one before it has not. */
  isGap(times: number): boolean {
    return this.heard !== undefined && times > this.heard + 1;
  }

  /**
   * What a beat learned. Whether users were lost that were not heard of: not if it is the first to say so, for its answer
   * and the message that names them come on two connections.
   */
  isNews(times: number): boolean {
    const { heard = times, said } = this;
    this.said = times;
    // The first beat of all; or the count was lost itself, and begins anew.
    if (heard >= times) this.heard = times;
    return said > heard && times > heard;
  }

  /** At each beat: whether every router has had the time to assert its users since the last loss. Says so once. */
  isOver({ leaseMs, ttlMs }: { readonly leaseMs: number; readonly ttlMs: number }): boolean {
    this.leaseMs = leaseMs;
    const now = Date.now();
    let latest = 0;
    for (const [bucket, at] of this.at) {
      latest = Math.max(latest, at + this.waitMs(bucket));
      // By then the last key has gone that nobody renews.
      if (now - at > leaseMs * ALL_LEASES + ttlMs || at > now) this.at.delete(bucket);
    }
    const isOver = this.isDue && now > latest;
    if (isOver) this.isDue = false;
    return isOver;
  }

  /** Whether anything was lost of late. */
  get isAny(): boolean {
    return this.at.size > 0;
  }

  /** Whether a key of the contract without a record is that of a user whom no router holds. */
  isSettled(bucket: number): boolean {
    const now = Date.now();
    return [bucket, ALL].some((key) => {
      const at = this.at.get(key);
      return at !== undefined && now - at > this.waitMs(key);
    });
  }

  private waitMs(bucket: number): number {
    return this.leaseMs * (bucket === ALL ? ALL_LEASES : NAMED_LEASES);
  }
}
