import type { Clock } from '../../public/clock';
import type {
  OnAnswer,
  PresenceOp,
  PresenceStore,
  SignOfLife,
  StoredPage,
  StoredStatuses,
  StoreFeed,
  StoreNode,
  StoreProblem,
} from '../port';
import { addressOf, type RedisLike } from './connection/client';
import { lackingChannel, trappedClient } from './connection/standing-problems';
import { Incarnations } from './incarnation';
import { Keyspace } from './keyspace';
import { cursorOf } from './commands/listing';
import { ChangeStream } from './changes/change-stream';
import { Queries } from './commands/queries';
import { ScriptRunner } from './commands/script-runner';
import { Maintenance } from './commands/maintenance';
import { Mutations } from './commands/mutations';

/** @internal */
export interface RedisStoreSettings {
  readonly prefix: string;
  readonly retentionMs: number;
  readonly publish: boolean;
  readonly clock: Clock;
}

const ignore: OnAnswer = () => undefined;

/** Wires the parts; each of the port's functions is in one of them. @internal */
export class RedisStore implements PresenceStore {
  private readonly layout: Keyspace;
  private readonly runner: ScriptRunner;
  private readonly news: ChangeStream;
  private readonly writes: Mutations;
  private readonly upkeep: Maintenance;
  private readonly queries: Queries;
  /** The longest of the routers that beat through this store. */
  private ttlMs = Number.POSITIVE_INFINITY;

  constructor(
    client: RedisLike,
    { prefix, publish, retentionMs, clock }: RedisStoreSettings,
    /** Makes the next client of a store that connects by itself. */
    reconnect: (() => RedisLike) | undefined,
  ) {
    const { db = 0 } = (client.options ?? {}) as { db?: number };
    const layout = new Keyspace(prefix, client.isCluster === true, client.isCluster === true ? 0 : db);
    const runner = new ScriptRunner(client, {
      clock,
      layout,
      publish,
      reconnect,
      receiverOf: (partition) => this.news.receiverOf(partition),
      reason: () => this.news.reason,
      onReady: () => this.news.problems.clear('apply'),
      // Messages come from the wrong server, too.
      onReconnect: () => this.news.listenElsewhere(),
      onTrapped: (answer) => this.news.problems.set('apply', trappedClient(answer)),
      onJunk: (keys) => this.news.problems.junk(keys),
      onLacking: (channel) =>
        this.news.problems.set('publish', lackingChannel('publish on', channel, 'whoever listens there hears nothing')),
    });
    const incarnations = new Incarnations(layout.partitions.length);
    this.layout = layout;
    this.runner = runner;
    this.news = new ChangeStream(layout, runner, clock);
    this.writes = new Mutations(layout, runner, incarnations, clock, (inMs) => this.news.tellDue(inMs));
    this.upkeep = new Maintenance(layout, runner, incarnations, this.news, retentionMs, clock);
    this.queries = new Queries({
      layout,
      losses: this.news.losses,
      ask: runner.ask,
      receiverOf: (partition) => this.news.receiverOf(partition),
      valuesOf: (keys, onStep) => runner.send('', (client) => client.mget(...keys), onStep),
      mirrors: () => runner.mirrors,
      settle: (partition, users) =>
        this.upkeep.settleStrays(
          partition,
          users.map(({ userId, lastSeen }) => [partition.bucketOf(userId), userId, lastSeen ?? undefined]),
        ),
      repair: (partition, bucket) => this.upkeep.repair(partition, bucket),
      clear: (partition, strays) => this.upkeep.clear(partition, strays),
      ttlMs: () => this.ttlMs,
      onOther: () => this.news.tellDue(0),
    });
  }

  async beat(node: StoreNode, onAnswer: OnAnswer = ignore): Promise<{ known: boolean; now: number }> {
    this.runner.open();
    this.ttlMs = Number.isFinite(this.ttlMs) ? Math.max(this.ttlMs, node.ttlMs) : node.ttlMs;
    const answer = await this.upkeep.beat(node, onAnswer);
    this.news.watchSubscriber(node);
    return answer;
  }

  async apply(node: StoreNode, ops: readonly PresenceOp[], onAnswer: OnAnswer = ignore): Promise<{ known: boolean }> {
    const answer = await this.writes.apply(node, ops, onAnswer);
    for (const op of ops) if (op.kind === 'drop' && op.graceMs > 0) this.news.tellDue(op.graceMs);
    return answer;
  }

  refresh(
    node: StoreNode,
    signs: readonly SignOfLife[],
    onAnswer: OnAnswer = ignore,
  ): Promise<{ known: boolean; missing: string[] }> {
    return this.writes.refresh(node, signs, onAnswer);
  }

  release(node: StoreNode): Promise<void> {
    return this.upkeep.release(node);
  }

  registered(node: StoreNode): Promise<void> {
    return this.upkeep.registered(node);
  }

  async read(userIds: readonly string[], onAnswer: OnAnswer = ignore): Promise<StoredStatuses> {
    this.runner.open();
    return this.queries.read(userIds, onAnswer);
  }

  async list(page: { cursor: string | null; limit: number }, onAnswer: OnAnswer = ignore): Promise<StoredPage> {
    const from = cursorOf(page.cursor, this.layout);
    this.runner.open();
    return this.queries.list(from, page.limit, onAnswer);
  }

  async count(onAnswer: OnAnswer = ignore): Promise<number | undefined> {
    this.runner.open();
    return this.queries.count(onAnswer);
  }

  subscribe(feed: StoreFeed): () => void {
    this.runner.open();
    this.news.add(feed);
    return () => {
      if (!this.news.remove(feed)) return;
      this.runner.close();
      this.news.close();
    };
  }

  caughtUp(): Promise<void> {
    return this.news.caughtUp();
  }

  problems(): StoreProblem[] {
    return this.news.problems.list;
  }

  describe(): string {
    return `redis ${addressOf(this.runner.client)}, prefix ${this.layout.prefix}`;
  }
}
