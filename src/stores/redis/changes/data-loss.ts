import { type Clock, systemClock } from '../../../public/clock';
import { MAX_VERSION } from '../../change-receiver';
import { isCount, type Loss } from './message-codec';

/** A message is not on its way any more. */
const OVERDUE_MS = 300;
/** Of so many times after the last one it is remembered what messages say. */
const MAX_CLAIMS = 16;
/** All buckets of a partition, or nobody knows which. */
const ALL = -1;
/** What else was lost is found by a sweep meanwhile, and told; a router that was deaf hears of it with its next beats. */
const ASSERTED_LEASES = 2;
/** By then, and when the last key has gone that nobody renews, nothing is left of a loss. */
const OVER_LEASES = 6;

/**
 * Which buckets of one partition have lost users. Their routers assert them anew; whoever has no router any more is told
 * by nothing but the presence key, which says "online" for as long as it lives.
 * @internal
 */
export class DataLoss {
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
  /** Of which of these it has not been said yet that they are over. */
  private readonly due = new Set<number>();
  private saidOverAt = 0;
  private leaseMs = 15_000;

  constructor(private readonly clock: Clock = systemClock) {}

  /** These are other data than before: of those everything is lost. How often anything of these was is counted from 0. */
  begin(now: number = this.clock.now()): void {
    this.heard = 0;
    this.differsSince = undefined;
    this.claimed.clear();
    this.last = undefined;
    this.note(ALL, now);
  }

  /** Users were lost in some buckets; in no named ones: perhaps in all. */
  hear(buckets: readonly number[], times: number, now: number = this.clock.now()): void {
    this.heard = times;
    this.differsSince = undefined;
    this.last = { buckets, at: now };
    for (const bucket of buckets.length === 0 ? [ALL] : buckets) this.note(bucket, now);
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
    // Less: these data were set back, and what was lost since then nobody can tell.
    return times !== heard;
  }

  /**
   * At each beat: whether every router has had the time to assert its users since something was lost. Says so once each
   * time, and once a lease where something is lost all the time.
   */
  isOver(
    { leaseMs, ttlMs }: { readonly leaseMs: number; readonly ttlMs: number },
    now: number = this.clock.now(),
  ): boolean {
    this.leaseMs = leaseMs;
    let isOver = false;
    for (const [bucket, at] of this.at) {
      // The clock was set back.
      if (at > now) this.at.set(bucket, now);
      if (now - at > leaseMs * OVER_LEASES + ttlMs) this.at.delete(bucket);
      if (this.isAsserted(at, now) && this.due.has(bucket)) isOver = true;
    }
    if (!isOver || Math.abs(now - this.saidOverAt) < leaseMs) return false;
    this.saidOverAt = now;
    for (const bucket of this.due) if (this.isAsserted(this.at.get(bucket) ?? 0, now)) this.due.delete(bucket);
    return true;
  }

  /** Whether anything was lost of late. */
  get isAny(): boolean {
    return this.at.size > 0;
  }

  /** Whether a presence key without a record is no more that of a user who is about to be asserted. */
  isSettled(bucket: number): boolean {
    const now = this.clock.now();
    return [bucket, ALL].some((key) => {
      const at = this.at.get(key);
      return at !== undefined && this.isAsserted(at, now);
    });
  }

  private isAsserted(at: number, now: number): boolean {
    return now - at > this.leaseMs * ASSERTED_LEASES;
  }

  private note(bucket: number, now: number): void {
    this.at.set(bucket, now);
    this.due.add(bucket);
  }
}

/** Whether all of these buckets are among those. None are named where it may be all. */
function covers(all: readonly number[], some: readonly number[]): boolean {
  if (all.length === 0 || some.length === 0) return all.length === 0;
  const known = new Set(all);
  return some.every((bucket) => known.has(bucket));
}
