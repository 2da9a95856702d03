import type { Clock } from '../../public/clock';
import type { LogOptions } from '../log-options';
import type {
  ChangeLog,
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
import { ChangeStream } from './changes/change-stream';
import { LogReader } from './changes/log-reader';
import { Deliveries } from './commands/deliveries';
import { cursorOf } from './commands/listing';
import { Maintenance } from './commands/maintenance';
import { Mutations } from './commands/mutations';
import { Queries } from './commands/queries';
import { ScriptRunner } from './commands/script-runner';
import { addressOf, type RedisLike } from './connection/client';
import { lackingChannel, trappedClient } from './connection/standing-problems';
import { Incarnations } from './incarnation';
import { Keyspace } from './keyspace';

/** @internal */
export interface RedisStoreSettings {
  readonly prefix: string;
  readonly retentionMs: number;
  readonly publish: boolean;
  readonly clock: Clock;
  readonly log: LogOptions;
}

const ignore: OnAnswer = () => undefined;

/** The store on Redis: wires its parts, each of which has some of the functions of `PresenceStore`. @internal */
export class RedisStore implements PresenceStore {
  private readonly keyspace: Keyspace;
  private readonly runner: ScriptRunner;
  private readonly changeStream: ChangeStream;
  private readonly mutations: Mutations;
  private readonly maintenance: Maintenance;
  private readonly queries: Queries;
  readonly log: ChangeLog;
  /** The longest TTL of the routers that beat through this store. */
  private ttlMs = Number.POSITIVE_INFINITY;

  constructor(
    client: RedisLike,
    { prefix, publish, retentionMs, clock, log }: RedisStoreSettings,
    /** Creates the next client of a store that opens its own connections. */
    reconnect: (() => RedisLike) | undefined,
  ) {
    const { db = 0 } = (client.options ?? {}) as { db?: number };
    const keyspace = new Keyspace(prefix, client.isCluster === true, client.isCluster === true ? 0 : db);
    const runner = new ScriptRunner(client, {
      clock,
      keyspace,
      publish,
      logChanges: log.logChanges,
      reconnect,
      receiverOf: (partition) => this.changeStream.receiverOf(partition),
      reason: () => this.changeStream.reason,
      onReady: () => this.changeStream.problems.clear('apply'),
      // The connection for messages is to the wrong server, too.
      onReconnect: () => this.changeStream.listenElsewhere(),
      onTrapped: (answer) => this.changeStream.problems.set('apply', trappedClient(answer)),
      onJunk: (keys) => this.changeStream.problems.junk(keys),
      onLacking: (channel) =>
        this.changeStream.problems.set(
          'publish',
          lackingChannel('publish on', channel, 'its subscribers receive nothing'),
        ),
    });
    const incarnations = new Incarnations(keyspace.partitions.length);
    this.keyspace = keyspace;
    this.runner = runner;
    this.changeStream = new ChangeStream(keyspace, runner, clock);
    this.mutations = new Mutations(keyspace, runner, incarnations, clock, (inMs) => this.changeStream.tellDue(inMs));
    this.maintenance = new Maintenance(
      keyspace,
      runner,
      incarnations,
      this.changeStream,
      { ...log, retentionMs },
      clock,
    );
    this.log = this.openLog(incarnations);
    this.queries = new Queries({
      keyspace,
      losses: this.changeStream.losses,
      ask: runner.ask,
      receiverOf: (partition) => this.changeStream.receiverOf(partition),
      valuesOf: (keys, onStep) => runner.send('', (client) => client.mget(...keys), onStep),
      presenceKeys: () => runner.presenceKeys,
      settle: (partition, users) =>
        this.maintenance.sweeper.settleStrays(
          partition,
          users.map(({ userId, lastSeen }) => [partition.bucketOf(userId), userId, lastSeen ?? undefined]),
        ),
      repair: (partition, bucket) => this.maintenance.sweeper.repair(partition, bucket),
      clear: (partition, strays) => this.maintenance.sweeper.clear(partition, strays),
      ttlMs: () => this.ttlMs,
      onOther: () => this.changeStream.tellDue(0),
    });
  }

  async beat(node: StoreNode, onAnswer: OnAnswer = ignore): Promise<{ known: boolean; now: number }> {
    this.runner.open();
    this.ttlMs = Number.isFinite(this.ttlMs) ? Math.max(this.ttlMs, node.ttlMs) : node.ttlMs;
    const answer = await this.maintenance.beat(node, onAnswer);
    this.changeStream.watchSubscriber(node);
    return answer;
  }

  async apply(node: StoreNode, ops: readonly PresenceOp[], onAnswer: OnAnswer = ignore): Promise<{ known: boolean }> {
    const answer = await this.mutations.apply(node, ops, onAnswer);
    for (const op of ops) if (op.kind === 'drop' && op.graceMs > 0) this.changeStream.tellDue(op.graceMs);
    return answer;
  }

  refresh(
    node: StoreNode,
    signs: readonly SignOfLife[],
    onAnswer: OnAnswer = ignore,
  ): Promise<{ known: boolean; missing: string[] }> {
    return this.mutations.refresh(node, signs, onAnswer);
  }

  release(node: StoreNode): Promise<void> {
    return this.maintenance.release(node);
  }

  registered(node: StoreNode): Promise<void> {
    return this.maintenance.registered(node);
  }

  async read(
    userIds: readonly string[],
    onAnswer: OnAnswer = ignore,
    isBelieved?: (userId: string) => boolean,
  ): Promise<StoredStatuses> {
    this.runner.open();
    return this.queries.read(userIds, onAnswer, isBelieved);
  }

  async list(page: { cursor: string | null; limit: number }, onAnswer: OnAnswer = ignore): Promise<StoredPage> {
    const from = cursorOf(page.cursor, this.keyspace);
    this.runner.open();
    return this.queries.list(from, page.limit, onAnswer);
  }

  async count(onAnswer: OnAnswer = ignore): Promise<number | undefined> {
    this.runner.open();
    return this.queries.count(onAnswer);
  }

  private openLog(incarnations: Incarnations): ChangeLog {
    const { keyspace, runner } = this;
    const reader = new LogReader(keyspace, runner);
    const deliveries = new Deliveries(keyspace, runner, incarnations, reader);
    const told = () => keyspace.partitions.map((partition) => this.changeStream.receiverOf(partition).told);
    return {
      toldTo: () => LogReader.toldTo(told()),
      hasTold: (cursor) => LogReader.hasTold(told(), cursor),
      head: (onAnswer = ignore) => reader.head(onAnswer),
      oldest: (onAnswer = ignore) => reader.oldest(onAnswer),
      read: (page, onAnswer = ignore) => reader.read(page, onAnswer),
      claim: (node, name, from, isResumed, onAnswer = ignore) =>
        deliveries.claim(node, name, from, isResumed, onAnswer),
      advance: (name, token, step, onAnswer = ignore) => deliveries.advance(name, token, step, onAnswer),
      deliveries: (onAnswer = ignore) => deliveries.list(onAnswer),
    };
  }

  subscribe(feed: StoreFeed): () => void {
    this.runner.open();
    this.changeStream.add(feed);
    return () => {
      if (!this.changeStream.remove(feed)) return;
      this.runner.close();
      this.changeStream.close();
    };
  }

  caughtUp(): Promise<void> {
    return this.changeStream.caughtUp();
  }

  problems(): StoreProblem[] {
    return this.changeStream.problems.list;
  }

  describe(): string {
    return `redis ${addressOf(this.runner.client)}, prefix ${this.keyspace.prefix}`;
  }
}
