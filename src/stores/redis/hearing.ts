import { type Batch, parseMessage } from './changes';

/** What is told after another connection has said that there is more has this long to come. */
const OVERDUE_MS = 300;
const LOG_BATCHES = 100;
/** Changes that came while the log was read. Of more than that the older ones are dropped, to be read from the log too. */
const MAX_HELD = 10_000;

/** @internal */
export interface HearingOptions {
  /** Batches of the log from a version on: the text of each, and whether there are more. */
  readLog(from: number, most: number): Promise<string[]>;
  tell(batch: Batch): void;
  onGap(): void;
  /** Nothing came although something had been said. */
  onDeaf(): void;
}

/**
 * What was heard of one partition: in order, without a gap unseen. Messages come or do not; every answer of a script
 * says how far the versions have come by then, so silence is found out, and filled from the log where that reaches.
 * @internal
 */
export class Hearing {
  private epoch: string | undefined;
  /** The version of the last change heard; undefined before the first, when there is nothing to have missed. */
  private heard: number | undefined;
  /** When that change was made, by the clock of the server. */
  private heardAt = 0;
  /** The highest version ever seen, whatever was lost since. */
  private highest: number;
  private expected = 0;
  private overdue: ReturnType<typeof setTimeout> | undefined;
  private held: Batch[] | undefined;
  private heldChanges = 0;
  private closed = false;

  constructor(
    private readonly options: HearingOptions,
    highest = 0,
  ) {
    this.highest = highest;
  }

  get highestVersion(): number {
    return this.highest;
  }

  /** An answer of a script says how far the versions have come. Returns how far of that they were heard. */
  learn(epoch: string, version: number): number {
    this.see(version);
    if (this.heard === undefined || this.epoch !== epoch) {
      if (this.heard !== undefined) this.options.onGap();
      this.start(epoch, version);
      return version;
    }
    this.expected = Math.max(this.expected, version);
    if (this.heard >= version) return version;
    if (this.overdue === undefined) this.awaitVersion();
    return this.heard;
  }

  /** What is expected now must be heard in time; what is said meanwhile has a time of its own. */
  private awaitVersion(): void {
    const awaited = this.expected;
    this.overdue = setTimeout(() => {
      this.overdue = undefined;
      if (!this.isBehind()) return;
      if ((this.heard as number) >= awaited) {
        this.awaitVersion();
        return;
      }
      this.options.onDeaf();
      this.verify();
    }, OVERDUE_MS);
    this.overdue.unref();
  }

  /** What should have come by now and did not is read from the log. */
  verify(): void {
    if (this.isBehind()) this.catchUp();
  }

  private isBehind(): boolean {
    return this.heard !== undefined && this.heard < this.expected;
  }

  hear(batch: Batch): void {
    if (this.held === undefined) {
      this.take(batch);
      return;
    }
    this.heldChanges += batch.changes.length;
    if (this.heldChanges > MAX_HELD) {
      this.held = [];
      this.heldChanges = batch.changes.length;
    }
    this.held.push(batch);
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.overdue as never);
  }

  private start(epoch: string, version: number): void {
    this.epoch = epoch;
    this.heard = version;
    this.expected = version;
  }

  private see(version: number): void {
    if (version > this.highest) this.highest = version;
  }

  private take(batch: Batch): void {
    const { epoch, first, at, changes } = batch;
    const last = first + changes.length - 1;
    this.see(last);
    const isNew = this.heard === undefined || this.epoch !== epoch;
    if (!isNew && first > (this.heard as number) + 1) {
      this.catchUp();
      this.hear(batch);
      return;
    }
    // It comes late, after it was read from the log.
    if (!isNew && first <= (this.heard as number) && at <= this.heardAt) return;
    // A lower version than one that was heard, and newer: these data were set back to an older state.
    const isSetBack = this.heard !== undefined && (isNew || first <= this.heard);
    if (isNew) this.start(epoch, last);
    this.heard = last;
    this.heardAt = at;
    this.options.tell(batch);
    if (isSetBack) this.options.onGap();
  }

  /** Reads from the log what did not come, while what comes meanwhile waits. */
  private catchUp(): void {
    if (this.held !== undefined || this.closed) return;
    this.held = [];
    this.heldChanges = 0;
    this.readOn()
      .catch(() => false)
      .then((isWhole) => {
        if (this.closed) return;
        if (!isWhole && !this.waitsForNext()) this.leap();
        this.goOn();
      });
  }

  private async readOn(): Promise<boolean> {
    for (;;) {
      const from = (this.heard as number) + 1;
      const texts = await this.options.readLog(from, LOG_BATCHES);
      if (this.closed) return true;
      for (const text of texts) {
        const batch = parseMessage(text);
        if (batch === undefined || !('first' in batch)) continue;
        if (batch.epoch !== this.epoch || batch.first !== (this.heard as number) + 1) return false;
        this.take(batch);
      }
      if (texts.length < LOG_BATCHES) return (this.heard as number) >= this.expected;
    }
  }

  /** Nothing was missed: a router that stood still hears what it was sent meanwhile, while it looks for it in the log. */
  private waitsForNext(): boolean {
    const [next] = this.held ?? [];
    return next !== undefined && next.epoch === this.epoch && next.first <= (this.heard as number) + 1;
  }

  /** What was missed cannot be told one by one. */
  private leap(): void {
    const [next] = this.held ?? [];
    const before = next !== undefined && next.epoch === this.epoch ? next.first - 1 : 0;
    this.heard = Math.max(this.heard as number, this.expected, before);
    this.options.onGap();
  }

  private goOn(): void {
    const held = this.held ?? [];
    this.held = undefined;
    for (const [index, batch] of held.entries()) {
      // Read from the log already.
      if (batch.epoch === this.epoch && batch.first + batch.changes.length - 1 <= (this.heard as number)) continue;
      this.hear(batch);
      if (this.held !== undefined) {
        for (const later of held.slice(index + 1)) this.hear(later);
        return;
      }
    }
  }
}
