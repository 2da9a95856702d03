import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Redis } from 'ioredis';
import Redis4 from 'ioredis4';
import { Redis as Redis6 } from 'ioredis6';
import { expect } from 'vitest';
import {
  createPresence,
  type Presence,
  type PresenceError,
  type PresenceOptions,
  type PresenceUpdate,
} from 'voiceping-presence';
import { type RedisLike, redisStore } from 'voiceping-presence/redis';
import { type FakeSocket, fakeSocket } from 'voiceping-presence/testing';
import { type Keyspace, LAYOUT } from '../../src/stores/redis/keyspace';
import * as scripts from '../../src/stores/redis/lua/scripts.generated';
import { programOf } from '../bundles';
import { describe, it, onTestFinished, shortLease } from '../side-by-side';
import { layoutOf } from './layout';
import { Link } from './link';
import { Observer } from './processes';
import { RedisServer } from './server';
import { sleep, until } from './wait';

// Each way in which Redis, or the way to it, can fail, on a real server.

class Rig {
  readonly presences: Presence[] = [];
  readonly errors: PresenceError[] = [];
  readonly admin: Redis;
  observer!: Observer;

  private constructor(readonly server: RedisServer) {
    this.admin = new Redis({ port: server.port });
    this.admin.on('error', () => undefined);
  }

  static async start(...options: string[]): Promise<Rig> {
    const rig = new Rig(await RedisServer.start(...options));
    onTestFinished(() => rig.end());
    rig.observer = await Observer.start(rig.server.port);
    return rig;
  }

  async router(options: PresenceOptions = {}, port = this.server.port) {
    const heard: PresenceUpdate[] = [];
    const presence = createPresence({
      leaseMs: shortLease(),
      graceMs: 0,
      pingIntervalMs: 200,
      store: redisStore({ host: '127.0.0.1', port }),
      onError: (error) => this.errors.push(error),
      ...options,
    });
    this.presences.push(presence);
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
    const changes = (userId: string) =>
      heard.filter((update) => update.userId === userId).map(({ status, reason }) => `${status} ${reason}`);
    const isOnline = async (userId: string): Promise<boolean> =>
      (await presence.getStatuses([userId]))[userId]?.status === 'online';
    return { presence, heard, sockets, attach, changes, isOnline };
  }

  contractKeys(): Promise<string[]> {
    return this.admin.keys('presence:user:*').then((keys) => keys.sort());
  }

  async end(): Promise<void> {
    for (const presence of this.presences) await presence.close();
    this.observer.end();
    this.admin.disconnect();
    await this.server.remove();
  }
}

const usersOf = (count: number): string[] => Array.from({ length: count }, (_, index) => `u${index}`);
const keysOf = (users: string[]): string[] => users.map((userId) => `presence:user:${userId}`).sort();

describe('a loss of what Redis held', () => {
  it('FLUSHALL: all users are registered again, and no offline is published', async () => {
    const rig = await Rig.start();
    const [a, b] = [await rig.router(), await rig.router()];
    const users = usersOf(2_500);
    await a.attach(...users);
    await until('b heard all', () => b.heard.length === users.length);
    const before = Math.max(...b.heard.map(({ version }) => version));
    await rig.admin.flushall();
    await until('the contract keys are back', async () => (await rig.contractKeys()).length === users.length);
    expect(await b.presence.countOnline()).toBe(users.length);
    a.sockets.get('u7')?.close();
    await until('b heard of the next change', () => b.changes('u7').length === 2);
    // So soon after it another router might still have to say that it holds the user, too.
    expect(b.heard.at(-1)).toMatchObject({ status: 'offline', reason: 'timeout' });
    expect(b.heard.at(-1)?.version).toBeGreaterThan(before);
    await rig.observer.saw('u7', 'offline timeout');
    const offline = rig.observer.messages.filter(({ update }) => update.status === 'offline');
    expect(offline.map(({ update }) => update.userId)).toEqual(['u7', 'u7']);
  });

  // The grace that runs since the loss was in no set, and only a sweep found that it had ended: a minute later.
  it('a user who drops within the three seconds after it, with a shorter grace, goes offline when they are over', async () => {
    const rig = await Rig.start();
    const a = await rig.router({ graceMs: 50, leaseMs: 15_000 });
    await a.attach('u');
    await rig.observer.saw('u', 'online connect');
    await rig.admin.flushall();
    await rig.observer.saw('u', 'online resync');
    a.sockets.get('u')?.drop();
    await rig.observer.saw('u', 'offline timeout');
    expect(rig.observer.changes('u')).toEqual(['online connect', 'online resync', 'offline timeout']);
    await until('it is told', () => a.changes('u').length === 2);
    // The change may have been read before its message arrived.
    expect(a.changes('u')).toEqual([expect.stringMatching(/^online /), 'offline timeout']);
  });

  it('a restart without data is the same', async () => {
    const rig = await Rig.start();
    const [a, b] = [await rig.router(), await rig.router()];
    await a.attach(...usersOf(50));
    await until('b heard all', () => b.heard.length === 50);
    await rig.server.stop('SIGKILL');
    await rig.server.start();
    await until('the contract keys are back', async () => (await rig.contractKeys()).length === 50);
    await sleep(shortLease() * 2);
    expect(await b.presence.countOnline()).toBe(50);
    expect(b.heard).toHaveLength(50);
  });

  it('a user who left in the same seconds is published as offline once, by routers that had published online', async () => {
    const rig = await Rig.start();
    const [a, b] = [await rig.router(), await rig.router()];
    await a.attach('stays', 'leaves');
    await until('b heard both', () => b.heard.length === 2);
    await rig.server.stop('SIGKILL');
    a.sockets.get('leaves')?.close();
    await rig.server.start();
    await until('b is told', () => b.changes('leaves').length === 2);
    await sleep(shortLease() * 2);
    expect(b.changes('leaves')).toEqual(['online connect', 'offline resync']);
    expect(b.changes('stays')).toEqual(['online connect']);
  });

  // Each of these keys was deleted by hand once, or evicted. They wait for beats and sweeps most of the time.
  it.each(['lease', 'nodes', 'meta', 'grace', 'count', 'log', 'b', 'user', '[bc]*'])(
    'DEL of %s heals by itself',
    async (name) => {
      const rig = await Rig.start();
      const [a, b] = [await rig.router(), await rig.router()];
      const users = usersOf(40);
      await a.attach(...users);
      await b.attach('u0', 'elsewhere');
      const keys = await rig.admin.keys(name === 'user' ? 'presence:user:*' : `presence:${name}:{0}*`);
      if (name !== 'grace') expect(keys.length).toBeGreaterThan(0);
      if (keys.length > 0) await rig.admin.del(...keys);
      await until(
        'keys, count, pages and queries are right again',
        async () => {
          const isKeyed = (await rig.contractKeys()).join() === keysOf([...users, 'elsewhere']).join();
          const listed = await a.presence.listOnline({ limit: 1_000 });
          const statuses = Object.values(await b.presence.getStatuses(users));
          const isWhole = (await b.presence.countOnline()) === 41 && listed.users.length === 41;
          return isKeyed && isWhole && statuses.every(({ status }) => status === 'online');
        },
        15_000,
      );
      // And it works on: the changes of one reach the other.
      a.sockets.get('u5')?.close();
      await until('b hears of it', () => b.changes('u5').at(-1)?.startsWith('offline') === true);
      a.sockets.get('u0')?.close();
      await sleep(shortLease());
      expect(await b.isOnline('u0')).toBe(true);
      for (const userId of users.slice(10)) expect(b.changes(userId)).toEqual(['online connect']);
    },
  );
});

describe('a record is lost, and no router is left to register the user again', () => {
  // A dozen leases, as README says, and what a busy machine takes.
  const foundMs = (): number => shortLease() * 16;
  // Their keys would live for minutes.
  const slow: PresenceOptions = { pingIntervalMs: 120_000 };

  it('a user whose router has died too is published as offline once, and the presence key is deleted', async () => {
    const rig = await Rig.start();
    const link = await Link.start(rig.server.port);
    const [a, b] = [await rig.router(slow, link.port), await rig.router(slow)];
    await a.attach('u0', 'u1');
    await b.attach('u2');
    await until('b heard all', () => b.heard.length === 3);
    link.cut();
    await rig.admin.del(...(await rig.admin.keys('presence:b:{0}:*')));
    await until('b is told', () => b.changes('u0').length === 2 && b.changes('u1').length === 2, foundMs());
    for (const userId of ['u0', 'u1']) {
      await rig.observer.saw(userId, 'offline timeout');
      expect(rig.observer.changes(userId)).toEqual(['online connect', 'offline timeout']);
      expect(b.changes(userId)[1]).toMatch(/^offline /);
      expect(await b.isOnline(userId)).toBe(false);
    }
    expect(await rig.contractKeys()).toEqual(['presence:user:u2']);
    expect(await b.presence.countOnline()).toBe(1);
    await sleep(shortLease() * 3);
    expect(b.heard).toHaveLength(5);
    // A router that was only out of reach asserts them again.
    link.mend();
    await until('they are back', async () => (await b.isOnline('u0')) && (await b.isOnline('u1')));
    expect(b.heard.at(-1)?.version).toBeGreaterThan(b.heard[4]?.version as number);
    link.close();
  });

  it('a user who left at the same moment, and whose key is lost too, is published as offline', async () => {
    const rig = await Rig.start();
    const [a, b] = [await rig.router(slow), await rig.router(slow)];
    await a.attach('u0', 'u1');
    await until('b heard both', () => b.heard.length === 2);
    const keys = await rig.admin.keys('presence:b:{0}:*');
    await Promise.all([rig.admin.del('presence:user:u0', ...keys), a.sockets.get('u0')?.close()]);
    await until('b is told', () => b.changes('u0').length === 2, foundMs());
    expect(b.changes('u0')[1]).toMatch(/^offline /);
    expect(b.changes('u1')).toEqual(['online connect']);
    expect(await b.isOnline('u1')).toBe(true);
  });

  // How often something was lost is lost with the rest, and was 1 before, too: no router took it for another loss.
  it('who is in grace goes offline once, though something was lost before', async () => {
    const rig = await Rig.start();
    const begun = { layout: LAYOUT, seed: '0123456789abcdef', epoch: '1700000000.1', lost: 1 };
    await rig.admin.hset('presence:meta:{0}', begun);
    const graceful = { ...slow, graceMs: 3_000 };
    const [a, b] = [await rig.router(graceful), await rig.router(graceful)];
    const users = usersOf(20);
    await a.attach(...users);
    await until('b heard all', () => b.heard.length === users.length);
    // A router knows how often by its second beat.
    await sleep(shortLease());
    for (const userId of users.slice(0, 10)) a.sockets.get(userId)?.drop();
    await until('they are in grace', async () => (await rig.admin.zcard('presence:grace:{0}')) === 10);
    const keys = await rig.admin.keys('presence:*');
    await rig.admin.del(...keys.filter((key) => !key.startsWith('presence:user:')));
    await until('b is told', () => b.heard.length === users.length + 10, foundMs());
    await until('a is told', () => a.heard.length === users.length + 10);
    for (const router of [a, b]) {
      for (const [index, userId] of users.entries()) {
        expect(router.changes(userId).map((change) => change.split(' ')[0])).toEqual(
          index < 10 ? ['online', 'offline'] : ['online'],
        );
        expect(await router.isOnline(userId)).toBe(index >= 10);
      }
    }
  });

  // They had not been counted again by then, so their loss was not noticed, and they were missing in every list.
  it('who is there is listed again where the counts were lost before', async () => {
    const rig = await Rig.start();
    const [a, b] = [await rig.router(slow), await rig.router(slow)];
    const users = usersOf(20);
    await a.attach(...users);
    await until('b heard all', () => b.heard.length === users.length);
    await rig.admin.del('presence:count:{0}');
    await until('a beat has noticed', async () => (await rig.admin.hget('presence:count:{0}', '')) !== null);
    // And what followed at once has been done.
    await sleep(200);
    const keys = await rig.admin.keys('presence:b:{0}:*');
    expect(keys).not.toEqual([]);
    await rig.admin.del(...keys);
    await until(
      'they are listed, and counted',
      async () => (await b.presence.listOnline()).users.length === 20 && (await b.presence.countOnline()) === 20,
      foundMs(),
    );
    expect(b.heard).toHaveLength(users.length);
  });
});

// Everything was flushed between the read that found a key without a record and this step, so all users are offline.
it('a user with a key and no record goes offline a lease later, once, but not one whose key is gone by then', async () => {
  const rig = await Rig.start();
  await rig.router();
  const keyspace = await layoutOf(rig.admin);
  const partition = keyspace.partitions[0] as Keyspace['partitions'][number];
  const settle = (userId: string) => {
    const keys = [...partition.keys, partition.bucketKey(keyspace.place(userId).bucket), keyspace.userKey(userId)];
    const common = [keyspace.userPrefix, 'presence:', partition.channel, '0', '5000', partition.bucketPrefix, '0'];
    const data = [
      partition.seed,
      partition.knownEpoch,
      '4096',
      '1',
      String(shortLease()),
      userId,
      '1',
      String(Date.now()),
    ];
    return rig.admin.eval(scripts.stray.text, keys.length, ...keys, ...common, ...data);
  };
  await settle('flushed');
  await rig.admin.set('presence:user:lost', String(Date.now()));
  await settle('lost');
  await settle('lost');
  await rig.observer.saw('lost', 'offline timeout');
  expect(rig.observer.changes('lost')).toEqual(['offline timeout']);
  expect(rig.observer.changes('flushed')).toEqual([]);
  expect(await rig.contractKeys()).toEqual([]);
});

it('a grace ended, and what would have ended it was lost: who begins to listen then is right about who returns', async () => {
  const rig = await Rig.start();
  const a = await rig.router({ graceMs: 3_000, leaseMs: 15_000 });
  // One of the last buckets: the sweep, which would find it too, does not come there so soon.
  const keyspace = await layoutOf(rig.admin);
  const userId = usersOf(1_000).find((id) => keyspace.place(id).bucket > 4_000) as string;
  await a.attach(userId);
  a.sockets.get(userId)?.drop();
  await until('its grace is kept', async () => (await rig.admin.zcard('presence:grace:{0}')) === 1);
  await rig.admin.del('presence:grace:{0}');
  await sleep(3_200);
  const late = await rig.router();
  const shown = async (): Promise<string | undefined> => {
    const dashboard = fakeSocket();
    late.presence.attachToSocket(dashboard, { userId: 'd', track: false, watch: [userId] });
    await until('it is shown', () => dashboard.frames.length > 0);
    return (dashboard.frames[0] as { users?: Array<{ status: string }> }).users?.[0]?.status;
  };
  await shown();
  // It reads again once it is subscribed.
  await sleep(300);
  await a.attach(userId);
  // Changes of the user, if there were any, arrive before this one.
  await a.attach('another');
  await until('it heard what came after', () => late.changes('another').length === 1);
  expect(await shown()).toBe('online');
});

describe('Redis hangs', () => {
  it('for longer than a lease: no router counts as dead, and nothing is published', async () => {
    const rig = await Rig.start();
    const [a, b] = [await rig.router(), await rig.router()];
    await a.attach('u');
    await b.attach('v');
    rig.server.pause();
    await sleep(shortLease() * 3);
    rig.server.resume();
    await until('it answers again', () => a.isOnline('v').catch(() => false));
    await sleep(shortLease() * 2);
    expect(await b.isOnline('u')).toBe(true);
    for (const userId of ['u', 'v']) expect(rig.observer.changes(userId)).toEqual(['online connect']);
  });

  it('or restarts with its data after longer than a lease: the same', async () => {
    const rig = await Rig.start('--appendonly', 'yes', '--appendfsync', 'always');
    const [a, b] = [await rig.router(), await rig.router()];
    await a.attach('u');
    await b.attach('v');
    // Messages that a killed server has not sent yet are lost.
    for (const userId of ['u', 'v']) await rig.observer.saw(userId, 'online connect');
    await rig.server.stop('SIGKILL');
    await sleep(shortLease() * 2);
    await rig.server.start();
    await until('it answers again', () => a.isOnline('v').catch(() => false));
    await sleep(shortLease() * 2);
    expect(await b.isOnline('u')).toBe(true);
    for (const userId of ['u', 'v']) expect(rig.observer.changes(userId)).toEqual(['online connect']);
  });

  it('and a router that died meanwhile is found afterwards', async () => {
    const rig = await Rig.start();
    const proxy = await Link.start(rig.server.port);
    const [dead, b] = [await rig.router({}, proxy.port), await rig.router()];
    await dead.attach('u');
    rig.server.pause();
    await sleep(shortLease() * 2);
    proxy.cut();
    rig.server.resume();
    await rig.observer.saw('u', 'offline node-down');
    expect(await b.isOnline('u')).toBe(false);
    proxy.close();
  });

  it('queries reject in time, and nothing piles up', async () => {
    const rig = await Rig.start();
    const a = await rig.router({ commandTimeoutMs: 300 });
    rig.server.pause();
    const failures: unknown[] = [];
    for (let query = 0; query < 200; query += 1, await sleep(20)) {
      a.presence.getStatuses(['u']).catch((error: unknown) => failures.push(error));
    }
    await until('all are rejected', () => failures.length === 200);
    for (const error of failures) expect(error).toMatchObject({ code: 'ERR_PRESENCE_STORE' });
    const sent = async () => Number(/cmdstat_mget:calls=(\d+)/.exec(await rig.admin.info('commandstats'))?.[1] ?? 0);
    rig.server.resume();
    await until('it answers again', () =>
      a.presence.getStatuses(['u']).then(
        () => true,
        () => false,
      ),
    );
    // Those of the first two seconds, until it was clear that nothing is answered.
    expect(await sent()).toBeLessThan(150);
  });
});

describe('Redis is away', () => {
  it('at the start: sockets are attached all the same, ready() waits, queries reject', async () => {
    const rig = await Rig.start();
    await rig.server.stop();
    const errors: PresenceError[] = [];
    const store = redisStore({ host: '127.0.0.1', port: rig.server.port });
    const presence = createPresence({
      store,
      leaseMs: shortLease(),
      commandTimeoutMs: 500,
      onError: (error) => errors.push(error),
    });
    rig.presences.push(presence);
    let isReady = false;
    void presence.ready().then(() => {
      isReady = true;
    });
    const attachment = presence.attachToSocket(fakeSocket(), { userId: 'u' });
    await expect(presence.getStatuses(['u'])).rejects.toMatchObject({ code: 'ERR_PRESENCE_STORE' });
    await expect(presence.listOnline()).rejects.toMatchObject({ code: 'ERR_PRESENCE_STORE' });
    await expect(presence.countOnline()).rejects.toMatchObject({ code: 'ERR_PRESENCE_STORE' });
    expect(isReady).toBe(false);
    await until('failures are reported', () => errors.length > 0);
    await rig.server.start();
    await attachment.ready;
    expect(isReady).toBe(true);
    expect(await rig.contractKeys()).toEqual(['presence:user:u']);
  });

  it('for a while: on return the state is written, not what happened meanwhile', async () => {
    const rig = await Rig.start('--appendonly', 'yes', '--appendfsync', 'always');
    const [a, b] = [await rig.router(), await rig.router()];
    await a.attach('stays', 'leaves');
    await until('b heard both', () => b.heard.length === 2);
    await rig.server.stop();
    a.sockets.get('leaves')?.close();
    for (let count = 0; count < 500; count += 1) {
      const socket = fakeSocket();
      a.presence.attachToSocket(socket, { userId: 'restless' });
      socket.close();
    }
    void a.attach('comes');
    await sleep(shortLease());
    expect(b.heard).toHaveLength(2);
    await rig.server.start();
    await until('b heard of it', () => b.heard.length >= 4);
    await sleep(shortLease());
    expect(b.changes('stays')).toEqual(['online connect']);
    expect(b.changes('leaves').map((change) => change.split(' ')[0])).toEqual(['online', 'offline']);
    expect(b.changes('comes').map((change) => change.split(' ')[0])).toEqual(['online']);
    expect(b.changes('restless')).toEqual([]);
    expect(await rig.contractKeys()).toEqual(keysOf(['comes', 'stays']));
  });
});

/** A client that reaches Redis, and whose connection for messages does not yet. */
async function hearingThroughLink({ server }: Rig): Promise<{ client: Redis; link: Link }> {
  const link = await Link.start(server.port);
  link.silence();
  const client = new Redis({ port: server.port });
  client.duplicate = (overrides) => new Redis({ ...overrides, port: link.port });
  onTestFinished(() => {
    client.disconnect();
    link.close();
  });
  return { client, link };
}

describe('one way is cut, and the other is not', () => {
  it('pub/sub is not there yet: what others do once a router is ready is read from the log', async () => {
    const rig = await Rig.start();
    const other = await rig.router();
    await other.attach('leaves');
    const { client, link } = await hearingThroughLink(rig);
    const store = redisStore({ client });
    const list = store.list.bind(store);
    // The first read of all users is slow.
    let hasHeardAll: () => void = () => undefined;
    const heardAll = new Promise<void>((resolve) => {
      hasHeardAll = resolve;
    });
    store.list = (page) => heardAll.then(() => list(page));
    const router = await rig.router({ store });
    await other.attach('comes');
    other.sockets.get('leaves')?.close();
    await until('the store knows', async () => !(await other.isOnline('leaves')));
    expect(router.heard).toEqual([]);
    link.mend();
    await until('it heard both', () => router.heard.length === 2);
    hasHeardAll();
    expect(router.changes('comes')).toEqual(['online connect']);
    expect(router.changes('leaves')).toEqual(['offline disconnect']);
  });

  it('pub/sub: missed changes are read from the log, and published with their own version and reason', async () => {
    const rig = await Rig.start();
    const patient = { leaseMs: 15_000, commandTimeoutMs: 10_000 };
    const [a, b] = [await rig.router(patient), await rig.router(patient)];
    await a.attach('u');
    await until('b heard it', () => b.heard.length === 1);
    // It has also read who is online, which it does when it starts to listen.
    await sleep(500);
    for (let round = 0; round < 10; round += 1) {
      await rig.admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
      a.sockets.get('u')?.close();
      await until('the store knows', async () => !(await a.isOnline('u')));
      await a.attach('u');
    }
    await until('b heard all', () => b.heard.length === 21);
    expect(b.changes('u')).toEqual([
      'online connect',
      ...Array(10).fill(['offline disconnect', 'online connect']).flat(),
    ]);
    const first = b.heard[0]?.version as number;
    for (const [index, { version }] of b.heard.entries()) expect(version).toBe(first + index);
  });

  it('commands: they go on after the connection was killed, and nothing happens twice', async () => {
    const rig = await Rig.start();
    const [a, b] = [await rig.router(), await rig.router()];
    const users = usersOf(100);
    for (const userId of users) {
      void a.attach(userId);
      if (Number(userId.slice(1)) % 10 === 0) await rig.admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    }
    await until('all are online', async () => (await b.presence.countOnline().catch(() => 0)) === 100);
    await sleep(shortLease());
    for (const userId of users) expect(b.changes(userId)).toEqual(['online connect']);
  });

  // The client of ioredis 4 never settled what was under way, and no router wrote anything any more.
  it.each<[string, (port: number) => RedisLike]>([
    ['ioredis 4', (port) => new Redis4({ port })],
    ['ioredis 5', (port) => new Redis({ port })],
    ['ioredis 6', (port) => new Redis6({ port })],
  ])('a proxy takes connections and ends them while its server is away: %s goes on afterwards', async (_, connect) => {
    const rig = await Rig.start();
    const proxy = await Link.start(rig.server.port);
    onTestFinished(() => proxy.close());
    const client = connect(proxy.port);
    client.on('error', () => undefined);
    onTestFinished(() => client.disconnect());
    const [a, b] = [await rig.router({ store: redisStore({ client }) }), await rig.router()];
    await a.attach('leaves', 'stays');
    await until('b heard both', () => b.heard.length === 2);
    proxy.cut();
    a.sockets.get('leaves')?.close();
    void a.attach('comes');
    await until('it has come back in vain', () => proxy.refused > 2);
    proxy.mend();
    await until(
      'it is written who is there',
      async () => (await rig.contractKeys()).join() === keysOf(['comes', 'stays']).join(),
    );
    await until(
      'b is right',
      async () => (await b.isOnline('comes')) && (await b.isOnline('stays')) && !(await b.isOnline('leaves')),
    );
    await a.attach('later');
    await until('b hears of it', () => b.changes('later').length === 1);
  });

  it('a connection that is dead without an event is given up, and replaced', async () => {
    const rig = await Rig.start();
    const proxy = await Link.start(rig.server.port);
    const a = await rig.router({}, proxy.port);
    const b = await rig.router();
    await a.attach('u');
    proxy.silence();
    await rig.observer.saw('u', 'offline node-down');
    proxy.cut();
    proxy.mend();
    await rig.observer.saw('u', 'online resync');
    expect(await b.isOnline('u')).toBe(true);
    await a.presence.close();
    proxy.close();
  });
});

describe('what operators do to a server', () => {
  it('CONFIG renamed away: nothing needs it', async () => {
    const rig = await Rig.start('--rename-command', 'CONFIG', '');
    const [a, b] = [await rig.router({ leaseMs: 15_000 }), await rig.router({ leaseMs: 15_000 })];
    await a.attach('u');
    a.sockets.get('u')?.close();
    await until('b heard it', () => b.heard.length === 2);
    expect(b.changes('u')).toEqual(['online connect', 'offline disconnect']);
    expect(rig.errors).toEqual([]);
  });

  it('allkeys-lru under pressure: what is evicted comes back, and nobody is lost', async () => {
    const rig = await Rig.start('--maxmemory', '6mb', '--maxmemory-policy', 'allkeys-lru');
    const [a, b] = [await rig.router(), await rig.router()];
    const users = usersOf(2_000);
    await a.attach(...users);
    const filler = rig.admin.pipeline();
    for (let count = 0; count < 6_000; count += 1) filler.set(`other:${count}`, 'x'.repeat(1_000));
    await filler.exec();
    const evicted = Number(/evicted_keys:(\d+)/.exec(await rig.admin.info('stats'))?.[1]);
    expect(evicted).toBeGreaterThan(100);
    // The pressure ends; under it anything may be missing at any moment.
    await rig.admin.config('SET', 'maxmemory', '0');
    await until(
      'everybody is back',
      async () => (await rig.contractKeys()).length === 2_000 && (await b.presence.countOnline()) === 2_000,
      20_000,
    );
    const statuses = Object.values(await b.presence.getStatuses(users));
    expect(statuses.filter(({ status }) => status !== 'online')).toEqual([]);
    expect(b.heard.filter(({ status }) => status !== 'online')).toEqual([]);
  }, 40_000);

  it('the clock of a router is an hour wrong: last seen is right all the same', async () => {
    const rig = await Rig.start();
    const clock = {
      now: () => Date.now() - 3_600_000,
      setTimeout: (run: () => void, ms: number) => setTimeout(run, ms),
      clearTimeout: (timer: unknown) => clearTimeout(timer as never),
    };
    const [wrong, b] = [await rig.router({ clock }), await rig.router()];
    await wrong.attach('u');
    wrong.sockets.get('u')?.close();
    await until('b heard it', () => b.heard.length === 2);
    const { u } = await b.presence.getStatuses(['u']);
    expect(Math.abs(Date.parse(u?.lastSeen ?? '') - Date.now())).toBeLessThan(5_000);
    for (const { timestamp } of b.heard) expect(Math.abs(Date.parse(timestamp) - Date.now())).toBeLessThan(5_000);
  });
});

describe('a dashboard is slow', () => {
  it('it gets the latest of each user, and not what was in between', async () => {
    const rig = await Rig.start();
    const limits = { updatesPerUserPerSecond: 1_000 };
    const [a, b] = [await rig.router(), await rig.router({ limits })];
    const slow = fakeSocket();
    b.presence.attachToSocket(slow, { userId: 'dashboard', track: false, watch: ['u', 'v'] });
    await until('it has its snapshot', () => slow.sent.length === 1);
    slow.bufferedAmount = 100_000_000;
    for (let round = 0; round < 50; round += 1) {
      await a.attach('u');
      a.sockets.get('u')?.close();
      await until('the store knows', async () => !(await a.isOnline('u')));
    }
    await a.attach('u', 'v');
    await until('the router heard all', () => b.heard.length === 102);
    expect(slow.sent.length).toBe(1);
    slow.bufferedAmount = 0;
    await until('it has the latest', () => slow.sent.length === 3);
    await sleep(500);
    const latest = slow.frames.slice(1) as Array<{ fromId: string; status: string }>;
    expect(latest.map(({ fromId, status }) => `${fromId} ${status}`).sort()).toEqual(['u online', 'v online']);
  });
});

describe('last seen', () => {
  it('survives offline and a restart of all routers, and is pruned after the retention time', async () => {
    const rig = await Rig.start();
    const store = (retentionMs?: number) =>
      redisStore({ host: '127.0.0.1', port: rig.server.port, ...(retentionMs === undefined ? {} : { retentionMs }) });
    const first = await rig.router({ store: store() });
    await first.attach('u');
    first.sockets.get('u')?.close();
    // On a machine that stood still, a lease may have lapsed meanwhile, which publishes more changes.
    await until('it is told', () => first.heard.length >= 2 && first.heard.at(-1)?.status === 'offline');
    const seen = (await first.presence.getStatuses(['u']))['u']?.lastSeen;
    expect(seen).not.toBeNull();
    await first.presence.close();
    const second = await rig.router();
    expect((await second.presence.getStatuses(['u']))['u']).toEqual({ userId: 'u', status: 'offline', lastSeen: seen });
    await second.presence.close();
    const third = await rig.router({ store: store(100), leaseMs: 1_000 });
    await until(
      'it is forgotten',
      // All buckets are examined within a dozen leases.
      async () => (await third.presence.getStatuses(['u']))['u']?.lastSeen === null,
      25_000,
    );
  });

  it('is right to within one ping interval after a crash', async () => {
    const rig = await Rig.start();
    const proxy = await Link.start(rig.server.port);
    const [dead, b] = [await rig.router({ pingIntervalMs: 300 }, proxy.port), await rig.router()];
    await dead.attach('u');
    const signs = () => rig.admin.get('presence:user:u');
    for (let round = 0, before = await signs(); round < 3; round += 1, before = await signs()) {
      await until('a sign of life is told', async () => (await signs()) !== before);
    }
    proxy.cut();
    const crashedAt = Date.now();
    await rig.observer.saw('u', 'offline node-down');
    const { u } = await b.presence.getStatuses(['u']);
    expect(crashedAt - Date.parse(u?.lastSeen ?? '')).toBeLessThan(1_500);
    proxy.close();
  });
});

describe('what was wrong once', () => {
  // An apply before the next beat wrote over the evidence that the last writes were missing.
  it('the last writes are lost: who left is no ghost, who came is there', async () => {
    const rig = await Rig.start();
    const [a, b] = [await rig.router(), await rig.router()];
    await a.attach('leaves', 'stays');
    await rig.admin.save();
    a.sockets.get('leaves')?.close();
    await until('it has left', async () => !(await b.isOnline('leaves')));
    await a.attach('comes');
    await rig.server.stop('SIGKILL');
    void a.attach('during');
    await rig.server.start();
    await until(
      'all is as it is',
      async () => (await rig.contractKeys().catch(() => [])).join() === keysOf(['comes', 'during', 'stays']).join(),
      15_000,
    );
    expect(await b.presence.countOnline()).toBe(3);
  });

  // The rest of them waited for the next beat.
  it('more graces end at once than one beat takes on: all end on time', async () => {
    const rig = await Rig.start();
    const a = await rig.router({ leaseMs: 60_000, graceMs: 500 });
    const users = usersOf(2_000);
    await a.attach(...users);
    for (const socket of a.sockets.values()) socket.drop();
    // The next beat is due in twenty seconds.
    await until('all are offline', async () => (await a.presence.countOnline()) === 0, 15_000);
    await until('all were told', () => a.heard.length === 4_000);
    expect(rig.errors).toEqual([]);
  });

  // Pub/sub knows no databases.
  it('routers on two databases of one server do not hear each other', async () => {
    const rig = await Rig.start();
    const store = (db: number) => redisStore({ host: '127.0.0.1', port: rig.server.port, db });
    const [zero, one] = [await rig.router({ store: store(0) }), await rig.router({ store: store(1) })];
    await one.attach('u');
    await until('it is told there', () => one.heard.length === 1);
    await sleep(shortLease());
    expect(zero.heard).toEqual([]);
    expect(await zero.isOnline('u')).toBe(false);
  });

  it.each(['null', '5', '{}', '{"l":5}', '{"u":[],"e":"x","n":1}', '{"u":[1],"e":"x","n":1,"t":1}', 'nonsense'])(
    'somebody publishes %s where routers talk: nobody minds',
    async (text) => {
      const rig = await Rig.start();
      const a = await rig.router();
      await rig.admin.publish('presence:sync:{0}', text);
      await a.attach('u');
      await until('it works on', () => a.heard.length === 1);
    },
  );

  // Each retry published the same change again.
  it('a server that is full publishes nothing that it does not keep', async () => {
    const rig = await Rig.start();
    const a = await rig.router();
    await rig.admin.config('SET', 'maxmemory', '1');
    void a.attach('u');
    await until('it is refused', () => rig.errors.length > 2);
    expect(rig.observer.messages).toEqual([]);
    await rig.admin.config('SET', 'maxmemory', '0');
    await rig.observer.saw('u', 'online connect');
    await sleep(shortLease());
    expect(rig.observer.changes('u')).toEqual(['online connect']);
  });

  it('durations that are no whole milliseconds', async () => {
    const rig = await Rig.start();
    const a = await rig.router({ ttlMs: 90_000.5, graceMs: 100.5, leaseMs: 1_500.5 });
    await a.attach('u', 'v');
    a.sockets.get('u')?.drop();
    await until('it is told', () => a.changes('u').length === 2);
    expect(await rig.contractKeys()).toEqual(['presence:user:v']);
  });

  it('a query under way while the store is closed opens no connection again', async () => {
    const rig = await Rig.start();
    const a = await rig.router();
    const query = a.presence.listOnline().catch(() => undefined);
    await a.presence.close();
    await query;
    const others = async () => ((await rig.admin.client('LIST')) as string).trim().split('\n').length;
    await until('only the observer and this one are left', async () => (await others()) === 2);
  });

  it('a store that is used again tells only what is new', async () => {
    const rig = await Rig.start();
    const store = redisStore({ host: '127.0.0.1', port: rig.server.port });
    const first = await rig.router({ store });
    await first.attach('x');
    await until('it is told', () => first.heard.length === 1);
    await first.presence.close();
    const other = await rig.router();
    await other.attach('old');
    const second = await rig.router({ store });
    await other.attach('new');
    await until('the new one is told', () => second.changes('new').length === 1);
    await sleep(500);
    expect(second.heard.map(({ userId }) => userId)).toEqual(['new']);
  });

  // The next presence of that store took it for the version at which it had subscribed, and so received earlier changes.
  it('an answer that comes after a store was closed is none of its next presence', async () => {
    const rig = await Rig.start();
    const other = await rig.router();
    const client = new Redis({ port: rig.server.port });
    onTestFinished(() => client.disconnect());
    const store = redisStore({ client });
    const first = await rig.router({ store });
    const evalsha = client.evalsha.bind(client) as (...args: unknown[]) => Promise<unknown>;
    const held: Array<() => void> = [];
    client.evalsha = ((sha: string, ...rest: unknown[]) =>
      evalsha(sha, ...rest).then(async (answer) => {
        if (sha === scripts.beat.sha) await new Promise<void>((resolve) => held.push(resolve));
        return answer;
      })) as typeof client.evalsha;
    await until('the answer of a beat is held', () => held.length === 1);
    await first.presence.close();
    for (const release of held) release();
    client.evalsha = evalsha as typeof client.evalsha;
    await other.attach('old');
    other.sockets.get('old')?.close();
    await until('the store knows', async () => !(await other.isOnline('old')));

    const second = await rig.router({ store });
    await other.attach('new');
    await until('the new one is told', () => second.changes('new').length === 1);
    await sleep(500);
    expect(second.heard.map(({ userId }) => userId)).toEqual(['new']);
  });

  it('a bucket is lost: a drop has its grace, and who is elsewhere too is not told offline', async () => {
    const rig = await Rig.start();
    const [a, b] = [await rig.router({ graceMs: 3_000 }), await rig.router()];
    await a.attach('both', 'graced');
    await b.attach('both');
    await rig.admin.del(...(await rig.admin.keys('presence:b:*')));
    a.sockets.get('both')?.close();
    a.sockets.get('graced')?.drop();
    await sleep(1_000);
    expect(rig.observer.changes('graced')).toEqual(['online connect']);
    await rig.observer.saw('graced', 'offline timeout');
    await until('the other one is held again', () => b.isOnline('both'));
    for (const change of rig.observer.changes('both')) expect(change).toMatch(/^online/);
  });
});

describe('a process', () => {
  const runScript = async (port: number) => {
    const child = spawn(process.execPath, [programOf('redis/forgetful-process'), String(port)], { stdio: 'inherit' });
    const ended = await Promise.race([once(child, 'exit'), sleep(12_000)]);
    child.kill('SIGKILL');
    return ended;
  };

  it('that closes nothing ends by itself, with Redis and without', async () => {
    const rig = await Rig.start();
    expect(await runScript(rig.server.port)).toEqual([0, null]);
    await rig.server.stop();
    expect(await runScript(rig.server.port)).toEqual([0, null]);
  }, 40_000);

  it('that waits for nothing but an answer gets it before it ends', async () => {
    const { server } = await Rig.start();
    const waiting = spawn(process.execPath, [programOf('redis/waiting-process'), String(server.port)]);
    let said = '';
    waiting.stdout.on('data', (chunk) => {
      said += chunk;
    });
    // Once it has ended and all of its output was read.
    await once(waiting, 'close');
    expect(said).toBe('ready, 1 online');
  });
});
