import { Redis } from 'ioredis';
import { expect } from 'vitest';
import { createPresence, type PresenceError, type PresenceUpdate } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { type FakeSocket, fakeSocket } from 'voiceping-presence/testing';
import { parseMessage } from '../../src/stores/redis/changes/message-codec';
import { describe, it, onTestFinished, shortLease } from '../side-by-side';
import { RedisServer } from './server';
import { sleep, until } from './wait';

// Whoever may publish on the channel of the routers, or write to its log: what becomes of it, on a real server.

/** Two leases, and what a busy machine adds. */
const HEALED_MS = (lease: number): number => lease * 2 + 1_500;
/** A lease that need not lapse. A store that takes a third of one to answer is an error of its own. */
const LONG_MS = 6_000;
const CHANNEL = 'presence:sync:{0}';
const LOG = 'presence:log:{0}';
const META = 'presence:meta:{0}';
const USERS = Array.from({ length: 12 }, (_, index) => `u${index}`);

type Change = [id: unknown, online: unknown, lastSeen: unknown, reason: unknown];

/** Two routers with six users each, a dashboard of all users on the second, and an attacker who may publish. */
async function start(lease = shortLease()) {
  const endings: Array<() => unknown> = [];
  onTestFinished(async () => {
    for (const end of endings.reverse()) await end();
  });
  const server = await RedisServer.start();
  endings.push(() => server.remove());
  const stranger = new Redis({ port: server.port });
  endings.push(() => stranger.disconnect());
  const errors: PresenceError[] = [];
  const router = async () => {
    const heard: PresenceUpdate[] = [];
    const presence = createPresence({
      leaseMs: lease,
      graceMs: 0,
      // Signs of life would be commands among those that are counted.
      pingIntervalMs: 60_000,
      store: redisStore({ host: '127.0.0.1', port: server.port }),
      onError: (error) => errors.push(error),
    });
    endings.push(() => presence.close());
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
    return { presence, heard, sockets, attach };
  };
  const [a, b] = [await router(), await router()];
  await a.attach(...USERS.slice(0, 6));
  await b.attach(...USERS.slice(6));
  await until('both heard all', () => a.heard.length === 12 && b.heard.length === 12);
  const screen = fakeSocket();
  b.presence.attachToSocket(screen, { userId: 'dashboard', track: false, watch: true });
  await until('it has its snapshot', () => screen.frames.length > 0);

  /** Who is online, as the dashboard shows it. */
  const shown = (): string => {
    const online = new Set<string>();
    for (const frame of screen.frames as Array<{ [field: string]: unknown }>) {
      if (frame.messageType === 32) online.clear();
      for (const { userId } of (frame.users ?? []) as Array<{ userId: string }>) online.add(userId);
      if (frame.messageType !== 31) continue;
      if (frame.status === 'online') online.add(frame.fromId as string);
      else online.delete(frame.fromId as string);
    }
    return Array.from(online).sort().join();
  };
  const head = async () => {
    const [epoch, seq] = await stranger.hmget(META, 'epoch', 'seq');
    return { epoch: epoch as string, seq: Number(seq) };
  };
  const calls = async (command: string): Promise<number> => {
    const stats = await stranger.info('commandstats');
    return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
  };
  /** How many of these commands `run` has caused within a lease and a half. */
  const caused = async (command: string, run: () => Promise<unknown>): Promise<number> => {
    const before = await calls(command);
    await run();
    await sleep(lease * 1.5);
    return (await calls(command)) - before;
  };
  /** A change of all users to offline, in the format of a router. */
  const batchOf = async (fields: object = {}, ids: readonly string[] = USERS) => {
    const { epoch, seq } = await head();
    const changes = ids.map((id): Change => [id, 0, Date.now(), 'timeout']);
    return { e: epoch, n: seq + 1, t: Date.now(), u: changes, ...fields };
  };
  const publish = (message: object): Promise<number> => stranger.publish(CHANNEL, JSON.stringify(message));
  const { seq: began } = await head();
  /** All statuses are right, and further changes arrive. */
  const isRight = async (users: readonly string[] = USERS): Promise<void> => {
    const expected = users.slice().sort().join();
    await until('the dashboard is right', () => shown() === expected, HEALED_MS(lease));
    for (const { presence } of [a, b]) {
      await until('the count is right', async () => (await presence.countOnline()) === users.length, HEALED_MS(lease));
      const statuses = Object.values(await presence.getStatuses(users));
      expect(statuses.filter(({ status }) => status !== 'online')).toEqual([]);
    }
    const { seq } = await head();
    expect(seq).toBeGreaterThanOrEqual(began);
    expect(seq).toBeLessThan(began + 200_000);
    for (const count of await stranger.hvals('presence:count:{0}')) expect(count).toMatch(/^\d$/);
  };
  const goesOn = async (): Promise<void> => {
    await a.attach('comes');
    await until('who comes is shown', () => shown().includes('comes'));
    a.sockets.get('comes')?.close();
    await until('who goes is not', () => !shown().includes('comes'));
  };
  /** What reached those who listen. */
  const updates = () => a.heard.concat(b.heard);
  const snapshots = () =>
    (screen.frames as Array<{ messageType: number }>).filter(({ messageType }) => messageType === 32);
  return {
    server,
    stranger,
    errors,
    a,
    b,
    shown,
    head,
    calls,
    caused,
    batchOf,
    publish,
    isRight,
    goesOn,
    updates,
    snapshots,
  };
}

describe('one forged message', () => {
  // The dashboard showed 12 of 12 users wrongly, or got all of them again with each change from then on.
  it.each([
    ['a number that is none', { n: 1e300 }],
    ['the last number that is exact', { n: 2 ** 53 - 1 }],
    ['a number far ahead', { n: 2 ** 51 }],
    ['a number a little ahead', { n: 40 }],
    ['an old number', { n: 3 }],
    ['another epoch', { e: '1.1' }],
    ['an epoch that is none', { e: 'x'.repeat(1_000) }],
    ['a time that is none', { t: 1e300 }],
    ['ids that are too long', { u: [['x'.repeat(5_000), 1, 1, 'connect']] }],
    ['ids of broken UTF-8', { u: [['\ud800', 1, 1, 'connect']] }],
    ['a reason that is an object', { u: [['u1', 0, 1, { toString: 1 }]] }],
    ['a reason that is a name of JavaScript', { u: [['u1', 0, 1, 'constructor']] }],
    ['a last seen that is none', { u: [['u1', 0, -1e300, 'timeout']] }],
    ['a status that is none', { u: [['u1', 7, 1, 'timeout']] }],
  ] as const)('with %s is passed by', async (_, fields) => {
    const { batchOf, publish, isRight, goesOn, updates, snapshots, errors, head } = await start(LONG_MS);
    const before = updates().length;
    const { seq } = await head();
    await publish(await batchOf(fields));
    await isRight();
    await goesOn();
    await goesOn();
    await until('both have heard', () => updates().length >= before + 8);
    expect(updates()).toHaveLength(before + 8);
    for (const { version } of updates()) expect(version).toBeLessThanOrEqual(seq + 4);
    // An old number may be the true one, to the router: once everything is read again.
    expect(snapshots().length).toBeLessThanOrEqual('n' in fields && fields.n === 3 ? 2 : 1);
    expect(errors).toEqual([]);
  });

  it('with the next number heals within two leases, though nothing else happens', async () => {
    const { batchOf, publish, isRight, goesOn, shown, errors } = await start();
    await publish(await batchOf());
    await until('it was believed', () => shown() === '');
    await isRight();
    await goesOn();
    await isRight();
    expect(errors).toEqual([]);
  });

  it('of somebody who has never been here heals within two leases', async () => {
    const { batchOf, publish, isRight, goesOn, shown } = await start();
    await publish(await batchOf({ u: [['ghost', 1, Date.now(), 'connect']] }));
    await until('it was believed', () => shown().includes('ghost'));
    await isRight();
    await goesOn();
  });

  it('with the next number, of very many changes: the true one that comes finds it out', async () => {
    const { batchOf, publish, isRight, goesOn, shown, head, a } = await start();
    const { seq } = await head();
    await publish(
      await batchOf(
        {},
        Array.from({ length: 10_000 }, (_, index) => USERS[index % 12] as string),
      ),
    );
    await until('it was believed', () => shown() === '');
    await a.attach('comes');
    await isRight([...USERS, 'comes']);
    a.sockets.get('comes')?.close();
    await isRight();
    // What it bore is not given again: a client may have seen it, and go on from there.
    await until('the numbers go on after it', async () => (await head()).seq > seq + 10_000);
    await goesOn();
  });

  it('and the same entry in the log: who reads it is right again all the same', async () => {
    const { batchOf, publish, isRight, goesOn, shown, stranger, a } = await start();
    const batch = await batchOf();
    await stranger.xadd(LOG, `${batch.n}-0`, 'b', JSON.stringify(batch));
    await publish(batch);
    await until('it was believed', () => shown() === '');
    await a.attach('comes');
    await isRight([...USERS, 'comes']);
    a.sockets.get('comes')?.close();
    await isRight();
    await goesOn();
  });
});

describe('one entry in the log that does not belong there', () => {
  it.each([
    ['is none', (n: number) => [`${n + 1}-0`, 'junk']],
    ['has another field', (n: number) => [`${n}-5`, '{"n":1}']],
    ['bears a number far ahead', () => ['18446744073709551615-1', 'junk']],
    ['bears a number far ahead, and follows', () => ['9000000000000000-1', '']],
  ] as const)('and %s', async (_, entry) => {
    const { batchOf, stranger, isRight, goesOn, head, publish, shown, a } = await start();
    const { seq } = await head();
    const [id, text] = entry(seq) as [string, string];
    await stranger.xadd(LOG, id, 'b', text === '' ? JSON.stringify(await batchOf()) : text);
    await isRight();
    // It is read: something seems to be missing.
    await publish(await batchOf({ n: seq + 9 }));
    await goesOn();
    await isRight();
    // A real change, whose message is lost.
    await stranger.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    a.sockets.get('u1')?.close();
    await until('it is found', () => !shown().includes('u1,'));
    await a.attach('u1');
    await isRight();
    await goesOn();
  });
});

describe('a forged loss', () => {
  // 15 bytes made every router register all of its users again.
  it.each([
    ['of all', { l: [], k: 1 }],
    ['of a number far ahead', { l: [], k: 2 ** 52 }],
    ['of each bucket', { l: Array.from({ length: 4_096 }, (_, bucket) => bucket), k: 1 }],
    ['of numbers that are none', { l: [1e300, -1, 'x'], k: 1e300 }],
  ] as const)('%s costs a few commands', async (_, message) => {
    const { caused, publish, isRight, goesOn, updates, snapshots, a } = await start();
    const many = Array.from({ length: 500 }, (_, index) => `many${index}`);
    await a.attach(...many);
    await until('all are heard', () => updates().length === 2 * 512);
    // Beats write, too.
    const quiet = await caused('hset', async () => undefined);
    const before = updates().length;
    expect(await caused('hset', () => publish(message))).toBeLessThan(quiet + 40);
    expect(await caused('hmget', () => Promise.all(Array.from({ length: 50 }, () => publish(message))))).toBeLessThan(
      100,
    );
    expect(updates()).toHaveLength(before);
    expect(snapshots()).toHaveLength(1);
    await isRight([...USERS, ...many]);
    await goesOn();
  });

  it('before a true one does not hide it', async () => {
    const { publish, stranger, isRight, goesOn, a } = await start();
    const flood = setInterval(() => publish({ l: [9], k: 1 }).catch(() => undefined), 20);
    onTestFinished(() => clearInterval(flood));
    const buckets = await stranger.keys('presence:b:{0}:*');
    expect(buckets.length).toBeGreaterThan(8);
    await stranger.del(...buckets);
    await until(
      'the records are back',
      async () => (await stranger.keys('presence:b:{0}:*')).length === buckets.length,
    );
    clearInterval(flood);
    // A sweep counts them, in four leases.
    await until('the count is right', async () => (await a.presence.countOnline()) === 12, shortLease() * 8);
    await isRight();
    await goesOn();
  });

  it.each(['junk', '-5', '1e300', '9007199254740993', ''])(
    'in Redis itself, as "%s": nobody is written anew, and it heals',
    async (junk) => {
      const { stranger, publish, caused, a, updates, isRight, snapshots } = await start();
      const many = Array.from({ length: 500 }, (_, index) => `many${index}`);
      await a.attach(...many);
      await until('all are heard', () => updates().length === 2 * 512);
      const written = await caused('hset', async () => {
        await stranger.hset(META, 'lost', junk);
        await publish({ l: [], k: 1 });
      });
      expect(written).toBeLessThan(200);
      expect(snapshots()).toHaveLength(1);
      await stranger.hdel(META, 'lost');
      await isRight([...USERS, ...many]);
    },
  );
});

describe('a flood of 10,000', () => {
  const flood = async (publish: (index: number) => Promise<unknown>): Promise<void> => {
    for (let from = 0; from < 10_000; from += 500) {
      await Promise.all(Array.from({ length: 500 }, (_, index) => publish(from + index)));
    }
  };

  it.each([
    ['numbers far ahead', (index: number) => ({ n: 2 ** 50 + index })],
    ['old numbers', (index: number) => ({ n: 1 + (index % 12) })],
    ['epochs', (index: number) => ({ e: `${index}.1` })],
    ['junk', (index: number) => ({ n: -index, u: [[{ index }]] })],
  ] as const)('%s costs a few questions', async (_, fields) => {
    const { batchOf, publish, isRight, goesOn, updates, snapshots, calls, errors } = await start(shortLease(6_000));
    const batch = await batchOf({}, ['u1']);
    const before = updates().length;
    const asked = await calls('hmget');
    const startedAt = Date.now();
    await flood((index) => publish({ ...batch, ...fields(index) }));
    await goesOn();
    // Two routers, a question in two seconds each; a beat reads twice, and a change some times.
    const seconds = (Date.now() - startedAt) / 1_000;
    expect((await calls('hmget')) - asked).toBeLessThan(100 + seconds * 40);
    await isRight();
    await until('both have heard', () => updates().length >= before + 4);
    expect(updates()).toHaveLength(before + 4);
    expect(snapshots().length).toBeLessThanOrEqual(2);
    expect(errors).toEqual([]);
  });

  it('losses costs a few commands', async () => {
    const { publish, isRight, goesOn, caused, updates } = await start();
    const before = updates().length;
    const quiet = await caused('hset', async () => undefined);
    const loud = await caused('hset', () => flood((index) => publish({ l: [], k: index })));
    expect(loud).toBeLessThan(quiet + 60);
    expect(updates()).toHaveLength(before);
    await isRight();
    await goesOn();
  });

  it('numbers that follow each other heals', async () => {
    const { batchOf, publish, isRight, goesOn, head, shown } = await start(shortLease(6_000));
    const batch = await batchOf({}, ['u1']);
    await flood((index) => publish({ ...batch, n: batch.n + index, u: [[`ghost${index % 100}`, 1, 1, 'connect']] }));
    await until('some were believed', () => shown().includes('ghost'));
    await isRight();
    await goesOn();
    await isRight();
    expect((await head()).seq).toBeGreaterThan(batch.n);
  });

  it('entries in the log, each under the next number: who has missed something is right again', async () => {
    const { stranger, batchOf, isRight, goesOn, a, shown, head } = await start(shortLease(6_000));
    const batch = await batchOf({}, ['u1']);
    await flood((index) =>
      stranger.xadd(LOG, `${batch.n}-${index + 1}`, 'b', JSON.stringify({ ...batch, n: batch.n + index })),
    );
    await stranger.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    a.sockets.get('u1')?.close();
    await until('it is found', () => !shown().includes('u1,'));
    await a.attach('u1');
    await isRight();
    await goesOn();
    expect((await head()).seq).toBeLessThan(batch.n + 100);
  });
});

it('what is sent is what is read: a batch of the store is one that is believed', async () => {
  const { stranger } = await start();
  const entries = await stranger.xrange(LOG, '-', '+');
  expect(entries.length).toBeGreaterThan(0);
  for (const [, [, text]] of entries)
    expect(parseMessage(text as string)).toMatchObject({ changes: expect.anything() });
});
