import { checkNames, optionError, shown } from '../errors';
import { type HeapItem, MinHeap } from '../min-heap';
import type {
  PresenceOp,
  PresenceStore,
  SignOfLife,
  StoredPage,
  StoredStatus,
  StoredStatuses,
  StoreFeed,
  StoreNode,
} from '../store';
import type { PresenceUpdate, UpdateReason } from '../types';

/** What `memoryStore` takes. */
export interface MemoryStoreOptions {
  /** The time, in milliseconds since the epoch. @default Date.now */
  now?: () => number;
  /** How long "last seen" of a user who is offline is remembered. @default 2_592_000_000 // 30 days */
  retentionMs?: number;
  /** Of so many users who are offline "last seen" is remembered; those who left first are forgotten first. @default 100_000 */
  maxRemembered?: number;
}

interface Lease {
  readonly leaseMs: number;
  deadline: number;
  /** Was given a lease anew because the store stood still; not twice without a beat of its own. */
  pardoned: boolean;
}

/** A change, or that something falls due. */
type Told = { readonly update: PresenceUpdate; readonly lastSeen: number } | { readonly dueMs: number };

interface User {
  readonly userId: string;
  online: boolean;
  version: number;
  lastSeen: number | null;
  /** Nodes that hold the user; one, but for users with devices on several routers. */
  owners: string[];
  /** The grace that runs. */
  grace: HeapItem<User> | undefined;
  /** When a user who is offline is forgotten. */
  forgetAt: number;
}

/**
 * Presence kept in this process: the default, and what unit tests run against. Several presences may share one store,
 * and are then to each other what routers on one Redis are. Nothing survives the process.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 *
 * @example
 * const store = memoryStore();
 * const east = createPresence({ store });
 * const west = createPresence({ store });
 */
export function memoryStore(options: MemoryStoreOptions = {}): PresenceStore {
  checkNames(options, ['now', 'retentionMs', 'maxRemembered']);
  const { now = Date.now, retentionMs = 2_592_000_000, maxRemembered = 100_000 } = options;
  if (typeof now !== 'function') throw optionError(`now is ${shown(now)}; it is a function that gives milliseconds`);
  if (typeof retentionMs !== 'number' || !(retentionMs >= 0)) {
    throw optionError(`retentionMs is ${shown(retentionMs)}; it is in milliseconds and at least 0`);
  }
  if (!Number.isInteger(maxRemembered) || maxRemembered < 0) {
    throw optionError(`maxRemembered is ${shown(maxRemembered)}; it is an integer of at least 0`);
  }
  return new MemoryStore(now, retentionMs, maxRemembered);
}

class MemoryStore implements PresenceStore {
  private readonly users = new Map<string, User>();
  /** In the order in which they came online, which is the order of their versions: pages lean on it. */
  private readonly online = new Map<string, User>();
  /** In the order in which they went offline: the first is the next to be forgotten. */
  private readonly offline = new Map<string, User>();
  private readonly leases = new Map<string, Lease>();
  private readonly graces = new MinHeap<User>();
  private readonly feeds = new Map<StoreFeed, { since: number }>();
  private readonly untold: Told[] = [];
  private telling = false;
  private version = 0;
  private readonly epoch = Math.random().toString(36).slice(2, 10);
  /** The wall clock, for timestamps. It may step. */
  private wall: number;
  /** Time that has passed, for deadlines. It only grows, so a step back of the wall clock keeps no ghost alive. */
  private elapsed = 0;
  private askedAt = 0;

  constructor(
    private readonly now: () => number,
    private readonly retentionMs: number,
    private readonly maxRemembered: number,
  ) {
    this.wall = now();
  }

  describe(): string {
    return 'in memory';
  }

  async beat(node: StoreNode): Promise<{ known: boolean; now: number }> {
    this.readClock();
    const lease = this.leases.get(node.nodeId);
    // A lease that has lapsed is gone even if nobody has noticed: its node must assert its users anew.
    const known = lease !== undefined && lease.deadline > this.elapsed;
    const renewed = { leaseMs: node.leaseMs, deadline: this.elapsed + node.leaseMs, pardoned: false };
    if (known) this.leases.set(node.nodeId, renewed);
    this.settle();
    if (!known) this.leases.set(node.nodeId, renewed);
    return { known, now: this.wall };
  }

  async apply(node: StoreNode, ops: readonly PresenceOp[]): Promise<{ known: boolean }> {
    this.settleNow();
    if (!this.leases.has(node.nodeId)) return { known: false };
    for (const op of ops) this.applyOne(node.nodeId, op);
    return { known: true };
  }

  async refresh(node: StoreNode, signs: readonly SignOfLife[]): Promise<{ known: boolean; missing: string[] }> {
    this.settleNow();
    if (!this.leases.has(node.nodeId)) return { known: false, missing: [] };
    const missing: string[] = [];
    for (const { userId, ageMs } of signs) {
      const user = this.users.get(userId);
      if (user?.owners.includes(node.nodeId)) this.see(user, ageMs);
      else missing.push(userId);
    }
    return { known: true, missing };
  }

  async release(node: StoreNode): Promise<void> {
    this.settleNow();
    if (this.leases.delete(node.nodeId)) this.reap(node.nodeId);
  }

  async read(userIds: readonly string[]): Promise<StoredStatuses> {
    this.settleNow();
    const users = userIds.map((userId) => {
      const user = this.users.get(userId);
      return user === undefined ? { userId, online: false, lastSeen: null, version: 0 } : toStored(user);
    });
    return { now: this.wall, users };
  }

  async list(page: { cursor: string | null; limit: number }): Promise<StoredPage> {
    this.settleNow();
    const { cursor, limit } = page;
    if (cursor !== null && !/^[1-9]\d{0,15}$/.test(cursor)) {
      throw optionError(`cursor is ${shown(cursor)}; it is null or what the page before gave`);
    }
    const after = cursor === null ? 0 : Number(cursor);
    const users: StoredStatus[] = [];
    const sequence = { epoch: this.epoch, version: this.version };
    for (const user of this.online.values()) {
      if (user.version <= after) continue;
      if (users.length === limit) {
        return { now: this.wall, users, cursor: String(users[limit - 1]?.version), sequence };
      }
      users.push(toStored(user));
    }
    return { now: this.wall, users, cursor: null, sequence };
  }

  async count(): Promise<number> {
    this.settleNow();
    return this.online.size;
  }

  subscribe(feed: StoreFeed): () => void {
    this.feeds.set(feed, { since: this.version });
    return () => {
      this.feeds.delete(feed);
    };
  }

  private readClock(): void {
    const wall = this.now();
    if (wall > this.wall) this.elapsed += wall - this.wall;
    this.wall = wall;

    // Live routers beat every third of a lease. When nobody asked for longer than half of one, it was this process
    // that stood still, not they: no lease may lapse for that. All of them live in this process, so none has died meanwhile.
    const gap = this.elapsed - this.askedAt;
    for (const lease of this.leases.values()) {
      if (gap <= lease.leaseMs / 2 || lease.pardoned) continue;
      lease.deadline = Math.max(lease.deadline, this.elapsed + lease.leaseMs);
      lease.pardoned = true;
    }
    this.askedAt = this.elapsed;
  }

  private settleNow(): void {
    this.readClock();
    this.settle();
  }

  /** Makes true what time alone has changed. */
  private settle(): void {
    for (const [nodeId, lease] of this.leases) {
      if (lease.deadline > this.elapsed) continue;
      this.leases.delete(nodeId);
      this.reap(nodeId);
    }
    for (;;) {
      const user = this.graces.take(this.elapsed);
      if (user === undefined) break;
      user.grace = undefined;
      if (user.owners.length === 0) this.flip(user, false, 'timeout');
    }
    for (const user of this.offline.values()) {
      if (user.forgetAt > this.elapsed && this.offline.size <= this.maxRemembered) break;
      this.offline.delete(user.userId);
      this.users.delete(user.userId);
    }
  }

  private reap(nodeId: string): void {
    for (const user of this.online.values()) {
      if (!disown(user, nodeId)) continue;
      if (user.owners.length === 0 && user.grace === undefined) this.flip(user, false, 'node-down');
    }
  }

  private applyOne(nodeId: string, op: PresenceOp): void {
    if (op.kind === 'join') {
      const user = this.userOf(op.userId);
      if (!user.owners.includes(nodeId)) user.owners.push(nodeId);
      this.endGrace(user);
      this.see(user, op.ageMs);
      if (!user.online) this.flip(user, true, op.reassert ? 'resync' : 'connect');
      return;
    }
    const user = this.users.get(op.userId);
    if (user === undefined || !disown(user, nodeId)) return;
    this.see(user, op.ageMs);
    if (op.kind === 'drop') {
      const until = this.elapsed + op.graceMs;
      if (op.graceMs > 0 && until > (user.grace?.due ?? 0)) {
        this.endGrace(user);
        user.grace = this.graces.put(until, user);
        this.tell({ dueMs: op.graceMs });
      }
    }
    if (user.owners.length === 0 && user.grace === undefined) {
      this.flip(user, false, op.kind === 'drop' ? 'timeout' : op.reason);
    }
  }

  private endGrace(user: User): void {
    if (user.grace === undefined) return;
    this.graces.remove(user.grace);
    user.grace = undefined;
  }

  private userOf(userId: string): User {
    let user = this.users.get(userId);
    if (user === undefined) {
      user = { userId, online: false, version: 0, lastSeen: null, owners: [], grace: undefined, forgetAt: 0 };
      this.users.set(userId, user);
    }
    return user;
  }

  private see(user: User, ageMs: number): void {
    const at = this.wall - ageMs;
    if (user.lastSeen === null || at > user.lastSeen) user.lastSeen = at;
  }

  private flip(user: User, online: boolean, reason: UpdateReason): void {
    this.version += 1;
    user.online = online;
    user.version = this.version;
    if (online) {
      this.offline.delete(user.userId);
      this.online.set(user.userId, user);
    } else {
      this.online.delete(user.userId);
      user.forgetAt = this.elapsed + this.retentionMs;
      this.offline.set(user.userId, user);
    }
    const update: PresenceUpdate = {
      userId: user.userId,
      status: online ? 'online' : 'offline',
      timestamp: new Date(this.wall).toISOString(),
      version: user.version,
      reason,
    };
    // Every listener of every presence is handed this one object.
    this.tell({ update: Object.freeze(update), lastSeen: user.lastSeen ?? this.wall });
  }

  /** Queued, so that a feed is never called from within a call into the store, and always in order. */
  private tell(item: Told): void {
    this.untold.push(item);
    if (this.telling) return;
    this.telling = true;
    Promise.resolve().then(() => this.tellAll());
  }

  private tellAll(): void {
    for (let index = 0; index < this.untold.length; index += 1) {
      const item = this.untold[index] as Told;
      for (const [feed, { since }] of this.feeds) {
        try {
          if ('dueMs' in item) feed.onDue(item.dueMs);
          else if (item.update.version > since) feed.onTransition(item.update, item.lastSeen);
        } catch {
          // It breaks its duty not to throw, which is no reason to leave the others untold.
        }
      }
    }
    this.untold.length = 0;
    this.telling = false;
  }
}

function toStored(user: User): StoredStatus {
  return { userId: user.userId, online: user.online, lastSeen: user.lastSeen, version: user.version };
}

function disown(user: User, nodeId: string): boolean {
  const index = user.owners.indexOf(nodeId);
  if (index < 0) return false;
  user.owners.splice(index, 1);
  return true;
}
