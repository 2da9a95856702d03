/** A message is not on its way any more. */
const OVERDUE_MS = 300;
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
  /** Since when beats have said otherwise. */
  private differsSince: number | undefined;
  /** By bucket, when that was heard last. */
  private readonly at = new Map<number, number>();
  private leaseMs = 0;
  private isDue = false;

  /** Users were lost in some buckets; in no named ones: perhaps in all. */
  hear(buckets: readonly number[], times: number): void {
    this.heard = times;
    this.differsSince = undefined;
    this.isDue = true;
    for (const bucket of buckets.length === 0 ? [ALL] : buckets) this.at.set(bucket, Date.now());
  }

  /** A message has come: whether one before it has not, or the count was set back, so that nobody can tell. */
  isGap(times: number): boolean {
    return this.heard !== undefined && times !== this.heard + 1;
  }

  /**
   * What a beat learned. Whether users were lost that were not heard of: not before it has said so for a while, for its
   * answer and the message that names them come on two connections, and either may be ahead.
   */
  isNews(times: number, now: number = Date.now()): boolean {
    const { heard = times } = this;
    this.differsSince = times === heard ? undefined : (this.differsSince ?? now);
    if (this.differsSince !== undefined && now - this.differsSince < OVERDUE_MS) return false;
    this.differsSince = undefined;
    this.heard = times;
    // Less: the count was lost itself, and begins anew.
    return times > heard;
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
