import { callGuarded } from '../diagnostics/error-reporter';
import { log } from '../diagnostics/log';
import type { Clock } from '../public/clock';
import type { ErrorStage, PresenceUpdate } from '../public/types';
import type { PresenceStore, StoredStatus, StoreFeed } from '../stores/port';
import { InterestIndex } from './interest-index';
import { Reconciler } from './reconciler';
import { Roster } from './roster';

/** `lastSeen`: `null` for a user whom the store has forgotten. `storeVersion`: that of the store, which the update may exceed. */
type Listener = (update: PresenceUpdate, lastSeen: number | null, storeVersion: number) => unknown;

/** @internal */
export interface ChangeFeedOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly commandTimeoutMs: number;
  readonly leaseMs: number;
  onDue(inMs: number): void;
  /** The roster is complete: for the first time, or `again`, after changes may have been missed. */
  onKnown(again: boolean): void;
  /** The store may no longer hold a user for this router: register the user again. */
  reassert(userId: string): void;
  onLost(isLost: (userId: string) => boolean): void;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
}

/**
 * Receives the changes that the store publishes, and passes them on to listeners, each once and in order. The reconciler finds
 * changes that were missed. Without listeners, the roster is empty and changes are ignored.
 * @internal
 */
export class ChangeFeed implements StoreFeed {
  readonly roster = new Roster();
  private readonly listeners = new InterestIndex<Listener>();
  private readonly reconciler: Reconciler;
  private listenerCount = 0;
  /** Whether the roster is kept without listeners, too. */
  private isKept = false;
  private sleepTimer: unknown;
  private readonly unsubscribe: () => void;

  readonly onDue: StoreFeed['onDue'];
  readonly onLost: StoreFeed['onLost'];
  readonly onError: StoreFeed['onError'];

  constructor(private readonly options: ChangeFeedOptions) {
    const { roster } = this;
    this.reconciler = new Reconciler({ ...options, roster, onFound: (user) => this.publishFound(user) });
    this.onDue = options.onDue;
    this.onLost = options.onLost;
    this.onError = options.report;
    this.unsubscribe = options.store.subscribe(this);
  }

  /** Returns a function that removes the listener. Its errors and rejections are reported, and do not affect other listeners. */
  listen(listener: Listener, ids: Iterable<string> | undefined): () => void {
    const interest = ids ?? 'all';
    const guarded: Listener = (update, lastSeen, storeVersion) =>
      callGuarded(
        () => listener(update, lastSeen, storeVersion),
        (error) => this.options.report('listener', error, update.userId),
      );
    let ended = false;
    this.listeners.add(guarded, interest);
    this.listenerCount += 1;
    this.options.clock.clearTimeout(this.sleepTimer);
    this.reconciler.wake();
    return () => {
      if (ended) return;
      ended = true;
      this.listeners.remove(guarded, interest);
      this.listenerCount -= 1;
      if (this.listenerCount === 0 && !this.isKept) this.sleepLater();
    };
  }

  /** Keeps the roster from now on, whether there are listeners or not. */
  keep(): void {
    if (this.isKept) return;
    this.isKept = true;
    this.options.clock.clearTimeout(this.sleepTimer);
    this.reconciler.wake();
  }

  onTransition(update: PresenceUpdate, lastSeen: number): void {
    const { reconciler, roster } = this;
    const { userId, status, version, reason } = update;
    log.transition(userId, status);
    const online = status === 'online';
    // The sockets of this router take precedence over the data of the store.
    if (!online) this.options.reassert(userId);
    if (!reconciler.isAwake) return;
    roster.see(version);
    const before = roster.get(userId);
    const wasPublished = before !== undefined && before.publishedVersion > 0;
    // A resync has found this change before its message arrived. Or the store has lost its versions, and assigns lower ones for a
    // moment.
    if (wasPublished && version <= before.storeVersion) {
      if (roster.isOnline(userId) !== online) reconciler.onOutOfOrder(userId, before);
      return;
    }
    reconciler.onChange(userId);
    // A user absent from the initial sync was never reported as online by this router, so an offline for it is kept for later
    // cursors, and not emitted; unless the user may have left while the pages of the sync were being read. A `resync` is not
    // emitted either where the status is the same here.
    const isAbsent =
      !wasPublished &&
      !roster.isOnline(userId) &&
      reconciler.isSynced &&
      (roster.hasTombstone(userId) || !reconciler.wasPassedBy(version));
    const isKnown = wasPublished || reason === 'resync' || isAbsent;
    if (isKnown && roster.isOnline(userId) === online) {
      roster.set(userId, online, { storeVersion: version, publishedVersion: before?.publishedVersion ?? 0 });
      return;
    }
    const published = Math.max(version, (before?.publishedVersion ?? 0) + 1);
    roster.set(userId, online, { storeVersion: version, publishedVersion: published });
    this.emit(published === version ? update : { ...update, version: published }, lastSeen, version);
  }

  onGap(): void {
    this.reconciler.onGap();
  }

  /** The store has answered a heartbeat, so a failed read can be repeated. */
  onBeat(): void {
    this.reconciler.onBeat();
  }

  /** Whether the initial sync is complete. */
  get isKnown(): boolean {
    return this.reconciler.isSynced;
  }

  /** Whether nothing has to be read: no changes are missing, or there are no listeners. */
  get isSettled(): boolean {
    return this.reconciler.isSettled;
  }

  /** When the initial sync began; `undefined` unless it is under way. */
  get pendingSince(): number | undefined {
    return this.reconciler.pendingSince;
  }

  close(): void {
    this.unsubscribe();
    this.listeners.clear();
    this.listenerCount = 0;
    this.sleep();
  }

  /** After a delay, since otherwise a single dashboard that reconnects would cause an initial sync each time. */
  private sleepLater(): void {
    const { clock, leaseMs } = this.options;
    clock.clearTimeout(this.sleepTimer);
    this.sleepTimer = clock.setTimeout(() => this.sleep(), leaseMs);
  }

  private sleep(): void {
    this.options.clock.clearTimeout(this.sleepTimer);
    this.reconciler.sleep();
  }

  /** Publishes a change that was missed. The version grows even where the store has forgotten the user, and has none. */
  private publishFound({ userId, online, lastSeen, version: storeVersion }: StoredStatus): void {
    const before = this.roster.get(userId);
    const version =
      before === undefined
        ? storeVersion
        : Math.max(storeVersion, before.storeVersion + 1, before.publishedVersion + 1);
    this.roster.set(userId, online, { storeVersion, publishedVersion: version });
    const now = this.options.clock.now();
    const status = online ? 'online' : 'offline';
    log.transition(userId, status);
    const update = { userId, status, timestamp: new Date(now).toISOString(), version, reason: 'resync' } as const;
    // It is unknown when a user who is offline and forgotten was last seen.
    this.emit(update, lastSeen ?? (online ? now : null), storeVersion);
  }

  private emit(update: PresenceUpdate, lastSeen: number | null, storeVersion: number): void {
    this.listeners.forEach(update.userId, (listener) => listener(update, lastSeen, storeVersion));
  }
}
