import calculateSlot from 'cluster-key-slot';
import { Cluster } from 'ioredis';
import { Cluster as Cluster6 } from 'ioredis6';
import { afterEach, expect, it } from 'vitest';
import { createPresence } from 'voiceping-presence';
import { type RedisLike, redisStore } from 'voiceping-presence/redis';
import { fakeSocket } from 'voiceping-presence/testing';
import { RedisCluster } from './cluster';
import { until } from './wait';

const ends: Array<() => unknown> = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

it('slots move to a master that dies: what ioredis asks there by itself ends no router', async () => {
  const uncaught: string[] = [];
  const onRejection = (error: unknown) => uncaught.push(String(error));
  process.on('unhandledRejection', onRejection);
  ends.push(() => process.removeListener('unhandledRejection', onRejection));
  const cluster = await RedisCluster.start();
  ends.push(() => cluster.remove());
  const [source, target] = [cluster.client(0), cluster.client(1)];
  for (const admin of [source, target]) {
    admin.on('error', () => undefined);
    ends.push(() => admin.disconnect());
  }
  const clients: RedisLike[] = [new Cluster(cluster.nodes), new Cluster6(cluster.nodes) as unknown as RedisLike];
  const routers = clients.map((client, index) => {
    client.on('error', () => undefined);
    const errors: string[] = [];
    const presence = createPresence({
      store: redisStore({ client, prefix: `a${index}:` }),
      leaseMs: 1_500,
      onError: ({ cause }) => errors.push(String(cause)),
    });
    ends.push(() => presence.close().then(() => client.disconnect()));
    return { presence, errors };
  });
  await Promise.all(routers.map(({ presence }) => presence.ready()));
  await Promise.all(routers.map(({ presence }) => presence.attachToSocket(fakeSocket(), { userId: 'u' }).ready));

  const [sourceId, targetId] = [await source.cluster('MYID'), await target.cluster('MYID')];
  const partitions = Array.from({ length: 64 }, (_, index) => calculateSlot(`{${index}}`));
  for (const slot of partitions.filter((each) => each <= 5_460)) {
    await target.cluster('SETSLOT', slot, 'IMPORTING', sourceId);
    await source.cluster('SETSLOT', slot, 'MIGRATING', targetId);
    const keys = (await source.cluster('GETKEYSINSLOT', slot, 1_000)) as unknown as string[];
    const port = cluster.servers[1]?.port as number;
    if (keys.length > 0) await source.call('MIGRATE', '127.0.0.1', port, '', 0, 5_000, 'KEYS', ...keys);
  }
  await until('the next master is asked', async () => (await target.info('commandstats')).includes('cmdstat_asking'));
  await cluster.servers[1]?.stop('SIGKILL');
  for (const { errors } of routers) errors.splice(0);
  await until('heartbeats fail', () => routers.every(({ errors }) => errors.length > 3));
  expect(uncaught).toEqual([]);
});
