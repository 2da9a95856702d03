import { checkNames, optionError, shown } from '../../errors';
import { checkedMs, checkFunctions } from '../../options';
import type {
  PresenceOp,
  PresenceStore,
  SignOfLife,
  StoredPage,
  StoredStatuses,
  StoreFeed,
  StoreNode,
} from '../../store';
import type { Batch } from './changes';
import { parseMessage } from './changes';
import type { RedisLike } from './client';
import { CONNECTION_NAMES, checkConnection, connect, type RedisConnectionOptions, reasonOf } from './connection';
import { Hearing } from './hearing';
import { Incarnation } from './incarnation';
import { gather, Layout, type Partition, WALK_BUCKETS, WALK_USERS } from './layout';
import { Link } from './link';
import { Losses } from './losses';
import { Mirrors } from './mirrors';
import { cursorOf, Queries } from './queries';
import type { Ask, Changed, Script } from './script';
import * as scripts from './scripts';
import { Subscriber } from './subscriber';

/** Operations that are applied at once: some milliseconds, so that others are served in between. */
const APPLY_OPS = 500;
/** Graces that one beat ends at most. */
const BEAT_GRACES = 500;
/** Changes that the log keeps, of all partitions together. */
const LOG_CHANGES = 5_000;
const MONTH_MS = 2_592_000_000;

/** What `redisStore` takes: a client, or how to reach a Redis; and the rest. */
export interface RedisStoreOptions extends RedisConnectionOptions {
  /**
   * An ioredis `Redis` or `Cluster`, 4.28 to 6 (a Cluster: 5.9.2 to 6). It stays yours to close. For messages the store
   * makes a second connection with its `duplicate()`, and closes that one when the presence is closed.
   */
  client?: RedisLike;
  /** What all keys and channels start with. The guide's contract is the default. @default 'presence:' */
  prefix?: string;
  /** How long "last seen" of a user who is offline is remembered. @default 2_592_000_000 // 30 days */
  retentionMs?: number;
  /** Whether changes are published on `presence:online`, `presence:offline` and `presence:updates`. @default true */
  publish?: boolean;
}

/**
 * Presence kept in Redis 5 or later: exact for any number of routers. A client may be handed in, or the store connects by
 * itself, and then ends its connections when the presence is closed.
 *
 * Needs neither CONFIG nor keyspace events. Survives flushes, restarts, failovers and evictions: routers assert anew who
 * is connected.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS` that names the option and the rule
 * @throws Error where it is to connect by itself, and ioredis is not installed
 *
 * @example
 * const presence = createPresence({ store: redisStore({ client: new Redis('redis://localhost:6379') }) });
 */
export function redisStore(options: RedisStoreOptions = {}): PresenceStore {
  checkNames(options, ['client', 'prefix', 'retentionMs', 'publish', ...CONNECTION_NAMES]);
  const { client, prefix = 'presence:', retentionMs, publish = true, ...connection } = options;
  if (typeof publish !== 'boolean') throw optionError(`publish is ${shown(publish)}; it is true or false`);
  const settings: Settings = { prefix, retentionMs: checkedRetention(retentionMs), publish };
  if (client === undefined) {
    checkConnection(connection);
    // Checked before anything connects.
    new Layout(prefix, false);
    return new RedisStore(connect(connection), settings, () => connect(connection));
  }
  const both = CONNECTION_NAMES.find((name) => options[name] !== undefined);
  if (both !== undefined) throw optionError(`client and ${both} are both given; a client knows where to connect`);
  checkFunctions('client', client, CLIENT_FUNCTIONS, 'it is an ioredis Redis or Cluster');
  const { keyPrefix } = (client.options ?? {}) as { keyPrefix?: string };
  if (keyPrefix !== undefined && keyPrefix !== '') {
    throw optionError(`the client has the keyPrefix ${shown(keyPrefix)}; give a prefix to redisStore instead`);
  }
  return new RedisStore(client, settings, undefined);
}

const CLIENT_FUNCTIONS: ReadonlyArray<keyof RedisLike> = [
  'evalsha',
  'eval',
  'xrange',
  'mget',
  'hmget',
  'pipeline',
  'duplicate',
  'subscribe',
  'disconnect',
  'on',
  'removeListener',
];

function checkedRetention(value: unknown): number {
  if (value === undefined) return MONTH_MS;
  // May be longer than a timer can be.
  if (typeof value === 'number' && value > 2_147_483_647) return value;
  return checkedMs('retentionMs', value, 0, MONTH_MS);
}

interface Settings {
  readonly prefix: string;
  readonly retentionMs: number;
  readonly publish: boolean;
}

interface Beaten extends Changed {
  readonly known: boolean;
  readonly more: boolean;
  readonly dead: string[];
  readonly sweep: [first: number, count: number];
  readonly lost: number;
}

class RedisStore implements PresenceStore {
  private readonly layout: Layout;
  private hearings: Hearing[];
  private readonly nodes = new Map<string, Incarnation[]>();
  /** Each with the versions that had been seen when it subscribed. */
  private readonly feeds = new Map<StoreFeed, readonly number[]>();
  private readonly reaping = new Set<string>();
  private readonly losses: Losses[];
  private readonly queries: Queries;
  private link: Link;
  private mirrors: Mirrors | undefined;
  private subscriber: Subscriber | undefined;
  private isClosed = false;

  constructor(
    private client: RedisLike,
    private readonly settings: Settings,
    /** Makes the next client of a store that connects by itself. */
    private readonly reconnect: (() => RedisLike) | undefined,
  ) {
    const { db = 0 } = (client.options ?? {}) as { db?: number };
    this.layout = new Layout(settings.prefix, client.isCluster === true, client.isCluster === true ? 0 : db);
    this.link = new Link(client, () => this.reason());
    this.mirrors = this.layout.isCluster ? new Mirrors(client, this.link, this.layout) : undefined;
    this.hearings = this.layout.partitions.map((partition) => this.hearingOf(partition, 0));
    this.losses = this.layout.partitions.map(() => new Losses());
    this.queries = new Queries({
      layout: this.layout,
      losses: this.losses,
      ask: this.ask,
      valuesOf: (keys) => this.link.send('', () => this.client.mget(...keys)),
      mirrors: () => this.mirrors,
      settle: async (partition, keys, args) => {
        await this.change(scripts.settle, partition, keys, args);
      },
    });
  }

  async beat(node: StoreNode): Promise<{ known: boolean }> {
    this.open();
    const answers = await Promise.all(
      this.layout.partitions.map((partition) => this.beatOne(partition, node, this.incarnation(node, partition))),
    );
    return { known: answers.every((known) => known) };
  }

  async apply(node: StoreNode, ops: readonly PresenceOp[]): Promise<{ known: boolean }> {
    const groups = this.grouped(ops);
    const answers = await Promise.all(
      Array.from(groups, ([partition, group]) =>
        this.applyOne(this.layout.partitions[partition] as Partition, node, group),
      ),
    );
    for (const op of ops) {
      if (op.kind === 'drop' && op.graceMs > 0) for (const feed of this.feeds.keys()) feed.onDue(op.graceMs);
    }
    return { known: answers.every((known) => known) };
  }

  async refresh(node: StoreNode, signs: readonly SignOfLife[]): Promise<{ known: boolean; missing: string[] }> {
    const groups = this.partitioned(signs);
    const answers = await Promise.all(
      Array.from(groups, ([partition, group]) =>
        this.refreshOne(this.layout.partitions[partition] as Partition, node, group),
      ),
    );
    const missing: string[] = [];
    for (const answer of answers) if (answer !== undefined) missing.push(...answer);
    const known = answers.every((answer) => answer !== undefined);
    return { known, missing: known ? missing : [] };
  }

  async release(node: StoreNode): Promise<void> {
    const incarnations = this.nodes.get(node.nodeId);
    if (incarnations === undefined) return;
    await Promise.all(
      this.layout.partitions.map(async (partition) => {
        const { tag } = incarnations[partition.index] as Incarnation;
        if (tag === '') return;
        const released = await this.ask(partition, scripts.release, partition.keys.slice(0, 1), [tag]);
        if (released === '1') await this.reap(partition, tag);
      }),
    );
    this.nodes.delete(node.nodeId);
  }

  async read(userIds: readonly string[]): Promise<StoredStatuses> {
    this.open();
    return this.queries.read(userIds);
  }

  async list(page: { cursor: string | null; limit: number }): Promise<StoredPage> {
    const from = cursorOf(page.cursor, this.layout);
    this.open();
    return this.queries.list(from, page.limit);
  }

  async count(): Promise<number> {
    this.open();
    return this.queries.count();
  }

  subscribe(feed: StoreFeed): () => void {
    this.open();
    this.feeds.set(
      feed,
      this.hearings.map((hearing) => hearing.highestVersion),
    );
    this.subscriber = this.subscriber ?? this.startSubscriber();
    return () => {
      if (this.feeds.delete(feed) && this.feeds.size === 0) this.close();
    };
  }

  private async beatOne(partition: Partition, node: StoreNode, incarnation: Incarnation): Promise<boolean> {
    if (incarnation.isBeating) throw new Error('the beat before has no answer yet');
    incarnation.isBeating = true;
    try {
      // Sooner than the core gives up, so that it learns the reason.
      await this.link.connected(node.leaseMs / 4);
      let known = true;
      for (;;) {
        const answer = await this.beatNow(partition, node, incarnation);
        known = known && answer.known;
        // More graces have ended than one call takes on.
        if (!answer.more) return known;
      }
    } finally {
      incarnation.isBeating = false;
    }
  }

  private async beatNow(partition: Partition, node: StoreNode, incarnation: Incarnation): Promise<Beaten> {
    const answer = await this.change<Beaten>(
      scripts.beat,
      partition,
      [],
      [
        incarnation.tag,
        incarnation.following,
        String(Math.ceil(node.leaseMs)),
        String(incarnation.acknowledged),
        String(partition.buckets),
        String(BEAT_GRACES),
      ],
    );
    if (!answer.known) incarnation.becomeFollowing();
    const losses = this.losses[partition.index] as Losses;
    // Told once, and perhaps to a deaf one.
    if (losses.isNews(answer.lost)) this.lose(partition, [], answer.lost);
    // Whoever was not asserted meanwhile is found by whoever believes that they are online.
    if (losses.isOver(node)) for (const feed of this.feeds.keys()) feed.onGap();
    for (const tag of answer.dead) this.inBackground('reap', this.reap(partition, tag));
    if (answer.sweep[1] > 0) this.inBackground('sweep', this.sweep(partition, node, answer.sweep));
    return answer;
  }

  private async applyOne(
    partition: Partition,
    node: StoreNode,
    group: ReadonlyArray<Placed<PresenceOp>>,
  ): Promise<boolean> {
    const incarnation = this.incarnation(node, partition);
    if (incarnation.tag === '') return false;
    if (incarnation.isApplying) throw new Error('the apply before has no answer yet');
    incarnation.isApplying = true;
    try {
      const until = Date.now() + node.leaseMs / 3;
      for (let from = 0; from < group.length; from += APPLY_OPS) {
        // The core has given this call up, and will tell what is true by then.
        if (Date.now() > until) throw new Error('Redis was too slow');
        if (!(await this.applyPiece(partition, node, incarnation, group.slice(from, from + APPLY_OPS)))) return false;
      }
      return true;
    } finally {
      incarnation.isApplying = false;
    }
  }

  private async applyPiece(
    partition: Partition,
    node: StoreNode,
    incarnation: Incarnation,
    group: ReadonlyArray<Placed<PresenceOp>>,
  ): Promise<boolean> {
    const { tag } = incarnation;
    incarnation.sent += 1;
    const number = incarnation.sent;
    const keys = group.map(({ bucket }) => partition.bucketKey(bucket));
    if (!this.layout.isCluster) for (const { said } of group) keys.push(this.layout.userKey(said.userId));
    const args = [tag, `${number}/${incarnation.acknowledged}`, String(Math.ceil(node.ttlMs)), String(group.length)];
    for (const { said } of group) args.push(String(Math.round(said.ageMs)), kindOf(said));
    if (this.layout.isCluster) for (const { said } of group) args.push(said.userId);
    const answer = await this.change<Changed & { known: boolean }>(
      scripts.apply,
      partition,
      keys,
      args,
      joinedOf(group),
      node.ttlMs,
    );
    if (answer.known && incarnation.tag === tag) incarnation.acknowledged = number;
    return answer.known;
  }

  private async refreshOne(
    partition: Partition,
    node: StoreNode,
    group: readonly SignOfLife[],
  ): Promise<string[] | undefined> {
    const incarnation = this.incarnation(node, partition);
    if (incarnation.tag === '') return undefined;
    if (incarnation.isRefreshing) throw new Error('the refresh before has no answer yet');
    incarnation.isRefreshing = true;
    try {
      const [lease] = partition.keys as [string];
      if (this.mirrors !== undefined) {
        const answer = await this.ask(partition, scripts.leased, [lease], [incarnation.tag]);
        if (answer === '?') return undefined;
        const seen = group.map(({ userId, ageMs }) => [userId, Number(answer) - Math.round(ageMs)] as const);
        return await this.mirrors.move(seen, node.ttlMs);
      }
      const keys = [lease];
      const args = [incarnation.tag, String(Math.ceil(node.ttlMs))];
      for (const { userId, ageMs } of group) {
        keys.push(this.layout.userKey(userId));
        args.push(String(Math.round(ageMs)));
      }
      const answer = await this.ask(partition, scripts.refresh, keys, args);
      if (answer === '?') return undefined;
      if (answer === '') return [];
      return answer.split(',').map((place) => (group[Number(place)] as SignOfLife).userId);
    } finally {
      incarnation.isRefreshing = false;
    }
  }

  private async reap(partition: Partition, tag: string): Promise<void> {
    const job = `${partition.index} ${tag}`;
    if (this.reaping.has(job)) return;
    this.reaping.add(job);
    try {
      await this.walk(scripts.reap, partition, 0, partition.buckets, (first, isLast) => [
        tag,
        String(first),
        isLast ? '1' : '0',
        String(WALK_USERS),
      ]);
    } finally {
      this.reaping.delete(job);
    }
  }

  private async sweep(partition: Partition, node: StoreNode, [first, count]: [number, number]): Promise<void> {
    const args = (at: number) => [
      String(at),
      String(this.settings.retentionMs),
      String(Math.ceil(node.leaseMs)),
      String(WALK_USERS),
    ];
    const end = Math.min(partition.buckets, first + count);
    await this.walk(scripts.sweep, partition, first, end, args);
    // Round the end.
    await this.walk(scripts.sweep, partition, 0, first + count - end, args);
  }

  /** Calls a script until it has been through the buckets from `from` up to `end`. */
  private async walk(
    script: Script,
    partition: Partition,
    from: number,
    end: number,
    argsOf: (first: number, isLast: boolean) => string[],
  ): Promise<void> {
    for (let first = from; first < end && !this.isClosed; ) {
      const size = Math.min(WALK_BUCKETS, end - first);
      const keys = partition.slice(first, size);
      const args = argsOf(first, first + size === end);
      const { done } = await this.change<Changed & { done: number }>(script, partition, keys, args);
      if (done < 0) return;
      first += done;
    }
  }

  /** Runs a script that may change somebody's status, and does on a Cluster what such a script cannot. */
  private async change<T extends Changed & { known?: boolean }>(
    script: Script,
    partition: Partition,
    keys: readonly string[],
    args: readonly string[],
    joined: ReadonlyArray<readonly [userId: string, ageMs: number]> = [],
    ttlMs = 0,
  ): Promise<T> {
    const { layout, settings, mirrors } = this;
    const hearing = this.hearings[partition.index] as Hearing;
    const answer: T = JSON.parse(
      await this.ask(partition, script, partition.keys.concat(keys), [
        layout.isCluster ? '' : layout.userPrefix,
        settings.publish ? layout.prefix : '',
        partition.channel,
        layout.isCluster ? '1' : '0',
        String(Math.ceil(LOG_CHANGES / layout.partitions.length)),
        partition.bucketPrefix,
        String(hearing.highestVersion),
        ...args,
      ]),
    );
    if (mirrors !== undefined) {
      const { now, off, known = true } = answer;
      if (known && joined.length > 0) {
        await mirrors.set(
          joined.map(([userId, ageMs]) => [userId, now - Math.round(ageMs)] as const),
          ttlMs,
        );
      }
      if (off.length > 0) await this.deleteMirrors(mirrors, partition, off, now);
    }
    hearing.learn(answer.e, answer.seq);
    return answer;
  }

  private async deleteMirrors(mirrors: Mirrors, partition: Partition, off: Changed['off'], now: number): Promise<void> {
    const seen = await mirrors.delete(
      off.map(([userId]) => userId),
      now,
    );
    const keys: string[] = [];
    const args: string[] = [];
    for (const [index, [userId, known]] of off.entries()) {
      const at = seen[index];
      if (at === undefined || at <= known || at > now) continue;
      keys.push(partition.bucketKey(this.layout.place(userId).bucket));
      args.push(userId, String(at));
    }
    if (keys.length > 0) await this.ask(partition, scripts.seen, keys, args);
  }

  private readonly ask: Ask = (partition, script, keys, args) => {
    // What is under way when the last presence is closed opens nothing again.
    if (this.isClosed) return Promise.reject(new Error('the store is closed'));
    return this.link.run(partition.channel, script, keys, args);
  };

  private incarnation(node: StoreNode, partition: Partition): Incarnation {
    let incarnations = this.nodes.get(node.nodeId);
    if (incarnations === undefined) {
      incarnations = this.layout.partitions.map(() => new Incarnation(node));
      this.nodes.set(node.nodeId, incarnations);
    }
    return incarnations[partition.index] as Incarnation;
  }

  /** Signs of life touch no bucket. */
  private partitioned(signs: readonly SignOfLife[]): Map<number, readonly SignOfLife[]> {
    if (!this.layout.isCluster) return new Map([[0, signs]]);
    const groups = new Map<number, SignOfLife[]>();
    for (const sign of signs) gather(groups, this.layout.place(sign.userId).partition, sign);
    return groups;
  }

  private grouped<T extends SignOfLife>(all: readonly T[]): Map<number, Array<Placed<T>>> {
    const groups = new Map<number, Array<Placed<T>>>();
    for (const said of all) {
      const { partition, bucket } = this.layout.place(said.userId);
      gather(groups, partition, { said, bucket });
    }
    return groups;
  }

  private hearingOf(partition: Partition, highest: number): Hearing {
    const log = partition.keys[5] as string;
    return new Hearing(
      {
        readLog: async (from, most) => {
          const entries = await this.link.send(partition.channel, () =>
            this.client.xrange(log, `${from}-0`, '+', 'COUNT', most),
          );
          return entries.map(([, fields]) => fields[1] as string);
        },
        tell: (batch) => this.tell(partition, batch),
        onGap: () => {
          for (const feed of this.feeds.keys()) feed.onGap();
        },
        onDeaf: () => this.subscriber?.listen(partition),
      },
      highest,
    );
  }

  private startSubscriber(): Subscriber {
    return new Subscriber({
      client: this.client,
      layout: this.layout,
      onMessage: (partition, text) => this.onMessage(partition, text),
      onListening: (isFirst) => {
        // What changed before the ear was open nobody told; what did while it was closed stands in the log.
        if (isFirst) for (const feed of this.feeds.keys()) feed.onGap();
        this.inBackground('subscribe', this.resume());
      },
      onError: (error) => this.report('subscribe', error),
    });
  }

  private async resume(): Promise<void> {
    await Promise.all(
      this.layout.partitions.map(async (partition) => {
        const [epoch, version] = await this.link.send(partition.channel, () =>
          this.client.hmget(partition.keys[2] as string, 'epoch', 'seq'),
        );
        const hearing = this.hearings[partition.index] as Hearing;
        if (typeof epoch === 'string') hearing.learn(epoch, Number(version));
        hearing.verify();
      }),
    );
  }

  private onMessage(partition: Partition, text: string): void {
    const message = parseMessage(text);
    if (message === undefined) return;
    if ('first' in message) {
      (this.hearings[partition.index] as Hearing).hear(message);
      return;
    }
    const isGap = (this.losses[partition.index] as Losses).isGap(message.times);
    this.lose(partition, isGap ? [] : message.buckets, message.times);
  }

  /** Users were lost in some buckets; in no named ones: perhaps in all. */
  private lose(partition: Partition, buckets: readonly number[], times: number): void {
    (this.losses[partition.index] as Losses).hear(buckets, times);
    const lost = new Set(buckets);
    const isLostUser = (userId: string): boolean => {
      const place = this.layout.place(userId);
      return place.partition === partition.index && (lost.size === 0 || lost.has(place.bucket));
    };
    for (const feed of this.feeds.keys()) feed.onLost(isLostUser);
  }

  private tell(partition: Partition, batch: Batch): void {
    for (const [feed, since] of this.feeds) {
      for (const { update, lastSeen } of batch.changes) {
        if (update.version > (since[partition.index] as number)) feed.onTransition(update, lastSeen);
      }
    }
  }

  private inBackground(stage: string, work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (!this.isClosed) this.report(stage, error);
    });
  }

  private report(stage: string, error: unknown): void {
    for (const feed of this.feeds.keys()) feed.onError(stage, error);
  }

  /** The connection for messages has the same address and password: its reason is theirs. */
  private reason(): string | undefined {
    return reasonOf(this.client) ?? this.subscriber?.reason;
  }

  private open(): void {
    if (!this.isClosed) return;
    this.isClosed = false;
    if (this.reconnect !== undefined) this.client = this.reconnect();
    this.link = new Link(this.client, () => this.reason());
    if (this.layout.isCluster) this.mirrors = new Mirrors(this.client, this.link, this.layout);
  }

  private close(): void {
    this.isClosed = true;
    this.subscriber?.close();
    this.subscriber = undefined;
    this.link.close();
    // What changes from now on is no news to whoever subscribes later.
    for (const hearing of this.hearings) hearing.close();
    this.hearings = this.layout.partitions.map((partition, index) =>
      this.hearingOf(partition, (this.hearings[index] as Hearing).highestVersion),
    );
    if (this.reconnect !== undefined) this.client.disconnect();
  }
}

/** What is said of a user, and where that user is kept. */
interface Placed<T> {
  readonly said: T;
  readonly bucket: number;
}

function kindOf(op: PresenceOp): string {
  if (op.kind === 'join') return op.reassert ? 'r' : 'j';
  if (op.kind === 'drop') return String(Math.ceil(op.graceMs));
  return op.reason === 'disconnect' ? 'l' : 't';
}

/** Who is there after the operations, and since when unheard. */
function joinedOf(group: ReadonlyArray<Placed<PresenceOp>>): Array<readonly [string, number]> {
  const joined = new Map<string, number>();
  for (const { said } of group) if (said.kind === 'join') joined.set(said.userId, said.ageMs);
  return Array.from(joined);
}
