import { Cluster } from 'ioredis';
import { afterAll, beforeAll, describe } from 'vitest';
import { storeConformance } from 'voiceping-presence/testing';
import { RedisCluster } from '../redis/cluster';
import { conforms } from './conforms';
import { openOn, REDIS_FAILS } from './redis-backend';

describe('redisStore over a Cluster of three masters conforms', () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await RedisCluster.start();
  });
  const backend = openOn(() => new Cluster(cluster.nodes, { slotsRefreshTimeout: 10_000 }));
  afterAll(() => {
    backend.disconnect();
    return cluster.remove();
  });
  conforms(storeConformance(backend.open), { fails: REDIS_FAILS, isConcurrent: true, timeoutMs: 120_000 });
});
