import type { Connection } from '../connections/connection';
import type { Clock } from '../public/clock';
import type { ErrorStage } from '../public/types';
import type { ChangeFeed } from '../replication/change-feed';
import { InterestIndex } from '../replication/interest-index';
import type { PresenceStore } from '../stores/port';
import type { Refusal } from '../wire/decode-watch';
import type { Codec } from '../wire/encode';
import { LogCursors } from './log-cursors';
import { SendQueue } from './send-queue';
import { notShown, Snapshots } from './snapshots';
import { EncodedUpdate, type Interest, Subscription, type SubscriptionHost } from './subscription';
import { type Change, UpdateLimiter } from './update-limiter';

/** @internal */
export interface SubscriptionsOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly feed: ChangeFeed;
  readonly codec: Codec;
  readonly commandTimeoutMs: number;
  readonly updatesPerUserPerSecond: number;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
  close(connection: Connection, code: number, reason: string): void;
}

/** The subscriptions of this router, and the fan-out of changes to them. @internal */
export class Subscriptions {
  private readonly subscriptions = new Map<Connection, Subscription>();
  private readonly interests = new InterestIndex<Subscription>();
  private readonly queue: SendQueue;
  private readonly limiter: UpdateLimiter;
  private readonly cursors: LogCursors;
  private readonly snapshots: Snapshots;
  private readonly host: SubscriptionHost;
  private unlisten: (() => void) | undefined;
  /** Until when no change was missed, while changes may be missed. */
  private staleSince: number | undefined;
  /** Users whose change the limiter still kept back when an outage ended, so that nobody has been sent it. */
  private readonly keptBack = new Set<string>();

  constructor(private readonly options: SubscriptionsOptions) {
    this.queue = new SendQueue(options);
    this.limiter = new UpdateLimiter(options.clock, options.updatesPerUserPerSecond, (change, keptBackSince) =>
      this.fanOut(change, keptBackSince),
    );
    const { clock, store, feed, commandTimeoutMs } = options;
    this.cursors = new LogCursors({
      clock,
      roster: feed.roster,
      log: store.log,
      commandTimeoutMs,
      isHolding: () => this.limiter.isHolding,
    });
    this.snapshots = new Snapshots({
      ...options,
      cursors: this.cursors,
      lastNumber: () => this.limiter.lastNumber,
      keptBackIds: () => this.limiter.keptBackIds(),
    });
    this.host = {
      ...options,
      queue: this.queue,
      snapshots: this.snapshots,
      staleSince: () => this.staleSince,
      hasKeptBack: () => this.keptBack.size > 0,
    };
  }

  /**
   * Replaces the interest of a connection; `undefined` ends its subscription. It is sent a snapshot of the users whom it has not been
   * sent before, or, with a request, the snapshot that the client wants: complete, or since its cursor.
   */
  watch(
    connection: Connection,
    interest: Interest | undefined,
    request?: { readonly name: number | undefined; readonly cursor: string | undefined },
  ): void {
    const before = this.subscriptions.get(connection);
    if (interest === undefined) {
      this.queue.cancel(connection);
      this.forget(connection);
      return;
    }
    if (before?.interest === 'all' && interest === 'all' && request === undefined) return;
    this.listen();
    const ids = interest === 'all' ? undefined : notShown(before, interest);
    if (before !== undefined) this.interests.remove(before, before.interest);
    const subscription = before ?? new Subscription(connection, interest, this.host);
    subscription.interest = interest;
    // A new subscription is sent a snapshot, which has the changes that are kept back.
    if (before === undefined) subscription.shownUpTo = this.limiter.lastNumber;
    for (const id of subscription.pending.keys()) {
      if (interest !== 'all' && !interest.has(id)) subscription.pending.delete(id);
    }
    if (request !== undefined) {
      subscription.request = { name: request.name };
      subscription.owe(this.snapshots.owed({ since: request.cursor }));
    } else if (ids === undefined || subscription.request !== undefined) {
      // A client that sends requests takes the beginning of a snapshot for a complete one. Any other one that is behind must be shown the
      // users who are offline, too, which a cursor that nobody gave does.
      const since = subscription.isBehind && subscription.request === undefined ? '' : undefined;
      subscription.owe(this.snapshots.owed({ since }));
    } else subscription.owe(ids.size === 0 ? undefined : this.snapshots.owed({ ids }));
    this.subscriptions.set(connection, subscription);
    this.interests.add(subscription, interest);
    subscription.flush();
  }

  /** Refuses a request of a client to watch users. */
  refuse(connection: Connection, refusal: Refusal): void {
    this.queue.refuse(connection, this.options.codec({ kind: 'refusal', ...refusal }));
  }

  remove(connection: Connection): void {
    this.queue.remove(connection);
    this.forget(connection);
  }

  /**
   * The store has answered, or the view is complete, so that snapshots that are owed can be sent. `again`: changes were missed. A client
   * that resumed at a cursor may have been ahead of this router then, and the differences of the roster are not those of its view: it
   * is sent a complete snapshot.
   */
  sendOwed(again = false): void {
    for (const subscription of this.subscriptions.values()) {
      if (again && subscription.request !== undefined) subscription.owe(this.snapshots.owed({ since: undefined }));
      if (subscription.snapshot !== undefined) subscription.flush();
    }
  }

  /**
   * Changes may be missed since then; `undefined`: that is over. Each connection is sent the end once it has been sent what it
   * missed.
   */
  setStale(since: number | undefined): void {
    if ((this.staleSince === undefined) === (since === undefined)) return;
    this.staleSince = since;
    this.keptBack.clear();
    if (since === undefined) for (const userId of this.limiter.keptBackIds()) this.keptBack.add(userId);
    this.sendAllStale();
  }

  /** No further changes are sent, so what the connections show is true until now. */
  close(): void {
    const { clock } = this.options;
    this.staleSince = this.staleSince ?? clock.now();
    for (const [connection, subscription] of this.subscriptions) {
      subscription.sendStale(true);
      this.remove(connection);
    }
    this.queue.stop();
  }

  private listen(): void {
    this.unlisten =
      this.unlisten ??
      this.options.feed.listen(
        (update, lastSeen, version) => this.limiter.offer({ update, lastSeen, version }),
        undefined,
      );
  }

  private forget(connection: Connection): void {
    const subscription = this.subscriptions.get(connection);
    if (subscription === undefined) return;
    subscription.close();
    this.subscriptions.delete(connection);
    this.interests.remove(subscription, subscription.interest);
    if (this.subscriptions.size > 0) return;
    this.unlisten?.();
    this.unlisten = undefined;
    this.limiter.stop();
    this.snapshots.stop();
    this.cursors.stop();
    this.keptBack.clear();
  }

  private fanOut({ update, lastSeen }: Change, keptBackSince = Number.POSITIVE_INFINITY): void {
    const { limiter } = this;
    const { feed, codec } = this.options;
    const cursor = feed.roster.cursor(limiter.settledVersion, limiter.lastVersion) ?? this.cursors.take();
    const message = { kind: 'update', update, lastSeen, cursor } as const;
    const encoded = new EncodedUpdate(message, codec, feed.roster.pages.changes);
    this.interests.forEach(update.userId, (subscription) => {
      // A snapshot has shown the change since.
      if (keptBackSince > subscription.shownUpTo) subscription.offer(encoded);
    });
    if (this.keptBack.delete(update.userId) && this.keptBack.size === 0) this.sendAllStale();
  }

  private sendAllStale(): void {
    for (const subscription of this.subscriptions.values()) subscription.sendStale();
  }
}
