import type { PresenceStatus } from '../public/types';
import type { Said, SNAPSHOT, UPDATE } from './codec';
import type { PresenceChange } from './types';

/** The users whom a client watches, and their statuses, assembled from frames. @internal */
export interface View {
  ids: readonly string[] | true;
  readonly users: Map<string, PresenceStatus>;
  /** The number of the last request. */
  asked: number;
  /** The cursor at which the client can resume after a loss; `undefined` where it cannot. */
  cursor: string | undefined;
  /** Whether a snapshot has been completed on this connection. */
  isWhole: boolean;
  /** There is a new connection, on which the unfinished snapshot of the last one will not be continued. */
  restart(): void;
  watch(ids: readonly string[] | true): void;
  isWatched(user: PresenceStatus): boolean;
  /** Returns the users who have changed. */
  update(said: Extract<Said, { kind: typeof UPDATE }>): PresenceChange[];
  /** Returns the users who have changed. */
  show(said: Extract<Said, { kind: typeof SNAPSHOT }>): PresenceStatus[];
}

/** @internal */
export function createView(ids: readonly string[] | true): View {
  const users = new Map<string, PresenceStatus>();
  const versions = new Map<string, number>();
  let watched = new Set(ids === true ? [] : ids);
  /** A snapshot of which some frames have not arrived yet. */
  let next: Map<string, PresenceStatus> | undefined;

  /** Other users are ignored, even where a router sends them. */
  const isWatched = ({ userId }: PresenceStatus): boolean => view.ids === true || watched.has(userId);

  /** Stores a status, and returns whether it has changed. */
  function put(user: PresenceStatus): boolean {
    const before = users.get(user.userId);
    if (before?.status === user.status && before.lastSeen === user.lastSeen) return false;
    users.set(user.userId, user);
    return true;
  }

  const view: View = {
    ids,
    users,
    asked: 0,
    cursor: undefined,
    isWhole: false,
    restart() {
      view.isWhole = false;
      next = undefined;
    },
    watch(others) {
      view.ids = others;
      watched = new Set(others === true ? [] : others);
      view.cursor = undefined;
    },
    isWatched,
    update({ user, version, reason, cursor }) {
      if (!isWatched(user) || version <= (versions.get(user.userId) ?? 0)) return [];
      versions.set(user.userId, version);
      // Until a snapshot has given a cursor for the present ids, an update's cursor may belong to those watched before.
      view.cursor &&= cursor ?? view.cursor;
      return put(user) ? [{ ...user, reason, version }] : [];
    },
    // A snapshot without a request number answers the last request.
    show({ users: said, request = view.asked, part, more, resumed, cursor }) {
      const shown = said.filter(isWatched);
      // Part 0 starts a snapshot, and replaces an unfinished one. Where the router resumes, or sends a snapshot without a
      // request, the other users stay as they are.
      if (!part) next = part === 0 && !resumed ? new Map() : undefined;
      let changed = next ? [] : shown.filter(put);
      for (const user of shown) {
        if (next) next.set(user.userId, user);
        // Later updates are newer, even where their versions are below those from another router.
        else versions.delete(user.userId);
      }
      if (next) view.cursor = undefined;
      if (more) return changed;
      if (next) {
        changed = Array.from(next.values()).filter(put);
        for (const user of users.values()) {
          if (next.has(user.userId)) continue;
          // A user who is missing in a complete snapshot is offline, or is no longer watched.
          const gone = { ...user, status: 'offline' as const };
          if (view.ids !== true) users.delete(user.userId);
          else if (put(gone)) changed.push(gone);
        }
        versions.clear();
        next = undefined;
      }
      if (request === view.asked) view.cursor = cursor ?? view.cursor;
      view.isWhole = true;
      return changed;
    },
  };
  return view;
}
