import { isSlow } from '../connections/connection';
import type { Clock } from '../public/clock';
import type { ErrorStage } from '../public/types';
import type { ChangeFeed } from '../replication/change-feed';
import type { Roster } from '../replication/roster';
import type { PresenceStore } from '../stores/port';
import { LastSeenReader } from './last-seen-reader';
import type { LogCursors, SinceCursor } from './log-cursors';
import { EveryonesParts, ListedParts, SharedPages, type SnapshotPart, type SnapshotParts } from './snapshot-parts';
import type { Subscription } from './subscription';
import { Turns } from './turns';

/** The longest wait for a change that another router has given a cursor of, and this one has not received. */
const CATCH_UP_MS = 2_000;
/** How many parts are sent to a connection whose turn it is. */
const PARTS_A_TURN = 4;

/** A snapshot that is owed. A change of the interest makes a new one, and the old one ends where it is. @internal */
export interface Snapshot {
  /** The users in it: these, those who have changed since a cursor, or everybody. */
  readonly wanted: { readonly ids: Set<string> } | { readonly since: string | undefined };
  /** When the wait for a cursor that is ahead of this router ends. */
  readonly until: number;
  /** What was not sent yet; unknown before the snapshot begins. */
  parts: SnapshotParts | undefined;
  /** The cursor up to which every change is in it. */
  cursor: string | undefined;
  isResumed: boolean;
  /** Whether it is being sent, and does not wait for the connection. */
  isSending: boolean;
  /** The number of frames that were sent. */
  part: number;
  /** What the log says of the cursor in `wanted`, where the roster cannot. */
  sinceCursor: SinceCursor | undefined;
  /** The users who have changed while the log was read. */
  readonly changedMeanwhile: Set<string>;
  /** More changes came meanwhile than are kept, so a snapshot since its cursor is owed after it. */
  isOverrun: boolean;
}

/** @internal */
export interface SnapshotsOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly feed: ChangeFeed;
  readonly commandTimeoutMs: number;
  readonly cursors: LogCursors;
  /** The users of whom a change was received and not sent. */
  keptBackIds(): Iterable<string>;
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
  private readonly turns: Turns;
  private readonly shared: SharedPages;
  private readonly partsOptions: { clock: Clock; roster: Roster; reader: LastSeenReader };

  constructor(private readonly options: SnapshotsOptions) {
    const { clock, feed, store, commandTimeoutMs } = options;
    const reader = new LastSeenReader(clock, store, commandTimeoutMs, (userId) => feed.roster.isOnline(userId));
    this.partsOptions = { clock, roster: feed.roster, reader };
    this.shared = new SharedPages(this.partsOptions);
    this.turns = new Turns(clock);
  }

  /** A snapshot that is owed from now on. */
  owed(wanted: Snapshot['wanted']): Snapshot {
    return {
      wanted,
      until: this.options.clock.now() + CATCH_UP_MS,
      parts: 'ids' in wanted ? this.listed(wanted.ids) : undefined,
      cursor: undefined,
      sinceCursor: undefined,
      changedMeanwhile: new Set(),
      isResumed: false,
      isSending: false,
      part: 0,
      isOverrun: false,
    };
  }

  /** Sends a snapshot, as far as the connection and the store allow. */
  send(subscription: Subscription, snapshot: Snapshot): void {
    if (snapshot.isSending) return;
    const parts = this.begin(subscription, snapshot);
    if (parts === undefined) return;
    subscription.begin(snapshot);
    snapshot.isSending = true;
    this.sendParts(subscription, snapshot, parts).catch((error: unknown) => {
      snapshot.isSending = false;
      if (subscription.snapshot === snapshot) this.options.report('snapshot', error, subscription.connection.userId);
    });
  }

  /** Nothing is sent any more. */
  stop(): void {
    this.turns.stop();
    this.shared.stop();
  }

  /** Finds the users of a snapshot, once they can be known. */
  private begin(subscription: Subscription, snapshot: Snapshot): SnapshotParts | undefined {
    const { feed, clock } = this.options;
    const { wanted } = snapshot;
    if (!feed.isKnown) return undefined;
    if (snapshot.parts !== undefined) return snapshot.parts;
    // As long as it cannot be sent, no list of its users need be kept.
    if (isSlow(subscription.connection)) {
      subscription.flushLater();
      return undefined;
    }
    const ids = subscription.interest === 'all' ? undefined : subscription.interest;
    const since = 'since' in wanted ? wanted.since : undefined;
    if (since !== undefined) {
      if (!feed.isSettled) return undefined;
      const changed = feed.roster.changedSince(since, ids) ?? this.changedInLog(snapshot, since, ids);
      const waitMs = snapshot.until - clock.now();
      // A longer wait than the longest means that the clock was set back.
      if (changed === 'later' && waitMs > 0 && waitMs <= CATCH_UP_MS) {
        subscription.flushLater();
        return undefined;
      }
      if (changed !== undefined && changed !== 'later') snapshot.parts = this.listed(changed);
      // A client that does not know where a snapshot begins must be sent the users who are offline, too.
      else if (subscription.request === undefined && ids === undefined)
        snapshot.parts = this.listed(feed.roster.knownIds());
    }
    snapshot.isResumed = snapshot.parts !== undefined;
    snapshot.parts =
      snapshot.parts ?? (ids === undefined ? new EveryonesParts(feed.roster, this.shared) : this.listed(new Set(ids)));
    snapshot.cursor = feed.roster.cursor() ?? this.options.cursors.current();
    // A snapshot of the users online does not show who has gone, so such updates are still owed to a client that was shown those users.
    if (subscription.request !== undefined || since !== undefined) {
      subscription.pending.clear();
      subscription.shownUpTo = this.options.lastNumber();
    }
    return snapshot.parts;
  }

  /** As `changedSince` of the roster. */
  private changedInLog(
    snapshot: Snapshot,
    cursor: string,
    ids: Set<string> | undefined,
  ): Set<string> | 'later' | undefined {
    const { cursors } = this.options;
    if (!cursors.isUsable) return undefined;
    if (snapshot.sinceCursor === undefined) {
      snapshot.sinceCursor = 'reading';
      cursors.read(cursor).then((found) => {
        snapshot.sinceCursor = found;
      });
    }
    const { sinceCursor } = snapshot;
    if (sinceCursor === 'useless') return undefined;
    if (sinceCursor === 'reading' || !cursors.hasReceived(sinceCursor)) return 'later';
    const changed = new Set([...sinceCursor.userIds, ...snapshot.changedMeanwhile, ...this.options.keptBackIds()]);
    return ids === undefined ? changed : new Set(Array.from(changed).filter((userId) => ids.has(userId)));
  }

  private listed(ids: Set<string> | IterableIterator<string>): SnapshotParts {
    return new ListedParts(ids, this.partsOptions);
  }

  private async sendParts(subscription: Subscription, snapshot: Snapshot, parts: SnapshotParts): Promise<void> {
    let left = 0;
    while (subscription.snapshot === snapshot) {
      if (isSlow(subscription.connection)) {
        parts.rest();
        snapshot.isSending = false;
        subscription.flushLater();
        return;
      }
      const reading = parts.prepare();
      const turn = reading === undefined && left === 0 ? this.turns.pause() : undefined;
      if (turn !== undefined) left = PARTS_A_TURN;
      if (reading !== undefined || turn !== undefined) {
        await (reading ?? turn);
        continue;
      }
      if (left > 0) left -= 1;
      const part = parts.take();
      this.sendPart(subscription, snapshot, part, !parts.isOver);
      snapshot.part += 1;
      if (parts.isOver) break;
    }
    if (subscription.snapshot !== snapshot) return;
    subscription.cursor = snapshot.cursor ?? subscription.cursor;
    subscription.owe(snapshot.isOverrun ? this.owed({ since: subscription.cursor }) : undefined);
    subscription.flush();
  }

  private sendPart(subscription: Subscription, snapshot: Snapshot, part: SnapshotPart, more: boolean): void {
    const { users, changes, totalOnline, now, isShared } = part;
    const { request } = subscription;
    if (subscription.pending.size > 0) {
      // What waits to be sent of these users is part of this, unless it came later.
      for (const { userId } of users) subscription.settle(userId, changes);
    }
    // The walk ended exactly where a frame did. Only a client that sent a request waits for the last frame.
    if (users.length === 0 && snapshot.part > 0 && request === undefined) return;
    const cursor = more ? undefined : snapshot.cursor;
    const asked = request && { request: request.name, part: snapshot.part, more, resumed: snapshot.isResumed, cursor };
    subscription.send({ kind: 'snapshot', users, totalOnline, now, asked, isShared });
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
