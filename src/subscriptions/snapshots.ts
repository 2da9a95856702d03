import { isSlow } from '../connections/connection';
import { withDeadline } from '../diagnostics/call-timeout';
import type { Clock } from '../public/clock';
import type { ErrorStage, PresenceStatus } from '../public/types';
import type { ChangeFeed } from '../replication/change-feed';
import type { PresenceStore, StoredStatus } from '../stores/port';
import { toStatus } from '../wire/to-status';
import type { Subscription } from './subscription';

/** The most users in one snapshot frame. */
const SNAPSHOT_USERS = 500;
/**
 * A store that takes longer than this is far away, so twice as many users are read in the next call, and sent in several frames.
 * They take memory until then, so there is a limit for one snapshot, and one for all of them together.
 */
const FAR_MS = 100;
const MOST_AT_ONCE = 4_000;
const MOST_READ = 40_000;
/** The longest wait for a change that another router has given a cursor of, and this one has not received. */
const CATCH_UP_MS = 2_000;

/** A snapshot that is owed. A change of the interest makes a new one, and the old one ends where it is. @internal */
export interface Snapshot {
  /** The users in it: these, those who have changed since a cursor, or everybody. */
  readonly wanted: { readonly ids: Set<string> } | { readonly since: string | undefined };
  /** When the wait for a cursor that is ahead of this router ends. */
  readonly until: number;
  /** The users who were not sent yet; for all users, the walk through those online. Unknown before the snapshot begins. */
  ids: Set<string> | IterableIterator<string> | undefined;
  /** The cursor up to which every change is in it. */
  cursor: string | undefined;
  isResumed: boolean;
  isReading: boolean;
  /** How many users are read in one call. */
  atOnce: number;
  /** The number of frames that were sent. */
  part: number;
  /** More changes came meanwhile than are kept, so a snapshot since its cursor is owed after it. */
  isOverrun: boolean;
}

/** @internal */
export interface SnapshotsOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly feed: ChangeFeed;
  readonly commandTimeoutMs: number;
  /** The number of the last change that was offered to the limiter. */
  lastNumber(): number;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
}

/**
 * Sends snapshots: of all users whom a subscription is about, or of those who have changed since a cursor. Statuses come from the
 * roster, as the changes do, so that the two cannot contradict each other; the store adds when each user was last seen.
 * @internal
 */
export class Snapshots {
  /** The number of users who are being read, for all snapshots together. */
  private reading = 0;

  constructor(private readonly options: SnapshotsOptions) {}

  /** A snapshot that is owed from now on. */
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

  /** Sends a snapshot, as far as the connection and the store allow. */
  send(subscription: Subscription, snapshot: Snapshot): void {
    if (snapshot.isReading || !this.begin(subscription, snapshot)) return;
    subscription.begin(snapshot);
    snapshot.isReading = true;
    this.sendPages(subscription, snapshot).catch((error: unknown) => {
      snapshot.isReading = false;
      if (subscription.snapshot !== snapshot) return;
      this.options.report('snapshot', error, subscription.connection.userId);
      // It waits for another attempt, and may have to begin anew.
      if (snapshot.ids === undefined) subscription.owe(snapshot);
    });
  }

  /** Finds the users of a snapshot, once they can be known. */
  private begin(subscription: Subscription, snapshot: Snapshot): boolean {
    const { feed, clock } = this.options;
    const { wanted } = snapshot;
    if (!feed.isKnown) return false;
    if (snapshot.ids !== undefined || 'ids' in wanted) return true;
    // As long as it cannot be sent, no list of its users need be kept.
    if (isSlow(subscription.connection)) {
      subscription.flushLater();
      return false;
    }
    const ids = subscription.interest === 'all' ? undefined : subscription.interest;
    const { since } = wanted;
    if (since !== undefined) {
      if (!feed.isSettled) return false;
      const changed = feed.roster.changedSince(since, ids);
      const waitMs = snapshot.until - clock.now();
      // A longer wait than the longest means that the clock was set back.
      if (changed === 'later' && waitMs > 0 && waitMs <= CATCH_UP_MS) {
        subscription.flushLater();
        return false;
      }
      if (changed !== undefined && changed !== 'later') snapshot.ids = changed;
      // A client that does not know where a snapshot begins must be sent the users who are offline, too.
      else if (subscription.request === undefined && ids === undefined) snapshot.ids = feed.roster.knownIds();
    }
    snapshot.isResumed = snapshot.ids !== undefined;
    snapshot.ids = snapshot.ids ?? (ids === undefined ? feed.roster.onlineIds() : new Set(ids));
    snapshot.cursor = feed.roster.cursor();
    // A snapshot of the users online does not show who has gone, so such updates are still owed to a client that was shown those users.
    if (subscription.request !== undefined || since !== undefined) {
      subscription.pending.clear();
      subscription.shownUpTo = this.options.lastNumber();
    }
    return true;
  }

  private async sendPages(subscription: Subscription, snapshot: Snapshot): Promise<void> {
    const { ids: rest } = snapshot as { ids: NonNullable<Snapshot['ids']> };
    for (let more = true; more && subscription.snapshot === snapshot; ) {
      if (isSlow(subscription.connection)) {
        snapshot.isReading = false;
        subscription.flushLater();
        return;
      }
      const atOnce = Math.max(SNAPSHOT_USERS, Math.min(snapshot.atOnce, MOST_READ - this.reading));
      const ids = next(rest, atOnce);
      const isEnd = rest instanceof Set ? ids.length === rest.size : ids.length < atOnce;
      const lastSeen = await this.readLastSeen(subscription, snapshot, ids);
      for (let at = 0; at === 0 || at < ids.length; at += SNAPSHOT_USERS) {
        if (subscription.snapshot !== snapshot) return;
        if (at > 0 && isSlow(subscription.connection)) {
          if (!(rest instanceof Set)) snapshot.ids = continued(ids.slice(at), rest);
          snapshot.isReading = false;
          subscription.flushLater();
          return;
        }
        const some = ids.slice(at, at + SNAPSHOT_USERS);
        if (rest instanceof Set) for (const id of some) rest.delete(id);
        more = !isEnd || at + SNAPSHOT_USERS < ids.length;
        this.sendPart(subscription, snapshot, some, lastSeen, more);
        snapshot.part += 1;
      }
    }
    if (subscription.snapshot !== snapshot) return;
    subscription.cursor = snapshot.cursor ?? subscription.cursor;
    subscription.owe(snapshot.isOverrun ? this.owed({ since: subscription.cursor }) : undefined);
    subscription.flush();
  }

  private async readLastSeen(
    subscription: Subscription,
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
      // A walk through the users online cannot go back, so the snapshot begins anew.
      if (!(snapshot.ids instanceof Set)) {
        snapshot.ids = undefined;
        if (subscription.request !== undefined) snapshot.part = 0;
      }
      throw error;
    } finally {
      this.reading -= ids.length;
    }
    if (clock.now() - startedAt >= FAR_MS) snapshot.atOnce = Math.min(MOST_AT_ONCE, snapshot.atOnce * 2);
    return lastSeen;
  }

  private sendPart(
    subscription: Subscription,
    snapshot: Snapshot,
    ids: string[],
    stored: Map<string, StoredStatus>,
    more: boolean,
  ): void {
    const { feed, clock } = this.options;
    const { isResumed, part } = snapshot;
    const { request } = subscription;
    const now = clock.now();
    const users: PresenceStatus[] = [];
    for (const userId of ids) {
      const online = feed.roster.isOnline(userId);
      // The user went offline since the walk began: the update that waits says so.
      if (subscription.interest === 'all' && !isResumed && !online) continue;
      // The updates that wait for the others are part of what is sent.
      subscription.pending.delete(userId);
      // The store has lost the user, who is being registered again.
      const lastSeen = stored.get(userId)?.lastSeen ?? (online ? now : null);
      users.push(toStatus({ userId, online, lastSeen, version: 0 }));
    }
    // The walk ended exactly where a frame did. Only a client that sent a request waits for the last frame.
    if (ids.length === 0 && part > 0 && request === undefined) return;
    const cursor = more ? undefined : snapshot.cursor;
    const asked = request && { request: request.name, part, more, resumed: isResumed, cursor };
    subscription.send({ kind: 'snapshot', users, totalOnline: feed.roster.size, now, asked });
  }
}

/** The users of `interest` whom the connection has not been sent. @internal */
export function notShown(before: Subscription | undefined, interest: Set<string>): Set<string> {
  // Among all users those who are offline were not shown.
  if (before === undefined || before.interest === 'all') return new Set(interest);
  const { snapshot } = before;
  // What a snapshot that has not begun will show is not known.
  if (snapshot !== undefined && ('since' in snapshot.wanted || snapshot.isOverrun)) return new Set(interest);
  const owed = snapshot !== undefined && 'ids' in snapshot.wanted ? snapshot.wanted.ids : undefined;
  const ids = new Set<string>();
  for (const id of interest) if (!before.interest.has(id) || owed?.has(id)) ids.add(id);
  return ids;
}

/** The next ids. Those of a list stay in it until they are sent. */
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

function* continued(some: readonly string[], rest: IterableIterator<string>): IterableIterator<string> {
  yield* some;
  yield* rest;
}
