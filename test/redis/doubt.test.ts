import { Redis } from 'ioredis';
import { expect } from 'vitest';
import {
  createPresence,
  type Presence,
  type PresenceError,
  type PresenceStore,
  type PresenceUpdate,
  type StoreNode,
} from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { fakeSocket } from 'voiceping-presence/testing';
import { describe, it, onTestFinished, shortLease } from '../side-by-side';
import { RedisCluster } from './cluster';
import { Observer } from './processes';
import { RedisServer } from './server';
import { sleep, until } from './wait';

// The answers after all routers have died, and while the data are not complete.

const TTL_MS = 1_000;

interface Backend {
  readonly port: number;
  newStore(): PresenceStore;
  flush(): Promise<unknown>;
  keys(pattern: string): Promise<string[]>;
}

async function single(): Promise<Backend & { server: RedisServer; admin: Redis }> {
  const server = await RedisServer.start();
  onTestFinished(() => server.remove());
  const admin = new Redis({ port: server.port });
  admin.on('error', () => undefined);
  onTestFinished(() => admin.disconnect());
  return {
    server,
    admin,
    port: server.port,
    newStore: () => redisStore({ host: '127.0.0.1', port: server.port }),
    flush: () => admin.flushall(),
    keys: (pattern) => admin.keys(pattern),
  };
}

async function cluster(): Promise<Backend> {
  const nodes = await RedisCluster.start();
  onTestFinished(() => nodes.remove());
  const admins = nodes.servers.map((_, index) => nodes.client(index));
  onTestFinished(() => {
    for (const admin of admins) admin.disconnect();
  });
  return {
    port: nodes.servers[0]?.port as number,
    newStore: () => {
      const client = new Redis.Cluster(nodes.nodes);
      onTestFinished(() => client.disconnect());
      return redisStore({ client });
    },
    flush: () => Promise.all(admins.map((admin) => admin.flushall())),
    keys: async (pattern) => (await Promise.all(admins.map((admin) => admin.keys(pattern)))).flat(),
  };
}

/** A router that stops without leaving, as in a crash. */
async function mortal(
  store: PresenceStore,
  name: string,
  users: readonly string[],
  inGrace: readonly string[] = [],
  leaseMs = shortLease(),
) {
  const node: StoreNode = { nodeId: name, leaseMs, ttlMs: TTL_MS };
  const unsubscribe = store.subscribe({
    onTransition: () => undefined,
    onGap: () => undefined,
    onDue: () => undefined,
    onLost: () => undefined,
    onError: () => undefined,
  });
  await store.beat(node);
  const all = users.concat(inGrace);
  await store.apply(
    node,
    all.map((userId) => ({ kind: 'join', userId, ageMs: 0, reassert: false })),
  );
  await store.apply(
    node,
    inGrace.map((userId) => ({ kind: 'drop', userId, ageMs: 0, graceMs: 300 })),
  );
  return unsubscribe;
}

function router(store: PresenceStore, leaseMs = shortLease(), commandTimeoutMs = 2_000) {
  const heard: PresenceUpdate[] = [];
  const presence = createPresence({
    store,
    leaseMs,
    commandTimeoutMs,
    ttlMs: 60_000,
    graceMs: 50,
    pingIntervalMs: 200,
    onError: () => undefined,
  });
  onTestFinished(() => presence.close());
  presence.onUpdate((update) => heard.push(update));
  const attach = async (userIds: readonly string[]): Promise<void> => {
    await presence.ready();
    await Promise.all(userIds.map((userId) => presence.attachToSocket(fakeSocket(), { userId }).ready));
  };
  return { presence, heard, attach };
}

/** Asks in a loop; complains of each answer that lacks one of the users, whom living routers hold all the while. */
function interrogate(presence: Presence, userIds: readonly string[]) {
  const wrong: string[] = [];
  const answers = { right: 0, refused: 0 };
  let isOver = false;
  const loop = async (what: string, ask: () => Promise<number>): Promise<void> => {
    while (!isOver) {
      try {
        const online = await ask();
        if (online === userIds.length) answers.right += 1;
        else wrong.push(`${what}: ${online}`);
      } catch (error) {
        const { code } = error as PresenceError;
        if (code !== 'ERR_PRESENCE_STORE' && !isOver) wrong.push(`${what}: ${code}`);
        answers.refused += 1;
      }
      await sleep(10);
    }
  };
  const loops = [
    loop('getStatuses', async () => {
      const statuses = Object.values(await presence.getStatuses(userIds));
      return statuses.filter(({ status }) => status === 'online').length;
    }),
    loop('listOnline', async () => (await presence.listOnline({ limit: 1_000 })).users.length),
    loop('countOnline', () => presence.countOnline()),
  ];
  const end = async () => {
    isOver = true;
    await Promise.all(loops);
    return { wrong, ...answers };
  };
  onTestFinished(end);
  return end;
}

/** What a query gives once it is answered at all, of a store that connects yet. */
async function answered<T>(ask: () => Promise<T>): Promise<T> {
  const answers: T[] = [];
  await until('it is answered', async () => {
    answers.push(
      ...(await ask().then(
        (answer) => [answer],
        () => [],
      )),
    );
    return answers.length > 0;
  });
  return answers[0] as T;
}

/** Whom a dashboard is shown first. */
async function shownFirst(presence: Presence, watch: true | string[] = true): Promise<Array<[string, string]>> {
  const socket = fakeSocket();
  presence.attachToSocket(socket, { userId: 'dashboard', track: false, watch });
  await until('there is a snapshot', () => socket.frames.length > 0);
  const frames = socket.frames as Array<{ messageType: number; users: Array<{ userId: string; status: string }> }>;
  return frames
    .filter(({ messageType }) => messageType === 32)
    .flatMap(({ users }) => users.map(({ userId, status }): [string, string] => [userId, status]));
}

const usersOf = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, at) => `${prefix}${at}`);

describe.each([
  ['a single server', single, 3],
  ['a Cluster', cluster, 1],
] as const)('%s', (_name, start, rounds) => {
  it('a fleet that died whole leaves no ghosts: who has no key is offline, last seen as it was, and told once the lease ends', async () => {
    const backend = await start();
    const observer = await Observer.start(backend.port);
    onTestFinished(() => observer.end());
    const ghosts = usersOf('ghost', 20);
    const dropped = usersOf('dropped', 3);
    const die = await mortal(backend.newStore(), 'dead', ghosts, dropped);
    const seenAt = Date.now();
    die();
    await until('no key is left', async () => (await backend.keys('presence:user:*')).length === 0);
    await sleep(shortLease() - TTL_MS);

    const { presence, heard } = router(backend.newStore(), shortLease(), 10_000);
    // Before its first heartbeat, and after it.
    for (let round = 0; round < 2; round += 1) {
      const statuses = await answered(() => presence.getStatuses(ghosts.concat(dropped)));
      for (const { status, lastSeen } of Object.values(statuses)) {
        expect(status).toBe('offline');
        expect(Math.abs(Date.parse(lastSeen as string) - seenAt)).toBeLessThan(900);
      }
      expect(await answered(() => presence.countOnline())).toBe(0);
      expect((await answered(() => presence.listOnline())).users).toEqual([]);
      await presence.ready();
    }
    expect(await shownFirst(presence)).toEqual([]);
    expect(await shownFirst(presence, ['ghost1'])).toEqual([['ghost1', 'offline']]);
    // The change is published when the lease that was extended ends.
    await until('all are told', () => ghosts.every((ghost) => observer.changes(ghost).length === 2), shortLease() * 4);
    for (const ghost of ghosts) expect(observer.changes(ghost)).toEqual(['online connect', 'offline node-down']);
    // A user who was never published as online here is not published as offline.
    expect(heard.filter(({ userId }) => userId.startsWith('ghost'))).toEqual([]);
  }, 30_000);

  it('everything is lost: nobody whose router lives is said to be offline, by any query, nor to a dashboard that comes', async () => {
    const backend = await start();
    // Longer than any machine stands still, so that no lease lapses meanwhile.
    const leaseMs = 15_000;
    const [a, b] = [router(backend.newStore(), leaseMs), router(backend.newStore(), leaseMs)];
    const users = [...usersOf('a', 50), ...usersOf('b', 50)];
    await a.attach(users.slice(0, 50));
    await b.attach(users.slice(50));
    // The end of a grace is a reason to beat: so each has since the other came.
    const leaves = (heard: readonly PresenceUpdate[]): number =>
      heard.filter(({ userId, status }) => userId === 'leaves' && status === 'offline').length;
    let left = 0;
    for (const { presence } of [a, b]) {
      const socket = fakeSocket();
      await presence.attachToSocket(socket, { userId: 'leaves' }).ready;
      socket.drop();
      left += 1;
      await until('it has left', () => [a, b].every(({ heard }) => leaves(heard) === left));
    }
    const ends = [a, b].map(({ presence }) => interrogate(presence, users));
    for (let round = 0; round < rounds; round += 1) {
      await backend.flush();
      const late = router(backend.newStore(), leaseMs);
      const [shown] = await Promise.all([shownFirst(a.presence), late.presence.ready()]);
      expect(shown).toHaveLength(100);
      await until('all are back', async () => (await backend.keys('presence:user:*')).length === 100);
      await until('and known to whoever is new', async () => {
        return (await late.presence.countOnline().catch(() => 0)) === 100;
      });
    }
    for (const end of ends) {
      const { wrong, right } = await end();
      expect(wrong).toEqual([]);
      expect(right).toBeGreaterThan(0);
    }
    expect(await shownFirst(b.presence)).toHaveLength(100);
    // Users who are nowhere are offline for sure, too: no router is awaited.
    expect(await a.presence.getStatuses(['nobody'])).toMatchObject({ nobody: { status: 'offline' } });
    const offline = a.heard.concat(b.heard).filter(({ status }) => status === 'offline');
    expect(offline.filter(({ userId }) => userId !== 'leaves')).toEqual([]);
  }, 30_000);
});

it('a server that hung for longer than the ttl: nobody whose router is there is said to be offline', async () => {
  const { server, newStore, keys } = await single();
  const observer = await Observer.start(server.port);
  onTestFinished(() => observer.end());
  // A key lives for a ttl, whatever else.
  const shortly = { ttlMs: TTL_MS, pingIntervalMs: 300, leaseMs: shortLease(), graceMs: 0, onError: () => undefined };
  const [a, b] = [0, 1].map(() => {
    const presence = createPresence({ ...shortly, store: newStore() });
    onTestFinished(() => presence.close());
    return presence;
  }) as [Presence, Presence];
  const users = [...usersOf('a', 20), ...usersOf('b', 20)];
  await Promise.all([a.ready(), b.ready()]);
  await Promise.all(users.map((userId) => (userId < 'b' ? a : b).attachToSocket(fakeSocket(), { userId }).ready));
  const ends = [a, b].map((presence) => interrogate(presence, users));
  server.pause();
  await sleep(shortLease() + TTL_MS);
  server.resume();
  await until('the keys are back', async () => (await keys('presence:user:*')).length === 40);
  await sleep(shortLease());
  for (const end of ends) expect((await end()).wrong).toEqual([]);
  for (const userId of users) expect(observer.changes(userId)).toEqual(['online connect']);
}, 30_000);

it('a router that dies while everything is lost is waited for no longer than half a lease; queries say why until then', async () => {
  const { newStore, flush } = await single();
  const leaseMs = shortLease() * 4;
  const { presence, attach } = router(newStore(), leaseMs, 1_000);
  await attach(['own']);
  const die = await mortal(newStore(), 'dead', ['ghost'], [], leaseMs);
  // It has beaten since the other came.
  await sleep(leaseMs / 2);
  die();
  await flush();
  const rejected = 'not every router has registered its users again: users who are missing may be online';
  await Promise.all([
    expect(presence.getStatuses(['ghost'])).rejects.toMatchObject({
      code: 'ERR_PRESENCE_STORE',
      message: expect.stringContaining(rejected),
    }),
    expect(presence.countOnline()).rejects.toThrow(rejected),
    expect(presence.listOnline()).rejects.toThrow(rejected),
  ]);
  // It answers for its own.
  expect(await presence.getStatuses(['own'])).toMatchObject({ own: { status: 'online' } });
  const count = () => presence.countOnline().catch(() => -1);
  await until('nobody is waited for', async () => (await count()) === 1);
  expect(await presence.getStatuses(['ghost'])).toMatchObject({ ghost: { status: 'offline' } });
}, 30_000);

it('data set back to an older state: who came since is not said to be offline before the routers have beaten', async () => {
  const { server, admin, newStore } = await single();
  const [a, b] = [router(newStore()), router(newStore())];
  await a.attach(['a']);
  await b.attach(['old']);
  await admin.save();
  await b.attach(['new']);
  await until('a has heard of it', () => a.heard.length === 3);
  await sleep(shortLease() / 2);
  const end = interrogate(a.presence, ['a', 'old', 'new']);
  await server.stop('SIGKILL');
  await server.start();
  await until('it is known again', async () => (await admin.exists('presence:user:new').catch(() => 0)) === 1);
  await sleep(shortLease());
  expect((await end()).wrong).toEqual([]);
  expect(a.heard.filter(({ status }) => status === 'offline')).toEqual([]);
}, 30_000);

it('while all leases are their routers own work, a count looks at no user', async () => {
  const { admin, newStore } = await single();
  const { presence, attach } = router(newStore());
  await attach(usersOf('u', 50));
  const called = async (): Promise<number> => {
    const stats = await admin.info('commandstats');
    const calls = Array.from(stats.matchAll(/cmdstat_(?:hget|mget|hgetall|exists):calls=(\d+)/g));
    return calls.reduce((sum, [, count]) => sum + Number(count), 0);
  };
  // Between two heartbeats.
  await until('a count costs nothing of the kind', async () => {
    const before = await called();
    expect(await presence.countOnline()).toBe(50);
    return (await called()) === before;
  });
});
