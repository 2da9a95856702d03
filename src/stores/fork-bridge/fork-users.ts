import type { LeaveOp, PresenceOp, PresenceStore, StoreNode } from '../port';
import { BATCH, batchesOf, FORKS, type ForkClient, keyOf, valuesOf } from './fork-keys';
import { HeldSet } from './held-set';

/** @internal */
export interface ForkUsersOptions {
  readonly store: PresenceStore;
  readonly client: ForkClient;
  /** Changes may be missing in the store, so the keys have to be scanned. */
  onMissed(): void;
  /** A background operation has failed. */
  onError(error: unknown): void;
}

/** The router that holds the users of the fork in the store. The heartbeats of `owner` renew its lease. */
interface Bridge {
  readonly node: StoreNode;
  readonly owner: string;
  isLeased: boolean;
}

/** The users whom routers of the fork hold, and their transfer to the store. @internal */
export class ForkUsers {
  private readonly held = new Set<string>();
  /** For each user of the fork, the latest change that the store does not have yet. */
  private readonly changed = new Map<string, 'join' | LeaveOp['reason']>();
  private readonly set: HeldSet;
  private bridge: Bridge | undefined;
  private isBusy = false;
  /** The end of the last transfer of changes to the store. */
  private lastTransfer: Promise<void> = Promise.resolve();

  constructor(private readonly options: ForkUsersOptions) {
    this.set = new HeldSet(options.client, () => this.joinAgain());
  }

  /** Makes the bridge part of a router, unless it is already part of one. */
  attach(node: StoreNode): void {
    const { nodeId } = node;
    this.bridge = this.bridge ?? { node: { ...node, nodeId: `${nodeId}.fork` }, owner: nodeId, isLeased: false };
  }

  /** The bridge, where it is part of this router. */
  bridgeOf(nodeId: string): StoreNode | undefined {
    return this.bridge?.owner === nodeId ? this.bridge.node : undefined;
  }

  /** The bridge is not released, since its users have not left: they are still on routers of the fork. */
  detach(): void {
    this.bridge = undefined;
  }

  /** Renews the lease of the bridge. Returns false where it is no longer the bridge. */
  async beat(node: StoreNode): Promise<boolean> {
    const { known } = await this.options.store.beat(node);
    if (this.bridge?.node !== node) return false;
    // A bridge with a new lease holds no users yet.
    if (!known) this.joinAgain();
    this.bridge.isLeased = true;
    this.flush();
    return true;
  }

  has(userId: string): boolean {
    return this.held.has(userId);
  }

  hold(userId: string): void {
    this.held.add(userId);
    this.changed.set(userId, 'join');
    this.flush();
  }

  letGo(userId: string, reason: LeaveOp['reason']): void {
    if (!this.held.delete(userId)) return;
    this.changed.set(userId, reason);
    this.flush();
  }

  /** Those of the users whom routers of the fork hold, by the set in Redis. */
  membersOf(userIds: readonly string[]): Promise<Set<string>> {
    return this.set.membersOf(userIds);
  }

  /**
   * Finds leaving users whose keys the fork has written: they have moved there. The bridge joins first, or the leave would
   * delete their keys.
   */
  async holdMoved(ops: readonly PresenceOp[]): Promise<void> {
    const leaving = ops.filter(({ kind }) => kind !== 'join').map(({ userId }) => userId);
    if (leaving.length === 0) return;
    const values = await valuesOf(this.options.client, leaving);
    const moved = leaving.filter((userId, index) => values[index] === FORKS && !this.held.has(userId));
    for (const userId of moved) this.hold(userId);
    // `flush` reports a failure, which must not delay the caller's operations.
    if (moved.length > 0) await this.lastTransfer.catch(() => undefined);
  }

  /** Finds the users whom the fork holds: in the set that routers of this library keep, and by keys that the fork wrote. */
  async find(): Promise<void> {
    const { client } = this.options;
    for (let cursor = '0'; ; ) {
      const [next, userIds] = await this.set.page(cursor);
      const values = await valuesOf(client, userIds);
      // A join would create an expired key again, so users without a key are skipped.
      for (const [index, userId] of userIds.entries()) {
        if (values[index] !== null && !this.held.has(userId)) this.hold(userId);
      }
      cursor = next;
      if (cursor === '0') break;
    }
    const prefix = keyOf('');
    for (let cursor = '0'; ; ) {
      const [next, keys] = await client.scan(cursor, 'MATCH', `${prefix}*`, 'COUNT', BATCH);
      const userIds = keys.map((key) => key.slice(prefix.length));
      const values = await valuesOf(client, userIds);
      for (const [index, userId] of userIds.entries()) {
        if (values[index] === FORKS && !this.held.has(userId)) this.hold(userId);
      }
      cursor = next;
      if (cursor === '0') break;
    }
  }

  /** Releases users whose keys have expired, since a router of the fork that has died does not publish them as offline. */
  async releaseExpired(): Promise<void> {
    for (const some of batchesOf(Array.from(this.held))) {
      const values = await valuesOf(this.options.client, some);
      for (const [index, userId] of some.entries()) if (values[index] === null) this.letGo(userId, 'timeout');
    }
  }

  private joinAgain(): void {
    for (const userId of this.held) if (!this.changed.has(userId)) this.changed.set(userId, 'join');
  }

  private flush(): void {
    if (this.isBusy) return;
    this.lastTransfer = this.transferAll();
    this.lastTransfer.catch((error) => this.options.onError(error));
  }

  private async transferAll(): Promise<void> {
    this.isBusy = true;
    try {
      while (this.bridge?.isLeased && this.changed.size > 0) await this.transferSome(this.bridge.node);
      if (this.bridge?.isLeased) await this.options.store.registered?.(this.bridge.node);
    } finally {
      this.isBusy = false;
    }
  }

  private async transferSome(node: StoreNode): Promise<void> {
    const some = Array.from(this.changed).slice(0, BATCH);
    for (const [userId] of some) this.changed.delete(userId);
    const ops = some.map(([userId, change]): PresenceOp => {
      if (change === 'join') return { kind: 'join', userId, ageMs: 0, reassert: false };
      return { kind: 'leave', userId, ageMs: 0, reason: change };
    });
    try {
      const { known } = await this.options.store.apply(node, ops);
      if (!known) throw new Error('the lease is lost');
      await this.set.change(some.map(([userId, change]) => ({ userId, isHeld: change === 'join' })));
    } catch (error) {
      if (this.bridge !== undefined) this.bridge.isLeased = false;
      this.options.onMissed();
      for (const [userId, change] of some) if (!this.changed.has(userId)) this.changed.set(userId, change);
      throw error;
    }
  }
}
