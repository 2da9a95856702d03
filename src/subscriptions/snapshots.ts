import { isSlow } from '../connections/connection';
import { withDeadline } from '../diagnostics/call-timeout';
import type { Clock } from '../public/clock';
import type { ErrorStage, PresenceStatus } from '../public/types';
import type { ChangeFeed } from '../replication/change-feed';
import type { PresenceStore, StoredStatus } from '../stores/port';
import type { Frames } from '../wire/encode';
import { toStatus } from '../wire/to-status';
import type { Snapshot, Subscription } from './subscription';

/** Users in one snapshot frame. */
const SNAPSHOT_USERS = 500;
/**
 * A store that takes so long is far away: twice as many are read at once the next time, and shown in as many frames. That
 * is memory for as long as it takes, so there is a limit for one, and one for all.
 */
const FAR_MS = 100;
const MOST_AT_ONCE = 4_000;
const MOST_READ = 40_000;
/** How long a cursor of another router, which this one has not caught up with, is waited for. */
const CATCH_UP_MS = 2_000;

/** @internal */
export interface SnapshotsOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly feed: ChangeFeed;
  readonly frames: Frames;
  readonly commandTimeoutMs: number;
  /** Sends a frame, or an event in place of it. */
  send(watcher: Subscription, frame: Uint8Array | (() => void)): void;
  /** Calls again after a while: the socket is slow, or this router behind. */
  lookLater(watcher: Subscription): void;
  /** A snapshot of everything that is watched begins: what is known now need not be told again. */
  onBegin(watcher: Subscription): void;
  /** A snapshot is out, and what has waited for that may follow. */
  onShown(watcher: Subscription): void;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
}

/**
 * Shows watching sockets what is true: everything they watch, or what has changed since a cursor. It is the view of the
 * feed, from which the changes come too, so the two cannot contradict each other; the store only adds when each user was
 * last seen.
 * @internal
 */
export class Snapshots {
  /** Users who are being read, for all of them together. */
  private reading = 0;

  constructor(private readonly options: SnapshotsOptions) {}

  /** One that is owed from now on. */
  owed(wanted: Snapshot['wanted']): Snapshot {
    return {
      wanted,
      until: this.options.clock.now() + CATCH_UP_MS,
      ids: 'ids' in wanted ? wanted.ids : undefined,
      cursor: undefined,
      isResumed: false,
      isReading: false,
      atOnce: SNAPSHOT_USERS,
      part: 0,
      isOverrun: false,
    };
  }

  /** Shows it, as far as the socket and the store allow. */
  proceed(watcher: Subscription, snapshot: Snapshot): void {
    if (snapshot.isReading || !this.begin(watcher, snapshot)) return;
    snapshot.isReading = true;
    this.sendPages(watcher, snapshot).catch((error: unknown) => {
      this.options.report('snapshot', error, watcher.connection.userId);
      snapshot.isReading = false;
    });
  }

  /** Finds out who is in a snapshot, once that can be known. */
  private begin(watcher: Subscription, snapshot: Snapshot): boolean {
    const { feed, clock, lookLater } = this.options;
    const { wanted } = snapshot;
    if (!feed.isKnown) return false;
    if (snapshot.ids !== undefined || 'ids' in wanted) return true;
    // Until it can be sent, not even that there is something to send need be kept.
    if (isSlow(watcher.connection)) {
      lookLater(watcher);
      return false;
    }
    const ids = watcher.interest === 'all' ? undefined : watcher.interest;
    const { since } = wanted;
    if (since !== undefined) {
      if (!feed.isSettled) return false;
      const changed = feed.roster.changedSince(since, ids);
      const waitMs = snapshot.until - clock.now();
      // Further away than it ever was: the clock was set back.
      if (changed === 'later' && waitMs > 0 && waitMs <= CATCH_UP_MS) {
        lookLater(watcher);
        return false;
      }
      if (changed !== undefined && changed !== 'later') snapshot.ids = changed;
      // Who does not know that a snapshot begins anew must be told who is offline, too.
      else if (watcher.request === undefined && ids === undefined) snapshot.ids = feed.roster.knownIds();
    }
    snapshot.isResumed = snapshot.ids !== undefined;
    snapshot.ids = snapshot.ids ?? (ids === undefined ? feed.roster.onlineIds() : new Set(ids));
    snapshot.cursor = feed.roster.cursor();
    // One of those online shows nobody who has gone: whoever was shown that user before is still owed it.
    if (watcher.request !== undefined || since !== undefined) {
      watcher.pending.clear();
      this.options.onBegin(watcher);
    }
    return true;
  }

  private async sendPages(watcher: Subscription, snapshot: Snapshot): Promise<void> {
    const { lookLater, onShown } = this.options;
    const { ids: rest } = snapshot as { ids: NonNullable<Snapshot['ids']> };
    for (let more = true; more && watcher.snapshot === snapshot; ) {
      if (isSlow(watcher.connection)) {
        snapshot.isReading = false;
        lookLater(watcher);
        return;
      }
      const atOnce = Math.max(SNAPSHOT_USERS, Math.min(snapshot.atOnce, MOST_READ - this.reading));
      const ids = next(rest, atOnce);
      const isEnd = rest instanceof Set ? ids.length === rest.size : ids.length < atOnce;
      const lastSeen = await this.readLastSeen(watcher, snapshot, ids);
      for (let at = 0; at === 0 || at < ids.length; at += SNAPSHOT_USERS) {
        if (watcher.snapshot !== snapshot) return;
        if (at > 0 && isSlow(watcher.connection)) {
          if (!(rest instanceof Set)) snapshot.ids = goOn(ids.slice(at), rest);
          snapshot.isReading = false;
          lookLater(watcher);
          return;
        }
        const some = ids.slice(at, at + SNAPSHOT_USERS);
        if (rest instanceof Set) for (const id of some) rest.delete(id);
        more = !isEnd || at + SNAPSHOT_USERS < ids.length;
        this.show(watcher, snapshot, some, lastSeen, more);
        snapshot.part += 1;
      }
    }
    if (watcher.snapshot !== snapshot) return;
    watcher.cursor = snapshot.cursor ?? watcher.cursor;
    watcher.snapshot = snapshot.isOverrun ? this.owed({ since: watcher.cursor }) : undefined;
    onShown(watcher);
  }

  private async readLastSeen(
    watcher: Subscription,
    snapshot: Snapshot,
    ids: readonly string[],
  ): Promise<Map<string, StoredStatus>> {
    const { store, clock, commandTimeoutMs } = this.options;
    const lastSeen = new Map<string, StoredStatus>();
    const startedAt = clock.now();
    this.reading += ids.length;
    try {
      const { users } = await withDeadline(clock, commandTimeoutMs, (onAnswer) => store.read(ids, onAnswer));
      for (const user of users) lastSeen.set(user.userId, user);
    } catch (error) {
      // A walk that has passed some by begins anew.
      if (!(snapshot.ids instanceof Set)) {
        snapshot.ids = undefined;
        if (watcher.request !== undefined) snapshot.part = 0;
      }
      throw error;
    } finally {
      this.reading -= ids.length;
    }
    if (clock.now() - startedAt >= FAR_MS) snapshot.atOnce = Math.min(MOST_AT_ONCE, snapshot.atOnce * 2);
    return lastSeen;
  }

  private show(
    watcher: Subscription,
    snapshot: Snapshot,
    ids: string[],
    stored: Map<string, StoredStatus>,
    more: boolean,
  ): void {
    const { feed, frames, clock } = this.options;
    const { isResumed, part } = snapshot;
    const { request } = watcher;
    const now = clock.now();
    const users: PresenceStatus[] = [];
    for (const userId of ids) {
      const online = feed.roster.isOnline(userId);
      // Went offline since it was taken from those online: the update that waits says so.
      if (watcher.interest === 'all' && !isResumed && !online) continue;
      // What waits of the others is in the view that is shown.
      watcher.pending.delete(userId);
      // Online and without a trace: the store has forgotten, and is being told anew.
      const lastSeen = stored.get(userId)?.lastSeen ?? (online ? now : null);
      users.push(toStatus({ userId, online, lastSeen, version: 0 }));
    }
    // The walk had ended just where a frame does; who has asked waits to be told so.
    if (ids.length === 0 && part > 0 && request === undefined) return;
    const { sink } = watcher;
    if (sink !== undefined) this.options.send(watcher, () => sink.snapshot(users));
    else {
      const cursor = more ? undefined : snapshot.cursor;
      const asked = request && { request: request.name, part, more, resumed: isResumed, cursor };
      this.options.send(watcher, frames.snapshot({ users, totalOnline: feed.roster.size, now, asked }));
    }
  }
}

/**
 * Whether a snapshot, once it begins, shows whatever happens before. One of those online does not: whoever was shown that
 * a user is online, and does not know that a snapshot begins anew, must be told when that one has gone.
 * @internal
 */
export function willShowAll({ request }: Subscription, { ids, wanted }: Snapshot): boolean {
  return ids === undefined && (request !== undefined || ('since' in wanted && wanted.since !== undefined));
}

/** Those of `interest` that the socket has not been shown. @internal */
export function notShown(before: Subscription | undefined, interest: Set<string>): Set<string> {
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

function* goOn(some: readonly string[], rest: IterableIterator<string>): IterableIterator<string> {
  yield* some;
  yield* rest;
}
