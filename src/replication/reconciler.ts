import { withDeadline } from '../diagnostics/call-timeout';
import type { Clock } from '../public/clock';
import type { ErrorStage } from '../public/types';
import type { OnAnswer, PresenceStore, Sequence, StoredPage, StoredStatus } from '../stores/port';
import type { Known, Roster } from './roster';

/** Of those online, since a store that is far away takes a round trip for each page; and of those looked for one by one. */
const LIST_PAGE = 5_000;
const PAGE = 1_000;
/** What seems to be out of order is looked at together. */
const RECHECK_MS = 200;
/** How long the initial sync waits where the store is not sure who is online. */
const UNSURE_MS = 100;
/** What was published during the initial sync has arrived by then. */
const BEHIND_MS = 2_000;

/** @internal */
export interface ReconcilerOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly commandTimeoutMs: number;
  readonly leaseMs: number;
  readonly roster: Roster;
  /** The roster is whole now: for the first time, or `again`, after something may have been missed. */
  onKnown(again: boolean): void;
  /** A change that was missed, by what the store says of the user. */
  onFound(user: StoredStatus): void;
  /** The store holds no more what this router told it of a user. */
  reassert(userId: string): void;
  report(stage: ErrorStage, error: unknown): void;
}

/** One reading of who is online. */
interface Reading {
  readonly kind: 'initial' | 'resync';
  /** Whose change arrived meanwhile: what was read of them may be older. */
  readonly changedDuringRead: Set<string>;
  /** How far versions were when it began. */
  from: Sequence | undefined;
}

/**
 * Reads the store where changes cannot be received: at first, after a gap, and where they came out of order. What differs from
 * the roster is a change that was missed.
 * @internal
 */
export class Reconciler {
  /** `syncing` until everybody was read once. */
  private state: 'asleep' | 'syncing' | 'synced' = 'asleep';
  private startedAt = 0;
  private wanted: Reading['kind'] | undefined;
  private reading: Reading | undefined;
  /** Who is online in the roster and unknown to the store, and since when that was found. */
  private readonly suspected = new Map<string, number>();
  /** From which version on who has left may have been passed by, by the initial sync, and how long that may still arrive. */
  private passedBy: { readonly from: number; readonly until: number } | undefined;
  /** Of whom something older arrived than what is known, and what was known then. */
  private readonly outOfOrder = new Map<string, Known>();
  private recheckTimer: unknown;
  private suspectTimer: unknown;

  constructor(private readonly options: ReconcilerOptions) {}

  get isAwake(): boolean {
    return this.state !== 'asleep';
  }

  /** Whether everybody was read once: not yet, while the store is away. */
  get isSynced(): boolean {
    return this.state === 'synced';
  }

  /** Whether nothing has to be read. */
  get isSettled(): boolean {
    return !this.isAwake || (this.isSynced && this.wanted === undefined && this.reading === undefined);
  }

  /** Since when everybody is being read for the first time, and has not been yet. */
  get pendingSince(): number | undefined {
    return this.state === 'syncing' ? this.startedAt : undefined;
  }

  wake(): void {
    if (this.isAwake) return;
    this.state = 'syncing';
    this.startedAt = this.options.clock.now();
    this.wanted = 'initial';
    this.read();
  }

  sleep(): void {
    const { clock, roster } = this.options;
    clock.clearTimeout(this.suspectTimer);
    clock.clearTimeout(this.recheckTimer);
    this.recheckTimer = undefined;
    this.outOfOrder.clear();
    this.suspected.clear();
    this.state = 'asleep';
    this.passedBy = undefined;
    this.wanted = undefined;
    this.reading = undefined;
    roster.clear();
  }

  /** Changes may have been missed. */
  onGap(): void {
    if (!this.isAwake) return;
    // What arrives now does not mean that what was before it has arrived, too.
    this.options.roster.completeFrom = undefined;
    // Of whom nothing was known nothing can differ.
    this.wanted = this.isSynced ? 'resync' : 'initial';
    this.read();
  }

  /** The store answers: what could not be read before can be now. */
  onBeat(): void {
    this.read();
  }

  /** A change of a user has arrived: what is being read of them may be older. */
  onChange(userId: string): void {
    this.reading?.changedDuringRead.add(userId);
    this.suspected.delete(userId);
  }

  /** A change has arrived that is older than what is known, and says something else. */
  onOutOfOrder(userId: string, known: Known): void {
    // Nor may a reading that has begun before decide: it may have seen what was before.
    this.reading?.changedDuringRead.add(userId);
    this.scheduleRecheck(userId, known);
  }

  /** Whether a change of somebody of whom nothing is known was made during the initial sync, and passed them by. */
  wasPassedBy(version: number): boolean {
    const { passedBy } = this;
    return passedBy !== undefined && version > passedBy.from && this.options.clock.now() <= passedBy.until;
  }

  private scheduleRecheck(userId: string, known: Known): void {
    this.outOfOrder.set(userId, known);
    if (this.recheckTimer !== undefined) return;
    this.recheckTimer = this.options.clock.setTimeout(() => {
      this.recheckTimer = undefined;
      const users = new Map(this.outOfOrder);
      this.outOfOrder.clear();
      this.recheck(users).catch((error: unknown) => {
        this.options.report('resync', error);
        if (this.isAwake) for (const [id, before] of users) this.scheduleRecheck(id, before);
      });
    }, RECHECK_MS);
  }

  /** Takes over what the store says of users, unless a change of them has arrived meanwhile. */
  private async recheck(users: ReadonlyMap<string, Known>): Promise<void> {
    const { roster, store } = this.options;
    const ids = Array.from(users.keys());
    for (let at = 0; at < ids.length; at += PAGE) {
      const read = await this.ask((onAnswer) => store.read(ids.slice(at, at + PAGE), onAnswer));
      if (!this.isAwake) return;
      for (const user of read.users) {
        const { userId } = user;
        const known = roster.get(userId);
        const online = isBelieved(user);
        // What it has as a version is one of those that were lost.
        if (known !== users.get(userId) || roster.isOnline(userId) === online) continue;
        if (user.isUnsure === true && known !== undefined) {
          this.scheduleRecheck(userId, known);
          continue;
        }
        // A reading that goes on meanwhile may have seen what was before.
        this.reading?.changedDuringRead.add(userId);
        this.find({ ...user, online, version: roster.highestVersion });
      }
    }
  }

  private read(): void {
    if (this.wanted === undefined || this.reading !== undefined) return;
    const reading: Reading = { kind: this.wanted, changedDuringRead: new Set(), from: undefined };
    this.reading = reading;
    this.wanted = undefined;
    this.readOnline(reading).then(
      () => this.finish(reading),
      (error: unknown) => {
        if (this.reading !== reading) return;
        this.reading = undefined;
        this.wanted = this.wanted ?? reading.kind;
        this.options.report('resync', error);
      },
    );
  }

  private finish(reading: Reading): void {
    if (this.reading !== reading) return;
    const { clock, roster, onKnown } = this.options;
    const { kind, from } = reading;
    this.reading = undefined;
    if (!this.isSynced && from !== undefined) {
      this.passedBy = { from: from.version, until: clock.now() + BEHIND_MS };
    }
    this.state = 'synced';
    // Whoever has seen that somebody is online who is suspected could not be told otherwise elsewhere.
    // So could nobody what was missed again meanwhile.
    roster.completeFrom = this.suspected.size > 0 || this.wanted !== undefined ? undefined : (from ?? 'uncounted');
    roster.see(from?.told ?? from?.version ?? 0);
    // A gap since the reading began: from now on there is something to differ from.
    if (this.wanted === 'initial') this.wanted = 'resync';
    onKnown(kind === 'resync');
    this.read();
  }

  private async readOnline(reading: Reading): Promise<void> {
    const { clock, roster, store } = this.options;
    const present = new Set<string>();
    let hasUnproven = false;
    for (let from: string | null = null; ; ) {
      const cursor: string | null = from;
      const page: StoredPage = await this.ask((onAnswer) => store.list({ cursor, limit: LIST_PAGE }, onAnswer));
      if (this.reading !== reading) return;
      // Whoever listens from now on would be shown too few. Others wait a lease before they are told that somebody is missing.
      if (page.isUnsure === true && reading.kind === 'initial') {
        await new Promise<void>((resolve) => {
          clock.setTimeout(resolve, UNSURE_MS);
        });
        if (this.reading !== reading) return;
        from = null;
        // What was listed before may have been lost since.
        present.clear();
        continue;
      }
      if (from === null) reading.from = page.sequence;
      const coming = new Set(page.coming);
      for (const { userId, version } of page.unproven ?? []) {
        hasUnproven = true;
        present.add(userId);
        // Nobody is told, or shown, that they are online; who was goes on to believe it.
        if (roster.get(userId) === undefined) roster.set(userId, false, { storeVersion: version, publishedVersion: 0 });
      }
      for (const user of page.users) {
        present.add(user.userId);
        if (reading.changedDuringRead.has(user.userId)) continue;
        this.compare(reading, user, coming.has(user.userId));
      }
      if (page.cursor === null) break;
      from = page.cursor;
    }
    await this.readMissing(reading, present, hasUnproven);
  }

  /** With a user whom a page lists. `isComing`: the last change has been published, and will arrive. */
  private compare(reading: Reading, user: StoredStatus, isComing: boolean): void {
    const { roster } = this.options;
    const known = roster.isOnline(user.userId) ? roster.get(user.userId) : undefined;
    // What is on its way tells more than how it ended: that somebody went, and is back.
    if (known !== undefined && isComing) return;
    // Also in the initial sync, whoever was published as offline before it, or before one that failed.
    const isChange = reading.kind === 'resync' || roster.hasTombstone(user.userId);
    if (known !== undefined || !isChange) {
      roster.set(user.userId, true, { storeVersion: user.version, publishedVersion: known?.publishedVersion ?? 0 });
    } else if (!isComing) this.find(user);
  }

  /** Those who are online in the roster, and were not listed. */
  private async readMissing(reading: Reading, present: Set<string>, hasUnproven: boolean): Promise<void> {
    const { clock, roster, store, leaseMs, reassert } = this.options;
    const missing = Array.from(roster.onlineIds()).filter(
      (id) => !present.has(id) && !reading.changedDuringRead.has(id),
    );
    // What a router believes of its own sockets wins.
    for (const id of missing) reassert(id);
    for (const id of this.suspected.keys()) if (present.has(id)) this.suspected.delete(id);
    for (let at = 0; at < missing.length; at += PAGE) {
      const ids = missing.slice(at, at + PAGE);
      const { users } = await this.ask((onAnswer) => store.read(ids, onAnswer));
      if (this.reading !== reading) return;
      const now = clock.now();
      for (const user of users) {
        if (reading.changedDuringRead.has(user.userId) || isBelieved(user)) continue;
        const isRemembered = user.version > (roster.get(user.userId)?.storeVersion ?? 0);
        const since = this.suspected.get(user.userId) ?? now;
        if (isRemembered || now - since >= leaseMs) this.find(user);
        else this.suspected.set(user.userId, since);
      }
    }
    if (this.suspected.size === 0 && !hasUnproven) return;
    clock.clearTimeout(this.suspectTimer);
    // Whose router is back after all is listed by then: it sends a heartbeat every third of a lease.
    this.suspectTimer = clock.setTimeout(() => this.onGap(), hasUnproven ? leaseMs / 3 : leaseMs);
  }

  private find(user: StoredStatus): void {
    this.suspected.delete(user.userId);
    this.options.onFound(user);
  }

  private ask<T>(run: (onAnswer: OnAnswer) => Promise<T>): Promise<T> {
    return withDeadline(this.options.clock, this.options.commandTimeoutMs, run);
  }
}

/** Whether whoever has received every change takes a user for online. */
function isBelieved({ online, isPublished }: StoredStatus): boolean {
  return online || isPublished === true;
}
