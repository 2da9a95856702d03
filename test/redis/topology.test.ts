import calculateSlot from 'cluster-key-slot';
import { Cluster, Redis } from 'ioredis';
import { expect } from 'vitest';
import { createPresence, type Presence, type PresenceOptions, type PresenceUpdate } from 'voiceping-presence';
import { type RedisLike, type RedisStoreOptions, redisStore } from 'voiceping-presence/redis';
import { type FakeSocket, fakeSocket } from 'voiceping-presence/testing';
import { describe, it, onTestFinished, shortLease } from '../side-by-side';
import { RedisCluster } from './cluster';
import { Sentinel } from './sentinel';
import { sleep, until } from './wait';

// A failover, a master that dies, a slot that moves: on real Sentinels and Clusters.

/** Of routers that have to do with all partitions at once, on a machine as busy as it may be. */
const patient: PresenceOptions = { leaseMs: 15_000, commandTimeoutMs: 10_000 };

async function router(options: RedisStoreOptions, more: PresenceOptions = {}) {
  const heard: PresenceUpdate[] = [];
  const presence: Presence = createPresence({
    leaseMs: shortLease(),
    graceMs: 0,
    pingIntervalMs: 200,
    store: redisStore(options),
    ...more,
  });
  onTestFinished(() => presence.close());
  presence.onUpdate((update) => heard.push(update));
  await presence.ready();
  const sockets = new Map<string, FakeSocket>();
  const attach = async (...userIds: string[]): Promise<void> => {
    const attachments = userIds.map((userId) => {
      const socket = fakeSocket();
      sockets.set(userId, socket);
      return presence.attachToSocket(socket, { userId });
    });
    await Promise.all(attachments.map(({ ready }) => ready));
  };
  const changes = (userId: string) => heard.filter((update) => update.userId === userId).map(({ status }) => status);
  const isOnline = async (...userIds: string[]): Promise<boolean> => {
    const statuses = await presence.getStatuses(userIds).catch(() => ({}));
    return userIds.every((userId) => (statuses as { [id: string]: { status: string } })[userId]?.status === 'online');
  };
  return { presence, heard, sockets, attach, changes, isOnline };
}

const usersOf = (count: number): string[] => Array.from({ length: count }, (_, index) => `u${index}`);

describe('Sentinel', () => {
  it('a failover that may lose writes: no user goes offline, and later changes are published', async () => {
    const sentinel = await Sentinel.start();
    onTestFinished(() => sentinel.remove());
    const options = { sentinels: sentinel.address, name: sentinel.name };
    const [a, b] = [await router(options), await router(options)];
    const users = usersOf(300);
    await a.attach(...users);
    await until('b heard all', () => b.heard.length === 300);
    // The last ones may not have reached the replica.
    void a.attach('late-1', 'late-2');
    await sentinel.master.stop('SIGKILL');
    await until(
      'the new master answers, and everybody is there',
      () => b.isOnline(...users, 'late-1', 'late-2'),
      20_000,
    );
    const admin = new Redis({ port: sentinel.replica.port });
    onTestFinished(() => admin.disconnect());
    await until('the contract keys are there', async () => (await admin.keys('presence:user:*')).length === 302);
    a.sockets.get('u1')?.close();
    await until('b hears of it', () => b.changes('u1').at(-1) === 'offline');
    await sleep(shortLease() * 2);
    for (const userId of users.slice(2)) expect(b.changes(userId)).toEqual(['online']);
    expect(b.changes('late-1')).toEqual(['online']);
    expect(await b.presence.countOnline()).toBe(301);
  });
});

describe('Cluster', () => {
  const brisk = { leaseMs: 5_000 };
  const connect = (cluster: RedisCluster): RedisLike => {
    const client = new Cluster(cluster.nodes, { clusterRetryStrategy: () => 100, slotsRefreshTimeout: 2_000 });
    client.on('error', () => undefined);
    onTestFinished(() => client.disconnect());
    return client;
  };

  it('users, changes and contract keys of all masters; messages are sharded', async () => {
    const cluster = await RedisCluster.start();
    onTestFinished(() => cluster.remove());
    const [a, b] = [
      await router({ client: connect(cluster) }, patient),
      await router({ client: connect(cluster) }, patient),
    ];
    const users = usersOf(1_000);
    await a.attach(...users);
    await until('b heard all', () => b.heard.length === 1_000);
    expect(await b.presence.countOnline()).toBe(1_000);
    const listed = await b.presence.listOnline({ limit: 1_000 });
    expect(new Set(listed.users.map(({ userId }) => userId))).toEqual(new Set(users));
    let keys = 0;
    let sharded = 0;
    for (let index = 0; index < 3; index += 1) {
      const admin = cluster.client(index);
      keys += (await admin.keys('presence:user:*')).length;
      sharded += ((await admin.call('PUBSUB', 'SHARDCHANNELS')) as string[]).length;
      admin.disconnect();
    }
    expect(keys).toBe(1_000);
    expect(sharded).toBe(64);
    await a.presence.close();
    await until('b heard all', () => b.heard.length === 2_000);
    expect(await b.presence.countOnline()).toBe(0);
  });

  it('records are lost, and their router is out of reach: its users are published as offline, and their keys are deleted', async () => {
    const cluster = await RedisCluster.start();
    onTestFinished(() => cluster.remove());
    const client = connect(cluster);
    // Their keys would live for minutes.
    const slow = { pingIntervalMs: 120_000 };
    const [a, b] = [await router({ client }, slow), await router({ client: connect(cluster) }, slow)];
    const users = usersOf(30);
    await a.attach(...users);
    await b.attach('elsewhere');
    await until('b heard all', () => b.heard.length === 31);
    client.disconnect();
    const admins = [0, 1, 2].map((index) => cluster.client(index));
    for (const admin of admins) {
      // Those of a Cluster lie each in a slot of its partition.
      for (const key of await admin.keys('presence:b:*')) await admin.del(key);
    }
    await until('b is told', () => users.every((userId) => b.changes(userId).at(-1) === 'offline'), shortLease() * 20);
    expect(await b.presence.countOnline()).toBe(1);
    expect(await b.isOnline('elsewhere')).toBe(true);
    const keys = await Promise.all(admins.map((admin) => admin.keys('presence:user:*')));
    expect(keys.flat()).toEqual(['presence:user:elsewhere']);
    for (const admin of admins) admin.disconnect();
  });

  it('a master dies, its replica takes over: nobody goes offline', async () => {
    const cluster = await RedisCluster.start(3, 3, 2_000);
    onTestFinished(() => cluster.remove());
    // Longer than one of them may take longer than the other one to find the new master.
    const [a, b] = [
      await router({ client: connect(cluster) }, brisk),
      await router({ client: connect(cluster) }, brisk),
    ];
    const users = usersOf(300);
    await a.attach(...users);
    await until('b heard all', () => b.heard.length === 300);
    await cluster.servers[0]?.stop('SIGKILL');
    await until('the cluster answers again, and everybody is there', () => b.isOnline(...users), 30_000);
    for (const userId of users.slice(0, 100)) a.sockets.get(userId)?.close();
    await until(
      'b hears of it',
      () => users.slice(0, 100).every((userId) => b.changes(userId).at(-1) === 'offline'),
      20_000,
    );
    await sleep(brisk.leaseMs);
    for (const userId of users.slice(100)) expect(b.changes(userId)).toEqual(['online']);
    expect(await b.presence.countOnline()).toBe(200);
  }, 90_000);

  it('a slot moves to another master while users come and go', async () => {
    const cluster = await RedisCluster.start();
    onTestFinished(() => cluster.remove());
    const [a, b] = [
      await router({ client: connect(cluster) }, brisk),
      await router({ client: connect(cluster) }, brisk),
    ];
    const users = usersOf(600);
    await a.attach(...users.slice(0, 300));
    let isOver = false;
    const coming = (async () => {
      for (const userId of users.slice(300)) {
        await a.attach(userId);
        a.sockets.get(userId.replace(/\d+/, (number) => String(Number(number) - 300)))?.close();
      }
      isOver = true;
    })();
    const slotsOfFirst = Array.from({ length: 64 }, (_, index) => calculateSlot(`presence:lease:{${index}}`)).filter(
      (slot) => slot < 16_384 / 3 - 1,
    );
    for (const slot of slotsOfFirst.slice(0, 8)) await cluster.migrate(slot, 0, 2);
    await coming;
    expect(isOver).toBe(true);
    await until(
      'b heard all',
      () => users.every((userId, index) => b.changes(userId).length === (index < 300 ? 2 : 1)),
      20_000,
    );
    expect(await b.presence.countOnline()).toBe(300);
    expect(await b.isOnline(...users.slice(300))).toBe(true);
    for (const { version } of b.heard) expect(version).toBeGreaterThan(0);
  });
});
