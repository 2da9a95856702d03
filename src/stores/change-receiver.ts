import { type Clock, systemClock } from '../public/clock';
import { type Batch, type Head, lastOf } from './batch';
import { BelievedBatches, isRefuted } from './believed-batches';
import { HeldBatches, leadingUpTo } from './held-batches';
import { Inquiry } from './inquiry';
import { Progress } from './progress';

/** What is told after another connection has said that there is more has this long to come. */
const OVERDUE_MS = 300;
const LOG_BATCHES = 100;
/** Entries of the log that do not belong there, in one reading. */
const MAX_STRAYS = 1_000;
/** After something forged was found, only the log is believed for so long. */
const DISTRUST_MS = 60_000;
/** Of gaps that the log could not fill meanwhile; after one more messages are believed again, since that log is of no use. */
const MAX_LEAPS = 2;
/** Where the log cannot decide between two batches everything is read again, once in so long. */
const DISPUTE_MS = 30_000;

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

/** Who waits until a version of these data was heard. */
interface Waiter {
  readonly version: number;
  readonly epoch: string | undefined;
  resolve(): void;
}

/** Whether everything is to be read again since the log could not decide between two batches, or when it was last. */
type Dispute = { readonly kind: 'none'; readonly readAt: number } | { readonly kind: 'open'; readonly timer: unknown };

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
  private readonly progress: Progress;
  private readonly held = new HeldBatches();
  private readonly believed = new BelievedBatches();
  private readonly inquiry: Inquiry;
  /** After something forged was found: until when only the log is believed, and how many gaps it could not fill since. */
  private distrust: { readonly until: number; readonly leaps: number } | undefined;
  /** Since the last question messages have followed. */
  private isFlowing = false;
  private overdue: unknown;
  private dispute: Dispute = { kind: 'none', readAt: 0 };
  private waiters: Waiter[] = [];
  /** Some changes of a batch were told, and others were not. */
  private isTelling = false;
  private isClosed = false;

  constructor(
    private readonly options: ChangeReceiverOptions,
    highest = 0,
    private readonly clock: Clock = systemClock,
  ) {
    this.progress = new Progress(highest);
    this.inquiry = new Inquiry({ clock, ask: () => this.ask(), onError: options.onError });
  }

  /** From where on versions go on after a loss. What only a message said is not in it: it would become true by that. */
  get highestVersion(): number {
    return this.progress.highestVersion;
  }

  /** Up to where the changes of which data were told; undefined before the first answer. */
  get told(): Head | undefined {
    const { epoch, heard } = this.progress;
    return epoch === undefined || this.isTelling ? undefined : { epoch, version: heard };
  }

  /** Up to where versions are known to have been given: whoever listens from now on need not be told these. */
  get knownVersion(): number {
    return this.progress.knownVersion;
  }

  /** An answer of a script says how far the versions have come. Returns how far of that they were heard. */
  learn(epoch: string, version: number): number {
    const { progress } = this;
    if (this.isClosed || !Number.isSafeInteger(version)) return version;
    if (progress.epoch !== epoch) return Math.min(version, this.begin({ epoch, version }));
    progress.expect(version);
    // Now and then a message is ahead of an answer. It is not for long.
    if (progress.aheadMs(version, this.clock.now()) >= OVERDUE_MS) this.inquiry.put(true);
    if (progress.heard >= version) return version;
    if (this.overdue === undefined) this.awaitVersion();
    return progress.heard;
  }

  /** What is expected now must be heard in time; what is said meanwhile has a time of its own. */
  private awaitVersion(): void {
    const awaited = this.progress.expected;
    this.clock.clearTimeout(this.overdue);
    this.overdue = this.clock.setTimeout(() => {
      this.overdue = undefined;
      if (!this.progress.isBehind) return;
      if (this.progress.heard >= awaited) {
        this.awaitVersion();
        return;
      }
      this.options.onDeaf();
      this.verify();
    }, OVERDUE_MS);
  }

  /** What should have come by now and did not is read from the log. */
  verify(): void {
    if (this.progress.isBehind) this.inquiry.put(true);
  }

  /** Resolves once everything was heard, or given up, of which the answers so far know; it is not waited for a message. */
  caughtUp(): Promise<void> {
    if (this.isClosed || !this.progress.isBehind) return Promise.resolve();
    this.verify();
    const { expected: version, epoch } = this.progress;
    return new Promise((resolve) => this.waiters.push({ version, epoch, resolve }));
  }

  private wake(): void {
    const { waiters, isClosed } = this;
    if (waiters.length === 0) return;
    const { epoch, heard } = this.progress;
    const isOver = (waiter: Waiter): boolean => isClosed || waiter.epoch !== epoch || waiter.version <= heard;
    this.waiters = waiters.filter((waiter) => !isOver(waiter));
    for (const waiter of waiters) if (isOver(waiter)) waiter.resolve();
  }

  hear(batch: Batch): void {
    if (this.isClosed) return;
    const isTrusted = this.distrust === undefined || this.clock.now() >= this.distrust.until;
    if (isTrusted && this.progress.follows(batch)) {
      this.isFlowing = true;
      this.take(batch);
      return;
    }
    if (this.isKnown(batch)) return;
    this.held.add(batch);
    this.inquiry.put();
  }

  close(): void {
    this.isClosed = true;
    this.inquiry.close();
    this.wake();
    this.clock.clearTimeout(this.overdue);
    if (this.dispute.kind === 'open') this.clock.clearTimeout(this.dispute.timer);
  }

  /** It comes late, after it was read from the log, or it comes twice. */
  private isKnown(batch: Batch): boolean {
    return batch.epoch === this.progress.epoch && this.believed.has(batch);
  }

  private take(batch: Batch): void {
    this.progress.hear(lastOf(batch));
    this.believed.add(batch);
    this.isTelling = true;
    try {
      this.options.tell(batch);
    } finally {
      this.isTelling = false;
    }
    this.wake();
  }

  /** Other data than before, or the first ones. Returns how far they were heard. */
  private begin(head: Head): number {
    const before = this.progress.epoch;
    this.progress.begin(head);
    this.believed.clear();
    // Where nothing has been written yet nothing is lost.
    if (before !== undefined && before !== '') this.options.onAnew();
    if (before === undefined) this.beginSooner(head.epoch);
    else this.options.onGap();
    this.hearAgain(this.held.take());
    this.wake();
    this.verify();
    return this.progress.heard;
  }

  /** What came before the first answer is told too, as the log has it. */
  private beginSooner(epoch: string): void {
    const { from, isWhole } = leadingUpTo(this.held.all, { epoch, version: this.progress.expected });
    this.progress.hear(from);
    if (!isWhole) this.options.onGap();
  }

  /** Asks Redis about what did not follow, and about what did not come. */
  private async ask(): Promise<boolean> {
    const { epoch, heard } = this.progress;
    this.held.ask();
    this.isFlowing = false;
    try {
      const head = await this.options.readHead();
      if (this.isClosed || head === undefined) return false;
      return await this.judge(head, this.progress.epoch === epoch ? heard : undefined);
    } catch (error) {
      this.held.putBack();
      throw error;
    } finally {
      this.hearAgain(this.held.settle());
    }
  }

  /** `before`: what had been heard of these data when Redis was asked, so that it must know of it by now. */
  private async judge(head: Head, before: number | undefined): Promise<boolean> {
    const { progress } = this;
    if (progress.epoch !== head.epoch) {
      this.begin(head);
      return true;
    }
    if (before !== undefined && head.version < before && progress.heard >= before) {
      // Forged, or these data were set back to an older state. Nobody can go on from what was told meanwhile.
      this.refute();
      progress.restart(head);
      this.believed.forgetAfter(head.version);
      this.wake();
      return true;
    }
    progress.confirm();
    progress.expect(head.version);
    const wasBehind = progress.isBehind;
    if (wasBehind) await this.catchUp();
    return (await this.settle()) || wasBehind;
  }

  private async catchUp(): Promise<void> {
    const { progress } = this;
    const { expected, epoch } = progress;
    await this.readUpTo(expected).catch(() => undefined);
    // What is expected since then has a time of its own.
    if (this.isClosed || progress.epoch !== epoch || progress.heard >= expected) return;
    // Nothing was missed: a router that stood still hears what it was sent meanwhile, while it looks for it in the log.
    if (this.isFlowing) {
      this.awaitVersion();
      return;
    }
    // What was missed cannot be told one by one.
    progress.hear(expected);
    this.leap();
    this.options.onGap();
    this.wake();
  }

  /** The log could not fill a gap. One such gap is the number that was given up when something forged was found. */
  private leap(): void {
    if (this.distrust === undefined) return;
    const { until, leaps } = this.distrust;
    this.distrust = leaps < MAX_LEAPS ? { until, leaps: leaps + 1 } : undefined;
  }

  private async readUpTo(expected: number): Promise<void> {
    const { progress } = this;
    for (let strays = 0; progress.heard < expected && strays < MAX_STRAYS; ) {
      const before = progress.heard;
      const batches = await this.options.readLog(before + 1, LOG_BATCHES);
      if (this.isClosed) return;
      for (const batch of batches) {
        if (batch === undefined || !progress.follows(batch)) strays += 1;
        else if (lastOf(batch) <= progress.expected) this.take(batch);
      }
      if (batches.length < LOG_BATCHES || progress.heard === before) return;
    }
  }

  /** Of two batches under one number one is forged. The log knows which, unless somebody has written there too. */
  private async settle(): Promise<boolean> {
    const { epoch } = this.progress;
    const rivals = this.held.inQuestion.filter((batch) => batch.epoch === epoch && !this.isKnown(batch));
    const disputed = this.believed.disputedBy(rivals);
    const [oldest] = disputed;
    if (oldest === undefined || this.isClosed) return false;
    const entries = await this.options.readLog(oldest.first, LOG_BATCHES).catch((): Batch[] => []);
    if (this.isClosed || this.progress.epoch !== epoch) return false;
    if (!isRefuted(disputed, entries, epoch)) {
      this.readAllSometime();
      return false;
    }
    this.believed.forget(disputed);
    this.refute();
    return true;
  }

  /** Something forged was believed. The number that it bore is not given any more: somebody may go on from there. */
  private refute(): void {
    this.progress.see(this.progress.heard + 1);
    this.distrust = { until: this.clock.now() + DISTRUST_MS, leaps: 0 };
    this.options.onGap();
  }

  private readAllSometime(): void {
    if (this.dispute.kind === 'open') return;
    const waitMs = Math.max(0, Math.min(DISPUTE_MS, this.dispute.readAt + DISPUTE_MS - this.clock.now()));
    const timer = this.clock.setTimeout(() => {
      this.dispute = { kind: 'none', readAt: this.clock.now() };
      this.options.onGap();
    }, waitMs);
    this.dispute = { kind: 'open', timer };
  }

  private hearAgain(batches: readonly Batch[]): void {
    for (const batch of batches) this.hear(batch);
  }
}
