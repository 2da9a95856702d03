import { Redis } from 'ioredis';
import { expect } from 'vitest';
import type { StoreNode } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { describe, it, onTestFinished } from '../side-by-side';
import { RedisServer } from './server';
import { sleep, until } from './wait';

// The fields of meta that heartbeats write, and how they handle foreign values there.

const META = 'presence:meta:{0}';
const LEASE_MS = 15_000;
const node = (nodeId: string): StoreNode => ({ nodeId, leaseMs: LEASE_MS, ttlMs: 60_000 });

async function start() {
  const server = await RedisServer.start();
  onTestFinished(() => server.remove());
  const admin = new Redis({ port: server.port });
  onTestFinished(() => admin.disconnect());
  const store = redisStore({ host: '127.0.0.1', port: server.port });
  const ignore = (): void => undefined;
  onTestFinished(
    store.subscribe({ onTransition: ignore, onGap: ignore, onDue: ignore, onLost: ignore, onError: ignore }),
  );
  await store.beat(node('a'));
  const names = async () => (await admin.hget(META, 'awaited'))?.split(' ').slice(1);
  return { server, admin, store, names };
}

describe('routers that are awaited', () => {
  // One wrote down that the other was there, in place of what the other had found, and it was not awaited.
  it('are those of one store, too', async () => {
    const { admin, store, names } = await start();
    await store.beat(node('b'));
    await store.apply(node('b'), [{ kind: 'join', userId: 'u', ageMs: 0, reassert: false }]);
    await admin.flushall();
    await store.beat(node('a'));
    await store.registered?.(node('a'));
    expect(await names()).toEqual(['b']);
    expect((await store.read(['u'])).users).toMatchObject([{ online: false, isUnsure: true }]);
    expect(await store.count()).toBe(undefined);
    await store.beat(node('b'));
    await store.registered?.(node('b'));
    expect(await names()).toBe(undefined);
    expect(await store.count()).toBe(0);
  });

  // Who had not beaten since the server was back was none of those whom the first to beat knew.
  it('are those, too, whose lease was extended', async () => {
    const { admin, store, names } = await start();
    await store.beat(node('b'));
    await admin.hset(META, 'at', Date.now() - LEASE_MS * 0.9);
    await store.beat(node('a'));
    expect(await admin.hget('presence:nodes:{0}', 'b')).toMatch(/^\d+ 1 /);
    await admin.flushall();
    await store.beat(node('a'));
    expect((await names())?.sort()).toEqual(['a', 'b']);
  });

  // It had registered its users in the previous data, so queries said that they are offline.
  it('do not take themselves off after data that were lost once more meanwhile', async () => {
    const { server, admin, store, names } = await start();
    await admin.flushall();
    await store.beat(node('a'));
    await admin.flushall();
    server.pause();
    const beat = store.beat(node('a'));
    // On its way by then.
    await sleep(20);
    const registered = store.registered?.(node('a'));
    server.resume();
    await Promise.all([beat, registered]);
    expect(await names()).toEqual(['a']);
    await store.registered?.(node('a'));
    expect(await names()).toBe(undefined);
  });

  // The answer of a heartbeat was no JSON, and none of any router was understood for as long as it stood there.
  it('have names that make no heartbeat fail', async () => {
    const { admin, store, names } = await start();
    await admin.hset(META, 'awaited', `${Date.now() + LEASE_MS / 2} x \\y z`);
    expect(await store.beat(node('a'))).toMatchObject({ known: true });
    expect(await names()).toEqual(['x']);
  });

  // Each heartbeat went through all of them, which took the better part of a second.
  it('are no more than there can be', async () => {
    const { admin, store, names } = await start();
    await admin.hset(META, 'awaited', `${Date.now() + LEASE_MS / 2} ${'x '.repeat(100_000)}`);
    await store.beat(node('a'));
    expect((await names())?.length).toBe(1_024);
    await admin.hset(META, 'awaited', 'x '.repeat(100_000));
    await store.beat(node('a'));
    expect(await names()).toBe(undefined);
  });
});

// It was waited for until the time when it was said to have been.
it('all buckets are looked over after a loss, also where that was done last at a time to come', async () => {
  const { admin, store } = await start();
  await store.apply(node('a'), [{ kind: 'join', userId: 'u', ageMs: 0, reassert: false }]);
  const later = Date.now() + 3_600_000;
  await admin.hset(META, 'round', later, 'lostAt', Date.now() - 1);
  await store.beat(node('a'));
  expect(Number(await admin.hget(META, 'round'))).toBeLessThan(later - 3_000_000);
});

// It was 0 until a heartbeat had noticed their loss, and a sweep had counted all users.
it('a count is right also where the counts were lost', async () => {
  const { admin, store } = await start();
  const ops = ['u', 'v', 'w'].map((userId) => ({ kind: 'join', userId, ageMs: 0, reassert: false }) as const);
  await store.apply(node('a'), ops);
  await admin.del('presence:count:{0}');
  expect(await store.count()).toBe(3);
  await store.beat(node('a'));
  expect(await store.count()).toBe(3);
  await until(
    'they are counted',
    async () => (await admin.hvals('presence:count:{0}')).filter((n) => n === '1').length === 3,
  );
  await admin.hset(META, 'lostAt', Date.now() - 5_000, 'round', Date.now() - 5_000);
  expect(await store.count()).toBe(3);
});
