import type { Clock } from '../../../public/clock';
import type { ChangeReceiver } from '../../change-receiver';
import type { OnAnswer } from '../../port';
import type { RedisLike } from '../connection/client';
import { CommandGate } from '../connection/command-gate';
import { reasonOf } from '../connection/connect';
import type { Keyspace, Partition } from '../keyspace';
import * as scripts from '../lua/scripts.generated';
import { PresenceKeys } from './presence-keys';
import { type Ask, askPlaced, type Changed, type Script, tap, tapped } from './script';

/** @internal */
export interface ScriptRunnerOptions {
  readonly clock: Clock;
  readonly keyspace: Keyspace;
  /** Whether changes are published on the public channels, such as `presence:updates`. */
  readonly publish: boolean;
  /** The number of changes in the logs of all partitions together. */
  readonly logChanges: number;
  /** Creates the next client of a store that opens its own connections. */
  readonly reconnect: (() => RedisLike) | undefined;
  /** The receiver of changes of a partition. */
  receiverOf(partition: Partition): ChangeReceiver;
  /** The last error of the connection for messages. */
  reason(): string | undefined;
  /** Commands can be sent. */
  onReady(): void;
  /** The client is connecting again. */
  onReconnect(): void;
  /** The client is connected to the wrong server, and would not connect again after a disconnection. */
  onTrapped(answer: string): void;
  /** A script has deleted foreign data in these keys. */
  onJunk(keys: readonly string[]): void;
  /** The Redis user may not publish on this channel. */
  onLacking(channel: string): void;
}

/** The work that accompanies a script that changes something. @internal */
export interface Change {
  /** On a Cluster: users who join, so that their presence keys are written, and whether the join is their last operation. */
  readonly joined?: ReadonlyArray<readonly [userId: string, ageMs: number, isThere: boolean]>;
  readonly ttlMs?: number;
  readonly onAnswer?: OnAnswer;
}

/** The client of a store, and the scripts that run through it. @internal */
export class ScriptRunner {
  client: RedisLike;
  /** On a Cluster only; scripts on a single server write the presence keys. */
  presenceKeys: PresenceKeys | undefined;
  isClosed = false;
  private gate: CommandGate;

  constructor(
    client: RedisLike,
    private readonly options: ScriptRunnerOptions,
  ) {
    this.client = client;
    this.gate = this.gateTo(client);
  }

  /** Runs a script that changes no status. */
  readonly ask: Ask = (partition, script, keys, args, onStep) => {
    // Work that is under way when the last presence is closed must not open the store again.
    if (this.isClosed) return Promise.reject(new Error('the store is closed'));
    return this.gate.run(partition.channel, script, keys, args, onStep);
  };

  /**
   * Runs a script that may change the status of users. On a Cluster, then writes their presence keys, which such a script cannot.
   *
   * @param build - returns the keys and arguments after those that all such scripts share
   */
  async change<T extends Changed & { known?: boolean }>(
    script: Script,
    partition: Partition,
    build: () => { readonly keys: readonly string[]; readonly args: readonly string[] },
    { joined = [], ttlMs = 0, onAnswer = () => undefined }: Change = {},
  ): Promise<T> {
    const { presenceKeys } = this;
    const { keyspace, publish, logChanges, receiverOf, onJunk, onLacking } = this.options;
    // The current receiver, since an answer that comes after the store was closed must not reach a later one.
    const receiver = receiverOf(partition);
    const ask = tapped(this.ask, onAnswer);
    const begin = (): Promise<void> => this.begin(ask, partition);
    const buildAll = () => {
      const { keys, args } = build();
      const shared = [
        keyspace.isCluster ? '' : keyspace.userPrefix,
        publish ? keyspace.prefix : '',
        partition.channel,
        keyspace.isCluster ? '1' : '0',
        String(Math.ceil(logChanges / keyspace.partitions.length)),
        partition.bucketPrefix,
        String(receiver.highestVersion),
        partition.seed,
        partition.knownEpoch,
        String(partition.buckets),
      ];
      return { keys: partition.keys.concat(keys), args: shared.concat(args) };
    };
    const answer: T = JSON.parse(await askPlaced(ask, partition, script, buildAll, begin));
    partition.learn(answer.e);
    if (answer.junk !== undefined) onJunk(answer.junk);
    if (answer.lacks !== undefined) onLacking(answer.lacks);
    if (presenceKeys !== undefined) {
      const { now, off, known = true } = answer;
      if (known && joined.length > 0) {
        const seen = joined.map(([userId, ageMs]) => [userId, now - Math.round(ageMs)] as const);
        await tap(presenceKeys.set(seen, ttlMs), onAnswer);
      }
      const there = new Set(joined.filter(([, , isThere]) => isThere).map(([userId]) => userId));
      const gone = off.filter(([userId]) => !there.has(userId));
      if (gone.length > 0) await this.deletePresenceKeys(presenceKeys, partition, gone, now, onAnswer);
    }
    receiver.learn(answer.e, answer.seq);
    return answer;
  }

  /** Begins new data where there are none, or where the key that describes them was lost. */
  private async begin(ask: Ask, partition: Partition): Promise<void> {
    const [, , meta, grace, count] = partition.keys as [string, string, string, string, string];
    const text = await askPlaced(ask, partition, scripts.begin, () => ({
      keys: [meta, grace, count, ...partition.slice(0, partition.buckets)],
      args: [partition.seed, partition.knownEpoch],
    }));
    const { e, seed, junk }: { e: string; seed: string; junk: string[] } = JSON.parse(text);
    partition.learn(e, seed);
    if (junk.length > 0) this.options.onJunk(junk);
  }

  /** On a Cluster: writes the last seen of users into their records, where it is later. */
  async writeSeen(
    partition: Partition,
    users: ReadonlyArray<readonly [userId: string, at: number]>,
    onAnswer: OnAnswer = () => undefined,
  ): Promise<void> {
    if (users.length === 0) return;
    await askPlaced(tapped(this.ask, onAnswer), partition, scripts.seen, () => {
      const keys = [partition.meta];
      const args = [partition.seed, partition.knownEpoch];
      for (const [userId, at] of users) {
        keys.push(partition.bucketKey(partition.bucketOf(userId)));
        args.push(userId, String(at));
      }
      return { keys, args };
    });
  }

  /** Waits until commands can be sent, then calls `run`, which sends one. */
  send<T>(lane: string, run: (client: RedisLike) => Promise<T>, onStep?: OnAnswer): Promise<T> {
    return this.gate.send(lane, () => run(this.client), onStep);
  }

  /** Resolves once commands can be sent; rejects after `ms`, unless a connection is being opened, which calls `onStep`. */
  connected(ms: number, onStep: OnAnswer): Promise<void> {
    return this.gate.connected(ms, onStep);
  }

  open(): void {
    if (!this.isClosed) return;
    this.isClosed = false;
    const { reconnect } = this.options;
    if (reconnect !== undefined) this.client = reconnect();
    this.gate = this.gateTo(this.client);
  }

  close(): void {
    this.isClosed = true;
    this.gate.close();
    if (this.options.reconnect !== undefined) this.client.disconnect();
  }

  private gateTo(client: RedisLike): CommandGate {
    const { clock, keyspace, reason, onReady, onReconnect, onTrapped, reconnect } = this.options;
    const events = { isOwn: reconnect !== undefined, onReady, onReconnect, onTrapped };
    // The connection for messages has the same address and password, so its last error explains this one, too.
    const link = new CommandGate(client, () => reasonOf(client) ?? reason(), clock, events);
    this.presenceKeys = keyspace.isCluster ? new PresenceKeys(client, link, keyspace) : undefined;
    return link;
  }

  private async deletePresenceKeys(
    presenceKeys: PresenceKeys,
    partition: Partition,
    off: Changed['off'],
    now: number,
    onAnswer: OnAnswer,
  ): Promise<void> {
    const ids = off.map(([userId]) => userId);
    const seen = await tap(presenceKeys.delete(ids, now), onAnswer);
    const later: Array<readonly [userId: string, at: number]> = [];
    for (const [index, [userId, known]] of off.entries()) {
      const at = seen[index];
      if (at !== undefined && at > known && at <= now) later.push([userId, at]);
    }
    await this.writeSeen(partition, later, onAnswer);
  }
}
