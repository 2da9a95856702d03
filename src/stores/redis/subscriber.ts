import type { Clock } from '../../clock';
import type { RedisLike, ShardedClient } from './client';
import { quiet, reasonOf, reconnectMs } from './connection';
import type { Layout, Partition } from './layout';
import { isReady } from './link';

/** @internal */
export interface SubscriberOptions {
  readonly clock: Clock;
  readonly client: RedisLike;
  readonly layout: Layout;
  onMessage(partition: Partition, text: string): void;
  /** The channels of all partitions are heard from now on; also after each reconnection, when it is not the first time. */
  onListening(isFirst: boolean): void;
  onError(error: unknown): void;
}

/** The connection on which a store hears the routers: a duplicate of its client, since such a one can do nothing else. */
export class Subscriber {
  private readonly client: RedisLike;
  private readonly byChannel = new Map<string, Partition>();
  private isPlain: boolean;
  private isClosed = false;
  private wasListening = false;
  /** Since when no channel is heard, and why, where that is known. */
  private down: { readonly since: number; error?: unknown } | undefined;

  constructor(private readonly options: SubscriberOptions) {
    const { client, layout } = options;
    this.down = { since: options.clock.now() };
    this.isPlain = !layout.isCluster;
    for (const partition of layout.partitions) this.byChannel.set(partition.channel, partition);
    const overrides = {
      lazyConnect: false,
      enableOfflineQueue: true,
      maxRetriesPerRequest: null,
      ...(layout.isCluster ? { clusterRetryStrategy: reconnectMs } : { retryStrategy: reconnectMs }),
    };
    const duplicate = client.duplicate as (...args: unknown[]) => RedisLike;
    // Sharded, each message stays on one master instead of going through the whole Cluster.
    this.client = layout.isCluster
      ? duplicate.call(client, [], { ...overrides, shardedSubscribers: true })
      : duplicate.call(client, overrides);
    quiet(this.client);
    const onMessage = (channel: string, text: string): void => {
      const partition = this.byChannel.get(channel);
      if (partition !== undefined && !this.isClosed) options.onMessage(partition, text);
    };
    this.client.on('message', onMessage);
    this.client.on('smessage', onMessage);
    this.client.on('ready', () => void this.listenToAll());
    this.client.on('close', () => {
      this.down = this.down ?? { since: options.clock.now() };
    });
    if (isReady(this.client)) void this.listenToAll();
  }

  get reason(): string | undefined {
    return reasonOf(this.client);
  }

  /** Since when it hears nothing, and what a server has answered, where one has. */
  get deafness(): { readonly since: number; readonly error?: unknown } | undefined {
    return this.down;
  }

  /** Listens anew: nothing came where something should have. */
  listen(partition: Partition): void {
    if (!this.isClosed && isReady(this.client)) this.subscribe(partition.channel).catch(this.options.onError);
  }

  close(): void {
    this.isClosed = true;
    this.client.disconnect();
  }

  private async listenToAll(): Promise<void> {
    try {
      const channels = Array.from(this.byChannel.keys());
      await Promise.all(channels.map((channel) => this.subscribe(channel)));
      if (this.isClosed) return;
      this.down = undefined;
      this.options.onListening(!this.wasListening);
      this.wasListening = true;
    } catch (error) {
      if (this.isClosed) return;
      this.down = { since: this.down?.since ?? this.options.clock.now(), error };
      this.options.onError(error);
    }
  }

  private async subscribe(channel: string): Promise<void> {
    if (!this.isPlain) {
      try {
        await (this.client as RedisLike & ShardedClient).ssubscribe(channel);
        return;
      } catch (error) {
        // A server before 7.0, where the scripts publish plainly too.
        if (!/unknown command/i.test((error as Error).message)) throw error;
        this.isPlain = true;
      }
    }
    await this.client.subscribe(channel);
  }
}
