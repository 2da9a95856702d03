import calculateSlot from 'cluster-key-slot';
import { type Clock, randomOf } from '../../../public/clock';
import type { RedisLike, ShardedClient } from './client';
import { isReady } from './command-gate';
import { connectForMessages, reasonOf } from './connect';

/** How often a subscription is repeated as a probe, since a connection may be dead without an event. */
const PROBE_MS = 10_000;
/** Half of the time in which the server has to answer. It runs twice, so that a process which stood still can read the answer. */
const ANSWER_MS = 1_500;
/** How often that time is doubled while new connections give no answer either. */
const MAX_DOUBLED = 3;
/** The wait after a refusal. */
const RETRY_MS = 5_000;
/** A connection that is not ready after this time is replaced, if that of the client works. */
const AWAY_MS = 10_000;

/** @internal */
export interface SubscriberOptions {
  readonly clock: Clock;
  /** The client of the store. Messages need a duplicate of it, since a connection that subscribes cannot send commands. */
  readonly client: RedisLike;
  readonly channels: readonly string[];
  onMessage(channel: string, text: string): void;
  /** All channels are subscribed, for the first time or again after the connection was lost. */
  onListening(isFirst: boolean): void;
  onError(error: unknown): void;
}

/**
 * Subscribes to channels on the server of a client, over a connection of its own. It replaces that connection where it is dead and
 * the client's is not.
 * @internal
 */
export class Subscriber {
  private connection: RedisLike;
  private state: 'away' | 'asking' | 'refused' | 'listening' | 'probing' | 'closed' = 'away';
  private wasListening = false;
  /** Counts the requests, so that a late answer is recognized. */
  private asked = 0;
  /** The number of connections that gave no answer since the last one that worked. */
  private silences = 0;
  private timer: unknown;
  /** When the channels were lost, and the answer of the server, if there was one. */
  private down: { readonly since: number; error?: unknown } | undefined;
  private isPlain: boolean;
  /** Channels to which the Cluster has subscribed. A second `ssubscribe` through the Cluster would add another entry for one. */
  private readonly remembered = new Set<string>();

  constructor(private readonly options: SubscriberOptions) {
    this.isPlain = options.client.isCluster !== true;
    this.down = { since: options.clock.now() };
    this.connection = this.connect();
  }

  get reason(): string | undefined {
    return reasonOf(this.connection);
  }

  /** When the channels were lost, and the answer of the server, if there was one; undefined while it is subscribed. */
  get disconnection(): { readonly since: number; readonly error?: unknown } | undefined {
    return this.down;
  }

  /** Checks the connection at once: a message is missing. */
  verify(): void {
    if (this.state === 'listening') this.ask();
  }

  /** Replaces the connection: its host name may lead to another server by now. */
  replace(): void {
    if (this.state === 'closed') return;
    this.connection.disconnect();
    try {
      this.connection = this.connect();
    } catch (error) {
      // The client is the caller's, so its `duplicate` may throw.
      this.beAway();
      this.options.onError(error);
    }
  }

  close(): void {
    this.state = 'closed';
    this.asked += 1;
    this.options.clock.clearTimeout(this.timer);
    this.connection.disconnect();
  }

  private connect(): RedisLike {
    const { client, onMessage } = this.options;
    const connection = connectForMessages(client);
    const isCurrent = (): boolean => this.state !== 'closed' && connection === this.connection;
    const hear = (channel: string, text: string): void => {
      if (isCurrent()) onMessage(channel, text);
    };
    connection.on('message', hear);
    connection.on('smessage', hear);
    connection.on('ready', () => {
      if (isCurrent()) this.ask();
    });
    connection.on('close', () => {
      if (isCurrent()) this.beAway();
    });
    this.remembered.clear();
    this.beAway();
    if (isReady(connection)) this.ask(connection);
    return connection;
  }

  private beAway(): void {
    this.state = 'away';
    this.markDisconnected();
    this.asked += 1;
    this.after(AWAY_MS, () => {
      // Where the client is not connected either, ioredis connects both again.
      if (isReady(this.options.client)) this.replace();
      else this.beAway();
    });
  }

  private ask(connection = this.connection): void {
    this.state = this.state === 'listening' ? 'probing' : 'asking';
    this.asked += 1;
    const { asked } = this;
    const halfMs = ANSWER_MS * 2 ** Math.min(this.silences, MAX_DOUBLED);
    this.after(halfMs, () => this.after(halfMs, () => this.giveUp()));
    Promise.all(this.options.channels.map((channel) => this.subscribe(connection, channel))).then(
      () => {
        if (asked === this.asked) this.listen();
      },
      (error: unknown) => {
        if (asked !== this.asked) return;
        this.state = 'refused';
        this.markDisconnected(error);
        this.after(RETRY_MS, () => this.ask());
        this.options.onError(error);
      },
    );
  }

  private giveUp(): void {
    this.silences += 1;
    this.options.onError(new Error('the connection for messages gives no answer, and is replaced'));
    this.replace();
  }

  private listen(): void {
    const isNews = this.state === 'asking';
    const isFirst = !this.wasListening;
    this.state = 'listening';
    this.down = undefined;
    this.wasListening = true;
    this.silences = 0;
    this.after(PROBE_MS, () => this.ask());
    if (isNews) this.options.onListening(isFirst);
  }

  private markDisconnected(error?: unknown): void {
    const { since = this.options.clock.now() } = this.down ?? {};
    this.down = error === undefined ? { ...this.down, since } : { since, error };
  }

  private after(ms: number, run: () => void): void {
    const { clock } = this.options;
    clock.clearTimeout(this.timer);
    // Random, so that the routers of a fleet do not act at the same moment.
    this.timer = clock.setTimeout(run, Math.round(ms * (1 + randomOf(clock)() / 4)));
  }

  private async subscribe(connection: RedisLike, channel: string): Promise<void> {
    if (!this.isPlain) {
      try {
        await this.subscribeSharded(connection as RedisLike & ShardedClient, channel);
        return;
      } catch (error) {
        // Before Redis 7.0 there is no sharded pub/sub, and the scripts use PUBLISH.
        if (!/unknown command/i.test((error as Error).message)) throw error;
        this.isPlain = true;
      }
    }
    await connection.subscribe(channel);
  }

  private async subscribeSharded(cluster: ShardedClient, channel: string): Promise<void> {
    const { shardedSubscribers } = cluster;
    if (shardedSubscribers === undefined || !this.remembered.has(channel)) {
      this.remembered.add(channel);
      await cluster.ssubscribe(channel);
      return;
    }
    const master = shardedSubscribers.getResponsibleSubscriber(calculateSlot(channel))?.getInstance();
    if (master == null) throw new Error(`no connection for messages to the master of ${channel}`);
    await master.ssubscribe(channel);
  }
}
