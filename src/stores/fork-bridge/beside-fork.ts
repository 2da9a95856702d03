import { checkedClock, checkFunctions } from '../../config/validation';
import type { Clock } from '../../public/clock';
import { checkNames } from '../../public/errors';
import { toUserId } from '../../public/user-id';
import type { LeaveOp, OnAnswer, PresenceOp, PresenceStore, StoreFeed, StoreNode } from '../port';
import type { RedisLike } from '../redis/connection/client';
import { Subscriber } from '../redis/connection/subscriber';

/** What `besideFork` uses of an ioredis `Redis`, beyond what `redisStore` does. */
export interface ForkClient extends RedisLike {
  /** Publishes a message. */
  publish(channel: string, message: string): Promise<unknown>;
  /** Walks through keys. */
  scan(cursor: string, match: 'MATCH', pattern: string, count: 'COUNT', most: number): Promise<[string, string[]]>;
  /** Walks through a set. */
  sscan(key: string, cursor: string, count: 'COUNT', most: number): Promise<[string, string[]]>;
}

/** Those whom routers of the fork hold, as far as any of ours has heard. A set, so that routers that start later know. */
const HELD = 'presence:fork';
const UPDATES = 'presence:updates';
const BATCH = 500;
const MONTH_S = 2_592_000;
/** What the key of a user holds whom the fork has just connected; the store puts a time there. */
const FORKS = '1';
/** Far more than the fork says of one user. */
const MAX_TEXT = 8_192;
/** Users of whom something was said, and who are not verified yet. Of more than that everything is looked through. */
const MAX_SAID = 10_000;
/** Users who have left the fork lately: who has moved to one of our routers meanwhile is known to be here a little later. */
const MAX_LEFT = 100_000;
const LEFT_MS = 30_000;
/** From one verification to the next. */
const VERIFY_MS = 200;
/** What our other routers do about the same message takes so many of them. */
const MAX_TRIES = 3;

const keyOf = (userId: string): string => `presence:user:${userId}`;
const metaOf = (userId: string): string => `presence:meta:${userId}`;

/**
 * A store on Redis for the time in which routers of the existing presence fork run beside ours on the same server: a
 * rolling upgrade, forwards or back. Around `redisStore` with its default prefix:
 *
 * - users of the fork are online and offline here too, once each, as if one more router of ours held them
 * - the fork answers for users of ours: it finds their key, and the hash that it asks for beside it
 * - where the fork says that somebody has left who is connected here, the key is put back, and its dashboards are told
 *
 * Take it away once the last router of the fork is gone. Then `DEL presence:fork`.
 *
 * @param client - an ioredis `Redis` of the same server and database; it stays yours to close
 * @param options - `clock`: what it waits by, and the time that the fork is told; for tests
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

/** What somebody who may publish has said of a user. */
interface Said {
  readonly status: 'online' | 'offline';
  readonly tries: number;
}

class BesideFork implements PresenceStore {
  private readonly feeds = new Set<StoreFeed>();
  /** Who is connected to each router of ours in this process. */
  private readonly own = new Map<string, Set<string>>();
  /** The last call of `apply` of each. */
  private readonly calls = new Map<string, object>();
  /** Whom routers of the fork hold. */
  private readonly held = new Set<string>();
  /** What was said, to be verified: the latest of each user. */
  private readonly said = new Map<string, Said>();
  /** Who has left a router of the fork, as that said, and when; the latest last. */
  private readonly left = new Map<string, number>();
  /** Who is connected here and has left, as the fork says. */
  private readonly contradicted = new Set<string>();
  private isVerifying = false;
  private verifyTimer: unknown;
  /** What is to be told of them, the latest of each. */
  private readonly changed = new Map<string, 'join' | LeaveOp['reason']>();
  /** The router that holds them, as the store sees it; it lives as long as the one that makes it beat. */
  private bridge: { readonly node: StoreNode; readonly owner: string } | undefined;
  private isLeased = false;
  private isBusy = false;
  /** The last of what was told to the store. */
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
    // The core has given this one up since, and what it says may not be true any more.
    if (this.calls.get(node.nodeId) !== call) throw new Error('a later call has overtaken this one');
    const answer = await this.store.apply(node, ops, onAnswer);
    const own = this.own.get(node.nodeId) ?? new Set();
    this.own.set(node.nodeId, own);
    for (const { userId, kind } of ops) {
      if (kind !== 'join') own.delete(userId);
      else {
        own.add(userId);
        // Who has moved here in the same moment was never offline, as our store sees it, so nobody has said otherwise.
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
      // Not released, for its users have not left: the others of ours hold them too, and without any the fork goes on.
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
        // What was said meanwhile is found by looking.
        this.isStale = true;
      },
      onError: (error) => this.report(error),
    });
  }

  /** What the fork says, or whoever may publish; of what ours say the store knows already. */
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

  /** Whether a user has left the fork just now; asked once. */
  private hasLeft(userId: string): boolean {
    const at = this.left.get(userId);
    return this.left.delete(userId) && Math.abs(this.clock.now() - (at as number)) <= LEFT_MS;
  }

  /** The fork writes the key before it says anything, so the key is asked. */
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
          // The next beat tries again.
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
    // Our store has overwritten what the fork had written, or this was never the fork's.
    const unclear = some.filter((_, index) => values[index] !== null && values[index] !== FORKS);
    const members = await this.membersOf(unclear.map(([userId]) => userId));
    for (const [index, [userId, said]] of some.entries()) {
      // Something else was said meanwhile.
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

  /** Who of these is held by routers of the fork, as routers of ours have found. */
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

  /** Who leaves us and has a key as only the fork writes it has moved there: without this the key would go with the user. */
  private async holdMoved(ops: readonly PresenceOp[]): Promise<void> {
    const leaving = ops.filter(({ kind }) => kind !== 'join').map(({ userId }) => userId);
    if (leaving.length === 0) return;
    const values = await this.client.mget(...leaving.map(keyOf));
    const moved = leaving.filter((userId, index) => values[index] === FORKS && !this.held.has(userId));
    for (const userId of moved) this.hold(userId);
    // What goes wrong with it is reported, and holds up nobody.
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
    // Under a new name it holds nobody yet.
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

  /** Finds whom the fork holds: those other routers of ours have heard of, and keys as only the fork writes them. */
  private async look(): Promise<void> {
    for (let cursor = '0'; ; ) {
      const from = cursor;
      const [next, userIds] = await this.onHeld(() => this.client.sscan(HELD, from, 'COUNT', BATCH));
      const values = userIds.length === 0 ? [] : await this.client.mget(...userIds.map(keyOf));
      // A key that has expired must not be made anew.
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

  /** A router of the fork that died says nothing, and whether another one hears of the expired key is not certain. */
  private async check(): Promise<void> {
    const held = Array.from(this.held);
    for (let from = 0; from < held.length; from += BATCH) {
      const some = held.slice(from, from + BATCH);
      const values = await this.client.mget(...some.map(keyOf));
      for (const [index, userId] of some.entries()) if (values[index] === null) this.letGo(userId, 'timeout');
    }
  }

  /** The fork says that users have left, and may have deleted their keys, who are connected here. */
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

  /** Finds who is connected here and has left the fork, as that has written while nobody here heard it. */
  private async lookAtOwn(): Promise<void> {
    for (const own of this.own.values()) {
      const all = Array.from(own);
      for (let from = 0; from < all.length; from += BATCH) {
        const some = all.slice(from, from + BATCH);
        const commands = some.map((userId) => ['hget', metaOf(userId), 'status']);
        // What is no hash says nothing.
        const answers = (await this.client.pipeline(commands).exec()) ?? [];
        for (const [index, userId] of some.entries())
          if (answers[index]?.[1] === 'offline') this.contradicted.add(userId);
      }
    }
    this.verify();
  }

  /** Without this hash the fork takes whoever has a key for offline. */
  private async writeMeta(ops: readonly PresenceOp[]): Promise<void> {
    const now = this.clock.now();
    const commands: string[][] = [];
    for (const { userId, kind, ageMs } of ops) {
      // That is where the store keeps what it knows of itself.
      if (/^\{\d+\}$/.test(userId)) continue;
      const status = kind === 'join' ? 'online' : 'offline';
      commands.push(['hmset', metaOf(userId), 'status', status, 'lastSeen', String(Math.round(now - ageMs))]);
      commands.push(['expire', metaOf(userId), String(MONTH_S)]);
    }
    await this.run(commands);
  }

  /** Runs commands on the set of those who are held. What is no set is none, and is made anew. */
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
