import { Redis } from 'ioredis';
import { afterEach, expect, it } from 'vitest';
import type { PresenceStore, PresenceUpdate } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { random } from '../random';
import { RedisCluster } from './cluster';
import { RedisServer } from './server';
import { until } from './wait';

// Versions grow on the raw channels, whatever Redis loses, and whichever router writes first then.

const cleanups: Array<() => unknown> = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A router that does nothing on its own, so that the test decides which one writes first. */
class Router {
  private readonly node;

  constructor(
    private readonly store: PresenceStore,
    name: string,
  ) {
    this.node = { nodeId: name, leaseMs: 60_000, ttlMs: 60_000 };
    const unsubscribe = store.subscribe({
      onTransition: () => undefined,
      onGap: () => undefined,
      onDue: () => undefined,
      onLost: () => undefined,
      onError: () => undefined,
    });
    cleanups.push(unsubscribe);
  }

  /** As the core does: a lease first, where the store knows of none. */
  async flip(userId: string): Promise<void> {
    const ops = [
      { kind: 'join', userId, ageMs: 0, reassert: false },
      { kind: 'leave', userId, ageMs: 0, reason: 'disconnect' },
    ] as const;
    while (!(await this.store.apply(this.node, ops)).known) await this.store.beat(this.node);
  }

  beat(): Promise<unknown> {
    return this.store.beat(this.node);
  }
}

async function listen(port: number): Promise<PresenceUpdate[]> {
  const heard: PresenceUpdate[] = [];
  const client = new Redis({ port });
  cleanups.push(() => client.disconnect());
  client.on('message', (_, text) => heard.push(JSON.parse(text)));
  await client.subscribe('presence:updates');
  return heard;
}

function expectGrowth(heard: readonly PresenceUpdate[]): void {
  const last = new Map<string, number>();
  for (const { userId, version } of heard) {
    expect(Number.isSafeInteger(version)).toBe(true);
    expect(version).toBeGreaterThan(last.get(userId) ?? 0);
    last.set(userId, version);
  }
}

/** Flushes again and again; each time routers of different ages write, in an order drawn, one of them just born. */
async function flushOften(
  newStore: () => PresenceStore,
  flush: () => Promise<unknown>,
  times: number,
): Promise<number> {
  const { below, chance } = random(4_711);
  const routers = [new Router(newStore(), 'oldest')];
  let changes = 0;
  for (let round = 0; round < times; round += 1) {
    const born = new Router(newStore(), `born-${round}`);
    const rest = routers.slice(-4).sort(() => below(3) - 1);
    // Half of the times a router that remembers nothing writes first.
    const order = chance(0.5) ? [born, ...rest] : [...rest, born];
    for (const router of order) {
      for (let count = 1 + below(4); count > 0; count -= 1) {
        await router.flip('u');
        changes += 2;
      }
    }
    routers.push(born);
    await flush();
  }
  return changes;
}

it('a router that was born after the last change writes first after a flush', async () => {
  const server = await RedisServer.start();
  cleanups.push(() => server.remove());
  const admin = new Redis({ port: server.port });
  cleanups.push(() => admin.disconnect());
  const heard = await listen(server.port);
  const changes = await flushOften(
    () => redisStore({ host: '127.0.0.1', port: server.port }),
    () => admin.flushall(),
    60,
  );
  await until('all was heard', () => heard.length === changes);
  expectGrowth(heard);
});

it('the same on a Cluster', async () => {
  const cluster = await RedisCluster.start();
  cleanups.push(() => cluster.remove());
  const admins = cluster.servers.map((_, index) => cluster.client(index));
  cleanups.push(() => {
    for (const admin of admins) admin.disconnect();
  });
  const heard = await listen(cluster.servers[0]?.port as number);
  const newStore = () => {
    const client = new Redis.Cluster(cluster.nodes);
    cleanups.push(() => client.disconnect());
    return redisStore({ client });
  };
  const changes = await flushOften(newStore, () => Promise.all(admins.map((admin) => admin.flushall())), 8);
  await until('all was heard', () => heard.length === changes);
  expectGrowth(heard);
}, 20_000);

it('a server whose clock is behind, or that has counted faster than time, is no matter where a router remembers', async () => {
  const server = await RedisServer.start();
  cleanups.push(() => server.remove());
  const admin = new Redis({ port: server.port });
  cleanups.push(() => admin.disconnect());
  const heard = await listen(server.port);
  const [a, b] = ['a', 'b'].map((name) => new Router(redisStore({ host: '127.0.0.1', port: server.port }), name));
  await a?.flip('u');
  const counted = Number(await admin.hget('presence:meta:{0}', 'seq'));
  await admin.hset('presence:meta:{0}', 'seq', String(counted * 2));
  await b?.flip('u');
  await a?.beat();
  await admin.flushall();
  await a?.flip('u');
  await b?.flip('u');
  await until('all was heard', () => heard.length === 8);
  expectGrowth(heard);
});

it('in a bucket versions are as short as if they began at 1, before and after a loss', async () => {
  const server = await RedisServer.start();
  cleanups.push(() => server.remove());
  const admin = new Redis({ port: server.port });
  cleanups.push(() => admin.disconnect());
  const router = new Router(redisStore({ host: '127.0.0.1', port: server.port }), 'a');
  for (const loss of [false, true]) {
    if (loss) await admin.flushall();
    await router.flip('u');
    const [bucket] = await admin.keys('presence:b:{0}:*');
    expect((await admin.hget(bucket as string, 'u'))?.split('l')[0]).toBe('-2');
  }
  // Records that outlive the rest count on from where they did.
  await admin.del('presence:meta:{0}');
  await router.flip('u');
  const meta = await admin.hgetall('presence:meta:{0}');
  const [bucket, ...others] = await admin.keys('presence:b:{0}:*');
  expect(others).toEqual([]);
  const version = (await admin.hget(bucket as string, 'u'))?.split('l')[0]?.slice(1) as string;
  const base = Number.parseInt(meta.seed?.slice(16) as string, 16);
  expect(base + Number.parseInt(version, 16)).toBe(Number(meta.seq));
});
