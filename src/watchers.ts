import type { Clock } from './clock';
import type { Connection } from './connections';
import { withDeadline } from './deadline';
import type { Feed } from './feed';
import type { PresenceStore, StoredPage, StoredStatus } from './store';
import type { PresenceStatus, PresenceUpdate } from './types';
import type { Frames } from './wire/frames';

/** Users in one snapshot frame. */
const SNAPSHOT_USERS = 500;
/** A socket with more than this many bytes unsent is slow: its updates collapse to the latest one a user. */
const SLOW_BYTES = 65_536;
/** How often a slow socket is looked at again. */
const SLOW_CHECK_MS = 50;
const OPEN = 1;

/** @internal */
export interface WatchersOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly feed: Feed;
  readonly frames: Frames;
  readonly commandTimeoutMs: number;
  /** Called before the store is read, so that this router's own changes are in it. */
  beforeRead(): void;
  report(stage: string, error: unknown, userId?: string): void;
}

interface Pending {
  readonly update: PresenceUpdate;
  readonly lastSeen: number;
}

/** What one socket wants to hear. */
interface Watcher {
  readonly connection: Connection;
  /** All users, or these. */
  interest: 'all' | Set<string>;
  /** Ids of which a snapshot is still owed, or `all`. Until it is sent, updates wait. */
  owed: 'all' | Set<string> | undefined;
  reading: boolean;
  /** The latest update a user that could not be sent yet. */
  readonly pending: Map<string, Pending>;
  /** Versions that a snapshot has shown and the feed has perhaps yet to tell: their update is no news. */
  readonly shown: Map<string, number>;
  /** Beats since `shown` grew. The feed is not that late; after two it is forgotten. */
  shownBeats: number;
}

/**
 * Sends watching sockets what they asked for: a snapshot, then every later change once.
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
    const before = this.watchers.get(connection);
    if (before !== undefined) this.unindex(before);
    if (interest === undefined) {
      this.remove(connection);
      return;
    }
    const watcher: Watcher = before ?? {
      connection,
      interest,
      owed: undefined,
      reading: false,
      pending: new Map(),
      shown: new Map(),
      shownBeats: 0,
    };
    watcher.owed = newlyWanted(watcher, before === undefined ? new Set() : before.interest, interest);
    watcher.interest = interest;
    for (const userId of watcher.pending.keys()) if (!wants(watcher, userId)) watcher.pending.delete(userId);
    this.watchers.set(connection, watcher);
    this.index(watcher);
    this.unlisten = this.unlisten ?? this.options.feed.listen((update, seen) => this.spread(update, seen), undefined);
    this.read(watcher);
  }

  remove(connection: Connection): void {
    const watcher = this.watchers.get(connection);
    if (watcher === undefined) return;
    this.watchers.delete(connection);
    this.unindex(watcher);
    this.slow.delete(watcher);
    if (this.watchers.size === 0) {
      this.unlisten?.();
      this.unlisten = undefined;
    }
  }

  /** The store is there: snapshots that it owed can be read. */
  onBeat(): void {
    for (const watcher of this.watchers.values()) {
      if (watcher.shown.size > 0 && ++watcher.shownBeats > 2) watcher.shown.clear();
      this.read(watcher);
    }
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
      if (watcher.shown.size > 0 && this.isOldNews(watcher, update)) return;
      if (this.mustWait(watcher)) {
        watcher.pending.set(update.userId, { update, lastSeen });
        return;
      }
      frame = frame ?? this.options.frames.update(update, lastSeen);
      this.send(watcher, frame);
    };
    for (const watcher of this.everyone) offer(watcher);
    const set = this.byUser.get(update.userId);
    if (set !== undefined) for (const watcher of set) offer(watcher);
  }

  private isOldNews(watcher: Watcher, update: PresenceUpdate): boolean {
    const version = watcher.shown.get(update.userId);
    if (version === undefined) return false;
    watcher.shown.delete(update.userId);
    return update.version <= version;
  }

  private mustWait(watcher: Watcher): boolean {
    if (watcher.owed !== undefined || watcher.pending.size > 0) return true;
    if (watcher.connection.socket.bufferedAmount <= SLOW_BYTES) return false;
    this.checkLater(watcher);
    return true;
  }

  private send(watcher: Watcher, frame: Uint8Array): void {
    const { socket, userId } = watcher.connection;
    if (socket.readyState !== OPEN) return;
    try {
      socket.send(frame);
    } catch (error) {
      this.options.report('send', error, userId);
    }
  }

  private checkLater(watcher: Watcher): void {
    this.slow.add(watcher);
    if (this.slowTimer !== undefined) return;
    this.slowTimer = this.options.clock.setTimeout(() => {
      this.slowTimer = undefined;
      const looked = Array.from(this.slow);
      this.slow.clear();
      for (const slow of looked) {
        if (slow.owed === undefined) this.sendPending(slow);
        else this.read(slow);
      }
    }, SLOW_CHECK_MS);
  }

  private sendPending(watcher: Watcher): void {
    const { pending, connection } = watcher;
    for (const [userId, { update, lastSeen }] of pending) {
      if (connection.socket.bufferedAmount > SLOW_BYTES) {
        this.checkLater(watcher);
        return;
      }
      pending.delete(userId);
      this.send(watcher, this.options.frames.update(update, lastSeen));
    }
  }

  /** Sends the snapshot that is owed, if the store and the socket can; else a beat or the drained socket asks again. */
  private read(watcher: Watcher): void {
    if (watcher.owed === undefined || watcher.reading) return;
    watcher.reading = true;
    this.sendSnapshot(watcher).then(
      () => {
        watcher.reading = false;
      },
      (error: unknown) => {
        watcher.reading = false;
        this.options.report('snapshot', error, watcher.connection.userId);
      },
    );
  }

  private async sendSnapshot(watcher: Watcher): Promise<void> {
    const { store, clock, commandTimeoutMs, feed } = this.options;
    await feed.whenRead();
    let cursor: string | null = null;
    while (watcher.owed !== undefined && this.watchers.get(watcher.connection) === watcher) {
      if (watcher.connection.socket.bufferedAmount > SLOW_BYTES) {
        await new Promise<void>((resolve) => clock.setTimeout(resolve, SLOW_CHECK_MS));
        continue;
      }
      const asked = watcher.owed;
      this.options.beforeRead();
      if (asked === 'all') {
        const from: string | null = cursor;
        const page: StoredPage = await withDeadline(clock, commandTimeoutMs, () =>
          store.list({ cursor: from, limit: SNAPSHOT_USERS }),
        );
        // Replaced meanwhile: what is owed now is read from its start.
        if (watcher.owed !== asked) {
          cursor = null;
          continue;
        }
        this.show(watcher, page.users);
        cursor = page.cursor;
        if (cursor === null) watcher.owed = undefined;
      } else {
        const ids = first(asked, SNAPSHOT_USERS);
        const users = await withDeadline(clock, commandTimeoutMs, () => store.read(ids));
        if (watcher.owed !== asked) continue;
        for (const id of ids) asked.delete(id);
        this.show(watcher, users);
        if (asked.size === 0) watcher.owed = undefined;
      }
    }
    if (watcher.owed === undefined) this.sendPending(watcher);
  }

  private show(watcher: Watcher, users: readonly StoredStatus[]): void {
    for (const { userId, version } of users) {
      const pending = watcher.pending.get(userId);
      // The snapshot is newer than what waits, or knows what the feed has yet to tell.
      if (pending !== undefined && pending.update.version <= version) watcher.pending.delete(userId);
      if (pending === undefined && version > 0 && !this.options.feed.hasTold(userId, version)) {
        watcher.shown.set(userId, version);
        watcher.shownBeats = 0;
      }
    }
    this.send(watcher, this.options.frames.snapshot(users.map(toStatus), this.options.clock.now()));
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

function wants(watcher: Watcher, userId: string): boolean {
  return watcher.interest === 'all' || watcher.interest.has(userId);
}

function newlyWanted(watcher: Watcher, before: 'all' | Set<string>, now: 'all' | Set<string>) {
  if (now === 'all') return before === 'all' ? watcher.owed : 'all';
  const owed = new Set<string>();
  for (const id of now) {
    const had = before === 'all' ? watcher.owed !== 'all' : before.has(id);
    if (!had || (watcher.owed instanceof Set && watcher.owed.has(id))) owed.add(id);
  }
  return owed.size === 0 ? undefined : owed;
}

function first(ids: Set<string>, count: number): string[] {
  const some: string[] = [];
  for (const id of ids) {
    if (some.length === count) break;
    some.push(id);
  }
  return some;
}
