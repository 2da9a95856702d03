import { inspect } from 'node:util';
import { Cluster, Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { createPresence, type PresenceError } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { freePort, RedisServer } from './server';
import { until } from './wait';

// The errors of real servers, as a router reports them: the cause in the message, its kind, and no secrets.

let server: RedisServer;
let admin: Redis;
const ends: Array<() => unknown> = [];

beforeAll(async () => {
  server = await RedisServer.start();
  admin = new Redis({ port: server.port });
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(async () => {
  admin.disconnect();
  await server.remove();
});

const own = (options: object = {}) => redisStore({ host: '127.0.0.1', port: server.port, ...options });

/** The first failure of a router that starts on this store and runs until `wanted`. */
async function failureOf(store: ReturnType<typeof redisStore>, wanted = (_: PresenceError) => true) {
  const errors: PresenceError[] = [];
  const presence = createPresence({ store, leaseMs: 1_500, onError: (error) => errors.push(error) });
  ends.push(() => presence.close());
  await until('a failure', () => errors.some(wanted));
  const error = errors.find(wanted) as PresenceError;
  expect(error.code).toBe('ERR_PRESENCE_STORE');
  expect(inspect(errors, { depth: 9 })).not.toContain('hunter2');
  return { kind: error.kind, message: error.message };
}

const says = (kind: string, message: RegExp) => ({ kind, message: expect.stringMatching(message) });

it('nobody listens', async () => {
  const port = await freePort();
  expect(await failureOf(own({ port }))).toEqual(
    says('unreachable', /^the store failed: connect ECONNREFUSED 127\.0\.0\.1:\d+$/),
  );
  // Several addresses are tried, where there are some: an AggregateError has no message of its own.
  expect(await failureOf(own({ host: 'localhost', port }))).toEqual(
    says('unreachable', /^the store failed: .*connect ECONNREFUSED/),
  );
});

it('a password where none is wanted is no failure; where one is, a wrong one and none are', async () => {
  await admin.config('SET', 'requirepass', 'right');
  ends.push(() => admin.config('SET', 'requirepass', ''));
  const wrong = await failureOf(own({ password: 'hunter2' }));
  expect(wrong).toEqual(says('auth', /^the store failed: WRONGPASS invalid username-password pair/));
  expect(await failureOf(own())).toEqual(says('auth', /NOAUTH Authentication required/));
  // A client that was handed in, and that queues what it cannot send.
  const client = new Redis({ port: server.port, password: 'hunter2', maxRetriesPerRequest: 1 });
  client.on('error', () => undefined);
  ends.push(() => client.disconnect());
  expect(await failureOf(redisStore({ client }))).toEqual(says('auth', /^the store failed: WRONGPASS/));
});

it('a user who may not', async () => {
  await admin.call('ACL', 'SETUSER', 'app', 'on', '>hunter2', '~*', '&*', '+@all', '-evalsha', '-eval');
  ends.push(() => admin.call('ACL', 'DELUSER', 'app'));
  expect(await failureOf(own({ username: 'app', password: 'hunter2' }))).toEqual(
    says('auth', /^the store failed: NOPERM .*'eval(sha)?'/),
  );
});

it.each<[string, string[], string[], string, RegExp]>([
  ['is full', ['maxmemory', '1'], ['maxmemory', '0'], 'full', /^the store failed: OOM command not allowed/],
  [
    'has too few replicas',
    ['min-replicas-to-write', '1'],
    ['min-replicas-to-write', '0'],
    'readonly',
    /^the store failed: NOREPLICAS Not enough good replicas/,
  ],
])('a server that %s', async (_, on, off, kind, words) => {
  await admin.config('SET', ...(on as ['a', 'b']));
  ends.push(() => admin.config('SET', ...(off as ['a', 'b'])));
  expect(await failureOf(own())).toEqual(says(kind, words));
});

it('a replica, with its data and without', async () => {
  await admin.config('SET', 'replica-serve-stale-data', 'yes');
  await admin.replicaof('127.0.0.1', await freePort());
  ends.push(() => admin.replicaof('NO', 'ONE'));
  expect(await failureOf(own())).toEqual(says('readonly', /^the store failed: READONLY You can't write/));
  await admin.config('SET', 'replica-serve-stale-data', 'no');
  ends.push(() => admin.config('SET', 'replica-serve-stale-data', 'yes'));
  expect(await failureOf(own())).toEqual(says('readonly', /MASTERDOWN Link with MASTER is down/));
});

it('a server that runs a script of somebody else', async () => {
  await admin.config('SET', 'busy-reply-threshold', '1');
  const other = new Redis({ port: server.port });
  ends.push(() => other.disconnect());
  const busy = other.eval('while true do end', 0).catch(() => undefined);
  const store = own();
  const failure = await failureOf(store, ({ message }) => message.includes('BUSY'));
  await admin.script('KILL');
  await busy;
  expect(failure).toEqual(says('slow', /BUSY Redis is busy running a script/));
});

it('a Cluster that serves nothing, one that is none, and one that is not there', async () => {
  const alone = await RedisServer.start('--cluster-enabled', 'yes');
  ends.push(() => alone.remove());
  expect(await failureOf(own({ port: alone.port }))).toEqual(says('unreachable', /CLUSTERDOWN/));
  const clusterOf = (port: number) => {
    const client = new Cluster([{ host: '127.0.0.1', port }], { clusterRetryStrategy: () => 100 });
    client.on('error', () => undefined);
    ends.push(() => client.disconnect());
    return redisStore({ client });
  };
  expect(await failureOf(clusterOf(server.port), ({ message }) => message.includes('support'))).toEqual(
    says('other', /cluster support disabled/),
  );
  expect(await failureOf(clusterOf(await freePort()))).toEqual(says('unreachable', /^the store failed: /));
});

it('no Sentinel', async () => {
  const sentinels = [{ host: '127.0.0.1', port: await freePort() }];
  expect(await failureOf(redisStore({ sentinels, name: 'mymaster' }))).toEqual(
    says('unreachable', /^the store failed: All sentinels are unreachable/),
  );
});
