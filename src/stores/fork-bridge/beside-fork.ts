import { checkedClock, checkFunctions } from '../../config/validation';
import type { Clock } from '../../public/clock';
import { checkNames } from '../../public/errors';
import { toUserId } from '../../public/user-id';
import type { LeaveOp, OnAnswer, PresenceOp, PresenceStore, StoreFeed, StoreNode } from '../port';
import type { RedisLike } from '../redis/connection/client';
import { Subscriber } from '../redis/connection/subscriber';

/** The part of an ioredis `Redis` that `besideFork` uses, in addition to that of `redisStore`. */
export interface ForkClient extends RedisLike {
  /** Publishes a message. */
  publish(channel: string, message: string): Promise<unknown>;
  /** Walks through keys. */
  scan(cursor: string, match: 'MATCH', pattern: string, count: 'COUNT', most: number): Promise<[string, string[]]>;
  /** Walks through a set. */
  sscan(key: string, cursor: string, count: 'COUNT', most: number): Promise<[string, string[]]>;
}

/** The set of users whom routers of the VoicePing fork hold. It is in Redis, so that routers that start later find them. */
const HELD = 'presence:fork';
const UPDATES = 'presence:updates';
const BATCH = 500;
const MONTH_S = 2_592_000;
/** The value that the fork writes to the key of a user who connects. The store of this library writes a time. */
const FORKS = '1';
/** Far more than a message of the fork about one user. */
const MAX_TEXT = 8_192;
/** The most users whose messages wait for verification. Above it, all keys are scanned instead. */
const MAX_SAID = 10_000;
/** The most users who are remembered to have left the fork: one of them may connect here a moment later. */
const MAX_LEFT = 100_000;
const LEFT_MS = 30_000;
/** The time from one verification to the next. */
const VERIFY_MS = 200;
/** How often a verification is repeated while other routers of this library react to the same message. */
const MAX_TRIES = 3;

const keyOf = (userId: string): string => `presence:user:${userId}`;
const metaOf = (userId: string): string => `presence:meta:${userId}`;

/**
 * A store for a rolling upgrade, forwards or back, in which routers of the VoicePing fork (an earlier implementation of
 * presence inside that router) and of this library run on one Redis. It wraps a `redisStore` with its default prefix:
 *
 * - users of the fork go online and offline here too, once each, as if one more router of this library held them
 * - the fork can answer for users of this library: their keys exist, and so do the hashes that the fork reads
 * - where the fork marks a user as offline who is connected here, the key is restored, and the fork's dashboards are corrected
 *
 * Remove it once the last router of the fork is gone. Then `DEL presence:fork`.
 *
 * @param client - an ioredis `Redis` of the same server and database; the caller closes it
 * @param options - `clock`: the source of time, for tests
 *
 * @example
 * const client = new Redis({ host: '127.0.0.1' });
 * const presence = createPresence({ store: besideFork(redisStore({ client }), client), wire: 'router' });
 */
export function besideFork(store: PresenceStore, client: ForkClient, options: { clock?: Clock } = {}): PresenceStore {
  checkFunctions('store', store, ['beat', 'apply', 'subscribe'], 'it is what redisStore gives');
  checkFunctions('client', client, ['publish', 'scan', 'sscan', 'pipeline', 'duplicate'], 'it is an ioredis Redis');
  checkNames(options, ['clock']);
  return new BesideFork(store, client, checkedClock(options.clock));
}

/** The status of a user in a published message, and how often it was verified. */
interface Said {
  readonly status: 'online' | 'offline';
  readonly tries: number;
}

class BesideFork implements PresenceStore {
  private readonly feeds = new Set<StoreFeed>();
  /** For each router of this process, the users who are connected to it. */
  private readonly own = new Map<string, Set<string>>();
  /** For each router of this process, its latest call of `apply`. */
  private readonly calls = new Map<string, object>();
  /** The users whom routers of the fork hold. */
  private readonly held = new Set<string>();
  /** The latest message about each user, until it is verified. */
  private readonly said = new Map<string, Said>();
  /** When each user left the fork, by its messages; the latest is last. */
  private readonly left = new Map<string, number>();
  /** Users who are connected here, and whom the fork takes for offline. */
  private readonly contradicted = new Set<string>();
  private isVerifying = false;
  private verifyTimer: unknown;
  /** For each user of the fork, the latest change that the store does not have yet. */
  private readonly changed = new Map<string, 'join' | LeaveOp['reason']>();
  /** The router that holds the users of the fork in the store. The heartbeats of `owner` renew its lease. */
  private bridge: { readonly node: StoreNode; readonly owner: string } | undefined;
  private isLeased = false;
  private isBusy = false;
  /** The end of the last transfer of changes to the store. */
  private telling: Promise<void> = Promise.resolve();
  private isStale = true;
  private checkedAt = 0;
  private ear: Subscriber | undefined;

  constructor(
    private readonly store: PresenceStore,
    private readonly client: ForkClient,
    private readonly clock: Clock,
  ) {}

  async beat(node: StoreNode, onAnswer?: OnAnswer): ReturnType<PresenceStore['beat']> {
    this.bridge = this.bridge ?? { node: { ...node, nodeId: `${node.nodeId}.fork` }, owner: node.nodeId };
    const answer = await this.store.beat(node, onAnswer);
    if (this.bridge.owner === node.nodeId) this.inBackground(this.beatBridge(this.bridge.node));
    return answer;
  }

  async apply(node: StoreNode, ops: readonly PresenceOp[], onAnswer?: OnAnswer): Promise<{ known: boolean }> {
    const call = {};
    this.calls.set(node.nodeId, call);
    await this.holdMoved(ops);
    // The core has given up this call and has sent a later one, so its operations may be out of date.
    if (this.calls.get(node.nodeId) !== call) throw new Error('a later call has overtaken this one');
    const answer = await this.store.apply(node, ops, onAnswer);
    const own = this.own.get(node.nodeId) ?? new Set();
    this.own.set(node.nodeId, own);
    for (const { userId, kind } of ops) {
      if (kind !== 'join') own.delete(userId);
      else {
        own.add(userId);
        // A user who has just moved here was never offline in this store, so no router has corrected the fork.
        if (this.hasLeft(userId)) this.contradicted.add(userId);
      }
    }
    this.verify();
    this.inBackground(this.writeMeta(ops));
    return answer;
  }

  async release(node: StoreNode): Promise<void> {
    const { bridge } = this;
    this.own.delete(node.nodeId);
    this.calls.delete(node.nodeId);
    if (bridge?.owner === node.nodeId) {
      // The bridge is not released, since its users have not left: they are still on routers of the fork.
      this.bridge = undefined;
      this.isLeased = false;
      this.isStale = true;
    }
    await this.store.release(node);
  }

  refresh: PresenceStore['refresh'] = (node, signs, onAnswer) => this.store.refresh(node, signs, onAnswer);
  read: PresenceStore['read'] = (userIds, onAnswer) => this.store.read(userIds, onAnswer);
  list: PresenceStore['list'] = (page, onAnswer) => this.store.list(page, onAnswer);
  count: PresenceStore['count'] = (onAnswer) => this.store.count(onAnswer);
  caughtUp: NonNullable<PresenceStore['caughtUp']> = async () => this.store.caughtUp?.();
  registered: NonNullable<PresenceStore['registered']> = async (node) => this.store.registered?.(node);
  problems: NonNullable<PresenceStore['problems']> = () => this.store.problems?.() ?? [];
  describe: NonNullable<PresenceStore['describe']> = () => `${this.store.describe?.() ?? 'a store'}, beside the fork`;

  subscribe(feed: StoreFeed): () => void {
    const unsubscribe = this.store.subscribe(feed);
    this.feeds.add(feed);
    this.ear = this.ear ?? this.listen();
    return () => {
      this.feeds.delete(feed);
      if (this.feeds.size === 0) {
        this.ear?.close();
        this.ear = undefined;
        this.said.clear();
        this.left.clear();
        this.contradicted.clear();
        this.clock.clearTimeout(this.verifyTimer);
        this.verifyTimer = undefined;
      }
      unsubscribe();
    };
  }

  private listen(): Subscriber {
    return new Subscriber({
      clock: this.clock,
      client: this.client,
      channels: [UPDATES],
      onMessage: (_, text) => this.hear(text),
      onListening: () => {
        // Messages may have been missed, so the keys are scanned.
        this.isStale = true;
      },
      onError: (error) => this.report(error),
    });
  }

  /** Handles a message of the fork. Messages of this library have a `reason`; the store already has their changes. */
  private hear(text: string): void {
    if (text.length > MAX_TEXT) return;
    let said: { type?: unknown; userId?: unknown; status?: unknown; reason?: unknown } | null;
    let userId: string;
    try {
      said = JSON.parse(text);
      if (said?.type !== 'presence_update' || said.reason !== undefined) return;
      userId = toUserId(said.userId, 'userId');
    } catch {
      return;
    }
    const { status } = said;
    if (status !== 'online' && status !== 'offline') return;
    if (status === 'online') this.left.delete(userId);
    else if (this.isOwn(userId)) this.contradicted.add(userId);
    else this.rememberLeft(userId);
    if (this.said.size < MAX_SAID || this.said.has(userId)) this.said.set(userId, { status, tries: 0 });
    else this.isStale = true;
    this.verify();
  }

  private rememberLeft(userId: string): void {
    this.left.delete(userId);
    this.left.set(userId, this.clock.now());
    for (const oldest of this.left.keys()) {
      if (this.left.size <= MAX_LEFT) break;
      this.left.delete(oldest);
    }
  }

  /** Whether a user has just left the fork. The entry is removed. */
  private hasLeft(userId: string): boolean {
    const at = this.left.get(userId);
    return this.left.delete(userId) && Math.abs(this.clock.now() - (at as number)) <= LEFT_MS;
  }

  /** Checks messages against the keys, since the fork writes a key before it publishes. */
  private verify(): void {
    if (this.isVerifying || this.verifyTimer !== undefined || this.feeds.size === 0) return;
    if (this.said.size === 0 && this.contradicted.size === 0) return;
    this.isVerifying = true;
    this.inBackground(
      this.verifySome().then(
        () => {
          this.isVerifying = false;
          if (this.feeds.size === 0) return;
          this.verifyTimer = this.clock.setTimeout(() => {
            this.verifyTimer = undefined;
            this.verify();
          }, VERIFY_MS);
        },
        (error) => {
          // The next heartbeat tries again.
          this.isVerifying = false;
          throw error;
        },
      ),
    );
  }

  private async verifySome(): Promise<void> {
    const some: Array<[string, Said]> = [];
    for (const entry of this.said) if (some.push(entry) === BATCH) break;
    if (some.length > 0) await this.verifySaid(some);
    await this.contradict();
  }

  private async verifySaid(some: ReadonlyArray<readonly [string, Said]>): Promise<void> {
    const values = await this.client.mget(...some.map(([userId]) => keyOf(userId)));
    // The store has overwritten the value of the fork, or the fork never wrote this key.
    const unclear = some.filter((_, index) => values[index] !== null && values[index] !== FORKS);
    const members = await this.membersOf(unclear.map(([userId]) => userId));
    for (const [index, [userId, said]] of some.entries()) {
      // A newer message has arrived meanwhile.
      if (this.said.get(userId) !== said) continue;
      this.said.delete(userId);
      const { status, tries } = said;
      if (values[index] === null) this.letGo(userId, 'disconnect');
      else if (values[index] === FORKS) this.hold(userId);
      else if (members.has(userId) !== (status === 'online') && tries < MAX_TRIES) {
        this.said.set(userId, { status, tries: tries + 1 });
      } else if (!members.has(userId)) this.letGo(userId, 'disconnect');
      else if (!this.held.has(userId)) this.hold(userId);
    }
  }

  /** Those of the users whom routers of the fork hold, by the set in Redis. */
  private async membersOf(userIds: readonly string[]): Promise<Set<string>> {
    const members = new Set<string>();
    if (userIds.length === 0) return members;
    const answers = await this.onHeld(() => this.run(userIds.map((userId) => ['sismember', HELD, userId])));
    for (const [index, userId] of userIds.entries()) if (answers[index] === 1) members.add(userId);
    return members;
  }

  private isOwn(userId: string): boolean {
    return Array.from(this.own.values()).some((own) => own.has(userId));
  }

  private hold(userId: string): void {
    this.held.add(userId);
    this.changed.set(userId, 'join');
    this.flush();
  }

  private letGo(userId: string, reason: LeaveOp['reason']): void {
    if (!this.held.delete(userId)) return;
    this.changed.set(userId, reason);
    this.flush();
  }

  private flush(): void {
    if (this.isBusy) return;
    this.telling = this.tellAll();
    this.inBackground(this.telling);
  }

  /**
   * Finds leaving users whose keys the fork has written: they have moved there. The bridge joins first, or the leave would
   * delete their keys.
   */
  private async holdMoved(ops: readonly PresenceOp[]): Promise<void> {
    const leaving = ops.filter(({ kind }) => kind !== 'join').map(({ userId }) => userId);
    if (leaving.length === 0) return;
    const values = await this.client.mget(...leaving.map(keyOf));
    const moved = leaving.filter((userId, index) => values[index] === FORKS && !this.held.has(userId));
    for (const userId of moved) this.hold(userId);
    // `flush` reports a failure, which must not delay the caller's operations.
    if (moved.length > 0) await this.telling.catch(() => undefined);
  }

  private async tellAll(): Promise<void> {
    this.isBusy = true;
    try {
      while (this.isLeased && this.changed.size > 0) await this.tellStore();
      if (this.isLeased && this.bridge !== undefined) await this.store.registered?.(this.bridge.node);
    } finally {
      this.isBusy = false;
    }
  }

  private async tellStore(): Promise<void> {
    const node = this.bridge?.node as StoreNode;
    const some = Array.from(this.changed).slice(0, BATCH);
    for (const [userId] of some) this.changed.delete(userId);
    const ops = some.map(([userId, change]): PresenceOp => {
      if (change === 'join') return { kind: 'join', userId, ageMs: 0, reassert: false };
      return { kind: 'leave', userId, ageMs: 0, reason: change };
    });
    try {
      const { known } = await this.store.apply(node, ops);
      if (!known) throw new Error('the lease is lost');
      await this.onHeld(() =>
        this.run(some.map(([userId, change]) => [change === 'join' ? 'sadd' : 'srem', HELD, userId])),
      );
    } catch (error) {
      this.isLeased = false;
      this.isStale = true;
      for (const [userId, change] of some) if (!this.changed.has(userId)) this.changed.set(userId, change);
      throw error;
    }
  }

  private async beatBridge(node: StoreNode): Promise<void> {
    const { known } = await this.store.beat(node);
    if (this.bridge?.node !== node) return;
    // A bridge with a new lease holds no users yet.
    if (!known) for (const userId of this.held) if (!this.changed.has(userId)) this.changed.set(userId, 'join');
    this.isLeased = true;
    this.flush();
    this.verify();
    const now = this.clock.now();
    if (!this.isStale && Math.abs(now - this.checkedAt) < node.leaseMs) return;
    this.checkedAt = now;
    if (this.isStale) {
      this.isStale = false;
      await Promise.all([this.look(), this.lookAtOwn()]).catch((error) => {
        this.isStale = true;
        throw error;
      });
    }
    await this.check();
  }

  /** Finds the users whom the fork holds: in the set that routers of this library keep, and by keys that the fork wrote. */
  private async look(): Promise<void> {
    for (let cursor = '0'; ; ) {
      const from = cursor;
      const [next, userIds] = await this.onHeld(() => this.client.sscan(HELD, from, 'COUNT', BATCH));
      const values = userIds.length === 0 ? [] : await this.client.mget(...userIds.map(keyOf));
      // A join would create an expired key again, so users without a key are skipped.
      for (const [index, userId] of userIds.entries()) {
        if (values[index] !== null && !this.held.has(userId)) this.hold(userId);
      }
      cursor = next;
      if (cursor === '0') break;
    }
    const prefix = keyOf('');
    for (let cursor = '0'; ; ) {
      const [next, keys] = await this.client.scan(cursor, 'MATCH', `${prefix}*`, 'COUNT', BATCH);
      const values = keys.length === 0 ? [] : await this.client.mget(...keys);
      for (const [index, key] of keys.entries()) {
        const userId = key.slice(prefix.length);
        if (values[index] === FORKS && !this.held.has(userId)) this.hold(userId);
      }
      cursor = next;
      if (cursor === '0') break;
    }
  }

  /** Releases users whose keys have expired: a dead router of the fork publishes nothing, and another may not notice. */
  private async check(): Promise<void> {
    const held = Array.from(this.held);
    for (let from = 0; from < held.length; from += BATCH) {
      const some = held.slice(from, from + BATCH);
      const values = await this.client.mget(...some.map(keyOf));
      for (const [index, userId] of some.entries()) if (values[index] === null) this.letGo(userId, 'timeout');
    }
  }

  /** Corrects the fork about users who are connected here: it takes them for offline, and may have deleted their keys. */
  private async contradict(): Promise<void> {
    const all = Array.from(this.contradicted).filter((userId) => this.isOwn(userId));
    this.contradicted.clear();
    for (let from = 0; from < all.length; from += BATCH) {
      const some = new Set(all.slice(from, from + BATCH));
      for (const feed of this.feeds) feed.onLost((id) => some.has(id));
      const timestamp = this.clock.now();
      const commands: string[][] = [];
      for (const userId of some) {
        const message = { type: 'presence_update', userId, status: 'online', timestamp, reason: 'resync' };
        for (const channel of ['presence:online', UPDATES])
          commands.push(['publish', channel, JSON.stringify(message)]);
      }
      await this.run(commands).catch((error) => {
        this.isStale = true;
        throw error;
      });
    }
  }

  /** Finds users who are connected here, and whom the fork has marked as offline while its messages were missed. */
  private async lookAtOwn(): Promise<void> {
    for (const own of this.own.values()) {
      const all = Array.from(own);
      for (let from = 0; from < all.length; from += BATCH) {
        const some = all.slice(from, from + BATCH);
        const commands = some.map((userId) => ['hget', metaOf(userId), 'status']);
        // An error for a key that is not a hash is ignored.
        const answers = (await this.client.pipeline(commands).exec()) ?? [];
        for (const [index, userId] of some.entries())
          if (answers[index]?.[1] === 'offline') this.contradicted.add(userId);
      }
    }
    this.verify();
  }

  /** Writes the hash without which the fork takes a user with a key for offline. */
  private async writeMeta(ops: readonly PresenceOp[]): Promise<void> {
    const now = this.clock.now();
    const commands: string[][] = [];
    for (const { userId, kind, ageMs } of ops) {
      // The store keeps its own data under these keys.
      if (/^\{\d+\}$/.test(userId)) continue;
      const status = kind === 'join' ? 'online' : 'offline';
      commands.push(['hmset', metaOf(userId), 'status', status, 'lastSeen', String(Math.round(now - ageMs))]);
      commands.push(['expire', metaOf(userId), String(MONTH_S)]);
    }
    await this.run(commands);
  }

  /** Runs commands on the set of held users. Where its key has another type, it is deleted and filled again. */
  private async onHeld<T>(run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      if (!/^WRONGTYPE/.test((error as Error).message)) throw error;
      await this.run([['del', HELD]]);
      for (const userId of this.held) if (!this.changed.has(userId)) this.changed.set(userId, 'join');
      return run();
    }
  }

  private async run(commands: string[][]): Promise<unknown[]> {
    if (commands.length === 0) return [];
    const answers: unknown[] = [];
    for (const [error, answer] of (await this.client.pipeline(commands).exec()) ?? []) {
      if (error !== null) throw error;
      answers.push(answer);
    }
    return answers;
  }

  private inBackground(work: Promise<unknown>): void {
    work.catch((error) => this.report(error));
  }

  private report(error: unknown): void {
    for (const feed of this.feeds) feed.onError('fork', error);
  }
}
