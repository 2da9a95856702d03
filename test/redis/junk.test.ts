import { type ChainableCommander, Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it as one, describe as oneByOne } from 'vitest';
import { createPresence, type PresenceError, type PresenceUpdate } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { type FakeSocket, fakeSocket } from 'voiceping-presence/testing';
import { Keyspace, type Partition } from '../../src/stores/redis/keyspace';
import { describe, it, onTestFinished, shortLease } from '../side-by-side';
import { RedisServer } from './server';
import { sleep, until } from './wait';

// Another tenant of the same Redis writes foreign data into the keys of presence.

let server: RedisServer;
let admin: Redis;
beforeAll(async () => {
  server = await RedisServer.start();
  admin = new Redis({ port: server.port });
});
afterAll(async () => {
  admin.disconnect();
  await server.remove();
});

let serial = 0;

/** Two routers on a prefix of their own, alice on the first, bob gone, and a dashboard on the second. */
async function fleet() {
  serial += 1;
  const prefix = `tenant${serial}:`;
  const errors: PresenceError[] = [];
  const keyspace = new Keyspace(prefix, false);
  const router = async () => {
    const presence = createPresence({
      leaseMs: shortLease(),
      graceMs: 0,
      ttlMs: 4_000,
      pingIntervalMs: 300,
      // Some answers wait for what eleven other tests do to this server.
      commandTimeoutMs: 10_000,
      store: redisStore({ host: '127.0.0.1', port: server.port, prefix }),
      onError: (error) => errors.push(error),
    });
    const told: PresenceUpdate[] = [];
    presence.onUpdate((update) => told.push(update));
    await presence.ready();
    return { presence, told, changes: (id: string) => told.filter(({ userId }) => userId === id).map((u) => u.status) };
  };
  const [a, b] = [await router(), await router()];
  const end = async () => {
    await a.presence.close();
    await b.presence.close();
  };
  onTestFinished(end);
  const sockets = new Map<string, FakeSocket>();
  const connect = async (userId: string): Promise<FakeSocket> => {
    const socket = fakeSocket();
    sockets.set(userId, socket);
    await a.presence.attachToSocket(socket, { userId }).ready;
    return socket;
  };
  await connect('alice');
  (await connect('bob')).close();
  await until('b heard of them', () => b.changes('alice').length === 1 && b.changes('bob').length === 2);
  const dashboard = fakeSocket();
  b.presence.attachToSocket(dashboard, { userId: 'd', track: false, watch: ['alice', 'bob', 'carol'] });
  await until('it has its snapshot', () => dashboard.sent.length === 1);
  const key = (name: string): string => `${prefix}${name}:{0}`;
  const [epoch, seed] = (await admin.hmget(key('meta'), 'epoch', 'seed')) as [string, string];
  const partition = keyspace.partitions[0] as Partition;
  partition.learn(epoch, seed);
  const bucket = (userId: string): string => partition.bucketKey(partition.bucketOf(userId));
  const [tag] = (await admin.zrange(key('lease'), 0, -1)) as [string];
  const statusOf = async (at: typeof a, id: string) => (await at.presence.getStatuses([id]))[id]?.status;
  const listed = async (at: typeof a) => (await at.presence.listOnline()).users.map(({ userId }) => userId).sort();
  const shown = (): string | undefined => {
    let status: string | undefined;
    type Frame = { users?: Array<{ userId: string; status: string }>; fromId?: string; status?: string };
    for (const frame of dashboard.frames as Frame[]) {
      for (const user of frame.users ?? []) if (user.userId === 'alice') status = user.status;
      if (frame.fromId === 'alice') status = frame.status;
    }
    return status;
  };
  return {
    a,
    b,
    prefix,
    key,
    bucket,
    tag,
    partition,
    errors,
    connect,
    statusOf,
    listed,
    shown,
    userKey: (id: string) => `${prefix}user:${id}`,
    end,
  };
}
type Fleet = Awaited<ReturnType<typeof fleet>>;

/** Checks that everything works: statuses are right, and each change is published once, on every router. */
async function expectHealthy(it: Fleet, within = shortLease() * 2): Promise<void> {
  const { a, b, connect, statusOf, listed, shown } = it;
  await until(
    'queries are right',
    async () => {
      for (const at of [a, b]) {
        if ((await statusOf(at, 'alice')) !== 'online' || (await statusOf(at, 'bob')) !== 'offline') return false;
        if ((await listed(at)).join() !== 'alice') return false;
      }
      return shown() === 'online';
    },
    within,
  );
  await until('health is ok', () => [a, b].every(({ presence }) => presence.health().status === 'ok'));
  const before = b.changes('carol').length;
  const carol = await connect('carol');
  await until('carol is online', () => b.changes('carol').length === before + 1);
  carol.close();
  await until('carol has left', () => b.changes('carol').length === before + 2);
  expect(b.changes('carol').slice(before)).toEqual(['online', 'offline']);
  // No change was published: her connection was there all the time.
  for (const at of [a, b]) expect(at.changes('alice').filter((status) => status === 'offline')).toEqual([]);
  await until('the count is right', async () => (await a.presence.countOnline()) === 1, shortLease() * 6);
}

const TYPES: Array<[type: string, write: (key: string, on: ChainableCommander) => unknown]> = [
  ['text', (key, on) => on.set(key, 'junk')],
  ['a list', (key, on) => on.rpush(key, 'junk')],
  ['a set', (key, on) => on.sadd(key, 'junk')],
  ['a hash', (key, on) => on.hset(key, 'junk', 'junk')],
  ['a sorted set', (key, on) => on.zadd(key, 5, 'junk')],
];

const JUNK: Array<[what: string, write: (fleet: Fleet) => Promise<unknown>]> = [
  ['a router that is none', ({ key }) => admin.hset(key('nodes'), 'x', 'junk')],
  ['a router with a name that is none', ({ key }) => admin.hset(key('nodes'), 'x"],\n', '1500 0 0 0')],
  ['a living router made junk', ({ key, tag }) => admin.hset(key('nodes'), tag, 'junk')],
  [
    'a living router that has done more than it was told',
    ({ key, tag }) => admin.hset(key('nodes'), tag, '1500 0 999999 0'),
  ],
  ['a router whose lease is of another age', ({ key }) => admin.hset(key('nodes'), 'x', '99999999999999999999 0 0 0')],
  ['a lease of nobody', ({ key }) => admin.zadd(key('lease'), 9e15, 'x y')],
  ['a lease without an end', ({ key }) => admin.zadd(key('lease'), '+inf', 'somebody')],
  ['a lease that ended long ago', ({ key }) => admin.zadd(key('lease'), '-inf', 'somebody')],
  ...['junk', '', '1e300', '-5', '9007199254740991', '99999999999999999999'].map(
    (value): [string, (fleet: Fleet) => Promise<unknown>] => [
      `a version that is ${JSON.stringify(value)}`,
      ({ key }) => admin.hset(key('meta'), 'seq', value),
    ],
  ),
  ['an epoch that ends the JSON', ({ key }) => admin.hset(key('meta'), 'epoch', '","x":"')],
  ['another epoch', ({ key }) => admin.hset(key('meta'), 'epoch', '1.2')],
  ['an epoch of seven decimals', ({ key }) => admin.hset(key('meta'), 'epoch', '1.1234567')],
  ['a version near the last that there is', ({ key }) => admin.hset(key('meta'), 'seq', String(2 ** 51))],
  [
    'one field in place of all of meta',
    async ({ key }) => {
      await admin.multi().del(key('meta')).hset(key('meta'), 'at', '5').exec();
    },
  ],
  [
    'an epoch in place of all of meta',
    async ({ key }) => {
      await admin.multi().del(key('meta')).hset(key('meta'), 'epoch', '1.2').exec();
    },
  ],
  ['a beat that is junk', ({ key }) => admin.hset(key('meta'), 'at', 'junk')],
  ['a beat long to come', ({ key }) => admin.hset(key('meta'), 'at', '99999999999999')],
  ['routers that are awaited for ever', ({ key }) => admin.hset(key('meta'), 'awaited', '4503599627370496 x')],
  [
    'very many routers that are awaited',
    ({ key }) => admin.hset(key('meta'), 'awaited', `${Date.now() + shortLease()} ${'x '.repeat(50_000)}`),
  ],
  ['routers that are none, and awaited', ({ key }) => admin.hset(key('meta'), 'awaited', '"],\n')],
  ['leases that were extended for ever', ({ key }) => admin.hset(key('meta'), 'extended', '1 4503599627370496')],
  ['leases that were extended by junk', ({ key }) => admin.hset(key('meta'), 'extended', 'junk')],
  ['a layout that is none', ({ key }) => admin.hset(key('meta'), 'layout', 'junk')],
  ['another layout', ({ key }) => admin.hset(key('meta'), 'layout', '99')],
  ['a seed that is none', ({ key }) => admin.hset(key('meta'), 'seed', 'junk')],
  ['another seed', ({ key }) => admin.hset(key('meta'), 'seed', '0000000000000000')],
  ...['layout', 'seed', 'epoch', 'seq'].map((field): [string, (fleet: Fleet) => Promise<unknown>] => [
    `no ${field}`,
    ({ key }) => admin.hdel(key('meta'), field),
  ]),
  ['sweeps that are junk', ({ key }) => admin.hset(key('meta'), 'sweep', '1e300', 'swept', 'junk')],
  ['losses that are junk', ({ key }) => admin.hset(key('meta'), 'lost', 'junk')],
  ['many losses', ({ key }) => admin.hset(key('meta'), 'lost', '99999999')],
  ['counts that are junk', ({ key }) => admin.hset(key('count'), '5', 'junk', '6', '1e300', '7', '-99999', 'x', '7')],
  [
    'counts of buckets that there are not',
    ({ key }) =>
      admin.hset(key('count'), Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`9${n}00000`, 3]))),
  ],
  ['graces of nobody', ({ key }) => admin.zadd(key('grace'), 0, 'junk', 0, '99999:alice', 0, ':', 0, '5:nobody')],
  [
    'a grace of somebody who is there',
    ({ key, partition }) => admin.zadd(key('grace'), 0, `${partition.bucketOf('alice')}:alice`),
  ],
  ['a log whose last entry is far away', ({ key }) => admin.xadd(key('log'), '9007199254740991-0', 'b', 'junk')],
  [
    'a log of junk',
    async ({ key }) => {
      for (let entry = 0; entry < 50; entry += 1) await admin.xadd(key('log'), '*', 'x', '{"e":1}');
    },
  ],
  ['a record that is none', ({ bucket }) => admin.hset(bucket('alice'), 'alice', 'junk')],
  ['a record with owners that are none', ({ bucket }) => admin.hset(bucket('alice'), 'alice', '1j0,,,,')],
  ['a record of 100 kB', ({ bucket }) => admin.hset(bucket('alice'), 'alice', `1 0,${'x,'.repeat(50_000)}`)],
  ['a record of bob with owners that are no names', ({ bucket }) => admin.hset(bucket('bob'), 'bob', '5j0,x y,')],
  ['a record of bob with an owner of 300', ({ bucket }) => admin.hset(bucket('bob'), 'bob', `5 0,${'x'.repeat(300)},`)],
  [
    'a record of bob with two thousand owners',
    ({ bucket }) => admin.hset(bucket('bob'), 'bob', `5 0,${Array.from({ length: 1_500 }, (_, n) => n).join()},`),
  ],
  ['a record of bob whose grace never ends', ({ bucket }) => admin.hset(bucket('bob'), 'bob', '5t0/fffffffffff')],
  ['a record of bob without an owner', ({ bucket }) => admin.hset(bucket('bob'), 'bob', '5j0')],
  ['a record of bob with junk behind it', ({ bucket }) => admin.hset(bucket('bob'), 'bob', '5 0 junk')],
  [
    'a record of bob in the bucket of another',
    ({ partition, tag }) =>
      admin.hset(partition.bucketKey((partition.bucketOf('bob') + 1) % 4_096), 'bob', `5 0,${tag},`),
  ],
  ['a record of bob that is none', ({ bucket }) => admin.hset(bucket('bob'), 'bob', '\u0000\u0001')],
  ['an id of 5,000 characters', ({ bucket }) => admin.hset(bucket('alice'), 'x'.repeat(5_000), '1j0')],
  ['an id that is no UTF-8', ({ bucket }) => admin.hset(bucket('alice'), Buffer.from([0xc3, 0x28]), '1j0')],
  [
    'a key of a user who is there, of another type',
    async ({ userKey }) => {
      await admin.multi().del(userKey('alice')).rpush(userKey('alice'), 'junk').exec();
    },
  ],
  ['a key of a user who is there, that is no time', ({ userKey }) => admin.set(userKey('alice'), 'junk')],
  [
    'a key of a user who is there, seen in the year 5000',
    ({ userKey }) => admin.set(userKey('alice'), '95617584000000'),
  ],
  ['a key of a user who has left, that is no time', ({ userKey }) => admin.set(userKey('bob'), 'junk')],
  ['a key of a user who has left, seen long ago', ({ userKey }) => admin.set(userKey('bob'), '1700000000000')],
];

describe('another tenant of the Redis', () => {
  for (const name of ['lease', 'nodes', 'meta', 'grace', 'count', 'log', 'bucket']) {
    it.each(TYPES)(`puts %s in the place of "${name}"`, async (_, write) => {
      const there = await fleet();
      const at = name === 'bucket' ? there.bucket('alice') : there.key(name);
      // In one step: else a router may be there first.
      const exchange = admin.multi().del(at);
      write(at, exchange);
      await exchange.exec();
      await expectHealthy(there);
    });
  }

  it.each(JUNK)('writes %s', async (_, write) => {
    const there = await fleet();
    await write(there);
    await expectHealthy(there);
  });

  it('says that somebody is online who is not: for a dozen leases at most', async () => {
    const there = await fleet();
    await admin.set(there.userKey('bob'), String(Date.now()));
    await until(
      'the sweep has found it',
      async () => (await admin.exists(there.userKey('bob'))) === 0,
      shortLease() * 14,
    );
    expect(await there.statusOf(there.b, 'bob')).toBe('offline');
    expect(there.errors.map(({ message }) => message).join()).toContain('was deleted');
  });

  it('writes that a router holds a user who is not there: once it is listed, for two leases', async () => {
    const there = await fleet();
    await admin.hset(there.bucket('bob'), 'bob', `5j0,${there.tag},`);
    expect(await there.listed(there.b)).toEqual(['alice', 'bob']);
    await until(
      'he is not listed any more',
      async () => (await there.listed(there.b)).join() === 'alice',
      shortLease() * 2,
    );
    await expectHealthy(there);
  });

  // An evicted key came back only with the next activity.
  it('deletes the key of a user who is there: it comes back once she is listed, and nothing is published', async () => {
    const there = await fleet();
    await admin.del(there.userKey('alice'));
    await there.listed(there.b);
    await until('her key is back', async () => (await admin.exists(there.userKey('alice'))) === 1, shortLease());
    await expectHealthy(there);
  });

  // Her key was deleted at each sweep, until her next activity.
  it('writes into another bucket that she has left: her key stays', async () => {
    const { partition, userKey } = await fleet();
    const other = partition.bucketKey((partition.bucketOf('alice') + 1) % 4_096);
    await admin.hset(other, 'alice', '-5l0');
    let missing = 0;
    await until(
      'the sweep has taken it away',
      async () => {
        if ((await admin.exists(userKey('alice'))) === 0) missing += 1;
        return (await admin.hexists(other, 'alice')) === 0;
      },
      shortLease() * 14,
    );
    expect(missing).toBe(0);
  });

  it('is reported once, with the key, and nothing is reported for its ids', async () => {
    const there = await fleet();
    await admin.hset(there.bucket('alice'), 'secret-id', 'junk', 'other-id', 'junk');
    await there.listed(there.a);
    await until('it is reported', () => there.errors.some(({ message }) => message.includes(there.bucket('alice'))));
    await there.listed(there.a);
    await sleep(500);
    const reports = there.errors.map(({ message }) => message).filter((message) => message.includes('was deleted'));
    expect(new Set(reports).size).toBe(reports.length);
    expect(reports.join()).not.toContain('-id');
  });
});

// What is counted is counted of the whole server.
oneByOne('keys with very many members', () => {
  /** Redis stands still for a while on a busy machine, too: what a call itself takes so long for, it takes every time. */
  const noCallTakes = async (ms: number, scenario: () => Promise<void>): Promise<void> => {
    for (let attempt = 1; ; attempt += 1) {
      await admin.config('SET', 'slowlog-log-slower-than', -1);
      await scenario();
      const slow = await admin.slowlog('LEN');
      if (slow === 0) return;
      if (attempt === 3) expect(`${slow} calls took more than ${ms} ms`).toBe('none');
    }
  };
  const observeFrom = async (ms: number): Promise<void> => {
    await admin.config('SET', 'slowlog-log-slower-than', ms * 1_000);
    await admin.slowlog('RESET');
  };

  one('thirty thousand routers that there are not: no call is slow, nobody goes offline, and they are gone', () =>
    noCallTakes(100, async () => {
      const there = await fleet();
      const { key } = there;
      for (let from = 0; from < 30_000; from += 1_000) {
        const entries = Array.from({ length: 1_000 }, (_, n) => `router${from + n}`);
        await admin.hset(key('nodes'), Object.fromEntries(entries.map((name) => [name, '1500 0 0 0'])));
        await admin.zadd(key('lease'), ...entries.flatMap((name) => [1, name]));
      }
      await admin.config('RESETSTAT');
      await observeFrom(100);
      await expectHealthy(there, shortLease() * 3);
      await until('they are gone', async () => (await admin.hlen(key('nodes'))) < 10, shortLease() * 3);
      await sleep(shortLease());
      const [, calls] = /cmdstat_evalsha:calls=(\d+)/.exec(await admin.info('commandstats')) ?? [];
      expect(Number(calls)).toBeLessThan(1_000);
    }),
  );

  one('a few hundred dead routers are taken away together', async () => {
    const there = await fleet();
    const { key } = there;
    const entries = Array.from({ length: 500 }, (_, n) => `router${n}`);
    await admin.hset(key('nodes'), Object.fromEntries(entries.map((name) => [name, '1500 0 0 0'])));
    await admin.zadd(key('lease'), ...entries.flatMap((name) => [1, name]));
    await admin.config('RESETSTAT');
    await until('they are gone', async () => (await admin.hlen(key('nodes'))) === 2, shortLease() * 4);
    const [, calls] = /cmdstat_evalsha:calls=(\d+)/.exec(await admin.info('commandstats')) ?? [];
    expect(Number(calls)).toBeLessThan(600);
    await expectHealthy(there);
  });

  one('fifty thousand users in one bucket: it is emptied, and who is there is asserted anew', () =>
    noCallTakes(50, async () => {
      const there = await fleet();
      const bucket = there.bucket('alice');
      // All at once: it would be emptied while it is filled.
      const filled = `${bucket}:filled`;
      for (let from = 0; from < 50_000; from += 1_000) {
        await admin.hset(filled, Object.fromEntries(Array.from({ length: 1_000 }, (_, n) => [`u${from + n}`, '-1l0'])));
      }
      await admin.rename(filled, bucket);
      await observeFrom(50);
      await there.listed(there.b);
      await expectHealthy(there, shortLease() * 3);
      expect(await admin.hlen(bucket)).toBeLessThan(10);
    }),
  );

  one('a hundred thousand graces that have ended do not keep a router from its beats', async () => {
    const there = await fleet();
    for (let from = 0; from < 100_000; from += 1_000) {
      await admin.zadd(there.key('grace'), ...Array.from({ length: 1_000 }, (_, n) => [1, `${n}:u${from + n}`]).flat());
    }
    await expectHealthy(there, shortLease() * 4);
    await until('they are gone', async () => (await admin.zcard(there.key('grace'))) === 0, shortLease() * 10);
  });
});

// Users who were in grace, or left, during the loss were never published as offline, since the data were taken for new ones.
it.each([
  ['nodes', 'count', 'b:'],
  ['lease', 'nodes', 'meta', 'grace', 'count', 'log', 'b:'],
])('keys that are lost together (%s, %s, %s ...): whoever leaves then is told offline', async (...names) => {
  const there = await fleet();
  const leaver = await there.connect('leaver');
  await until('b heard of it', () => there.b.changes('leaver').length === 1);
  const all = await admin.keys(`${there.prefix}*`);
  await admin.del(all.filter((key) => names.some((name) => key.startsWith(there.prefix + name))));
  leaver.close();
  await until('b is told', () => there.b.changes('leaver').length === 2, shortLease() * 12);
  expect(there.b.changes('alice')).toEqual(['online']);
});

describe('the layout', () => {
  const data = async (fields: Record<string, string>) => {
    serial += 1;
    const prefix = `layout${serial}:`;
    await admin.hset(`${prefix}meta:{0}`, fields);
    await admin.hset(`${prefix}b:{0}:7`, 'alice', '1j0,x,');
    const errors: PresenceError[] = [];
    const presence = createPresence({
      leaseMs: shortLease(),
      store: redisStore({ host: '127.0.0.1', port: server.port, prefix }),
      onError: (error) => errors.push(error),
    });
    return { prefix, presence, errors };
  };

  const others: Array<[what: string, fields: Record<string, string>, says: string]> = [
    ['none', { epoch: '1.2', seq: '5' }, 'no number of a layout'],
    ['a later one', { epoch: '1.2', seq: '5', layout: '99', seed: '0123456789abcdef' }, 'layout 99'],
    ['one whose epoch is written otherwise', { epoch: 'x', layout: '99' }, 'layout 99'],
  ];
  it.each(others)(
    'of data that have %s: nothing is written, it is said once, and the presence stays stale',
    async (_, fields, says) => {
      const { prefix, presence, errors } = await data(fields);
      const socket = fakeSocket();
      presence.attachToSocket(socket, { userId: 'u' });
      await until('it is reported', () => errors.length > 0);
      await sleep(1_500);
      expect(errors.map(({ code }) => code)).toEqual(['ERR_PRESENCE_LAYOUT']);
      expect(errors[0]?.message).toContain(says);
      expect(presence.health()).toMatchObject({
        status: 'stale',
        problems: [{ stage: 'beat', code: 'ERR_PRESENCE_LAYOUT', message: expect.stringContaining(says) }],
      });
      await expect(presence.getStatuses(['u'])).rejects.toMatchObject({ code: 'ERR_PRESENCE_LAYOUT' });
      await expect(presence.listOnline()).rejects.toMatchObject({ code: 'ERR_PRESENCE_LAYOUT' });
      expect((await admin.keys(`${prefix}*`)).sort()).toEqual([`${prefix}b:{0}:7`, `${prefix}meta:{0}`]);
      expect(await admin.hgetall(`${prefix}meta:{0}`)).toEqual(fields);
      // Once they are deleted, as the message says, everything begins.
      await admin.del(`${prefix}b:{0}:7`, `${prefix}meta:{0}`);
      await presence.ready();
      await until('the user is there', async () => (await presence.countOnline()) === 1);
      await until('it is not stale any more', () => presence.health().status === 'ok');
      await presence.close();
    },
  );

  it('a router that starts later finds by the same seed whoever is there; after a flush it is kept', async () => {
    const there = await fleet();
    const seed = await admin.hget(there.key('meta'), 'seed');
    expect(seed).toMatch(/^[0-9a-f]{16,29}$/);
    for (const key of await admin.keys(`${there.prefix}*`)) await admin.del(key);
    const digits = seed?.slice(0, 16) as string;
    await until('it is kept', async () => (await admin.hget(there.key('meta'), 'seed'))?.startsWith(digits) === true);
    // Bob was forgotten.
    await until('she is there again', async () => (await there.listed(there.b)).join() === 'alice');
    await expectHealthy(there);
  });

  // Without a router that knows the seed, the users are in buckets that cannot be found.
  it('where the seed is lost and nobody knows it, what was found by it is deleted', async () => {
    const there = await fleet();
    const bucket = there.bucket('bob');
    await there.end();
    await admin.del(there.key('meta'));
    expect(await admin.exists(bucket)).toBe(1);
    const presence = createPresence({
      store: redisStore({ host: '127.0.0.1', port: server.port, prefix: there.prefix }),
    });
    await presence.ready();
    expect(await admin.exists(bucket)).toBe(0);
    expect(await presence.countOnline()).toBe(0);
    await presence.close();
  });
});
