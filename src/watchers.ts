import type { Clock } from './clock';
import type { Connection } from './connections';
import { withDeadline } from './deadline';
import type { Feed } from './feed';
import { SINK, type Sink, type WithSink } from './sink';
import type { PresenceStore, StoredStatus } from './store';
import type { PresenceStatus, PresenceUpdate } from './types';
import type { Frames } from './wire/frames';

/** Users in one snapshot frame. */
const SNAPSHOT_USERS = 500;
/** A socket with more than this many bytes unsent is slow: its updates collapse to the latest one a user. */
const SLOW_BYTES = 65_536;
/** How often a slow socket is looked at again. */
const SLOW_CHECK_MS = 50;
const CONNECTING = 0;
const OPEN = 1;

/** @internal */
export interface WatchersOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly feed: Feed;
  readonly frames: Frames;
  readonly commandTimeoutMs: number;
  report(stage: string, error: unknown, userId?: string): void;
}

interface Pending {
  readonly update: PresenceUpdate;
  readonly lastSeen: number;
}

/** A snapshot that is owed. Whoever changes what is watched makes a new one, and the old one ends where it is. */
interface Snapshot {
  /** Those not shown yet. For all users, the walk through who is online. */
  readonly ids: Set<string> | IterableIterator<string>;
  reading: boolean;
  /** Whether any frame of it was sent: a dashboard hears also that nobody is online. */
  begun: boolean;
}

/** What one socket hears. */
interface Watcher {
  readonly connection: Connection;
  /** Takes presence in place of frames. */
  readonly sink: Sink | undefined;
  /** All users, or these. */
  interest: 'all' | Set<string>;
  snapshot: Snapshot | undefined;
  /** The latest update a user that could not be sent yet: the snapshot is not out, or the socket is slow. */
  readonly pending: Map<string, Pending>;
}

/**
 * Sends watching sockets what they asked for: a snapshot, then every later change once. The snapshot shows the view of the
 * feed, from which the changes come too, so the two cannot contradict each other; the store only adds when each user was
 * last seen.
 * @internal
 */
export class Watchers {
  private readonly watchers = new Map<Connection, Watcher>();
  private readonly everyone = new Set<Watcher>();
  private readonly byUser = new Map<string, Set<Watcher>>();
  private readonly slow = new Set<Watcher>();
  private slowTimer: unknown;
  private unlisten: (() => void) | undefined;

  constructor(private readonly options: WatchersOptions) {}

  /** Replaces what a socket hears; `undefined` for nothing. */
  watch(connection: Connection, interest: 'all' | Set<string> | undefined): void {
    const { feed } = this.options;
    const before = this.watchers.get(connection);
    if (interest === undefined) {
      this.remove(connection);
      return;
    }
    if (before?.interest === 'all' && interest === 'all') return;
    this.unlisten = this.unlisten ?? feed.listen((update, lastSeen) => this.spread(update, lastSeen), undefined);
    const ids = interest === 'all' ? undefined : notShown(before, interest);
    if (before !== undefined) this.unindex(before);
    const { [SINK]: sink } = connection.socket as WithSink;
    const watcher: Watcher = before ?? { connection, sink, interest, snapshot: undefined, pending: new Map() };
    watcher.interest = interest;
    watcher.snapshot = ids?.size === 0 ? undefined : { ids: ids ?? feed.onlineIds(), reading: false, begun: false };
    for (const id of watcher.pending.keys()) if (interest !== 'all' && !interest.has(id)) watcher.pending.delete(id);
    this.watchers.set(connection, watcher);
    this.index(watcher);
    this.proceed(watcher);
  }

  remove(connection: Connection): void {
    const watcher = this.watchers.get(connection);
    if (watcher === undefined) return;
    watcher.snapshot = undefined;
    this.watchers.delete(connection);
    this.unindex(watcher);
    this.slow.delete(watcher);
    if (this.watchers.size > 0) return;
    this.unlisten?.();
    this.unlisten = undefined;
  }

  /** The store is there, or the view is whole: snapshots that are owed can be sent. */
  sendOwed(): void {
    for (const watcher of this.watchers.values()) if (watcher.snapshot !== undefined) this.proceed(watcher);
  }

  close(): void {
    this.options.clock.clearTimeout(this.slowTimer);
    for (const connection of this.watchers.keys()) this.remove(connection);
  }

  private index(watcher: Watcher): void {
    if (watcher.interest === 'all') {
      this.everyone.add(watcher);
      return;
    }
    for (const userId of watcher.interest) {
      const set = this.byUser.get(userId);
      if (set === undefined) this.byUser.set(userId, new Set([watcher]));
      else set.add(watcher);
    }
  }

  private unindex(watcher: Watcher): void {
    this.everyone.delete(watcher);
    if (watcher.interest === 'all') return;
    for (const userId of watcher.interest) {
      const set = this.byUser.get(userId);
      if (set?.delete(watcher) && set.size === 0) this.byUser.delete(userId);
    }
  }

  /** Encoded once, at the first socket that takes it, however many there are. */
  private spread(update: PresenceUpdate, lastSeen: number): void {
    let frame: Uint8Array | undefined;
    const offer = (watcher: Watcher): void => {
      const { socket } = watcher.connection;
      if (watcher.snapshot !== undefined || watcher.pending.size > 0 || isSlow(watcher)) {
        watcher.pending.set(update.userId, { update, lastSeen });
        if (watcher.snapshot === undefined) this.checkLater(watcher);
        return;
      }
      if (socket.readyState !== OPEN) return;
      if (watcher.sink !== undefined) {
        watcher.sink.update(update);
        return;
      }
      frame = frame ?? this.options.frames.update(update, lastSeen);
      this.send(watcher, frame);
    };
    for (const watcher of this.everyone) offer(watcher);
    const set = this.byUser.get(update.userId);
    if (set !== undefined) for (const watcher of set) offer(watcher);
  }

  private send({ connection }: Watcher, frame: Uint8Array): void {
    if (connection.socket.readyState !== OPEN) return;
    try {
      connection.socket.send(frame);
    } catch (error) {
      this.options.report('send', error, connection.userId);
    }
  }

  private checkLater(watcher: Watcher): void {
    this.slow.add(watcher);
    if (this.slowTimer !== undefined) return;
    this.slowTimer = this.options.clock.setTimeout(() => {
      this.slowTimer = undefined;
      const looked = Array.from(this.slow);
      this.slow.clear();
      for (const slow of looked) this.proceed(slow);
    }, SLOW_CHECK_MS);
  }

  /** Sends what is owed, as far as the socket and the store allow. */
  private proceed(watcher: Watcher): void {
    const { snapshot, pending } = watcher;
    if (snapshot !== undefined) {
      if (snapshot.reading || !this.options.feed.isKnown) return;
      snapshot.reading = true;
      this.sendSnapshot(watcher, snapshot).catch((error: unknown) => {
        this.options.report('snapshot', error, watcher.connection.userId);
        snapshot.reading = false;
      });
      return;
    }
    for (const [userId, { update, lastSeen }] of pending) {
      if (isSlow(watcher)) {
        this.checkLater(watcher);
        return;
      }
      pending.delete(userId);
      if (watcher.sink !== undefined) watcher.sink.update(update);
      else this.send(watcher, this.options.frames.update(update, lastSeen));
    }
  }

  private async sendSnapshot(watcher: Watcher, snapshot: Snapshot): Promise<void> {
    const { store, clock, commandTimeoutMs, feed } = this.options;
    while (watcher.snapshot === snapshot) {
      if (isSlow(watcher)) {
        snapshot.reading = false;
        this.checkLater(watcher);
        return;
      }
      const ids = next(snapshot.ids, SNAPSHOT_USERS);
      if (ids.length === 0 && snapshot.begun) break;
      const lastSeen = new Map<string, StoredStatus>();
      try {
        const { users } = await withDeadline(clock, commandTimeoutMs, () => store.read(ids));
        for (const user of users) lastSeen.set(user.userId, user);
      } catch (error) {
        // A walk that has passed some by begins anew.
        if (watcher.snapshot === snapshot && watcher.interest === 'all') {
          watcher.snapshot = { ids: feed.onlineIds(), reading: false, begun: snapshot.begun };
        }
        throw error;
      }
      if (watcher.snapshot !== snapshot) return;
      this.show(watcher, ids, lastSeen);
      snapshot.begun = true;
      if (snapshot.ids instanceof Set) for (const id of ids) snapshot.ids.delete(id);
    }
    if (watcher.snapshot !== snapshot) return;
    watcher.snapshot = undefined;
    this.proceed(watcher);
  }

  private show(watcher: Watcher, ids: string[], stored: Map<string, StoredStatus>): void {
    const { feed, frames, clock } = this.options;
    const now = clock.now();
    const users: PresenceStatus[] = [];
    for (const userId of ids) {
      const online = feed.isOnline(userId);
      // Went offline since it was taken from those online: the update that waits says so.
      if (watcher.interest === 'all' && !online) continue;
      // What waits of the others is in the view that is shown.
      watcher.pending.delete(userId);
      // Online and without a trace: the store has forgotten, and is being told anew.
      const lastSeen = stored.get(userId)?.lastSeen ?? (online ? now : null);
      users.push(toStatus({ userId, online, lastSeen, version: 0 }));
    }
    if (watcher.sink !== undefined) watcher.sink.snapshot(users);
    else this.send(watcher, frames.snapshot(users, feed.onlineCount, now));
  }
}

/** @internal */
export function toStatus({ userId, online, lastSeen }: StoredStatus): PresenceStatus {
  return {
    userId,
    status: online ? 'online' : 'offline',
    lastSeen: lastSeen === null ? null : new Date(lastSeen).toISOString(),
  };
}

function isSlow({ connection: { socket } }: Watcher): boolean {
  return socket.bufferedAmount > SLOW_BYTES || socket.readyState === CONNECTING;
}

/** Those of `interest` that the socket has not been shown. */
function notShown(before: Watcher | undefined, interest: Set<string>): Set<string> {
  // Among all users those who are offline were not shown.
  if (before === undefined || before.interest === 'all') return new Set(interest);
  const { snapshot } = before;
  const ids = new Set<string>();
  for (const id of interest) {
    if (!before.interest.has(id) || (snapshot?.ids instanceof Set && snapshot.ids.has(id))) ids.add(id);
  }
  return ids;
}

/** The next ids. Named ones stay owed until they are shown. */
function next(ids: Set<string> | IterableIterator<string>, count: number): string[] {
  const some: string[] = [];
  if (ids instanceof Set) {
    for (const id of ids) {
      if (some.length === count) break;
      some.push(id);
    }
    return some;
  }
  while (some.length < count) {
    const { done, value } = ids.next();
    if (done) break;
    some.push(value);
  }
  return some;
}
