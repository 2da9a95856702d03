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
  afterAll(() => cluster.remove());

  const cases = storeConformance(() => openOn(() => new Cluster(cluster.nodes)));
  it('to a suite that is not empty', () => expect(cases.length).toBeGreaterThan(20));
  for (const { name, run } of cases) it.concurrent(name, run);
});
