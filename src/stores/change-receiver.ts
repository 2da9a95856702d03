import { type Clock, systemClock } from '../public/clock';
import type { PresenceUpdate } from '../public/types';
import { Inquiry } from './inquiry';

/** A counter that is added to, here or in a script, must stay exact. @internal */
export const MAX_VERSION = 2 ** 52;

/** What is told after another connection has said that there is more has this long to come. */
const OVERDUE_MS = 300;
const LOG_BATCHES = 100;
/** Entries of the log that do not belong there, in one reading. */
const MAX_STRAYS = 1_000;
/** Changes that wait for an answer. Of more than that the older ones are dropped, to be read from the log too. */
const MAX_HELD = 10_000;
/** Changes before the first answer that are told at most. */
const MAX_SOONER = 1_000;
/** Batches that are remembered: to tell one that comes twice from another one under the same number. */
const REMEMBERED = 64;
/** After something forged was found, only the log is believed for so long. */
const DISTRUST_MS = 60_000;
/** Where the log cannot decide between two batches everything is read again, once in so long. */
const DISPUTE_MS = 30_000;

/** What travels between routers, and stands in the log: changes of one partition, made in one step. @internal */
export interface Batch {
  /** Tells the data from those that were there before a loss. */
  readonly epoch: string;
  /** The version of the first change; each following one has the next. */
  readonly first: number;
  /** When, by the clock of the server, in milliseconds. */
  readonly at: number;
  readonly changes: ReadonlyArray<{ readonly update: PresenceUpdate; readonly lastSeen: number }>;
  /** Of the text: the same in the log as in the message. */
  readonly digest: string;
}

/** How far Redis itself says that a partition has come. @internal */
export interface Head {
  readonly epoch: string;
  readonly version: number;
}

/** @internal */
export interface ChangeReceiverOptions {
  /** Undefined where Redis holds none that makes sense. */
  readHead(): Promise<Head | undefined>;
  /** Batches of the log from a version on; undefined for each entry that is none. */
  readLog(from: number, most: number): Promise<ReadonlyArray<Batch | undefined>>;
  tell(batch: Batch): void;
  onGap(): void;
  /** Redis holds other data than before: what routers told it is lost, or may be. */
  onAnew(): void;
  /** Nothing came although something had been said. */
  onDeaf(): void;
  /** A question could not be asked. */
  onError(error: unknown): void;
}

/** What is remembered of a batch. */
interface Believed {
  readonly first: number;
  readonly last: number;
  readonly digest: string;
}

const lastOf = ({ first, changes }: Batch): number => first + changes.length - 1;

/**
 * What was heard of one partition: in order, without a gap unseen. Messages come or do not; every answer of a script
 * says how far the versions have come by then, so silence is found out, and filled from the log where that reaches.
 *
 * Anybody may publish. A message is believed where its number follows; whatever else it says is a reason to ask Redis,
 * and only the answer counts. A forged one that bears the next number is found when the true one comes, or when answers
 * stay below it.
 * @internal
 */
export class ChangeReceiver {
  private epoch: string | undefined;
  /** The version of the last change heard; undefined before the first answer, when there is nothing to have missed. */
  private heard: number | undefined;
  /** The highest version that Redis said it had given, or that must not be given any more. */
  private highest: number;
  private expected = 0;
  private overdue: unknown;
  /** What did not follow: since the last question was asked, and before. */
  private doubtful: Batch[] = [];
  private doubtfulChanges = 0;
  private asked: Batch[] = [];
  /** The latest, in order. */
  private believed: Believed[] = [];
  /** What was heard when an answer was below it. */
  private suspect: { readonly version: number; readonly since: number } | undefined;
  private distrustUntil = 0;
  private leaps = 0;
  /** Since the last question messages have followed. */
  private isFlowing = false;
  private disputedAt = 0;
  /** Who waits until a version of these data was heard. */
  private waiters: Array<{ readonly version: number; readonly epoch: string | undefined; resolve(): void }> = [];
  private dispute: unknown;
  private closed = false;
  private readonly inquiry: Inquiry;

  constructor(
    private readonly options: ChangeReceiverOptions,
    highest = 0,
    private readonly clock: Clock = systemClock,
  ) {
    this.highest = highest;
    this.inquiry = new Inquiry({ clock, ask: () => this.ask(), onError: options.onError });
  }

  /** From where on versions go on after a loss. What only a message said is not in it: it would become true by that. */
  get highestVersion(): number {
    return this.highest;
  }

  /** Up to where versions are known to have been given: whoever listens from now on need not be told these. */
  get knownVersion(): number {
    return this.heard === undefined ? this.highest : Math.max(this.heard, this.expected);
  }

  /** An answer of a script says how far the versions have come. Returns how far of that they were heard. */
  learn(epoch: string, version: number): number {
    if (this.closed || !Number.isSafeInteger(version)) return version;
    if (this.heard === undefined || this.epoch !== epoch) {
      return Math.min(version, this.begin({ epoch, version }));
    }
    this.see(version);
    this.expected = Math.max(this.expected, version);
    this.compare(this.heard, version);
    if (this.heard >= version) return version;
    if (this.overdue === undefined) this.awaitVersion();
    return this.heard;
  }

  /** Now and then a message is ahead of an answer. It is not for long. */
  private compare(heard: number, version: number): void {
    if (this.suspect !== undefined && version >= this.suspect.version) this.suspect = undefined;
    if (heard <= version) return;
    this.suspect = this.suspect ?? { version: heard, since: this.clock.now() };
    if (this.clock.now() - this.suspect.since >= OVERDUE_MS) this.inquiry.put(true);
  }

  /** What is expected now must be heard in time; what is said meanwhile has a time of its own. */
  private awaitVersion(): void {
    const awaited = this.expected;
    this.clock.clearTimeout(this.overdue);
    this.overdue = this.clock.setTimeout(() => {
      this.overdue = undefined;
      if (!this.isBehind()) return;
      if ((this.heard as number) >= awaited) {
        this.awaitVersion();
        return;
      }
      this.options.onDeaf();
      this.verify();
    }, OVERDUE_MS);
  }

  /** What should have come by now and did not is read from the log. */
  verify(): void {
    if (this.isBehind()) this.inquiry.put(true);
  }

  /** Resolves once everything was heard, or given up, of which the answers so far know; it is not waited for a message. */
  caughtUp(): Promise<void> {
    if (this.closed || !this.isBehind()) return Promise.resolve();
    this.verify();
    const { expected: version, epoch } = this;
    return new Promise((resolve) => this.waiters.push({ version, epoch, resolve }));
  }

  private wake(): void {
    const { waiters, epoch, closed, heard = 0 } = this;
    if (waiters.length === 0) return;
    const isOver = (waiter: (typeof waiters)[number]): boolean =>
      closed || waiter.epoch !== epoch || waiter.version <= heard;
    this.waiters = waiters.filter((waiter) => !isOver(waiter));
    for (const waiter of waiters) if (isOver(waiter)) waiter.resolve();
  }

  private isBehind(): boolean {
    return this.heard !== undefined && this.heard < this.expected;
  }

  hear(batch: Batch): void {
    if (this.closed) return;
    if (this.follows(batch) && this.clock.now() >= this.distrustUntil) {
      this.isFlowing = true;
      this.take(batch);
      return;
    }
    if (!this.isKnown(batch)) this.doubt(batch);
  }

  close(): void {
    this.closed = true;
    this.inquiry.close();
    this.wake();
    this.clock.clearTimeout(this.overdue);
    this.clock.clearTimeout(this.dispute);
  }

  private follows({ epoch, first }: Batch): boolean {
    return this.heard !== undefined && epoch === this.epoch && first === this.heard + 1;
  }

  /** It comes late, after it was read from the log, or it comes twice. */
  private isKnown({ epoch, first, digest }: Batch): boolean {
    return epoch === this.epoch && this.believed.some((other) => other.first === first && other.digest === digest);
  }

  private take(batch: Batch): void {
    const { first, digest } = batch;
    const last = lastOf(batch);
    this.heard = last;
    this.believed.push({ first, last, digest });
    if (this.believed.length > REMEMBERED) this.believed.shift();
    this.options.tell(batch);
    this.wake();
  }

  private doubt(batch: Batch): void {
    this.doubtfulChanges += batch.changes.length;
    if (this.doubtfulChanges > MAX_HELD) {
      this.doubtful = [];
      this.doubtfulChanges = batch.changes.length;
    }
    this.doubtful.push(batch);
    this.inquiry.put();
  }

  /** Other data than before, or the first ones. Returns how far they were heard. */
  private begin({ epoch, version }: Head): number {
    const isFirst = this.heard === undefined;
    // Where nothing has been written yet nothing is lost.
    const isOther = !isFirst && this.epoch !== '';
    // Whoever was told these versions remembers them. The next script raises the count to where they are.
    this.see(this.knownVersion);
    this.see(version);
    this.believed = [];
    this.start(epoch, this.highest);
    if (isOther) this.options.onAnew();
    if (isFirst) this.beginSooner();
    else this.options.onGap();
    this.hearAgain();
    this.wake();
    this.verify();
    return this.heard as number;
  }

  /** What came before the first answer is told too, as the log has it. */
  private beginSooner(): void {
    const last = this.expected;
    const firsts = new Map<number, number>();
    let oldest = last + 1;
    for (const batch of this.asked.concat(this.doubtful)) {
      if (batch.epoch !== this.epoch || lastOf(batch) > last) continue;
      firsts.set(lastOf(batch), batch.first);
      oldest = Math.min(oldest, batch.first);
    }
    let from = last;
    for (let first = firsts.get(from); first !== undefined && last - first < MAX_SOONER; first = firsts.get(from)) {
      from = first - 1;
    }
    this.heard = from;
    if (oldest <= from) this.options.onGap();
  }

  private start(epoch: string, version: number): void {
    this.epoch = epoch;
    this.heard = version;
    this.expected = version;
    this.suspect = undefined;
    this.believed = this.believed.filter(({ last }) => last <= version);
  }

  private see(version: number): void {
    // No router has counted that far: somebody wrote it, and there must be room to go on.
    if (version > this.highest && version <= MAX_VERSION / 4) this.highest = version;
  }

  /** Asks Redis about what did not follow, and about what did not come. */
  private async ask(): Promise<boolean> {
    const { epoch, heard } = this;
    this.asked = this.doubtful;
    this.doubtful = [];
    this.doubtfulChanges = 0;
    this.isFlowing = false;
    try {
      const head = await this.options.readHead();
      if (this.closed || head === undefined) return false;
      return await this.judge(head, this.epoch === epoch ? heard : undefined);
    } catch (error) {
      // It says no less when it is asked about the next time.
      const later = this.doubtful;
      this.doubtful = [];
      this.doubtfulChanges = 0;
      for (const batch of this.asked.concat(later)) this.doubt(batch);
      throw error;
    } finally {
      this.asked = [];
      this.hearAgain();
    }
  }

  /** `before`: what had been heard of these data when Redis was asked, so that it must know of it by now. */
  private async judge(head: Head, before: number | undefined): Promise<boolean> {
    if (this.heard === undefined || this.epoch !== head.epoch) {
      this.begin(head);
      return true;
    }
    if (before !== undefined && head.version < before && this.heard >= before) {
      // Forged, or these data were set back to an older state. Nobody can go on from what was told meanwhile.
      this.refute();
      this.start(head.epoch, head.version);
      this.wake();
      return true;
    }
    this.suspect = undefined;
    this.see(head.version);
    this.expected = Math.max(this.expected, head.version);
    const wasBehind = this.isBehind();
    if (wasBehind) await this.catchUp();
    return (await this.settle()) || wasBehind;
  }

  private async catchUp(): Promise<void> {
    const { expected, epoch } = this;
    await this.readUpTo(expected).catch(() => undefined);
    // What is expected since then has a time of its own.
    if (this.closed || this.epoch !== epoch || (this.heard as number) >= expected) return;
    // Nothing was missed: a router that stood still hears what it was sent meanwhile, while it looks for it in the log.
    if (this.isFlowing) {
      this.awaitVersion();
      return;
    }
    // What was missed cannot be told one by one.
    this.heard = expected;
    this.leaps += 1;
    // One of them is over the number that was given up. A log that does not work is not worth waiting for.
    if (this.leaps > 2) this.distrustUntil = 0;
    this.options.onGap();
    this.wake();
  }

  private async readUpTo(expected: number): Promise<void> {
    for (let strays = 0; (this.heard as number) < expected && strays < MAX_STRAYS; ) {
      const before = this.heard as number;
      const batches = await this.options.readLog(before + 1, LOG_BATCHES);
      if (this.closed) return;
      for (const batch of batches) {
        if (batch === undefined || !this.follows(batch)) strays += 1;
        else if (lastOf(batch) <= this.expected) this.take(batch);
      }
      if (batches.length < LOG_BATCHES || this.heard === before) return;
    }
  }

  /** Of two batches under one number one is forged. The log knows which, unless somebody has written there too. */
  private async settle(): Promise<boolean> {
    const { asked, epoch } = this;
    const rivals = asked.filter((batch) => batch.epoch === epoch && !this.isKnown(batch));
    const disputed = this.believed.filter(({ first, last }) =>
      rivals.some((batch) => batch.first <= last && lastOf(batch) >= first),
    );
    const [oldest] = disputed;
    if (oldest === undefined || this.closed) return false;
    const batches = await this.options.readLog(oldest.first, LOG_BATCHES).catch((): Batch[] => []);
    if (this.closed || this.epoch !== epoch) return false;
    const written = new Map<number, string>();
    for (const batch of batches) {
      if (batch === undefined || batch.epoch !== epoch) continue;
      if (!written.has(batch.first)) written.set(batch.first, batch.digest);
    }
    const isForged = disputed.some(({ first, digest }) => (written.get(first) ?? digest) !== digest);
    if (!isForged) {
      this.readAllSometime();
      return false;
    }
    this.believed = this.believed.filter((one) => !disputed.includes(one));
    this.refute();
    return true;
  }

  /** Something forged was believed. The number that it bore is not given any more: somebody may go on from there. */
  private refute(): void {
    this.see((this.heard as number) + 1);
    this.distrustUntil = this.clock.now() + DISTRUST_MS;
    this.leaps = 0;
    this.options.onGap();
  }

  private readAllSometime(): void {
    if (this.dispute !== undefined) return;
    const waitMs = Math.max(0, Math.min(DISPUTE_MS, this.disputedAt + DISPUTE_MS - this.clock.now()));
    this.dispute = this.clock.setTimeout(() => {
      this.dispute = undefined;
      this.disputedAt = this.clock.now();
      this.options.onGap();
    }, waitMs);
  }

  private hearAgain(): void {
    const batches = this.doubtful;
    this.doubtful = [];
    this.doubtfulChanges = 0;
    for (const batch of batches) this.hear(batch);
  }
}
