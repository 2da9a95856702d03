import { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPresence } from 'voiceping-presence';
import { type RedisStoreOptions, redisStore, redisStoreFromEnv } from 'voiceping-presence/redis';
import { fakeSocket } from 'voiceping-presence/testing';
import { connectionFromEnv } from '../../src/stores/redis/env';
import { Keyspace } from '../../src/stores/redis/keyspace';
import { embedded } from '../../src/stores/redis/lua/embed.mjs';
import { RedisServer } from '../redis/server';
import { until } from '../redis/wait';

const misuse = (words: RegExp) =>
  expect.objectContaining({ name: 'TypeError', code: 'ERR_PRESENCE_OPTIONS', message: expect.stringMatching(words) });

describe('options', () => {
  it.each<[string, unknown, RegExp]>([
    ['an unknown name', { hots: 'redis' }, /"hots" is no option/],
    ['no object', null, /options are null/],
    ['a client that is none', { client: {} }, /without evalsha\(\); it is an ioredis Redis or Cluster/],
    ['a client and a host', { client: new EventEmitter(), host: 'redis' }, /client and host are both given/],
    ['a prefix with a hash tag', { prefix: '{a}:' }, /prefix is "\{a\}:"; it is a string without braces/],
    ['an empty prefix', { prefix: '' }, /prefix is ""/],
    ['a port', { port: '6379' }, /port is "6379"; it is an integer/],
    ['a port beyond all', { port: 65_536 }, /port is 65536/],
    ['a database', { db: -1 }, /db is -1/],
    ['a host', { host: 5 }, /host is a number; it is a string/],
    ['tls', { tls: 'yes' }, /tls is "yes"/],
    ['an invalid url', { url: 'localhost:6379' }, /url is not a URL of Redis; it is redis:\/\//],
    ['a url and a port', { url: 'redis://h', port: 1 }, /url and port are both given/],
    ['sentinels without a name', { sentinels: [{ host: 'h', port: 1 }] }, /name is that of their master/],
    ['a retention', { retentionMs: -1 }, /retentionMs is -1/],
    ['a clock', { clock: { now: Date.now } }, /clock is an object without setTimeout\(\)/],
    ['publish', { publish: 'no' }, /publish is "no"; it is true or false/],
  ])('%s is refused at once', (_name, options, words) => {
    expect(() => redisStore(options as RedisStoreOptions)).toThrow(misuse(words));
  });

  it('never shows what may be a secret', () => {
    for (const options of [{ password: 5 }, { url: 'http://user:hunter2@host' }]) {
      expect(() => redisStore(options as never)).toThrow(
        expect.not.objectContaining({ message: expect.stringMatching(/hunter2|is 5/) }),
      );
    }
  });

  it('a client with a keyPrefix is refused: it would move the contract', () => {
    const client = new Redis({ lazyConnect: true, keyPrefix: 'app:' });
    expect(() => redisStore({ client })).toThrow(misuse(/keyPrefix "app:"; give a prefix to redisStore instead/));
  });

  it('a retention may be longer than a timer', () => {
    const client = new Redis({ lazyConnect: true });
    expect(() => redisStore({ client, retentionMs: 365 * 86_400_000 })).not.toThrow();
  });
});

describe('the environment', () => {
  it.each<[object, object]>([
    [{}, { host: 'localhost' }],
    [{ REDIS_HOST: '', REDIS_PASSWORD: '' }, { host: 'localhost' }],
    [{ REDIS_URL: ' rediss://u:p@h:1/2 ' }, { url: 'rediss://u:p@h:1/2' }],
    [
      { REDIS_HOST: 'h', REDIS_PORT: '7', REDIS_USERNAME: 'u', REDIS_PASSWORD: 'p', REDIS_DB: '3', REDIS_TLS: 'true' },
      { host: 'h', port: 7, username: 'u', password: 'p', db: 3, tls: true },
    ],
    [{ REDIS_TLS: 'off' }, { host: 'localhost', tls: false }],
  ])('%o', (env, options) => {
    expect(connectionFromEnv(env as never)).toEqual(options);
  });

  it.each<[object, RegExp]>([
    [{ REDIS_URL: 'redis://h', REDIS_HOST: 'h' }, /REDIS_URL and REDIS_HOST are both set/],
    [{ REDIS_URL: 'h:6379' }, /REDIS_URL is not a URL of Redis/],
    [{ REDIS_PORT: 'x' }, /REDIS_PORT is "x"; it is an integer from 1 to 65535/],
    [{ REDIS_PORT: '0' }, /REDIS_PORT is "0"/],
    [{ REDIS_DB: '1.5' }, /REDIS_DB is "1.5"/],
    [{ REDIS_TLS: 'maybe' }, /REDIS_TLS is "maybe"; it is true or false/],
    [{ REDIS_PASSWORD: 123456 }, /^REDIS_PASSWORD is a number; it is a string$/],
  ])('%o is refused', (env, words) => {
    expect(() => redisStoreFromEnv(env as never)).toThrow(misuse(words));
  });
});

describe('the layout', () => {
  it('spreads users evenly over partitions and buckets', () => {
    for (const isCluster of [false, true]) {
      const keyspace = new Keyspace('presence:', isCluster);
      const counts = new Map<string, number>();
      for (let index = 0; index < 100_000; index += 1) {
        const { partition, bucket } = keyspace.place(`acme_u${index}`);
        const place = keyspace.partitions[partition]?.bucketKey(bucket) as string;
        counts.set(place, (counts.get(place) ?? 0) + 1);
      }
      expect(counts.size).toBe(4_096);
      expect(Math.max(...counts.values())).toBeLessThan(70);
    }
  });

  it('keeps a user where it was: all routers must agree, whatever their version', () => {
    const [single, cluster] = [new Keyspace('p:', false), new Keyspace('p:', true)];
    for (const { partitions } of [single, cluster]) for (const one of partitions) one.learn('1.2', '0123456789abcdef');
    expect(single.place('acme_u1')).toEqual({ partition: 0, bucket: 2157 });
    expect(cluster.place('acme_u1')).toEqual({ partition: 10, bucket: 45 });
  });

  // With a public hash, fifty thousand ids were found that share a bucket.
  it('lets no one choose ids that share a bucket, since that depends on a seed', () => {
    const layouts = [new Keyspace('p:', false), new Keyspace('p:', false)];
    const together: string[] = [];
    for (let id = 0; together.length < 200; id += 1) {
      if (layouts[0]?.place(`u${id}`).bucket === 7) together.push(`u${id}`);
    }
    const counts = new Map<number, number>();
    for (const id of together) {
      const bucket = layouts[1]?.place(id).bucket as number;
      counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
    }
    expect(Math.max(...counts.values())).toBeLessThan(8);
  });

  it('embeds the Lua files as they are: after a change of one, npm run embed', () => {
    expect(readFileSync(new URL('../../src/stores/redis/lua/scripts.generated.ts', import.meta.url), 'utf8')).toBe(
      embedded(),
    );
  });
});

describe('connections', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await RedisServer.start('--requirepass', 'secret');
  });
  afterAll(() => server.remove());
  const clients = async (admin: Redis): Promise<number> =>
    ((await admin.client('LIST')) as string).trim().split('\n').length;

  it('that the store made it ends, and makes anew when it is used again', async () => {
    const admin = new Redis({ port: server.port, password: 'secret' });
    const store = redisStoreFromEnv({ REDIS_URL: `redis://:secret@127.0.0.1:${server.port}/3` });
    for (let round = 0; round < 2; round += 1) {
      const presence = createPresence({ store });
      const attachment = presence.attachToSocket(fakeSocket(), { userId: 'u' });
      await attachment.ready;
      expect(await presence.countOnline()).toBe(1);
      await until('a client for commands, and one for messages', async () => (await clients(admin)) === 3);
      await presence.close();
      await until('both are ended', async () => (await clients(admin)) === 1);
    }
    admin.disconnect();
  });

  // It connected as soon as it was made, and nothing ever ended that.
  it('are not made for a presence that is disabled', async () => {
    const admin = new Redis({ port: server.port, password: 'secret' });
    const store = redisStore({ host: '127.0.0.1', port: server.port, password: 'secret' });
    const disabled = createPresence({ enabled: false, store });
    // A store made after it has connected, and answered.
    const used = redisStore({ host: '127.0.0.1', port: server.port, password: 'secret' });
    expect((await used.read(['u'])).users).toHaveLength(1);
    expect(await clients(admin)).toBe(2);
    await disabled.close();
    used.subscribe({ onTransition() {}, onGap() {}, onDue() {}, onLost() {}, onError() {} })();
    await until('the other is ended', async () => (await clients(admin)) === 1);
    admin.disconnect();
  });

  it('of the caller stay open, also one that was made with lazyConnect, and two presences may share a store', async () => {
    const client = new Redis({ port: server.port, password: 'secret', lazyConnect: true });
    const store = redisStore({ client, prefix: 'shared:' });
    const [one, other] = [createPresence({ store }), createPresence({ store })];
    await one.attachToSocket(fakeSocket(), { userId: 'u' }).ready;
    expect(await other.countOnline()).toBe(1);
    await one.close();
    expect(await other.countOnline()).toBe(0);
    await other.close();
    expect(await client.ping()).toBe('PONG');
    client.disconnect();
  });

  it('with a port that is none: the rule that it breaks is named', () => {
    expect(() => redisStore({ port: 70_000 })).toThrow(misuse(/port is 70000; it is an integer from 1 to 65535/));
  });

  it('with a wrong password: ready() waits, and what is wrong is reported', async () => {
    const failures: string[] = [];
    const store = redisStore({ host: '127.0.0.1', port: server.port, password: 'wrong' });
    const presence = createPresence({ store, onError: (error) => failures.push(String(error.cause)) });
    await until('it is reported', () => failures.some((why) => /not connected to Redis: .*WRONGPASS/.test(why)));
    await presence.close();
  });

  it('that the caller has ended: queries reject at once', async () => {
    const client = new Redis({ port: server.port, password: 'secret' });
    client.on('error', () => undefined);
    const presence = createPresence({ store: redisStore({ client }) });
    await presence.ready();
    client.disconnect();
    await until('it has ended', () => client.status === 'end');
    await expect(presence.getStatuses(['u'])).rejects.toMatchObject({ code: 'ERR_PRESENCE_STORE' });
    await presence.close();
  });

  it('publishes nothing where that is switched off', async () => {
    const client = new Redis({ port: server.port, password: 'secret' });
    const listener = client.duplicate();
    const heard: string[] = [];
    await listener.psubscribe('quiet:*');
    listener.on('pmessage', (_pattern, channel: string) => heard.push(channel));
    const presence = createPresence({ store: redisStore({ client, prefix: 'quiet:', publish: false }) });
    await presence.attachToSocket(fakeSocket(), { userId: 'u' }).ready;
    await until('the routers are told all the same', () => heard.length > 0);
    expect(heard).toEqual(['quiet:sync:{0}']);
    await presence.close();
    for (const each of [client, listener]) each.disconnect();
  });
});
