import { type Clock, systemClock } from '../../../public/clock';
import { MAX_VERSION } from '../../batch';
import { isCount, type Loss } from './message-codec';

/** After so long a message is not expected any more. */
const OVERDUE_MS = 300;
/** Messages are remembered about so many losses after the last known one. */
const MAX_CLAIMS = 16;
/** Stands for all buckets of a partition, or unknown ones. */
const ALL = -1;
/** In how many leases users are registered again: sweeps find other losses, and routers without messages learn of them by beats. */
const ASSERTED_LEASES = 2;
/** After so many leases and a TTL, the last presence key that no router renews has expired, and a loss has no effects any more. */
const OVER_LEASES = 6;

/**
 * Records which buckets of a partition have lost users. Their routers register them again. A lost user without a router is known
 * only by the presence key, which says "online" until it expires.
 * @internal
 */
export class DataLoss {
  /** How often users were found to be missing, as far as this router knows. */
  private heard: number | undefined;
  /** When a beat first answered another number. */
  private differsSince: number | undefined;
  /** The buckets that messages name for later losses, by number of the loss; all of them where two messages differ. */
  private readonly claimed = new Map<number, readonly number[]>();
  /** The buckets of the last loss, as known here, and when they became known. */
  private last: { readonly buckets: readonly number[]; readonly at: number } | undefined;
  /** By bucket, when its last loss became known. */
  private readonly at = new Map<number, number>();
  /** The buckets for which `isOver` has not returned true since. */
  private readonly due = new Set<number>();
  private saidOverAt = 0;
  private leaseMs = 15_000;

  constructor(private readonly clock: Clock = systemClock) {}

  /** The data are new, and all of the old ones are lost. Losses of the new data are counted from 0. */
  begin(now: number = this.clock.now()): void {
    this.heard = 0;
    this.differsSince = undefined;
    this.claimed.clear();
    this.last = undefined;
    this.note(ALL, now);
  }

  /** Users were lost in some buckets; without names, perhaps in all. */
  hear(buckets: readonly number[], times: number, now: number = this.clock.now()): void {
    this.heard = times;
    this.differsSince = undefined;
    this.last = { buckets, at: now };
    for (const bucket of buckets.length === 0 ? [ALL] : buckets) this.note(bucket, now);
  }

  /**
   * Judges a message about a loss, which may be forged. `ask`: Redis has to be asked. `doubt`: the message contradicts what
   * is known of the last loss, so one of the two is forged. Returns `doubt` once for each loss.
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

  /** Copies the claims of messages before Redis is asked, for `confirm`. */
  allClaims(): ReadonlyMap<number, readonly number[]> {
    return new Map(this.claimed);
  }

  /**
   * Takes the answer of Redis. Returns the buckets that were lost, an empty list where it may be all; undefined where nothing
   * was lost that is not known.
   */
  confirm(times: unknown, before: ReadonlyMap<number, readonly number[]>): readonly number[] | undefined {
    const { heard, claimed } = this;
    const isValid = isCount(times, MAX_VERSION) && heard !== undefined;
    const named = isValid && times > heard ? this.namedUpTo(times, heard) : undefined;
    // A message may be ahead of this answer, and cannot be ahead of the next one.
    for (const [number, buckets] of before) if (claimed.get(number) === buckets) claimed.delete(number);
    if (!isValid || times === heard) return undefined;
    for (const number of Array.from(claimed.keys())) if (number <= times) claimed.delete(number);
    if (times > heard) return named;
    // The count was set back, so what was lost since then is unknown.
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
   * Takes the number of losses that a beat answered. Returns whether users were lost without a message. It does so only after a
   * while, since the answer and the message come on two connections, and either may be ahead.
   */
  isNews(times: number, now: number = this.clock.now()): boolean {
    if (!isCount(times, MAX_VERSION)) return false;
    const { heard = times } = this;
    this.differsSince = times === heard ? undefined : (this.differsSince ?? now);
    if (this.differsSince !== undefined && now - this.differsSince < OVERDUE_MS) return false;
    this.differsSince = undefined;
    this.heard = times;
    // A lower number means that the data were set back, so what was lost since then is unknown.
    return times !== heard;
  }

  /**
   * Called at each beat. Returns whether every router has had the time to register its users again since a loss. It returns true
   * once for each loss, and at most once a lease.
   */
  isOver(
    { leaseMs, ttlMs }: { readonly leaseMs: number; readonly ttlMs: number },
    now: number = this.clock.now(),
  ): boolean {
    this.leaseMs = leaseMs;
    let isOver = false;
    for (const [bucket, at] of this.at) {
      // The clock of this router was set back.
      if (at > now) this.at.set(bucket, now);
      if (now - at > leaseMs * OVER_LEASES + ttlMs) this.at.delete(bucket);
      if (this.isAsserted(at, now) && this.due.has(bucket)) isOver = true;
    }
    if (!isOver || Math.abs(now - this.saidOverAt) < leaseMs) return false;
    this.saidOverAt = now;
    for (const bucket of this.due) if (this.isAsserted(this.at.get(bucket) ?? 0, now)) this.due.delete(bucket);
    return true;
  }

  /** Whether data were lost recently. */
  get isAny(): boolean {
    return this.at.size > 0;
  }

  /** Whether users of a lost bucket were registered again by now, so that a presence key without a record is left over. */
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

/** Whether `all` contains the buckets of `some`. An empty list stands for all buckets. */
function covers(all: readonly number[], some: readonly number[]): boolean {
  if (all.length === 0 || some.length === 0) return all.length === 0;
  const known = new Set(all);
  return some.every((bucket) => known.has(bucket));
}
