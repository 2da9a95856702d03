import { type Connection, isSlow } from '../connections/connection';
import type { Clock } from '../public/clock';
import type { ErrorStage } from '../public/types';
import type { ChangeFeed } from '../replication/change-feed';
import { InterestIndex } from '../replication/interest-index';
import type { PresenceStore } from '../stores/port';
import type { Refusal } from '../wire/decode-watch';
import type { Frames } from '../wire/encode';
import { toIso } from '../wire/to-status';
import { SendQueue } from './send-queue';
import { notShown, Snapshots, willShowAll } from './snapshots';
import { type Interest, newWatcher, type Pending, type Subscription } from './subscription';
import { type Change, UpdateLimiter } from './update-limiter';

/** So many updates wait for a slow socket, or behind a snapshot; past them it goes on from where it is, later. */
const MAX_PENDING = 256;
const OPEN = 1;

/** An update for those who know no cursors, and for those who do. */
type Encoded = [Uint8Array?, Uint8Array?];

/** @internal */
export interface SubscriptionsOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly feed: ChangeFeed;
  readonly frames: Frames;
  readonly commandTimeoutMs: number;
  readonly updatesPerUserPerSecond: number;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
  close(connection: Connection, code: number, reason: string): void;
}

/**
 * Sends watching sockets what they asked for: a snapshot, then every later change once.
 * @internal
 */
export class Subscriptions {
  private readonly watchers = new Map<Connection, Subscription>();
  private readonly interests = new InterestIndex<Subscription>();
  private readonly queue: SendQueue;
  private readonly limiter: UpdateLimiter;
  private unlisten: (() => void) | undefined;
  /** Until when everything was heard, while it is not. */
  private staleSince: number | undefined;
  /** Users whose change was still kept back by the limiter when an outage ended: nobody has been shown it. */
  private readonly keptBack = new Set<string>();
  private readonly snapshots: Snapshots;

  constructor(private readonly options: SubscriptionsOptions) {
    this.queue = new SendQueue(options);
    this.limiter = new UpdateLimiter(options.clock, options.updatesPerUserPerSecond, (change, keptBackSince) =>
      this.spread(change, keptBackSince),
    );
    this.snapshots = new Snapshots({
      ...options,
      send: ({ connection }, frame) => this.queue.send(connection, frame),
      lookLater: (watcher) => this.checkLater(watcher),
      onBegin: (watcher) => {
        watcher.shownUpTo = this.limiter.lastNumber;
      },
      onShown: (watcher) => this.proceed(watcher),
    });
  }

  /**
   * Replaces what a socket hears; `undefined` for nothing. It is shown whom it has not been shown before, or, with a
   * request of its own, what it asks for: all of it, or what has changed since its cursor.
   */
  watch(
    connection: Connection,
    interest: Interest | undefined,
    request?: { readonly name: number | undefined; readonly cursor: string | undefined },
  ): void {
    const { feed } = this.options;
    const before = this.watchers.get(connection);
    if (interest === undefined) {
      this.queue.cancel(connection);
      this.forget(connection);
      return;
    }
    if (before?.interest === 'all' && interest === 'all' && request === undefined) return;
    this.unlisten =
      this.unlisten ??
      feed.listen((update, lastSeen, version) => this.limiter.offer({ update, lastSeen, version }), undefined);
    const ids = interest === 'all' ? undefined : notShown(before, interest);
    if (before !== undefined) this.interests.remove(before, before.interest);
    const watcher = before ?? newWatcher(connection, interest);
    watcher.interest = interest;
    // Whoever was shown nothing is shown the truth.
    if (before === undefined) watcher.shownUpTo = this.limiter.lastNumber;
    if (request !== undefined) {
      watcher.request = { name: request.name };
      watcher.snapshot = this.snapshots.owed({ since: request.cursor });
      // Who has asked takes what begins a snapshot for all of it.
    } else if (ids === undefined || watcher.request !== undefined)
      watcher.snapshot = this.snapshots.owed({ since: undefined });
    else watcher.snapshot = ids.size === 0 ? undefined : this.snapshots.owed({ ids });
    for (const id of watcher.pending.keys()) if (interest !== 'all' && !interest.has(id)) watcher.pending.delete(id);
    this.watchers.set(connection, watcher);
    this.interests.add(watcher, interest);
    this.proceed(watcher);
  }

  /** It may not watch what it asked for. */
  refuse(connection: Connection, refusal: Refusal): void {
    this.queue.refuse(connection, this.options.frames.refusal(refusal));
  }

  remove(connection: Connection): void {
    this.queue.remove(connection);
    this.forget(connection);
  }

  private forget(connection: Connection): void {
    const watcher = this.watchers.get(connection);
    if (watcher === undefined) return;
    watcher.snapshot = undefined;
    this.watchers.delete(connection);
    this.interests.remove(watcher, watcher.interest);
    if (this.watchers.size > 0) return;
    this.unlisten?.();
    this.unlisten = undefined;
    this.limiter.stop();
    this.keptBack.clear();
  }

  /**
   * The store is there, or the view is whole: snapshots that are owed can be sent. `again`: something was missed. Who goes
   * on with a cursor may have been ahead of this router then, and what differs from its view is not what differs from
   * theirs: they are shown everything.
   */
  sendOwed(again = false): void {
    for (const watcher of this.watchers.values()) {
      if (again && watcher.request !== undefined) watcher.snapshot = this.snapshots.owed({ since: undefined });
      if (watcher.snapshot !== undefined) this.proceed(watcher);
    }
  }

  /**
   * Changes may be missed since then; `undefined`: everything is heard again. Each socket is told the end once it has been
   * shown what it missed.
   */
  setStale(since: number | undefined): void {
    if ((this.staleSince === undefined) === (since === undefined)) return;
    this.staleSince = since;
    this.keptBack.clear();
    if (since === undefined) for (const userId of this.limiter.keptBackIds()) this.keptBack.add(userId);
    this.tellAllStale();
  }

  /** What was shown is true until now: nothing more is told. */
  close(): void {
    const { clock } = this.options;
    this.staleSince = this.staleSince ?? clock.now();
    for (const [connection, watcher] of this.watchers) {
      this.tellStale(watcher, true);
      this.remove(connection);
    }
    this.queue.stop();
  }

  /** Encoded once, at the first socket that takes it, however many there are; once more for those who know cursors. */
  private spread({ update, lastSeen }: Change, keptBackSince = Number.POSITIVE_INFINITY): void {
    const { limiter } = this;
    const { feed } = this.options;
    const pending: Pending = {
      update,
      lastSeen,
      cursor: feed.roster.cursor(limiter.settledVersion, limiter.lastVersion),
    };
    const encoded: Encoded = [];
    this.interests.forEach(update.userId, (watcher) => {
      // It has been shown since.
      if (keptBackSince <= watcher.shownUpTo) return;
      if (watcher.snapshot !== undefined || watcher.pending.size > 0 || isSlow(watcher.connection))
        this.hold(watcher, pending);
      else if (watcher.connection.socket.readyState === OPEN) this.tell(watcher, pending, encoded);
    });
    if (this.keptBack.delete(update.userId) && this.keptBack.size === 0) this.tellAllStale();
  }

  private tell(watcher: Subscription, { update, lastSeen, cursor }: Pending, encoded: Encoded = []): void {
    watcher.cursor = cursor;
    const { sink } = watcher;
    if (sink !== undefined) {
      this.queue.send(watcher.connection, () => sink.update({ ...update, lastSeen: toIso(lastSeen) }));
      return;
    }
    const kind = watcher.request !== undefined ? 1 : 0;
    const frame = encoded[kind] ?? this.options.frames.update(update, lastSeen, kind === 1 ? cursor : undefined);
    encoded[kind] = frame;
    this.queue.send(watcher.connection, frame);
  }

  /** Keeps an update for later: one a user, in the order of the latest, and not more than some. */
  private hold(watcher: Subscription, pending: Pending): void {
    const { snapshot } = watcher;
    if (snapshot !== undefined && (snapshot.isOverrun || willShowAll(watcher, snapshot))) return;
    watcher.pending.delete(pending.update.userId);
    watcher.pending.set(pending.update.userId, pending);
    if (snapshot === undefined) this.checkLater(watcher);
    const since = snapshot?.cursor ?? watcher.cursor;
    // Where there is no cursor all of it is kept, one a user.
    if (watcher.pending.size <= MAX_PENDING || since === undefined) return;
    watcher.pending.clear();
    if (snapshot !== undefined) snapshot.isOverrun = true;
    else watcher.snapshot = this.snapshots.owed({ since });
  }

  private tellAllStale(): void {
    for (const watcher of this.watchers.values()) this.tellStale(watcher);
  }

  /**
   * That it is stale a socket is told at once, and that it is not any more once it has been shown everything. A slow one is
   * told when it takes something again; or now, for the `last` time.
   */
  private tellStale(watcher: Subscription, last = false): void {
    const { staleSince } = this;
    const isStale = staleSince !== undefined;
    if (watcher.isToldStale === isStale) return;
    if (!isStale && (watcher.snapshot !== undefined || watcher.pending.size > 0 || this.keptBack.size > 0)) return;
    if (isSlow(watcher.connection) && !last) {
      this.checkLater(watcher);
      return;
    }
    watcher.isToldStale = isStale;
    const asOf = staleSince ?? this.options.clock.now();
    const { sink, connection } = watcher;
    if (sink === undefined) this.queue.send(connection, this.options.frames.stale(isStale, asOf));
    else this.queue.send(connection, () => sink.stale?.(isStale, new Date(asOf).toISOString()));
  }

  private checkLater(watcher: Subscription): void {
    this.queue.later(watcher.connection, () => this.proceed(watcher));
  }

  /** Sends what is owed, as far as the socket and the store allow. */
  private proceed(watcher: Subscription): void {
    const { snapshot, pending } = watcher;
    this.tellStale(watcher);
    if (snapshot !== undefined) {
      this.snapshots.proceed(watcher, snapshot);
      return;
    }
    for (const [userId, held] of pending) {
      if (isSlow(watcher.connection)) {
        this.checkLater(watcher);
        return;
      }
      pending.delete(userId);
      this.tell(watcher, held);
    }
    this.tellStale(watcher);
  }
}
