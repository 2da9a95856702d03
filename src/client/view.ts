import type { PresenceStatus } from '../public/types';
import type { Said, SNAPSHOT, UPDATE } from './codec';
import type { PresenceChange } from './types';

/** Whom a client watches, and what it knows of them: what frames say, put together. @internal */
export interface View {
  ids: readonly string[] | true;
  readonly users: Map<string, PresenceStatus>;
  /** How it has called its last request. */
  asked: number;
  /** Where it can go on after a loss; `undefined`: nowhere. */
  cursor: string | undefined;
  /** Whether it has been shown everything on this connection. */
  isWhole: boolean;
  /** There is another connection: what the last one had begun to show it does not end. */
  restart(): void;
  watch(ids: readonly string[] | true): void;
  isWatched(user: PresenceStatus): boolean;
  /** Gives whoever has changed. */
  update(said: Extract<Said, { kind: typeof UPDATE }>): PresenceChange[];
  /** Gives whoever has changed. */
  show(said: Extract<Said, { kind: typeof SNAPSHOT }>): PresenceStatus[];
}

/** @internal */
export function createView(ids: readonly string[] | true): View {
  const users = new Map<string, PresenceStatus>();
  const versions = new Map<string, number>();
  let watched = new Set(ids === true ? [] : ids);
  /** A snapshot of which not all frames are here. */
  let next: Map<string, PresenceStatus> | undefined;

  /** Of nobody else is anything kept, whatever a router says. */
  const isWatched = ({ userId }: PresenceStatus): boolean => view.ids === true || watched.has(userId);

  /** Whether that is a change. */
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
      // Of those who were watched before, perhaps: it is where these can go on once a snapshot has shown them.
      view.cursor &&= cursor ?? view.cursor;
      return put(user) ? [{ ...user, reason, version }] : [];
    },
    // A router that does not say which request it answers answers the last.
    show({ users: said, request = view.asked, part, more, resumed, cursor }) {
      const shown = said.filter(isWatched);
      // It begins, in place of the rest of another. Of a router that was not asked, or that says what has changed, the rest of
      // the users stays as it is.
      if (!part) next = part === 0 && !resumed ? new Map() : undefined;
      let changed = next ? [] : shown.filter(put);
      for (const user of shown) {
        if (next) next.set(user.userId, user);
        // What follows is newer, also than what another router had told of the user before.
        else versions.delete(user.userId);
      }
      if (next) view.cursor = undefined;
      if (more) return changed;
      if (next) {
        changed = Array.from(next.values()).filter(put);
        for (const user of users.values()) {
          if (next.has(user.userId)) continue;
          // Not online any more, or not watched any more.
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
