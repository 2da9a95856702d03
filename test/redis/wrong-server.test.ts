import assert from 'node:assert/strict';
import { Redis } from 'ioredis';
import Redis4 from 'ioredis4';
import { Redis as Redis6 } from 'ioredis6';
import { afterEach, describe, expect, it } from 'vitest';
import { createPresence, type PresenceError } from 'voiceping-presence';
import { type RedisLike, redisStore } from 'voiceping-presence/redis';
import { fakeSocket } from 'voiceping-presence/testing';
import { Gate } from './gate';
import { RedisServer } from './server';
import { until } from './wait';

// A failover by DNS: the name leads to another server by now, and the links to the one before stay open.

const ends: Array<() => unknown> = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** Two servers, of which the second follows the first, and a name for whichever is the primary. */
async function pair() {
  // Otherwise it waits for five seconds whether others want to follow, too.
  const start = () => RedisServer.start('--repl-diskless-sync-delay', '0');
  const [first, second] = [await start(), await start()];
  const name = await Gate.start(first.port);
  const [old, next] = [new Redis({ port: first.port }), new Redis({ port: second.port })];
  ends.push(
    () => first.remove(),
    () => second.remove(),
    () => name.close(),
    () => old.disconnect(),
    () => next.disconnect(),
  );
  await next.replicaof('127.0.0.1', first.port);
  const isFollowing = async () => (await next.info('replication')).includes('master_link_status:up');
  await until('the second follows the first', isFollowing);
  const failOver = async () => {
    await next.call('REPLICAOF', 'NO', 'ONE');
    await old.replicaof('127.0.0.1', second.port);
    name.target = second.port;
  };
  return { name, old, next, failOver };
}

function router(store: ReturnType<typeof redisStore>) {
  const errors: PresenceError[] = [];
  const presence = createPresence({ store, leaseMs: 1_500, ttlMs: 10_000, onError: (error) => errors.push(error) });
  const told: string[] = [];
  presence.onUpdate(({ userId, status }) => told.push(`${userId} ${status}`));
  ends.push(() => presence.close());
  return { presence, errors, told, join: (userId: string) => presence.attachToSocket(fakeSocket(), { userId }).ready };
}

describe('a server that takes no writes any more, at the end of a link that is well', () => {
  it.each<[string, ((name: object) => RedisLike) | undefined]>([
    ['a store that connects by itself', undefined],
    ['ioredis 4', (name) => new Redis4(name as never)],
    ['ioredis 5', (name) => new Redis(name as never)],
    ['ioredis 6', (name) => new Redis6(name as never)],
  ])('is left for the one that has its name by now: %s', async (_name, connect) => {
    const { name, next, failOver } = await pair();
    const client = connect?.(name.address);
    if (client !== undefined) ends.push(() => client.disconnect());
    const { presence, join } = router(redisStore(client === undefined ? name.address : { client }));
    const other = router(redisStore(name.address));
    await Promise.all([presence.ready(), other.presence.ready()]);
    await join('before');
    await failOver();
    void join('after');
    await until('it is written to the new primary', async () => (await next.exists('presence:user:after')) === 1);
    await until('both are well', () => [presence, other.presence].every((each) => each.health().status === 'ok'));
    // Messages come from there, too: the old server may be none any more.
    await until('both listen there', async () => {
      const [, listeners] = (await next.pubsub('NUMSUB', 'presence:sync:{0}')) as [string, number];
      return listeners === 2;
    });
    void join('later');
    await until('the other is told', () => other.told.includes('later online'));
  });

  it.each([
    ['without a retryStrategy', null],
    ['with one that retries nothing', () => null],
    ['with one that throws', () => assert.fail('no')],
  ])('ends no client of the caller %s: it is said once what mends it', async (_name, retryStrategy) => {
    const { name, failOver } = await pair();
    const client = new Redis({ ...name.address, retryStrategy: retryStrategy as never });
    ends.push(() => client.disconnect());
    const { presence, errors } = router(redisStore({ client }));
    await presence.ready();
    await failOver();
    const said = () => errors.filter(({ message }) => /give it a retryStrategy, and reconnectOnError/.test(message));
    const failed = () => errors.filter(({ cause }) => /READONLY/.test(String(cause))).length;
    await until('it is said', () => said().length > 0);
    const before = failed();
    await until('several beats have failed since', () => failed() > before + 4);
    expect(said()).toHaveLength(1);
    expect(said()[0]?.message).toMatch(/READONLY.*error\.message\.includes\('READONLY'\)/);
    expect(presence.health().problems.map(({ message }) => message)).toContainEqual(
      expect.stringContaining('reconnectOnError'),
    );
    expect(client.status).toBe('ready');
    expect(name.opened).toBe(2);
  });

  it('keeps a client of several stores connecting no more often than one of one, and warns of nothing', async () => {
    const warnings: string[] = [];
    const onWarning = ({ message }: Error) => warnings.push(message);
    process.on('warning', onWarning);
    ends.push(() => process.removeListener('warning', onWarning));
    const { name, old, next } = await pair();
    const client = new Redis(name.address);
    ends.push(() => client.disconnect());
    const routers = Array.from({ length: 12 }, (_, index) => router(redisStore({ client, prefix: `t${index}:` })));
    await Promise.all(routers.map(({ presence }) => presence.ready()));
    expect(client.listenerCount('ready')).toBe(1);
    let reconnections = 0;
    client.on('reconnecting', () => {
      reconnections += 1;
    });
    // The name stays with the old one for a while.
    await next.call('REPLICAOF', 'NO', 'ONE');
    await old.replicaof('127.0.0.1', 1);
    await until('it has looked for another one twice', () => reconnections === 2);
    const failures = routers.reduce((sum, { errors }) => sum + errors.length, 0);
    expect(failures).toBeGreaterThan(12);
    await old.call('REPLICAOF', 'NO', 'ONE');
    await until('all are well', () => routers.every(({ presence }) => presence.health().status === 'ok'));
    expect(reconnections).toBeLessThan(6);
    await Promise.all(routers.map(({ presence }) => presence.close()));
    expect(client.listenerCount('ready')).toBe(0);
    expect(warnings).toEqual([]);
  });
});
