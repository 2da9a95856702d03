import type { PresenceStatus } from '../types';
import type { Said, SNAPSHOT, UPDATE } from './frames';

/** Whom a client watches, and what it knows of them: what frames say, put together. @internal */
export interface View {
  ids: readonly string[] | true;
  readonly users: Map<string, PresenceStatus>;
  /** How it has called its last request. */
  asked: number;
  /** Where it can go on after a loss; `undefined`: nowhere. */
  cursor: string | undefined;
  /** Whether it has been shown everything once. */
  isWhole: boolean;
  watch(ids: readonly string[] | true): void;
  /** Gives whoever has changed. */
  update(said: Extract<Said, { kind: typeof UPDATE }>): PresenceStatus[];
  /** Gives whoever has changed. */
  show(said: Extract<Said, { kind: typeof SNAPSHOT }>): PresenceStatus[];
}

/** @internal */
export function createView(ids: readonly string[] | true): View {
  const users = new Map<string, PresenceStatus>();
  const versions = new Map<string, number>();
  /** A snapshot of which not all frames are here. */
  let next: Map<string, PresenceStatus> | undefined;

  function put(user: PresenceStatus): PresenceStatus[] {
    const before = users.get(user.userId);
    if (before?.status === user.status && before.lastSeen === user.lastSeen) return [];
    users.set(user.userId, user);
    return [user];
  }

  const view: View = {
    ids,
    users,
    asked: 0,
    cursor: undefined,
    isWhole: false,
    watch(others) {
      view.ids = others;
      view.cursor = undefined;
    },
    update({ user, version, cursor }) {
      if (version <= (versions.get(user.userId) ?? 0)) return [];
      versions.set(user.userId, version);
      // Of those who were watched before, perhaps: it is where these can go on once a snapshot has shown them.
      view.cursor &&= cursor ?? view.cursor;
      return put(user);
    },
    // A router that does not say which request it answers answers the last.
    show({ users: shown, request = view.asked, part, more, resumed, cursor }) {
      // It begins, in place of the rest of another. Of a router that was not asked, or that says what has changed, the rest of
      // the users stays as it is.
      if (!part) next = part === 0 && !resumed ? new Map() : undefined;
      let changed = next ? [] : shown.flatMap(put);
      if (next) {
        for (const user of shown) next.set(user.userId, user);
        view.cursor = undefined;
      }
      if (more) return changed;
      if (next) {
        changed = [...next.values()].flatMap(put);
        for (const user of users.values()) {
          if (next.has(user.userId)) continue;
          // Not online any more, or not watched any more.
          if (view.ids === true) changed.push(...put({ ...user, status: 'offline' }));
          else users.delete(user.userId);
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
