import { Cluster } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { storeConformance } from 'voiceping-presence/testing';
import { RedisCluster } from '../redis/cluster';
import { openOn } from './redis-backend';

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
  const cases = storeConformance(backend.open);
  it('to a suite that is not empty', () => expect(cases.length).toBeGreaterThan(20));
  for (const { name, run } of cases) it.concurrent(name, run, 120_000);
});
