import type { Clock } from './clock';
import type { Connection } from './connections';
import { withDeadline } from './deadline';
import type { Feed } from './feed';
import { isoTime } from './iso-time';
import { SINK, type Sink, type WithSink } from './sink';
import type { PresenceStore, StoredStatus } from './store';
import type { PresenceStatus, PresenceUpdate } from './types';
import type { Frames } from './wire/frames';

/** Users in one snapshot frame. */
const SNAPSHOT_USERS = 500;
/** A socket with more than this many bytes unsent is slow: its updates collapse to the latest one a user. */
const SLOW_BYTES = 16_384;
/** So many updates wait for a slow socket, or behind a snapshot; past them it goes on from where it is, later. */
const MAX_PENDING = 256;
/** How often a slow socket is looked at again. */
const SLOW_CHECK_MS = 50;
/** A socket that is slow for so long is closed. */
const STUCK_MS = 30_000;
/** Time for the close frame to get through. */
const CLOSE_MS = 5_000;
/** The code of that: one for applications. RFC 6455, section 7.4.2. */
const TOO_SLOW = 4008;
/** How long a cursor of another router, which this one has not caught up with, is waited for. */
const CATCH_UP_MS = 2_000;
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

/** What a socket wants to hear of. @internal */
export type Interest = 'all' | Set<string>;

interface Pending {
  readonly update: PresenceUpdate;
  readonly lastSeen: number;
  readonly cursor: string | undefined;
}

/** A snapshot that is owed. Whoever changes what is watched makes a new one, and the old one ends where it is. */
interface Snapshot {
  /** Of these users, of those who have changed since a cursor, or of everybody. */
  readonly wanted: { readonly ids: Set<string> } | { readonly since: string | undefined };
  /** A cursor that is ahead of this router is not waited for any longer. */
  readonly until: number;
  /** Those not shown yet; for all users, the walk through who is online. Not known before it has begun. */
  ids: Set<string> | IterableIterator<string> | undefined;
  /** Of which everything is in it. */
  cursor: string | undefined;
  isResumed: boolean;
  isReading: boolean;
  /** Frames of it that were sent. */
  part: number;
  /** More has changed meanwhile than is kept: all since its cursor is owed after it. */
  isOverrun: boolean;
}

/** What one socket hears. */
interface Watcher {
  readonly connection: Connection;
  /** Takes presence in place of frames. */
  readonly sink: Sink | undefined;
  /** All users, or these. */
  interest: Interest;
  /** It has asked with a frame: it is told cursors. */
  isAsking: boolean;
  snapshot: Snapshot | undefined;
  /** The latest update a user that could not be sent yet: the snapshot is not out, or the socket is slow. */
  readonly pending: Map<string, Pending>;
  /** Up to where it has been told. */
  cursor: string | undefined;
  slowSince: number | undefined;
  isToldStale: boolean;
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
  /** Until when everything was heard, while it is not. */
  private staleSince: number | undefined;

  constructor(private readonly options: WatchersOptions) {}

  /**
   * Replaces what a socket hears; `undefined` for nothing. It is shown whom it has not been shown before, or, with a
   * request of its own, what it asks for: all of it, or what has changed since its cursor.
   */
  watch(
    connection: Connection,
    interest: Interest | undefined,
    request?: { readonly cursor: string | undefined },
  ): void {
    const { feed } = this.options;
    const before = this.watchers.get(connection);
    if (interest === undefined) {
      this.remove(connection);
      return;
    }
    if (before?.interest === 'all' && interest === 'all' && request === undefined) return;
    this.unlisten =
      this.unlisten ?? feed.listen((update, lastSeen, version) => this.spread(update, lastSeen, version), undefined);
    const ids = interest === 'all' ? undefined : notShown(before, interest);
    if (before !== undefined) this.unindex(before);
    const watcher = before ?? newWatcher(connection, interest);
    watcher.interest = interest;
    if (request !== undefined) {
      watcher.isAsking = true;
      watcher.snapshot = this.owed({ since: request.cursor });
    } else if (ids === undefined) watcher.snapshot = this.owed({ since: undefined });
    else watcher.snapshot = ids.size === 0 ? undefined : this.owed({ ids });
    for (const id of watcher.pending.keys()) if (interest !== 'all' && !interest.has(id)) watcher.pending.delete(id);
    this.watchers.set(connection, watcher);
    this.index(watcher);
    this.tellStale(watcher);
    this.proceed(watcher);
  }

  /** It may not watch what it asked for. */
  refuse(connection: Connection, details: string): void {
    this.send(this.watchers.get(connection) ?? newWatcher(connection, 'all'), this.options.frames.refusal(details));
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

  /**
   * The store is there, or the view is whole: snapshots that are owed can be sent. `again`: something was missed. Who goes
   * on with a cursor may have been ahead of this router then, and what differs from its view is not what differs from
   * theirs: they are shown everything.
   */
  sendOwed(again = false): void {
    for (const watcher of this.watchers.values()) {
      if (again && watcher.isAsking) watcher.snapshot = this.owed({ since: undefined });
      if (watcher.snapshot !== undefined) this.proceed(watcher);
    }
  }

  /** Changes may be missed since then; `undefined`: everything is heard again. */
  setStale(since: number | undefined): void {
    if ((this.staleSince === undefined) === (since === undefined)) return;
    this.staleSince = since;
    for (const watcher of this.watchers.values()) this.tellStale(watcher);
  }

  close(): void {
    this.options.clock.clearTimeout(this.slowTimer);
    for (const connection of this.watchers.keys()) this.remove(connection);
  }

  private owed(wanted: Snapshot['wanted']): Snapshot {
    return {
      wanted,
      until: this.options.clock.now() + CATCH_UP_MS,
      ids: 'ids' in wanted ? wanted.ids : undefined,
      cursor: undefined,
      isResumed: false,
      isReading: false,
      part: 0,
      isOverrun: false,
    };
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

  /** Encoded once, at the first socket that takes it, however many there are; once more for those who know cursors. */
  private spread(update: PresenceUpdate, lastSeen: number, version: number): void {
    const { frames, feed } = this.options;
    const cursor = feed.cursor(version);
    const encoded: [Uint8Array?, Uint8Array?] = [];
    const offer = (watcher: Watcher): void => {
      if (watcher.snapshot !== undefined || watcher.pending.size > 0 || isSlow(watcher)) {
        this.hold(watcher, { update, lastSeen, cursor });
        return;
      }
      if (watcher.connection.socket.readyState !== OPEN) return;
      watcher.cursor = cursor;
      if (watcher.sink !== undefined) {
        watcher.sink.update(update);
        return;
      }
      const kind = watcher.isAsking ? 1 : 0;
      const frame = encoded[kind] ?? frames.update(update, lastSeen, watcher.isAsking ? cursor : undefined);
      encoded[kind] = frame;
      this.send(watcher, frame);
    };
    for (const watcher of this.everyone) offer(watcher);
    const set = this.byUser.get(update.userId);
    if (set !== undefined) for (const watcher of set) offer(watcher);
  }

  /** Keeps an update for later: one a user, in the order of the latest, and not more than some. */
  private hold(watcher: Watcher, pending: Pending): void {
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
    else watcher.snapshot = this.owed({ since });
  }

  private send({ connection }: Watcher, frame: Uint8Array): void {
    if (connection.socket.readyState !== OPEN) return;
    try {
      connection.socket.send(frame);
    } catch (error) {
      this.options.report('send', error, connection.userId);
    }
  }

  private tellStale(watcher: Watcher): void {
    const { staleSince } = this;
    const isStale = staleSince !== undefined;
    if (watcher.isToldStale === isStale || isSlow(watcher)) return;
    watcher.isToldStale = isStale;
    const asOf = staleSince ?? this.options.clock.now();
    if (watcher.sink !== undefined) watcher.sink.stale?.(isStale, new Date(asOf).toISOString());
    else this.send(watcher, this.options.frames.stale(isStale, asOf));
  }

  private checkLater(watcher: Watcher): void {
    this.slow.add(watcher);
    if (this.slowTimer !== undefined) return;
    this.slowTimer = this.options.clock.setTimeout(() => {
      this.slowTimer = undefined;
      const looked = Array.from(this.slow);
      this.slow.clear();
      for (const slow of looked) {
        if (this.isStuck(slow)) this.cut(slow);
        else this.proceed(slow);
      }
    }, SLOW_CHECK_MS);
  }

  private isStuck(watcher: Watcher): boolean {
    if (!isSlow(watcher)) {
      watcher.slowSince = undefined;
      return false;
    }
    const now = this.options.clock.now();
    watcher.slowSince = watcher.slowSince ?? now;
    return now - watcher.slowSince >= STUCK_MS;
  }

  /** It takes nothing any more. It may come back, and is then told what it missed. */
  private cut({ connection }: Watcher): void {
    const { report, clock } = this.options;
    const { socket, userId } = connection;
    this.remove(connection);
    report('send', new Error('a watching socket has taken nothing for too long, and is closed'), userId);
    const end = (how: () => unknown): void => {
      try {
        how();
      } catch (error) {
        report('terminate', error, userId);
      }
    };
    end(() => socket.close?.(TOO_SLOW, 'presence: too slow'));
    clock.setTimeout(() => end(() => socket.terminate()), CLOSE_MS);
  }

  /** Sends what is owed, as far as the socket and the store allow. */
  private proceed(watcher: Watcher): void {
    const { snapshot, pending } = watcher;
    if (snapshot !== undefined) {
      if (snapshot.isReading || !this.begin(watcher, snapshot)) return;
      snapshot.isReading = true;
      this.sendSnapshot(watcher, snapshot).catch((error: unknown) => {
        this.options.report('snapshot', error, watcher.connection.userId);
        snapshot.isReading = false;
      });
      return;
    }
    this.tellStale(watcher);
    if (!isSlow(watcher)) watcher.slowSince = undefined;
    for (const [userId, { update, lastSeen, cursor }] of pending) {
      if (isSlow(watcher)) {
        this.checkLater(watcher);
        return;
      }
      pending.delete(userId);
      watcher.cursor = cursor;
      if (watcher.sink !== undefined) watcher.sink.update(update);
      else this.send(watcher, this.options.frames.update(update, lastSeen, watcher.isAsking ? cursor : undefined));
    }
  }

  /** Finds out who is in a snapshot, once that can be known. */
  private begin(watcher: Watcher, snapshot: Snapshot): boolean {
    const { feed, clock } = this.options;
    const { wanted } = snapshot;
    if (!feed.isKnown) return false;
    if (snapshot.ids !== undefined || 'ids' in wanted) return true;
    // Until it can be sent, not even that there is something to send need be kept.
    if (isSlow(watcher)) {
      this.checkLater(watcher);
      return false;
    }
    const ids = watcher.interest === 'all' ? undefined : watcher.interest;
    const { since } = wanted;
    if (since !== undefined) {
      if (!feed.isSettled) return false;
      const changed = feed.changedSince(since, ids);
      if (changed === 'later' && clock.now() < snapshot.until) {
        this.checkLater(watcher);
        return false;
      }
      if (changed !== undefined && changed !== 'later') snapshot.ids = changed;
      // Who does not know that a snapshot begins anew must be told who is offline, too.
      else if (!watcher.isAsking && ids === undefined) snapshot.ids = feed.knownIds();
    }
    snapshot.isResumed = snapshot.ids !== undefined;
    snapshot.ids = snapshot.ids ?? (ids === undefined ? feed.onlineIds() : new Set(ids));
    snapshot.cursor = feed.cursor();
    if (watcher.isAsking || since !== undefined) watcher.pending.clear();
    return true;
  }

  private async sendSnapshot(watcher: Watcher, snapshot: Snapshot): Promise<void> {
    const { store, clock, commandTimeoutMs } = this.options;
    const { ids: rest } = snapshot as { ids: NonNullable<Snapshot['ids']> };
    for (let more = true; more && watcher.snapshot === snapshot; ) {
      if (isSlow(watcher)) {
        snapshot.isReading = false;
        this.checkLater(watcher);
        return;
      }
      const ids = next(rest, SNAPSHOT_USERS);
      const lastSeen = new Map<string, StoredStatus>();
      try {
        const { users } = await withDeadline(clock, commandTimeoutMs, () => store.read(ids));
        for (const user of users) lastSeen.set(user.userId, user);
      } catch (error) {
        // A walk that has passed some by begins anew.
        if (!(rest instanceof Set)) {
          snapshot.ids = undefined;
          if (watcher.isAsking) snapshot.part = 0;
        }
        throw error;
      }
      if (watcher.snapshot !== snapshot) return;
      if (rest instanceof Set) for (const id of ids) rest.delete(id);
      more = rest instanceof Set ? rest.size > 0 : ids.length === SNAPSHOT_USERS;
      this.show(watcher, snapshot, ids, lastSeen, more);
      snapshot.part += 1;
    }
    if (watcher.snapshot !== snapshot) return;
    watcher.cursor = snapshot.cursor ?? watcher.cursor;
    watcher.snapshot = snapshot.isOverrun ? this.owed({ since: watcher.cursor }) : undefined;
    this.proceed(watcher);
  }

  private show(
    watcher: Watcher,
    snapshot: Snapshot,
    ids: string[],
    stored: Map<string, StoredStatus>,
    more: boolean,
  ): void {
    const { feed, frames, clock } = this.options;
    const { isResumed, part } = snapshot;
    const now = clock.now();
    const users: PresenceStatus[] = [];
    for (const userId of ids) {
      const online = feed.isOnline(userId);
      // Went offline since it was taken from those online: the update that waits says so.
      if (watcher.interest === 'all' && !isResumed && !online) continue;
      // What waits of the others is in the view that is shown.
      watcher.pending.delete(userId);
      // Online and without a trace: the store has forgotten, and is being told anew.
      const lastSeen = stored.get(userId)?.lastSeen ?? (online ? now : null);
      users.push(toStatus({ userId, online, lastSeen, version: 0 }));
    }
    // The walk had ended just where a frame does; who has asked waits to be told so.
    if (ids.length === 0 && part > 0 && !watcher.isAsking) return;
    if (watcher.sink !== undefined) watcher.sink.snapshot(users);
    else {
      const asked = watcher.isAsking
        ? { part, more, isResumed, cursor: more ? undefined : snapshot.cursor }
        : undefined;
      this.send(watcher, frames.snapshot({ users, totalOnline: feed.onlineCount, now, asked }));
    }
  }
}

/**
 * Whether a snapshot, once it begins, shows whatever happens before. One of those online does not: whoever was shown that
 * a user is online, and does not know that a snapshot begins anew, must be told when that one has gone.
 */
function willShowAll({ isAsking }: Watcher, { ids, wanted }: Snapshot): boolean {
  return ids === undefined && (isAsking || ('since' in wanted && wanted.since !== undefined));
}

function newWatcher(connection: Connection, interest: Interest): Watcher {
  return {
    connection,
    sink: (connection.socket as WithSink)[SINK],
    interest,
    isAsking: false,
    snapshot: undefined,
    pending: new Map(),
    cursor: undefined,
    slowSince: undefined,
    isToldStale: false,
  };
}

/** @internal */
export function toStatus({ userId, online, lastSeen }: StoredStatus): PresenceStatus {
  return {
    userId,
    status: online ? 'online' : 'offline',
    lastSeen: lastSeen === null ? null : isoTime(lastSeen),
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
  // What a snapshot that has not begun will show is not known.
  if (snapshot !== undefined && 'since' in snapshot.wanted) return new Set(interest);
  const owed = snapshot !== undefined && 'ids' in snapshot.wanted ? snapshot.wanted.ids : undefined;
  const ids = new Set<string>();
  for (const id of interest) if (!before.interest.has(id) || owed?.has(id)) ids.add(id);
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
