import type { EventEmitter } from 'node:events';
import { Cluster } from 'ioredis';
import { Cluster as Cluster6 } from 'ioredis6';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connectForMessages } from '../../src/stores/redis/connection/connect';
import { RedisCluster } from './cluster';
import { sleep, until } from './wait';

let cluster: RedisCluster;
beforeAll(async () => {
  cluster = await RedisCluster.start();
});
afterAll(() => cluster.remove());

interface Messages {
  ssubscribe(channel: string): Promise<unknown>;
  disconnect(): void;
  readonly shardedSubscribers: {
    readonly shardedSubscribers: Map<string, { getInstance(): EventEmitter | null; stop(): void }>;
  };
}

// When slots move, ioredis removes all listeners from the connection to a shard. An unrequested `sunsubscribe` of the server may
// arrive after that, which ended the process: "Command queue state error".
it.each([
  ['ioredis 5', Cluster],
  ['ioredis 6', Cluster6 as unknown as typeof Cluster],
])('an error on a connection to a shard that was given up is caught: %s', async (_, Client) => {
  const client = new Client(cluster.nodes);
  const messages = connectForMessages(client as never) as unknown as Messages;
  try {
    await messages.ssubscribe('{a}');
    const shards = () => Array.from(messages.shardedSubscribers.shardedSubscribers.values());
    await until('each master has a connection', () => shards().length === 3);
    let looked = 0;
    for (const shard of shards()) {
      const connection = shard.getInstance() as EventEmitter;
      const own = connection.listenerCount('error');
      shard.stop();
      await sleep(0);
      expect([own, connection.listenerCount('error')]).toEqual([2, 1]);
      expect(() => connection.emit('error', new Error('Command queue state error'))).not.toThrow();
      looked += 1;
    }
    expect(looked).toBe(3);
  } finally {
    messages.disconnect();
    client.disconnect();
  }
});
