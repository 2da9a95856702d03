import { callGuarded } from '../diagnostics/error-reporter';
import { log } from '../diagnostics/log';
import type { Clock } from '../public/clock';
import type { ErrorStage, PresenceUpdate } from '../public/types';
import type { PresenceStore, StoredStatus, StoreFeed } from '../stores/port';
import { InterestIndex } from './interest-index';
import { Reconciler } from './reconciler';
import { Roster } from './roster';

/** `lastSeen`: null of whoever the store has forgotten. `storeVersion`: that of the store, where another one is published. */
type Listener = (update: PresenceUpdate, lastSeen: number | null, storeVersion: number) => unknown;

/** @internal */
export interface ChangeFeedOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly commandTimeoutMs: number;
  readonly leaseMs: number;
  onDue(inMs: number): void;
  /** The roster is whole now: for the first time, or `again`, after something may have been missed. */
  onKnown(again: boolean): void;
  /** The store holds no more what this router told it of a user. */
  reassert(userId: string): void;
  onLost(isLost: (userId: string) => boolean): void;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
}

/**
 * Receives the changes that the store publishes, and passes them on to listeners, each once and in order; what was missed the
 * reconciler finds. While nobody listens it knows nothing.
 * @internal
 */
export class ChangeFeed implements StoreFeed {
  readonly roster = new Roster();
  private readonly listeners = new InterestIndex<Listener>();
  private readonly reconciler: Reconciler;
  private listenerCount = 0;
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

  /** Returns the function that ends it. What the listener throws, or rejects with, is reported and reaches nobody else. */
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
      if (this.listenerCount === 0) this.sleepLater();
    };
  }

  onTransition(update: PresenceUpdate, lastSeen: number): void {
    const { reconciler, roster } = this;
    const { userId, status, version, reason } = update;
    log.transition(userId, status);
    const online = status === 'online';
    // What a router believes of its own sockets wins.
    if (!online) this.options.reassert(userId);
    if (!reconciler.isAwake) return;
    roster.see(version);
    const before = roster.get(userId);
    const wasPublished = before !== undefined && before.publishedVersion > 0;
    // A resync found it first, and this comes late. Or the store has lost its versions, and gives lower ones for a moment.
    if (wasPublished && version <= before.storeVersion) {
      if (roster.isOnline(userId) !== online) reconciler.onOutOfOrder(userId, before);
      return;
    }
    reconciler.onChange(userId);
    // A user absent from the initial sync was never reported as online by this router, so an offline for it is kept for later
    // cursors, and not emitted; unless the change passed the sync by. A router that registers its users again changes nothing
    // for those who never heard that they had gone.
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

  /** The store is there: what could not be read before can be now. */
  onBeat(): void {
    this.reconciler.onBeat();
  }

  /** Whether the roster is whole: not yet, while the store is away. */
  get isKnown(): boolean {
    return this.reconciler.isSynced;
  }

  /** Whether nothing has to be read: what was missed is known again, or nobody wants to know. */
  get isSettled(): boolean {
    return this.reconciler.isSettled;
  }

  /** Since when everybody is being read for the first time, and has not been yet. */
  get pendingSince(): number | undefined {
    return this.reconciler.pendingSince;
  }

  close(): void {
    this.unsubscribe();
    this.listeners.clear();
    this.listenerCount = 0;
    this.sleep();
  }

  /** Not at once: a lone dashboard that comes and goes would have everything read each time. */
  private sleepLater(): void {
    const { clock, leaseMs } = this.options;
    clock.clearTimeout(this.sleepTimer);
    this.sleepTimer = clock.setTimeout(() => this.sleep(), leaseMs);
  }

  private sleep(): void {
    this.options.clock.clearTimeout(this.sleepTimer);
    this.reconciler.sleep();
  }

  /** A change that was missed. Of a user whom the store has forgotten it has no version, and still the version grows. */
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
    // Who is offline and forgotten was seen some time, and nobody knows when.
    this.emit(update, lastSeen ?? (online ? now : null), storeVersion);
  }

  private emit(update: PresenceUpdate, lastSeen: number | null, storeVersion: number): void {
    this.listeners.forEach(update.userId, (listener) => listener(update, lastSeen, storeVersion));
  }
}
