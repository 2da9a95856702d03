import { Redis } from 'ioredis';
import { expect } from 'vitest';
import { createPresence, type PresenceError, type PresenceStore, type PresenceUpdate } from 'voiceping-presence';
import { besideFork, redisStore } from 'voiceping-presence/redis';
import { type FakeSocket, fakeSocket } from 'voiceping-presence/testing';
import { describe, it, onTestFinished, perTest } from '../side-by-side';
import { ForkRouter } from './fork';
import { layoutOf } from './layout';
import { RedisServer } from './server';
import { sleep, until } from './wait';

// A rolling upgrade: routers of the fork and ours on one server.

/** Of routers that are to find something by their next beats. */
const LEASE_MS = 1_000;
const brisk = { leaseMs: LEASE_MS };
const port = perTest(async () => {
  const server = await RedisServer.start();
  onTestFinished(() => server.remove());
  return server.port;
});

async function fork(): Promise<ForkRouter> {
  const router = await ForkRouter.start(await port());
  onTestFinished(() => router.end());
  return router;
}

/** However busy the machine, its lease does not lapse. */
async function ours({ handOver = false, leaseMs = 15_000, around = (store: PresenceStore) => store } = {}) {
  const client = new Redis({ port: await port() });
  const listeners = async (): Promise<number> => {
    const [, count] = (await client.call('PUBSUB', 'NUMSUB', 'presence:updates')) as [string, number];
    return count;
  };
  const others = await listeners();
  const heard: PresenceUpdate[] = [];
  const errors: PresenceError[] = [];
  const presence = createPresence({
    leaseMs,
    graceMs: 0,
    pingIntervalMs: 60_000,
    store: besideFork(around(redisStore({ client })), client),
    onError: (error) => errors.push(error),
  });
  onTestFinished(async () => {
    await presence.close(handOver ? { handoverMs: 5_000 } : {});
    client.disconnect();
  });
  presence.onUpdate((update) => heard.push(update));
  await presence.ready();
  // Else what the fork says at once is found by a later beat only.
  await until('it hears the fork', async () => (await listeners()) > others);
  const attach = async (userId: string): Promise<FakeSocket> => {
    const socket = fakeSocket();
    await presence.attachToSocket(socket, { userId }).ready;
    return socket;
  };
  const changes = (userId: string) => heard.filter((update) => update.userId === userId).map(({ status }) => status);
  const status = async (userId: string) => (await presence.getStatuses([userId]))[userId]?.status;
  return { presence, client, errors, attach, changes, status };
}

describe('users of the fork', () => {
  it('come and go here too, once for each, whatever the number of our routers', async () => {
    const theirs = await fork();
    const [a, b] = [await ours(), await ours()];
    await theirs.connect('f1');
    await until('both heard', () => a.changes('f1').length === 1 && b.changes('f1').length === 1);
    expect(await b.status('f1')).toBe('online');
    expect((await a.presence.listOnline()).users.map(({ userId }) => userId)).toEqual(['f1']);
    await theirs.leave('f1');
    await until('both heard', () => a.changes('f1').length === 2 && b.changes('f1').length === 2);
    expect(await a.status('f1')).toBe('offline');
    await sleep(LEASE_MS * 2);
    expect(a.changes('f1')).toEqual(['online', 'offline']);
    // Its own two messages, and ours: no storm.
    expect(theirs.sent.length).toBeLessThanOrEqual(8);
    expect(a.errors).toEqual([]);
  });

  it('who came before us are found, and who are silent for the TTL are gone even if nobody says so', async () => {
    const theirs = await fork();
    await theirs.connect('f1');
    await theirs.connect('f2');
    const a = await ours(brisk);
    await until('both are found', async () => (await a.presence.countOnline()) === 2);
    const later = await ours(brisk);
    const keyspace = await layoutOf(a.client);
    const bucket = keyspace.partitions[0]?.bucketKey(keyspace.place('f1').bucket) as string;
    const holders = async () => (await a.client.hget(bucket, 'f1'))?.split('.fork,').length;
    await until('they are here too', async () => (await holders()) === 3);
    expect(await later.status('f1')).toBe('online');
    // As if the expiry were never published: the fork that held f2 is dead.
    theirs.end();
    await a.client.config('SET', 'notify-keyspace-events', '');
    await a.client.pexpire('presence:user:f1', 100);
    await until('f1 is offline', async () => (await a.status('f1')) === 'offline', 15_000);
    expect(await a.status('f2')).toBe('online');
  });

  it('outlive a router of ours that holds them', async () => {
    const theirs = await fork();
    const [a, b] = [await ours(brisk), await ours(brisk)];
    await theirs.connect('f1');
    await until('both heard', () => a.changes('f1').length === 1 && b.changes('f1').length === 1);
    await a.presence.close();
    await sleep(LEASE_MS * 4);
    expect(b.changes('f1')).toEqual(['online']);
    await b.presence.close();
    await sleep(LEASE_MS * 2);
    expect(await theirs.status('f1')).toBe('online');
    expect(theirs.told('f1')).toBe('online');
  });
});

describe('users of ours', () => {
  it('are online for the fork, in its answers and on its dashboards', async () => {
    const theirs = await fork();
    const a = await ours();
    const phone = await a.attach('o1');
    await until('its dashboards heard', () => theirs.told('o1') === 'online');
    await until('it answers so', async () => (await theirs.status('o1')) === 'online');
    phone.close();
    await until('its dashboards heard', () => theirs.told('o1') === 'offline');
    expect(await theirs.status('o1')).toBe('offline');
  });

  it('who left a router of the fork and are here are shown offline for no longer than a moment', async () => {
    const theirs = await fork();
    const a = await ours();
    await theirs.connect('both');
    await until('it is heard', () => a.changes('both').length === 1);
    await a.attach('both');
    await theirs.leave('both');
    await until('the fork says online again', () => theirs.told('both') === 'online');
    await until('it answers so', async () => (await theirs.status('both')) === 'online');
    expect(await a.status('both')).toBe('online');
    expect(a.changes('both')).toEqual(['online']);
  });

  it('whose cut id the fork takes for another user: that one stays online', async () => {
    const theirs = await fork();
    const a = await ours();
    await a.attach('acme');
    // The key of acme:1, expired: the fork says that acme has left. Redis publishes an expiry when it finds the key, which
    // a read makes it do at once.
    await a.client.set('presence:user:acme:1', '1', 'PX', 50);
    await until('the fork has said it', async () => {
      await a.client.exists('presence:user:acme:1');
      return theirs.sent.some(({ status }) => status === 'offline');
    });
    await until('its dashboards are told the truth', () => theirs.told('acme') === 'online');
    expect(await a.status('acme')).toBe('online');
  });
});

/** A store whose calls of `apply` for users of the fork, or for others, are held up: before they are made, or on their way back. */
function held(whose: 'fork' | 'own', when: 'before' | 'after') {
  let open: () => void = () => undefined;
  let gate: Promise<void> | undefined;
  const around = (store: PresenceStore): PresenceStore => {
    const apply = store.apply.bind(store);
    store.apply = async (node, ops) => {
      const isHeld = node.nodeId.endsWith('.fork') === (whose === 'fork');
      if (isHeld && when === 'before') await gate;
      const answer = await apply(node, ops);
      if (isHeld && when === 'after') await gate;
      return answer;
    };
    return store;
  };
  return {
    around,
    shut() {
      gate = new Promise((resolve) => {
        open = resolve;
      });
    },
    open: () => open(),
  };
}

describe('a user who moves', () => {
  const isMember = (client: Redis, userId: string) => client.sismember('presence:fork', userId);

  // For our store they were online all the time, so the dashboards of the fork received nothing, and showed them offline until
  // they left.
  it('from the fork to us in the same moment, and is known to be here a little later', async () => {
    const theirs = await fork();
    const gate = held('own', 'after');
    const a = await ours({ around: gate.around });
    await theirs.connect('moves');
    await until('it is heard', () => a.changes('moves').length === 1);
    gate.shut();
    const moved = a.attach('moves');
    await until('it is here too', async () => (await a.client.hlen('presence:meta:moves')) > 0);
    await theirs.leave('moves');
    await until('it is heard that it has left', async () => (await isMember(a.client, 'moves')) === 0);
    expect(theirs.told('moves')).toBe('offline');
    gate.open();
    await moved;
    await until('the fork says online again', () => theirs.told('moves') === 'online');
    await until('its answer says so', async () => (await theirs.status('moves')) === 'online');
    expect(a.changes('moves')).toEqual(['online']);
  });

  it('from the fork to us, while another of our routers has not heard yet that it has left', async () => {
    const theirs = await fork();
    const gate = held('fork', 'before');
    const [a, b] = [await ours(), await ours({ around: gate.around })];
    await theirs.connect('moves');
    await until('both heard', () => a.changes('moves').length === 1 && b.changes('moves').length === 1);
    await until('both hold it', async () => (await isMember(a.client, 'moves')) === 1);
    gate.shut();
    await theirs.leave('moves');
    await until('one of ours has let go', async () => (await isMember(a.client, 'moves')) === 0);
    await a.attach('moves');
    gate.open();
    await until('the fork says online again', () => theirs.told('moves') === 'online');
    await until('its answer says so', async () => (await theirs.status('moves')) === 'online');
    expect(a.changes('moves')).toEqual(['online']);
  });

  it('from the fork to us, while none of our routers could receive the leave', async () => {
    const theirs = await fork();
    const a = await ours();
    await theirs.connect('moves');
    await until('it is heard', () => a.changes('moves').length === 1);
    await a.attach('moves');
    await until('it is described', async () => (await a.client.hlen('presence:meta:moves')) > 0);
    // As the fork writes it; its message was lost.
    await a.client.hset('presence:meta:moves', 'status', 'offline');
    await a.client.del('presence:user:moves');
    theirs.sent.length = 0;
    await a.client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await until('the fork is told that it is online', () => theirs.told('moves') === 'online', 15_000);
    await until('it answers so', async () => (await theirs.status('moves')) === 'online', 15_000);
  });

  it('from the fork to us, together with ten thousand others', async () => {
    const [theirs, a] = [await fork(), await ours()];
    await theirs.connect('moves');
    await until('it is heard', () => a.changes('moves').length === 1);
    await a.attach('moves');
    const timestamp = Date.now();
    for (let user = 0; user < 10_500; user += 1) {
      const message = { status: 'offline', timestamp, type: 'presence_update', userId: `ghost${user}` };
      void a.client.publish('presence:updates', JSON.stringify(message));
    }
    await theirs.leave('moves');
    await until('the fork says online again', () => theirs.told('moves') === 'online');
    expect(await a.status('moves')).toBe('online');
  });

  // Our leave deleted the key that the fork had just written, and both said offline until the phone reconnected.
  it('from us back to the fork in the same moment', async () => {
    const theirs = await fork();
    const [a, b] = [await ours(), await ours()];
    const phone = await a.attach('moves');
    await until('all heard', () => theirs.told('moves') === 'online' && b.changes('moves').length === 1);
    theirs.sent.length = 0;
    // What the fork writes first; its message comes later.
    await a.client.set('presence:user:moves', '1', 'EX', 60);
    await a.client.hset('presence:meta:moves', 'status', 'online', 'role', 'mobile');
    phone.close();
    await until('we hold it for the fork', async () => (await isMember(a.client, 'moves')) === 1);
    await theirs.connect('moves');
    await sleep(LEASE_MS);
    expect([await theirs.status('moves'), await a.status('moves'), await b.status('moves')]).toEqual(
      Array(3).fill('online'),
    );
    expect([a.changes('moves'), b.changes('moves')]).toEqual([['online'], ['online']]);
    expect(theirs.sent.map(({ status }) => status)).not.toContain('offline');
    await theirs.leave('moves');
    await until('who leaves has left', () => a.changes('moves').length === 2 && b.changes('moves').length === 2);
  });
});

// The store asks first whether users have moved. Changes that wait for that answer must not be published after newer ones.
it('a call that the core has given up takes no effect later', async () => {
  const applied: unknown[] = [];
  const answers: Array<(values: string[]) => void> = [];
  const client = {
    mget: () => new Promise((resolve) => answers.push(resolve)),
    publish() {},
    scan() {},
    sscan() {},
    pipeline: () => ({ exec: async () => [] }),
    duplicate() {},
  };
  const store = {
    beat() {},
    subscribe() {},
    apply: async (_node: unknown, ops: unknown) => {
      applied.push(ops);
      return { known: true };
    },
  };
  const beside = besideFork(store as never, client as never);
  const node = { nodeId: 'n', leaseMs: 1_000, ttlMs: 1_000 };
  const leave = beside.apply(node, [{ kind: 'leave', userId: 'u', ageMs: 0, reason: 'timeout' }]);
  const join = { kind: 'join', userId: 'u', ageMs: 0, reassert: true } as const;
  await beside.apply(node, [join]);
  answers[0]?.(['1700000000000']);
  await expect(leave).rejects.toThrow('overtaken');
  expect(applied).toEqual([[join]]);
});

describe('somebody who may publish, and is no router', () => {
  const UPDATES = 'presence:updates';
  const said = (userId: unknown, status: string): string =>
    JSON.stringify({ status, timestamp: Date.now(), type: 'presence_update', userId });

  async function stranger(): Promise<Redis> {
    const client = new Redis({ port: await port() });
    onTestFinished(() => client.disconnect());
    return client;
  }

  // They were online on all routers until a key expired that we had written ourselves.
  it('says that users are online who have no key: they are not', async () => {
    const [client, theirs, a] = [await stranger(), await fork(), await ours({ leaseMs: 6_000 })];
    for (let user = 0; user < 10_500; user += 1) void client.publish(UPDATES, said(`ghost${user}`, 'online'));
    await theirs.connect('f1');
    await until('who is there is heard', () => a.changes('f1').length === 1);
    // Two beats.
    await sleep(4_000);
    expect((await a.presence.listOnline()).users.map(({ userId }) => userId)).toEqual(['f1']);
    expect(await client.smembers('presence:fork')).toEqual(['f1']);
    expect(a.errors).toEqual([]);
  });

  it('says that users of ours are on the fork: they leave when they leave', async () => {
    const [client, a, b] = [await stranger(), await ours(brisk), await ours(brisk)];
    const phone = await a.attach('o1');
    await client.publish(UPDATES, said('o1', 'online'));
    await sleep(LEASE_MS);
    expect(await client.smembers('presence:fork')).toEqual([]);
    phone.close();
    await until('both heard', () => a.changes('o1').length === 2 && b.changes('o1').length === 2);
    expect(await b.status('o1')).toBe('offline');
  });

  it('says that users of the fork have left: they have not', async () => {
    const [client, theirs, a, b] = [await stranger(), await fork(), await ours(brisk), await ours(brisk)];
    await theirs.connect('f1');
    await until('both heard', () => a.changes('f1').length === 1 && b.changes('f1').length === 1);
    await client.publish(UPDATES, said('f1', 'offline'));
    await sleep(LEASE_MS * 2);
    expect(await a.status('f1')).toBe('online');
    expect(b.changes('f1')).toEqual(['online']);
    await theirs.leave('f1');
    await until('who leaves has left', () => b.changes('f1').length === 2);
  });

  it('says a thousand times that one of ours has left: it is contradicted, and not a thousand times', async () => {
    const [client, theirs, a] = [await stranger(), await fork(), await ours()];
    await a.attach('o1');
    await until('it is told', () => theirs.told('o1') === 'online');
    for (let round = 0; round < 1_000; round += 1) await client.publish(UPDATES, said('o1', 'offline'));
    await until('the fork says online again', () => theirs.told('o1') === 'online');
    await sleep(500);
    expect(theirs.told('o1')).toBe('online');
    const contradictions = theirs.sent.filter(({ status }) => status === 'online').length;
    expect(contradictions).toBeLessThan(100);
    expect(a.changes('o1')).toEqual(['online']);
  });

  it('says what is no message: nobody minds', async () => {
    const [client, a] = [await stranger(), await ours()];
    const ids = ['', 'x'.repeat(5_000), '\ud800', { a: 1 }, null];
    const junk = [
      'null',
      '5',
      '[]',
      '{',
      'x'.repeat(100_000),
      said('f1', 'away'),
      ...ids.map((id) => said(id, 'online')),
    ];
    for (const text of junk) expect(await client.publish(UPDATES, text)).toBeGreaterThan(0);
    const theirs = await fork();
    await theirs.connect('f1');
    await until('it works on', () => a.changes('f1').length === 1);
    expect(a.errors).toEqual([]);
    expect((await a.presence.listOnline()).users).toHaveLength(1);
  });

  it('puts something else under the name of the set: it is made anew', async () => {
    const [client, theirs, a] = [await stranger(), await fork(), await ours(brisk)];
    await theirs.connect('f1');
    await until('it is heard', () => a.changes('f1').length === 1);
    await client.set('presence:fork', 'junk');
    await theirs.connect('f2');
    await until(
      'both are in the set',
      async () => (await client.smembers('presence:fork').catch(() => [])).length === 2,
    );
    await theirs.leave('f1');
    await until('who leaves has left', () => a.changes('f1').length === 2);
  });
});

it('takes what is no store, and what is no client, for what it is', async () => {
  const client = new Redis({ port: await port() });
  onTestFinished(() => client.disconnect());
  expect(() => besideFork({} as never, client)).toThrow('store');
  expect(() => besideFork(redisStore({ client }), {} as never)).toThrow('client');
});
