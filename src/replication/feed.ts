import { EventEmitter } from 'eventemitter3';
import { withDeadline } from '../diagnostics/call-timeout';
import { callGuarded } from '../diagnostics/error-reporter';
import { log } from '../diagnostics/log';
import type { Clock } from '../public/clock';
import type { ErrorStage, PresenceUpdate } from '../public/types';
import type { OnAnswer, PresenceStore, Sequence, StoredPage, StoredStatus, StoreFeed } from '../stores/port';

/** Of those online, since a store that is far away takes a round trip for each page; and of those looked for one by one. */
const LIST_PAGE = 5_000;
const PAGE = 1_000;
/** What seems to be late is looked at together. */
const LATE_MS = 200;
/** How long the first reading waits where the store is not sure who is online. */
const UNSURE_MS = 100;
/** What was said while everybody was read for the first time is heard by then. */
const BEHIND_MS = 2_000;
/** Of so many users who are offline the last version told is remembered. */
const MAX_GONE = 65_536;

/** `lastSeen`: null of whoever the store has forgotten. */
type Listener = (update: PresenceUpdate, lastSeen: number | null, stored: number) => unknown;

/** @internal */
export interface FeedOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly commandTimeoutMs: number;
  readonly leaseMs: number;
  onDue(inMs: number): void;
  /** The view is whole now: for the first time, or `again`, after something may have been missed. */
  onKnown(again: boolean): void;
  /** The store holds no more what this router told it of a user. */
  reassert(userId: string): void;
  onLost(isLost: (userId: string) => boolean): void;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
}

/** What is known of a user. */
interface Known {
  /** The version that the store gave to the status. */
  readonly stored: number;
  /** The version with which it was told; 0 where it was found by the first reading, and nobody was told. */
  readonly told: number;
}

/** One reading of who is online. */
interface Reading {
  readonly kind: 'baseline' | 'resync';
  /** Whose change arrived meanwhile: what was read of them may be older. */
  readonly overtaken: Set<string>;
  /** How far versions were when it began. */
  from: Sequence | undefined;
}

/**
 * Hears the changes that the store tells, and tells them on. It knows who is online as far as it has told, or could have:
 * its view. After it was deaf it reads the store and tells where that differs from the view, and nothing else. While
 * nobody listens it knows nothing.
 * @internal
 */
export class Feed implements StoreFeed {
  private readonly everyone = new EventEmitter<{ update: Parameters<Listener> }>();
  private readonly byUser = new EventEmitter<string>();
  /** Who is online. */
  private readonly view = new Map<string, Known>();
  /** Who was told offline, the latest last. */
  private readonly gone = new Map<string, Known>();
  /** Who is online here and unknown to the store, and since when that was found. */
  private readonly doubtful = new Map<string, number>();
  private listeners = 0;
  private active = false;
  private wokenAt = 0;
  private hasBaseline = false;
  /** From where on every change is known; of no use while something has to be read. */
  private since: Sequence | undefined;
  /** The highest version that the store told. */
  private highest = 0;
  /** The highest version of those who have gone, and are not remembered any more. */
  private forgotten = 0;
  /** From which version on who has left may have been passed by, by the first reading, and how long that may still be told. */
  private firstRead: { readonly from: number; readonly until: number } | undefined;
  private wanted: Reading['kind'] | undefined;
  private reading: Reading | undefined;
  /** Of whom something older was told than what is known, and what was known then. */
  private readonly late = new Map<string, Known>();
  private lateTimer: unknown;
  private forgetTimer: unknown;
  private doubtTimer: unknown;
  private readonly unsubscribe: () => void;

  readonly onDue: StoreFeed['onDue'];
  readonly onLost: StoreFeed['onLost'];
  readonly onError: StoreFeed['onError'];

  constructor(private readonly options: FeedOptions) {
    this.onDue = options.onDue;
    this.onLost = options.onLost;
    this.onError = options.report;
    this.unsubscribe = options.store.subscribe(this);
  }

  /** Returns the function that ends it. What the listener throws, or rejects with, is reported and reaches nobody else. */
  listen(listener: Listener, ids: Iterable<string> | undefined): () => void {
    let ended = false;
    const guarded = (update: PresenceUpdate, lastSeen: number | null, stored: number): void => {
      if (ended) return;
      callGuarded(
        () => listener(update, lastSeen, stored),
        (error) => this.options.report('listener', error, update.userId),
      );
    };
    if (ids === undefined) this.everyone.on('update', guarded);
    else for (const id of ids) this.byUser.on(id, guarded);
    this.listeners += 1;
    this.wake();
    return () => {
      if (ended) return;
      ended = true;
      if (ids === undefined) this.everyone.removeListener('update', guarded);
      else for (const id of ids) this.byUser.removeListener(id, guarded);
      this.listeners -= 1;
      if (this.listeners === 0) this.sleepLater();
    };
  }

  onTransition(update: PresenceUpdate, lastSeen: number): void {
    const { userId, status, version, reason } = update;
    log.transition(userId, status);
    const online = status === 'online';
    // What a router believes of its own sockets wins.
    if (!online) this.options.reassert(userId);
    if (!this.active) return;
    if (version > this.highest) this.highest = version;
    const before = this.view.get(userId) ?? this.gone.get(userId);
    const wasTold = before !== undefined && before.told > 0;
    // A resync found it first, and this comes late. Or the store has lost its versions, and gives lower ones for a moment.
    if (wasTold && version <= before.stored) {
      // Nor may a reading that has begun before decide: it may have seen what was before.
      if (this.view.has(userId) !== online) {
        this.reading?.overtaken.add(userId);
        this.lookLater(userId, before);
      }
      return;
    }
    this.reading?.overtaken.add(userId);
    this.doubtful.delete(userId);
    // A router that asserts its users anew changes nothing for those who never heard that they had gone.
    // Whom no reading has found nobody was told to be online, here: whoever comes from another router may have been.
    const isAbsent =
      !wasTold && !this.view.has(userId) && this.hasBaseline && (this.gone.has(userId) || !this.wasMissed(version));
    const isKnown = wasTold || reason === 'resync' || isAbsent;
    if (isKnown && this.view.has(userId) === online) {
      this.know(userId, online, { stored: version, told: before?.told ?? 0 });
      return;
    }
    const told = Math.max(version, (before?.told ?? 0) + 1);
    this.know(userId, online, { stored: version, told });
    this.tell(told === version ? update : { ...update, version: told }, lastSeen, version);
  }

  onGap(): void {
    if (!this.active) return;
    // What is told now does not mean that what was before it was told, too.
    this.since = undefined;
    // Of whom nothing was known nothing can differ.
    this.wanted = this.hasBaseline ? 'resync' : 'baseline';
    this.read();
  }

  /** The store is there: what could not be read before can be now. */
  onBeat(): void {
    this.read();
  }

  /** Who is online, in no order. Users who come while it is walked through are in it too. */
  onlineIds(): IterableIterator<string> {
    return this.view.keys();
  }

  /** Who is online, and who has gone, as far as that is remembered. */
  knownIds(): Set<string> {
    return new Set([...this.view.keys(), ...this.gone.keys()]);
  }

  isOnline(userId: string): boolean {
    return this.view.has(userId);
  }

  get onlineCount(): number {
    return this.view.size;
  }

  /** Whether the view is whole: not yet, while the store is away. */
  get isKnown(): boolean {
    return this.hasBaseline;
  }

  /** Whether nothing has to be read: what was missed is known again, or nobody wants to know. */
  get isSettled(): boolean {
    return !this.active || (this.hasBaseline && this.wanted === undefined && this.reading === undefined);
  }

  /**
   * Where whoever has seen everything up to `version` can go on later, here or on another router.
   *
   * @param seen - the last version of which some was seen, where that is more: a router that has not heard so far would show
   * what was before
   */
  cursor(version: number = this.highest, seen: number = version): string | undefined {
    if (this.since === undefined) return undefined;
    return `${this.since.epoch}.${version}${seen > version ? `.${seen}` : ''}`;
  }

  /**
   * Whose status has changed after a cursor: of these users, or of all, as a walk, so that nobody need keep them. `later`:
   * this router has not heard yet what that cursor has seen. `undefined`: it is from another time, or older than what this
   * router knows.
   */
  changedSince(cursor: string, ids: Set<string> | undefined): IterableIterator<string> | 'later' | undefined {
    const [epoch, version, last = version] = cursor.split('.');
    const [whole, seen] = [Number(version), Number(last)];
    if (this.since === undefined || epoch !== this.since.epoch) return undefined;
    if (!(whole >= this.since.version && whole >= this.forgotten && seen >= whole)) return undefined;
    return seen > this.highest ? 'later' : this.walkChanged(whole, ids);
  }

  /** Whether a change of somebody of whom nothing is known was made while the first reading went on, and passed them by. */
  private wasMissed(version: number): boolean {
    const { firstRead } = this;
    return firstRead !== undefined && version > firstRead.from && this.options.clock.now() <= firstRead.until;
  }

  private *walkChanged(seen: number, ids: Set<string> | undefined): IterableIterator<string> {
    if (ids !== undefined) {
      for (const id of ids) if (((this.view.get(id) ?? this.gone.get(id))?.stored ?? 0) > seen) yield id;
      return;
    }
    for (const users of [this.view, this.gone]) for (const [id, { stored }] of users) if (stored > seen) yield id;
  }

  close(): void {
    this.unsubscribe();
    this.everyone.removeAllListeners();
    this.byUser.removeAllListeners();
    this.listeners = 0;
    this.forget();
  }

  /** Since when everybody is being read for the first time, and has not been yet. */
  get pendingSince(): number | undefined {
    return this.active && !this.hasBaseline ? this.wokenAt : undefined;
  }

  private wake(): void {
    this.options.clock.clearTimeout(this.forgetTimer);
    if (this.active) return;
    this.active = true;
    this.wokenAt = this.options.clock.now();
    this.wanted = 'baseline';
    this.read();
  }

  /** Not at once: a lone dashboard that comes and goes would have everything read each time. */
  private sleepLater(): void {
    const { clock, leaseMs } = this.options;
    clock.clearTimeout(this.forgetTimer);
    this.forgetTimer = clock.setTimeout(() => this.forget(), leaseMs);
  }

  private forget(): void {
    const { clock } = this.options;
    clock.clearTimeout(this.forgetTimer);
    clock.clearTimeout(this.doubtTimer);
    clock.clearTimeout(this.lateTimer);
    this.lateTimer = undefined;
    this.late.clear();
    this.active = false;
    this.hasBaseline = false;
    this.since = undefined;
    this.highest = 0;
    this.forgotten = 0;
    this.firstRead = undefined;
    this.wanted = undefined;
    this.reading = undefined;
    for (const known of [this.view, this.gone, this.doubtful]) known.clear();
  }

  private lookLater(userId: string, known: Known): void {
    this.late.set(userId, known);
    if (this.lateTimer !== undefined) return;
    this.lateTimer = this.options.clock.setTimeout(() => {
      this.lateTimer = undefined;
      const late = new Map(this.late);
      this.late.clear();
      this.look(late).catch((error: unknown) => {
        this.options.report('resync', error);
        if (this.active) for (const [id, before] of late) this.lookLater(id, before);
      });
    }, LATE_MS);
  }

  /** Tells what the store says of users, unless something was heard of them meanwhile. */
  private async look(late: ReadonlyMap<string, Known>): Promise<void> {
    const ids = Array.from(late.keys());
    for (let at = 0; at < ids.length; at += PAGE) {
      const { users } = await this.ask((onAnswer) => this.options.store.read(ids.slice(at, at + PAGE), onAnswer));
      if (!this.active) return;
      for (const user of users) {
        const { userId } = user;
        const known = this.view.get(userId) ?? this.gone.get(userId);
        const online = isBelieved(user);
        // What it has as a version is one of those that were lost.
        if (known !== late.get(userId) || this.view.has(userId) === online) continue;
        if (user.isUnsure === true && known !== undefined) {
          this.lookLater(userId, known);
          continue;
        }
        // A reading that goes on meanwhile may have seen what was before.
        this.reading?.overtaken.add(userId);
        this.tellFound({ ...user, online, version: this.highest });
      }
    }
  }

  private know(userId: string, online: boolean, known: Known): void {
    this.gone.delete(userId);
    if (online) {
      this.view.set(userId, known);
      return;
    }
    this.view.delete(userId);
    this.gone.set(userId, known);
    for (const [oldest, { stored }] of this.gone) {
      if (this.gone.size <= MAX_GONE) break;
      this.gone.delete(oldest);
      if (stored > this.forgotten) this.forgotten = stored;
    }
  }

  private tell(update: PresenceUpdate, lastSeen: number | null, stored: number): void {
    this.everyone.emit('update', update, lastSeen, stored);
    this.byUser.emit(update.userId, update, lastSeen, stored);
  }

  private read(): void {
    if (this.wanted === undefined || this.reading !== undefined) return;
    const reading: Reading = { kind: this.wanted, overtaken: new Set(), from: undefined };
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
    this.reading = undefined;
    if (!this.hasBaseline && reading.from !== undefined) {
      this.firstRead = { from: reading.from.version, until: this.options.clock.now() + BEHIND_MS };
    }
    this.hasBaseline = true;
    // Whoever has seen that somebody is online of whom that is doubtful could not be told otherwise elsewhere.
    // So could nobody what was missed again meanwhile.
    this.since = this.doubtful.size > 0 || this.wanted !== undefined ? undefined : reading.from;
    this.highest = Math.max(this.highest, reading.from?.told ?? reading.from?.version ?? 0);
    // A gap since the reading began: from now on there is something to differ from.
    if (this.wanted === 'baseline') this.wanted = 'resync';
    this.options.onKnown(reading.kind === 'resync');
    this.read();
  }

  private async readOnline(reading: Reading): Promise<void> {
    const { clock } = this.options;
    const present = new Set<string>();
    let hasUnproven = false;
    for (let from: string | null = null; ; ) {
      const cursor: string | null = from;
      const page: StoredPage = await this.ask((onAnswer) =>
        this.options.store.list({ cursor, limit: LIST_PAGE }, onAnswer),
      );
      if (this.reading !== reading) return;
      // Whoever listens from now on would be shown too few. Others wait a lease before they tell that somebody is missing.
      if (page.isUnsure === true && reading.kind === 'baseline') {
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
        if (!this.view.has(userId) && !this.gone.has(userId)) this.know(userId, false, { stored: version, told: 0 });
      }
      for (const user of page.users) {
        present.add(user.userId);
        if (reading.overtaken.has(user.userId)) continue;
        const known = this.view.get(user.userId);
        // What is on its way tells more than how it ended: that somebody went, and is back.
        if (known !== undefined && coming.has(user.userId)) continue;
        // Also of the first reading, whoever was told offline before it, or before one that failed.
        const isNews = reading.kind === 'resync' || this.gone.has(user.userId);
        if (known === undefined && isNews) {
          if (!coming.has(user.userId)) this.tellFound(user);
        } else this.view.set(user.userId, { stored: user.version, told: known?.told ?? 0 });
      }
      if (page.cursor === null) break;
      from = page.cursor;
    }
    await this.readMissing(reading, present, hasUnproven);
  }

  /** Those who are online here, and were not listed. */
  private async readMissing(reading: Reading, present: Set<string>, hasUnproven: boolean): Promise<void> {
    const { clock, store, leaseMs } = this.options;
    const missing = Array.from(this.view.keys()).filter((id) => !present.has(id) && !reading.overtaken.has(id));
    // What a router believes of its own sockets wins.
    for (const id of missing) this.options.reassert(id);
    for (const id of this.doubtful.keys()) if (present.has(id)) this.doubtful.delete(id);
    for (let at = 0; at < missing.length; at += PAGE) {
      const ids = missing.slice(at, at + PAGE);
      const { users } = await this.ask((onAnswer) => store.read(ids, onAnswer));
      if (this.reading !== reading) return;
      const now = clock.now();
      for (const user of users) {
        if (reading.overtaken.has(user.userId) || isBelieved(user)) continue;
        const isRemembered = user.version > (this.view.get(user.userId)?.stored ?? 0);
        const since = this.doubtful.get(user.userId) ?? now;
        if (isRemembered || now - since >= leaseMs) this.tellFound(user);
        else this.doubtful.set(user.userId, since);
      }
    }
    if (this.doubtful.size === 0 && !hasUnproven) return;
    clock.clearTimeout(this.doubtTimer);
    // Whose router is back after all is listed by then: it beats every third of a lease.
    this.doubtTimer = clock.setTimeout(() => this.onGap(), hasUnproven ? leaseMs / 3 : leaseMs);
  }

  /** A change that was missed. Of a user whom the store has forgotten it has no version, and still the version grows. */
  private tellFound({ userId, online, lastSeen, version: stored }: StoredStatus): void {
    const before = this.view.get(userId) ?? this.gone.get(userId);
    const told = before === undefined ? stored : Math.max(stored, before.stored + 1, before.told + 1);
    this.know(userId, online, { stored, told });
    this.doubtful.delete(userId);
    const now = this.options.clock.now();
    const status = online ? 'online' : 'offline';
    log.transition(userId, status);
    const update = { userId, status, timestamp: new Date(now).toISOString(), version: told, reason: 'resync' } as const;
    // Who is offline and forgotten was seen some time, and nobody knows when.
    this.tell(update, lastSeen ?? (online ? now : null), stored);
  }

  private ask<T>(run: (onAnswer: OnAnswer) => Promise<T>): Promise<T> {
    return withDeadline(this.options.clock, this.options.commandTimeoutMs, run);
  }
}

/** Whether whoever has heard of every change takes a user for online. */
function isBelieved({ online, isPublished }: StoredStatus): boolean {
  return online || isPublished === true;
}
