import { Cluster, Redis } from 'ioredis';
import Redis4 from 'ioredis4';
import { Cluster as Cluster6, Redis as Redis6 } from 'ioredis6';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPresence } from 'voiceping-presence';
import { type RedisLike, redisStore } from 'voiceping-presence/redis';
import { fakeSocket } from 'voiceping-presence/testing';
import { RedisCluster } from './cluster';
import { Gate } from './gate';
import { RedisServer } from './server';
import { until } from './wait';

// A NAT or a load balancer has forgotten the connection for messages, which says nothing of it; commands go through.

let server: RedisServer;
let cluster: RedisCluster;
beforeAll(async () => {
  server = await RedisServer.start();
  cluster = await RedisCluster.start();
});
afterAll(async () => {
  await server.remove();
  await cluster.remove();
});

const single = async (): Promise<Gate[]> => [await Gate.start(server.port)];
const masters = (): Promise<Gate[]> => Promise.all(cluster.nodes.map(({ port }) => Gate.start(port)));
const clusterOf = (of: typeof Cluster) => (gates: Gate[]) => {
  const ways = gates.map(({ address, target }) => [`127.0.0.1:${target}`, address] as const);
  return new of(
    gates.map(({ address }) => address),
    { natMap: Object.fromEntries(ways) },
  );
};

const CLIENTS: Array<[name: string, gates: () => Promise<Gate[]>, connect: (gates: Gate[]) => RedisLike]> = [
  ['ioredis 4', single, ([gate]) => new Redis4(gate?.address as never)],
  ['ioredis 5', single, ([gate]) => new Redis(gate?.address as never)],
  ['ioredis 6', single, ([gate]) => new Redis6(gate?.address as never)],
  ['a Cluster of ioredis 5', masters, clusterOf(Cluster)],
  ['a Cluster of ioredis 6', masters, clusterOf(Cluster6 as unknown as typeof Cluster)],
];

describe.concurrent('a connection for messages that is dead without a word', () => {
  it.each(CLIENTS)('is made anew, and the client of the caller is not: %s', async (name, gatesOf, connect) => {
    const prefix = `${name.replace(/ /g, '-')}:`;
    const gates = await gatesOf();
    const clients = [connect(gates), connect(gates)];
    for (const each of clients) each.on('error', () => undefined);
    const [client, second] = clients as [RedisLike, RedisLike];
    let ends = 0;
    client.on('close', () => {
      ends += 1;
    });
    const [near, far] = [redisStore({ client, prefix }), redisStore({ client: second, prefix })];
    const errors: string[] = [];
    const router = createPresence({ store: near, leaseMs: 6_000, onError: ({ message }) => errors.push(message) });
    const other = createPresence({ store: far, leaseMs: 6_000 });
    const told = new Set<string>();
    await Promise.all([router.ready(), other.ready()]);
    router.onUpdate(({ userId }) => told.add(userId));
    const join = (userId: string) => other.attachToSocket(fakeSocket(), { userId }).ready;
    await join('before');
    await until('it is told', () => told.has('before'));
    for (const gate of gates) gate.deafen();
    // Users of all partitions, so that each master has something to tell.
    const ids = Array.from({ length: 64 }, (_, index) => `during-${index}`);
    await Promise.all(ids.map(join));
    await until('the change is told all the same', () => ids.every((id) => told.has(id)), 20_000);
    await until(
      'it is noticed',
      () => errors.some((message) => /gives no answer, and is replaced/.test(message)),
      20_000,
    );
    await until(
      'another one listens',
      async () => {
        await join(`after-${told.size}-${Date.now()}`);
        return Array.from(told).some((id) => id.startsWith('after-'));
      },
      20_000,
    );
    expect(ends).toBe(0);
    await Promise.all([router.close(), other.close()]);
    for (const each of clients) each.disconnect();
    for (const gate of gates) gate.close();
  });
});
