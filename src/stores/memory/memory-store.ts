import { optionError, shown } from '../../public/errors';
import { type HeapItem, MinHeap } from '../../public/min-heap';
import type { PresenceUpdate } from '../../public/types';
import type {
  PresenceOp,
  PresenceStore,
  SignOfLife,
  StoredPage,
  StoredStatus,
  StoredStatuses,
  StoreFeed,
  StoreNode,
} from '../port';
import {
  type Decision,
  decide,
  isOnlineNow,
  judgeLease,
  type Lease,
  NEVER_SEEN,
  type Transition,
  type UserEvent,
  type UserRecord,
} from '../transitions';
import { FeedQueue } from './feed-queue';
import { MemoryLog } from './memory-log';
import { type MemorySettings, type MemoryStoreOptions, toMemorySettings } from './options';
import { SteadyClock } from './steady-clock';

interface User {
  readonly userId: string;
  record: UserRecord;
  /** The version of the last change. */
  version: number;
  /** The entry in the heap of running graces. */
  grace: HeapItem<User> | undefined;
  /** When the user, who is offline, is forgotten. */
  forgetAt: number;
}

/**
 * A store that keeps presence in this process: the default, and the store of unit tests. Several presences may share one
 * store, and then act like routers on one Redis. Nothing survives the process.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 *
 * @example
 * const store = memoryStore();
 * const east = createPresence({ store });
 * const west = createPresence({ store });
 */
export function memoryStore(options: MemoryStoreOptions = {}): PresenceStore {
  return new MemoryStore(toMemorySettings(options));
}

class MemoryStore implements PresenceStore {
  private readonly users = new Map<string, User>();
  /** In the order in which the users came online, which is that of their versions. Pages rely on it. */
  private readonly online = new Map<string, User>();
  /** In the order in which the users went offline, so that the first is the next to be forgotten. */
  private readonly offline = new Map<string, User>();
  private readonly leases = new Map<string, Lease>();
  private readonly graces = new MinHeap<User>();
  private readonly queue = new FeedQueue();
  readonly log: MemoryLog;
  private version = 0;
  private readonly epoch = Math.random().toString(36).slice(2, 10);
  private readonly clock: SteadyClock;
  /** When the store was last called. */
  private activeAt = 0;

  constructor(private readonly settings: MemorySettings) {
    const clock = new SteadyClock(settings.now);
    this.clock = clock;
    this.log = new MemoryLog({
      logChanges: settings.logChanges,
      logMs: settings.logMs,
      epoch: this.epoch,
      settledVersion: () => {
        this.settleNow();
        return this.version;
      },
      now: () => clock.wall,
      isAlive: (nodeId) => this.leases.has(nodeId),
    });
  }

  describe(): string {
    return 'in memory';
  }

  async beat({ nodeId, leaseMs, ttlMs }: StoreNode): Promise<{ known: boolean; now: number }> {
    this.readClock();
    const lease = this.leases.get(nodeId);
    // A lease that has lapsed no longer counts, even before it is reaped: its router must register its users again.
    const known = lease !== undefined && lease.endsAt > this.clock.elapsed;
    const renewed = { leaseMs, ttlMs, endsAt: this.clock.elapsed + leaseMs, extendedOnce: false };
    if (known) this.leases.set(nodeId, renewed);
    this.settle();
    if (!known) this.leases.set(nodeId, renewed);
    return { known, now: this.clock.wall };
  }

  async apply({ nodeId }: StoreNode, ops: readonly PresenceOp[]): Promise<{ known: boolean }> {
    this.settleNow();
    if (!this.leases.has(nodeId)) return { known: false };
    for (const op of ops) {
      const user = op.kind === 'join' ? this.userOf(op.userId) : this.users.get(op.userId);
      if (user !== undefined) this.change(user, { ...op, owner: nodeId });
    }
    return { known: true };
  }

  async refresh({ nodeId }: StoreNode, signs: readonly SignOfLife[]): Promise<{ known: boolean; missing: string[] }> {
    this.settleNow();
    if (!this.leases.has(nodeId)) return { known: false, missing: [] };
    const missing: string[] = [];
    for (const { userId, ageMs } of signs) {
      const user = this.users.get(userId);
      const isHeld = user !== undefined && !this.change(user, { kind: 'activity', owner: nodeId, ageMs }).isIgnored;
      if (!isHeld) missing.push(userId);
    }
    return { known: true, missing };
  }

  async release({ nodeId }: StoreNode): Promise<void> {
    this.settleNow();
    if (this.leases.delete(nodeId)) this.reap(nodeId);
  }

  async read(userIds: readonly string[]): Promise<StoredStatuses> {
    this.settleNow();
    const users = userIds.map((userId) => {
      const user = this.users.get(userId);
      return user === undefined ? { userId, online: false, lastSeen: null, version: 0 } : this.toStored(user);
    });
    return { now: this.clock.wall, users };
  }

  async list(page: { cursor: string | null; limit: number }): Promise<StoredPage> {
    this.settleNow();
    const { cursor, limit } = page;
    if (cursor !== null && !/^[1-9]\d{0,15}$/.test(cursor)) {
      throw optionError(`cursor is ${shown(cursor)}; it is null or what the page before gave`);
    }
    const after = cursor === null ? 0 : Number(cursor);
    const users: StoredStatus[] = [];
    const unproven: StoredStatus[] = [];
    let last = 0;
    const paged = (next: string | null): StoredPage => ({
      now: this.clock.wall,
      users,
      ...(unproven.length > 0 ? { unproven } : {}),
      cursor: next,
      sequence: { epoch: this.epoch, version: this.version },
    });
    for (const user of this.online.values()) {
      if (user.version <= after) continue;
      if (users.length + unproven.length === limit) return paged(String(last));
      const stored = this.toStored(user);
      (stored.online ? users : unproven).push(stored);
      last = user.version;
    }
    return paged(null);
  }

  async count(): Promise<number> {
    this.settleNow();
    if (!this.isAnyExtended()) return this.online.size;
    let count = 0;
    for (const user of this.online.values()) if (this.isOnline(user)) count += 1;
    return count;
  }

  subscribe(feed: StoreFeed): () => void {
    return this.queue.subscribe(feed, this.version);
  }

  private readClock(): void {
    this.clock.read();
    for (const [nodeId, lease] of this.leases) {
      if (judgeLease(lease, this.activeAt, this.clock.elapsed) !== 'extend') continue;
      this.leases.set(nodeId, { ...lease, endsAt: this.clock.elapsed + lease.leaseMs, extendedOnce: true });
    }
    this.activeAt = this.clock.elapsed;
  }

  private settleNow(): void {
    this.readClock();
    this.settle();
  }

  /** Ends the leases, the graces and the retention of offline users that have run out. */
  private settle(): void {
    const { elapsed } = this.clock;
    for (const [nodeId, lease] of this.leases) {
      if (judgeLease(lease, this.activeAt, elapsed) !== 'dead') continue;
      this.leases.delete(nodeId);
      this.reap(nodeId);
    }
    for (let user = this.graces.take(elapsed); user !== undefined; user = this.graces.take(elapsed)) {
      this.change(user, { kind: 'due' });
    }
    for (const user of this.offline.values()) {
      if (user.forgetAt > elapsed && this.offline.size <= this.settings.maxRemembered) break;
      this.offline.delete(user.userId);
      this.users.delete(user.userId);
    }
  }

  private reap(nodeId: string): void {
    const event: UserEvent = { kind: 'dead', owner: nodeId };
    for (const user of this.online.values()) {
      if (user.record.owners.includes(nodeId)) this.change(user, event);
    }
  }

  /** Applies an event to a user, by the rule that all stores share. */
  private change(user: User, event: UserEvent): Decision {
    const { graceUntil } = user.record;
    const decision = decide(user.record, event, this.clock.elapsed);
    user.record = decision.record;
    if (decision.record.graceUntil !== graceUntil) this.schedule(user);
    for (const transition of decision.transitions) this.publish(user, transition);
    return decision;
  }

  private schedule(user: User): void {
    if (user.grace !== undefined) this.graces.remove(user.grace);
    const { graceUntil } = user.record;
    user.grace = graceUntil > 0 ? this.graces.put(graceUntil, user) : undefined;
    if (graceUntil > 0) this.queue.add({ dueMs: graceUntil - this.clock.elapsed });
  }

  private userOf(userId: string): User {
    let user = this.users.get(userId);
    if (user === undefined) {
      user = { userId, record: NEVER_SEEN, version: 0, grace: undefined, forgetAt: 0 };
      this.users.set(userId, user);
    }
    return user;
  }

  private publish(user: User, { online, reason, lastSeen }: Transition): void {
    this.version += 1;
    user.version = this.version;
    if (online) {
      this.offline.delete(user.userId);
      this.online.set(user.userId, user);
    } else {
      this.online.delete(user.userId);
      user.forgetAt = this.clock.elapsed + this.settings.retentionMs;
      this.offline.set(user.userId, user);
    }
    const update: PresenceUpdate = {
      userId: user.userId,
      status: online ? 'online' : 'offline',
      timestamp: new Date(this.clock.wall).toISOString(),
      version: user.version,
      reason,
    };
    // Frozen, since every listener of every presence gets this one object.
    this.log.append(Object.freeze(update));
    this.queue.add({ update, lastSeen: this.clock.wallTime(lastSeen) ?? this.clock.wall });
  }

  private isAnyExtended(): boolean {
    for (const { extendedOnce } of this.leases.values()) if (extendedOnce) return true;
    return false;
  }

  private isOnline({ record }: User): boolean {
    return isOnlineNow(record, (owner) => this.leases.get(owner), this.clock.elapsed);
  }

  private toStored(user: User): StoredStatus {
    const { userId, record, version } = user;
    const online = this.isOnline(user);
    const stored = { userId, online, lastSeen: this.clock.wallTime(record.lastSeen), version };
    return record.online && !online ? { ...stored, isPublished: true } : stored;
  }
}
