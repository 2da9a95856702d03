import { type Clock, systemClock } from '../../clock';
import { isCount, type Loss, MAX_VERSION } from './changes';

/** A message is not on its way any more. */
const OVERDUE_MS = 300;
/** Of so many times after the last one it is remembered what messages say. */
const MAX_CLAIMS = 16;
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
  /** How often users were found to be missing, as far as that is known here. */
  private heard: number | undefined;
  /** Since when beats have said otherwise. */
  private differsSince: number | undefined;
  /** What messages say of the next times, by number; all, where two say different things. */
  private readonly claimed = new Map<number, readonly number[]>();
  /** What was believed of the last time, and when. */
  private last: { readonly buckets: readonly number[]; readonly at: number } | undefined;
  /** By bucket, when that was heard last. */
  private readonly at = new Map<number, number>();
  private leaseMs = 0;
  private isDue = false;

  constructor(private readonly clock: Clock = systemClock) {}

  /** Users were lost in some buckets; in no named ones: perhaps in all. */
  hear(buckets: readonly number[], times: number, now: number = this.clock.now()): void {
    this.heard = times;
    this.differsSince = undefined;
    this.last = { buckets, at: now };
    this.isDue = true;
    for (const bucket of buckets.length === 0 ? [ALL] : buckets) this.at.set(bucket, now);
  }

  /**
   * A message has come. It is no proof, for anybody may publish: whether Redis has to be asked. `doubt`: it says of the
   * last time what was not believed, and one of the two is forged. Says so once each time.
   */
  claims({ buckets, times }: Loss, now: number = this.clock.now()): 'ask' | 'doubt' | undefined {
    const { heard, last, claimed } = this;
    if (heard === undefined) return undefined;
    if (times === heard) {
      if (last === undefined || now - last.at >= OVERDUE_MS || covers(last.buckets, buckets)) return undefined;
      return 'doubt';
    }
    if (times > heard && times <= heard + MAX_CLAIMS) {
      const other = claimed.get(times);
      const isSame = other === undefined || (covers(other, buckets) && covers(buckets, other));
      claimed.set(times, isSame ? (other ?? buckets) : []);
    }
    return 'ask';
  }

  /** What messages have claimed, for `confirm`: so far, when Redis is asked. */
  allClaims(): ReadonlyMap<number, readonly number[]> {
    return new Map(this.claimed);
  }

  /**
   * What Redis has said. The buckets that were lost, none named where it may be all; undefined where nothing was, beyond
   * what is known.
   */
  confirm(times: unknown, before: ReadonlyMap<number, readonly number[]>): readonly number[] | undefined {
    const { heard, claimed } = this;
    const isValid = isCount(times, MAX_VERSION) && heard !== undefined;
    const named = isValid && times > heard ? this.namedUpTo(times, heard) : undefined;
    // Whoever claims it may be ahead of an answer, and not of the next one.
    for (const [number, buckets] of before) if (claimed.get(number) === buckets) claimed.delete(number);
    if (!isValid || times === heard) return undefined;
    for (const number of Array.from(claimed.keys())) if (number <= times) claimed.delete(number);
    if (times > heard) return named;
    // The count was set back. What was lost since then nobody can tell.
    this.heard = times;
    return times > 0 ? [] : undefined;
  }

  private namedUpTo(times: number, heard: number): readonly number[] {
    const all = new Set<number>();
    for (let number = heard + 1; number <= times; number += 1) {
      const buckets = this.claimed.get(number) ?? [];
      if (buckets.length === 0) return [];
      for (const bucket of buckets) all.add(bucket);
    }
    return Array.from(all);
  }

  /**
   * What a beat learned. Whether users were lost that were not heard of: not before it has said so for a while, for its
   * answer and the message that names them come on two connections, and either may be ahead.
   */
  isNews(times: number, now: number = this.clock.now()): boolean {
    if (!isCount(times, MAX_VERSION)) return false;
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
    const now = this.clock.now();
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
    const now = this.clock.now();
    return [bucket, ALL].some((key) => {
      const at = this.at.get(key);
      return at !== undefined && now - at > this.waitMs(key);
    });
  }

  private waitMs(bucket: number): number {
    return this.leaseMs * (bucket === ALL ? ALL_LEASES : NAMED_LEASES);
  }
}

/** Whether all of these buckets are among those. None are named where it may be all. */
function covers(all: readonly number[], some: readonly number[]): boolean {
  if (all.length === 0 || some.length === 0) return all.length === 0;
  const known = new Set(all);
  return some.every((bucket) => known.has(bucket));
}
