import type { PresenceStatus } from '../types';
import type { Said } from './frames';

/** Whom a client watches, and what it knows of them: what frames say, put together. @internal */
export class View {
  readonly users = new Map<string, PresenceStatus>();
  /** Where it can go on after a loss; `undefined`: nowhere. */
  cursor: string | undefined;
  /** Whether it has been shown everything once. */
  isWhole = false;
  private readonly versions = new Map<string, number>();
  /** A snapshot of which not all frames are here. */
  private next: Map<string, PresenceStatus> | undefined;

  constructor(public ids: readonly string[] | true) {}

  watch(ids: readonly string[] | true): void {
    this.ids = ids;
    this.cursor = undefined;
  }

  /** The connection is lost: what was half said is not finished. */
  lose(): void {
    this.next = undefined;
  }

  /** Gives whoever has changed. */
  update({ user, version, cursor }: Extract<Said, { kind: 'update' }>): PresenceStatus[] {
    const { userId } = user;
    if (version <= (this.versions.get(userId) ?? 0)) return [];
    this.versions.set(userId, version);
    this.cursor = cursor ?? this.cursor;
    return this.put(user);
  }

  /** Gives whoever has changed. */
  show({ users, part, more = false, resumed, cursor }: Extract<Said, { kind: 'snapshot' }>): PresenceStatus[] {
    const changed: PresenceStatus[] = [];
    if (part === undefined || resumed === true) {
      // Of a router that was not asked, or that says what has changed: the rest stays as it is.
      for (const user of users) changed.push(...this.put(user));
    } else {
      if (part === 0 || this.next === undefined) this.next = new Map();
      for (const user of users) this.next.set(user.userId, user);
      this.cursor = undefined;
      if (!more) changed.push(...this.replace(this.next));
    }
    if (more) return changed;
    this.cursor = cursor ?? this.cursor;
    this.next = undefined;
    this.isWhole = true;
    return changed;
  }

  private replace(next: ReadonlyMap<string, PresenceStatus>): PresenceStatus[] {
    const changed: PresenceStatus[] = [];
    for (const user of next.values()) changed.push(...this.put(user));
    for (const user of Array.from(this.users.values())) {
      if (next.has(user.userId)) continue;
      // Not online any more, or not watched any more.
      if (this.ids === true) changed.push(...this.put({ ...user, status: 'offline' }));
      else this.users.delete(user.userId);
    }
    this.versions.clear();
    return changed;
  }

  private put(user: PresenceStatus): PresenceStatus[] {
    const before = this.users.get(user.userId);
    if (before?.status === user.status && before.lastSeen === user.lastSeen) return [];
    this.users.set(user.userId, user);
    return [user];
  }
}
