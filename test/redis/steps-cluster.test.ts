import { Cluster } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RedisLike, redisStore } from 'voiceping-presence/redis';
import { PresenceKeys } from '../../src/stores/redis/commands/presence-keys';
import { CommandGate } from '../../src/stores/redis/connection/command-gate';
import { Keyspace } from '../../src/stores/redis/keyspace';
import { RedisCluster } from './cluster';
import { join, leave, NODE } from './steps';
import { until } from './wait';

// The store on a Cluster, where scripts cannot reach the presence keys, step by step.

const AGO_MS = 20_000;

let servers: RedisCluster;
let cluster: Cluster;
beforeAll(async () => {
  servers = await RedisCluster.start();
  cluster = new Cluster(servers.nodes);
});
const ends: Array<() => void> = [];
afterAll(async () => {
  for (const end of ends) end();
  cluster.disconnect();
  await servers.remove();
});

let prefixes = 0;

/** Routers on data of their own. */
function rig() {
  prefixes += 1;
  const prefix = `c${prefixes}:`;
  return {
    prefix,
    async router(nodeId: string) {
      const store = redisStore({ client: cluster as unknown as RedisLike, prefix });
      const node = { nodeId, ...NODE };
      const toldSeen = new Map<string, number>();
      const feed = { onGap() {}, onDue() {}, onLost() {}, onError() {} };
      const unsubscribe = store.subscribe({
        ...feed,
        onTransition: ({ userId, status }, lastSeen) => {
          if (status === 'offline') toldSeen.set(userId, lastSeen);
        },
      });
      ends.push(unsubscribe);
      await store.beat(node);
      return {
        /** The last seen that was published when they went offline. */
        toldSeen,
        beat: () => store.beat(node),
        apply: (...ops: Parameters<typeof store.apply>[1]) => store.apply(node, ops),
        refresh: (userId: string, ageMs = 0) => store.refresh(node, [{ userId, ageMs }]),
        async status(userId: string) {
          const [user] = (await store.read([userId])).users;
          return user as NonNullable<typeof user>;
        },
      };
    },
    pttl: (userId: string) => cluster.pttl(`${prefix}user:${userId}`),
    /** Its leases have lapsed in all partitions. */
    async die(nodeId: string): Promise<void> {
      const { partitions } = new Keyspace(prefix, true);
      await Promise.all(partitions.map(({ keys }) => cluster.zadd(keys[0] as string, 'XX', 1, nodeId)));
    },
  };
}

/** The time of the servers, which is that of this machine. */
const now = (): number => Date.now();

describe('on a Cluster', () => {
  it('the presence key lives for a TTL from the last activity, and a renewal creates none', async () => {
    const { router, pttl, prefix } = rig();
    const a = await router('a');
    const expectTtl = async () => {
      const ms = await pttl('u');
      expect(ms).toBeGreaterThan(NODE.ttlMs / 2);
      expect(ms).toBeLessThanOrEqual(NODE.ttlMs);
    };
    await a.apply(join('u'));
    await expectTtl();
    await cluster.pexpire(`${prefix}user:u`, 30_000);
    await a.refresh('u');
    await expectTtl();
    await a.apply(leave('u'));
    expect(await a.refresh('u')).toEqual({ known: true, missing: ['u'] });
    expect(await pttl('u')).toBe(-2);
  });

  it('who leaves was last seen when any router has heard them', async () => {
    const { router } = rig();
    const [a, b] = [await router('a'), await router('b')];
    await a.apply(join('u', AGO_MS));
    await b.apply(join('u', AGO_MS));
    const heardAt = now();
    await b.refresh('u');
    await a.apply(leave('u', AGO_MS / 2));
    await b.apply(leave('u', AGO_MS / 2));
    const { online, lastSeen } = await a.status('u');
    expect(online).toBe(false);
    expect(lastSeen).toBeGreaterThanOrEqual(heardAt - 1_000);
  });

  it('whose router has died was last seen when it has heard them', async () => {
    const { router, die } = rig();
    const [a, b] = [await router('a'), await router('b')];
    await b.apply(join('u', AGO_MS));
    const heardAt = now();
    await b.refresh('u');
    await die('b');
    await a.beat();
    await until('the user is offline', async () => !(await a.status('u')).online);
    expect((await a.status('u')).lastSeen).toBeGreaterThanOrEqual(heardAt - 1_000);
    // The router that takes them away may die before it could say more.
    await until('it is told', () => a.toldSeen.has('u'));
    expect(a.toldSeen.get('u')).toBeGreaterThanOrEqual(heardAt - 1_000);
  });

  it('nor does the death of one router set back what another one has heard', async () => {
    const { router, die } = rig();
    const [a, b] = [await router('a'), await router('b')];
    const heardAt = now();
    await a.apply(join('u'));
    await b.apply(join('u', AGO_MS));
    await a.apply(leave('u'));
    await die('b');
    await a.beat();
    await until('the user is offline', async () => !(await a.status('u')).online);
    expect((await a.status('u')).lastSeen).toBeGreaterThanOrEqual(heardAt - 1_000);
  });

  it('the key of who is back by another router is not deleted by the end of the visit before', async () => {
    const { prefix, pttl } = rig();
    const client = cluster as unknown as RedisLike;
    const presenceKeys = new PresenceKeys(client, new CommandGate(client), new Keyspace(prefix, true));
    const leftAt = now();
    await presenceKeys.set(
      [
        ['left', leftAt - 5_000],
        ['back', leftAt + 5_000],
      ],
      NODE.ttlMs,
    );
    expect(await presenceKeys.delete(['left', 'back'], leftAt)).toEqual([leftAt - 5_000, leftAt + 5_000]);
    expect(await pttl('left')).toBe(-2);
    expect(await pttl('back')).toBeGreaterThan(0);
  });
});
