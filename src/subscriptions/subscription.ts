import { CHANNEL_PORT } from '../connections/channel';
import { type Connection, isSlow } from '../connections/connection';
import type { Clock } from '../public/clock';
import type { Codec, Message, UpdateMessage } from '../wire/encode';
import type { SendQueue } from './send-queue';
import type { Snapshot, Snapshots } from './snapshots';

/** The most updates that wait for a slow connection, or behind a snapshot. After more, it resumes at its cursor instead. */
const MAX_PENDING = 256;

/** The users whose changes a connection is sent. @internal */
export type Interest = 'all' | Set<string>;

/**
 * - `waiting`: a snapshot is owed and has not begun, since the view is not complete yet or the connection is slow
 * - `snapshot`: it is being sent
 * - `live`: each update is sent as it comes
 * - `slow`: updates wait until the connection takes more
 * - `closed`: nothing more is sent
 */
type State =
  | { readonly kind: 'waiting' | 'snapshot'; readonly snapshot: Snapshot }
  | { readonly kind: 'live' | 'slow' | 'closed' };

/** An update that is encoded once, however many connections take it; and once more for those that can resume. @internal */
export class EncodedUpdate {
  private plain: Uint8Array | undefined;
  private resumable: Uint8Array | undefined;

  constructor(
    readonly message: UpdateMessage,
    private readonly codec: Codec,
    /** The number of changes of the roster by the time that it was sent. */
    readonly changes: number,
  ) {}

  frame(hasCursor: boolean): Uint8Array {
    if (hasCursor) {
      this.resumable = this.resumable ?? this.codec(this.message);
      return this.resumable;
    }
    this.plain = this.plain ?? this.codec({ ...this.message, cursor: undefined });
    return this.plain;
  }
}

/** @internal */
export interface SubscriptionHost {
  readonly clock: Clock;
  readonly queue: SendQueue;
  readonly snapshots: Snapshots;
  readonly codec: Codec;
  /** Until when no change was missed, while changes may be missed. */
  staleSince(): number | undefined;
  /** Whether a change from an outage that has ended is still to be sent. */
  hasKeptBack(): boolean;
}

/** What one connection is sent: a snapshot, then each later change once. @internal */
export class Subscription {
  /** For a client that sent a PRESENCE_WATCH frame, which gets cursors: the number of its request, if it gave one. */
  request: { readonly name: number | undefined } | undefined;
  /** Up to where its client has been sent everything. */
  cursor: string | undefined;
  /** The number of the last change that a snapshot has shown, among those that the limiter keeps back. */
  shownUpTo = 0;
  /** The latest update of each user that could not be sent yet. */
  readonly pending = new Map<string, EncodedUpdate>();
  private state: State = { kind: 'live' };
  private isSentStale = false;

  constructor(
    readonly connection: Connection,
    public interest: Interest,
    private readonly host: SubscriptionHost,
  ) {}

  /**
   * Whether the connection has missed changes that only a snapshot of what it was sent before can make good. The next snapshot, if it is
   * for other users, has to show these, too.
   */
  get isBehind(): boolean {
    const { snapshot } = this;
    if (snapshot === undefined) return false;
    return snapshot.isOverrun || ('since' in snapshot.wanted && snapshot.wanted.since !== undefined);
  }

  /** The snapshot that is owed, or being sent. */
  get snapshot(): Snapshot | undefined {
    return 'snapshot' in this.state ? this.state.snapshot : undefined;
  }

  /** Owes another snapshot, or none. One that is being sent ends where it is. */
  owe(snapshot: Snapshot | undefined): void {
    if (snapshot !== undefined) this.become({ kind: 'waiting', snapshot });
    else this.become({ kind: this.pending.size > 0 ? 'slow' : 'live' });
  }

  /** The snapshot that is owed begins. */
  begin(snapshot: Snapshot): void {
    this.become({ kind: 'snapshot', snapshot });
  }

  close(): void {
    this.become({ kind: 'closed' });
    this.pending.clear();
  }

  /** A change of a user in `interest`: sent now, or kept for later. */
  offer(update: EncodedUpdate): void {
    if (this.state.kind === 'live' && !isSlow(this.connection)) this.sendUpdate(update);
    else this.hold(update);
  }

  /** Sends what is owed, as far as the connection and the store allow. */
  flush(): void {
    const { state } = this;
    if (state.kind === 'closed') return;
    this.sendStale();
    if (state.kind === 'waiting' || state.kind === 'snapshot') {
      this.host.snapshots.send(this, state.snapshot);
      return;
    }
    for (const [userId, update] of this.pending) {
      if (isSlow(this.connection)) {
        this.flushLater();
        return;
      }
      this.pending.delete(userId);
      this.sendUpdate(update);
    }
    if (state.kind === 'slow') this.become({ kind: 'live' });
    this.sendStale();
  }

  /** A snapshot shows a user as of that many changes of the roster: an update that waits is sent only if it came later. */
  settle(userId: string, changes: number): void {
    if ((this.pending.get(userId)?.changes ?? Number.POSITIVE_INFINITY) <= changes) this.pending.delete(userId);
  }

  flushLater(): void {
    this.host.queue.later(this.connection, () => this.flush());
  }

  /**
   * That its view is stale a connection is told at once, and that it is current again once it has been sent everything. A slow one
   * is told when it takes more; or now, with `isLast`.
   */
  sendStale(isLast = false): void {
    const { host, connection } = this;
    const since = host.staleSince();
    const isStale = since !== undefined;
    if (this.isSentStale === isStale || this.state.kind === 'closed') return;
    if (!isStale && (this.state.kind !== 'live' || host.hasKeptBack())) return;
    if (isSlow(connection) && !isLast) {
      this.flushLater();
      return;
    }
    this.isSentStale = isStale;
    this.send({ kind: 'stale', stale: isStale, asOf: since ?? host.clock.now() });
  }

  /** Sends a message; the caller has checked that the connection is not slow. */
  send(message: Message, frame: () => Uint8Array = () => this.host.codec(message)): void {
    const { queue } = this.host;
    const port = this.connection.channel[CHANNEL_PORT];
    if (port?.deliver === undefined) queue.send(this.connection, frame());
    else queue.send(this.connection, () => port.deliver?.(message));
  }

  private become(state: State): void {
    if (this.state.kind !== 'closed') this.state = state;
  }

  private sendUpdate(update: EncodedUpdate): void {
    // Where a change has none, that of an earlier one still holds.
    this.cursor = update.message.cursor ?? this.cursor;
    this.send(update.message, () => update.frame(this.request !== undefined));
  }

  /** Keeps one update a user, in the order of the latest, up to a bound. */
  private hold(update: EncodedUpdate): void {
    const { snapshot, pending } = this;
    const { userId } = update.message.update;
    if (this.state.kind === 'waiting' && this.willShowAll(this.state.snapshot)) {
      if (this.state.snapshot.sinceCursor !== undefined) this.state.snapshot.changedMeanwhile.add(userId);
      return;
    }
    if (snapshot?.isOverrun === true) return;
    pending.delete(userId);
    pending.set(userId, update);
    if (snapshot === undefined) {
      this.become({ kind: 'slow' });
      this.flushLater();
    }
    const since = snapshot?.cursor ?? this.cursor;
    // Without a cursor all of them are kept, one a user.
    if (pending.size <= MAX_PENDING || since === undefined) return;
    pending.clear();
    if (snapshot !== undefined) snapshot.isOverrun = true;
    else this.owe(this.host.snapshots.owed({ since }));
  }

  /**
   * Whether a snapshot that has not begun will show every change before its beginning. A snapshot of the users online will not: a client
   * that does not know where a snapshot begins must be sent that a user, whom it was shown before, has gone.
   */
  private willShowAll({ wanted }: Snapshot): boolean {
    return this.request !== undefined || ('since' in wanted && wanted.since !== undefined);
  }
}
