import { EventEmitter } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import express from 'express';
import Fastify from 'fastify';
import { Cluster, Redis } from 'ioredis';
import Koa from 'koa';
import { Server as SocketIoServer } from 'socket.io';
import { io as connectSocketIo } from 'socket.io-client';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createPresence, memoryStore, optionsFromEnv } from 'voiceping-presence';
import { createStatusHandler } from 'voiceping-presence/http';
import { redisStore, redisStoreFromEnv } from 'voiceping-presence/redis';
import { attachPresence as attachToIo } from 'voiceping-presence/socket.io';
import { fakeSocket } from 'voiceping-presence/testing';
import { attachPresence } from 'voiceping-presence/ws';
import { WebSocket, WebSocketServer } from 'ws';
import { closest } from '../../src/public/closest';

// Values that callers pass by mistake, taken from the real packages, and the errors that they get at once.

const presence = createPresence({ logger: false });
const identify = () => null;
const io = new SocketIoServer();
const wss = new WebSocketServer({ noServer: true });
const redis = new Redis({ lazyConnect: true });
const cluster = new Cluster([{ host: '127.0.0.1', port: 1 }], { lazyConnect: true });
const ioSocket = connectSocketIo('http://127.0.0.1:1', { autoConnect: false });
/** Clients of the package redis: the version of the existing router, and a later one. */
const oldRedis = { send_command() {}, evalsha() {}, on() {}, duplicate() {} };
const newRedis = { sendCommand() {}, evalSha() {}, on() {}, duplicate() {}, isOpen: false };
/** A socket that never opens. */
const socket = (): WebSocket => {
  const client = new WebSocket('ws://127.0.0.1:1');
  client.on('error', () => undefined);
  client.terminate();
  return client;
};

const thrown = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_PRESENCE_OPTIONS' });
    return (error as Error).message;
  }
  return 'nothing was thrown';
};

describe('attachPresence of /ws', () => {
  it.each<[string, () => unknown, RegExp]>([
    [
      'an http server',
      () => createServer(),
      /^server is an http server; .*: hand over the one .* new WebSocketServer\(\{ server \}\)$/,
    ],
    ['a TCP server', () => createTcpServer(), /^server is an http server; /],
    ['an Express app', () => express(), /^server is an app of a web framework; it is a WebSocketServer of ws/],
    ['a Koa app', () => new Koa(), /^server is an app of a web framework; /],
    ['a Fastify app', () => Fastify(), /^server is an app of a web framework; |^server is .* without on\(\)/],
    [
      'a socket',
      socket,
      /^server is a socket; .*: hand over the server that it came from, or use presence.attachToSocket/,
    ],
    ['a fake socket', () => fakeSocket(), /^server is a socket; /],
    [
      'a server of socket.io',
      () => io,
      /^server is a server of socket.io; .*: for socket.io .* voiceping-presence\/socket.io$/,
    ],
    ['a namespace', () => io.of('/x'), /^server is a server of socket.io; /],
    ['a presence', () => presence, /^server is a presence; .*: attachPresence\(presence, server, \{ identify \}\)$/],
    ['a promise', () => Promise.resolve(wss), /^server is a promise without on\(\); it is a WebSocketServer of ws$/],
    ['a class', () => WebSocketServer, /^server is a function without removeListener\(\)/],
    ['nothing', () => undefined, /^server is undefined without on\(\)/],
  ])('takes no %s', (_, server, words) => {
    expect(thrown(() => attachPresence(presence, server() as never, { identify }))).toMatch(words);
  });

  it('takes a server of ws, and what does as one', () => {
    for (const server of [wss, new EventEmitter()]) attachPresence(presence, server, { identify })();
  });

  it('takes options, not the function', () => {
    expect(thrown(() => attachPresence(presence, wss, identify as never))).toBe(
      'options is a function; it is an object: { identify }',
    );
    expect(thrown(() => attachPresence(createPresence as never, wss, { identify }))).toBe(
      'presence is a function; it is what createPresence() gave',
    );
  });
});

describe('attachPresence of /socket.io', () => {
  it.each<[string, () => unknown, RegExp]>([
    ['an http server', () => createServer(), /^io is an http server; .*: hand over what new Server\(server\) gave$/],
    [
      'a server of ws',
      () => wss,
      /^io is a server of ws; .*: for ws there is attachPresence of voiceping-presence\/ws$/,
    ],
    ['a socket of a client', () => ioSocket, /^io is a socket of socket.io; .*: hand over its server$/],
    ['a presence', () => presence, /^io is a presence; /],
  ])('takes no %s', (_, server, words) => {
    expect(thrown(() => attachToIo(presence, server() as never, { identify }))).toMatch(words);
  });

  it('takes a server and a namespace', () => {
    for (const server of [io, io.of('/x'), new EventEmitter()]) attachToIo(presence, server as never, { identify })();
  });
});

describe('attachToSocket', () => {
  it.each<[string, () => unknown, RegExp]>([
    [
      'a server of ws',
      () => wss,
      /^socket is a server of ws without send\(\); .* attachPresence of voiceping-presence\/ws$/,
    ],
    ['a server of socket.io', () => io, /^socket is a server of socket.io without .* voiceping-presence\/socket.io$/],
    [
      'a socket of socket.io',
      () => ioSocket,
      /^socket is a socket of socket.io without .* voiceping-presence\/socket.io$/,
    ],
  ])('takes no %s', (_, server, words) => {
    expect(thrown(() => presence.attachToSocket(server() as never, { userId: 'u' }))).toMatch(words);
  });
});

describe('a store', () => {
  const gives = 'it is what memoryStore\\(\\), redisStore\\(\\) or redisStoreFromEnv\\(\\) gives';
  it.each<[string, unknown, RegExp]>([
    [
      'a client',
      redis,
      new RegExp(`^store is an ioredis client without beat\\(\\); ${gives}: redisStore\\(\\{ client \\}\\)$`),
    ],
    ['a Cluster', cluster, /^store is an ioredis client .* redisStore\(\{ client \}\)$/],
    ['a client of the package redis', oldRedis, /^store is a client of the package redis .* clients of ioredis/],
    ['a later one', newRedis, /^store is a client of the package redis .* clients of ioredis/],
    [
      'a function that was not called',
      redisStoreFromEnv,
      new RegExp(`^store is a function .*; ${gives}: is a call missing\\?$`),
    ],
    ['a promise of one', Promise.resolve(memoryStore()), /^store is a promise .*: await it first$/],
    ['a URL', 'redis://:hunter2@h', /^store is "redis:\/\/h" without beat\(\); .*: redisStore\(\{ url \}\)$/],
    ['its options', { host: 'h' }, /^store is an object without beat\(\); .*, or fills the interface PresenceStore$/],
  ])('is no %s', (_, store, words) => {
    expect(thrown(() => createPresence({ store: store as never }))).toMatch(words);
  });

  it('is an option, and no options', () => {
    expect(thrown(() => createPresence(memoryStore() as never))).toBe(
      'options is a store; it is an object: createPresence({ store })',
    );
  });
});

describe('redisStore', () => {
  it.each<[string, unknown, RegExp]>([
    ['a client', redis, /^options is an ioredis client; it is an object: redisStore\(\{ client \}\)$/],
    ['a client of the package redis', oldRedis, /^options is a client of the package redis; /],
    ['a URL', 'redis://:hunter2@h', /^the options are "redis:\/\/h"; an object is wanted: redisStore\(\{ url \}\)$/],
    ['a class as its client', { client: Redis }, /^client is a function .*: is a new missing, as in new Redis\(\)\?$/],
    ['a store as its client', { client: memoryStore() }, /^client is a store .*createPresence\(\{ store \}\) takes$/],
    ['another client', { client: newRedis }, /^client is a client of the package redis; .*: npm install ioredis$/],
    ['a URL as its host', { host: 'redis://:hunter2@h' }, /^host is a URL; give it as url$/],
    ['a port in its host', { host: 'localhost:6379' }, /^host is "localhost:6379", with a port; give it as port$/],
  ])('takes no %s', (_, options, words) => {
    const message = thrown(() => redisStore(options as never));
    expect(message).toMatch(words);
    expect(message).not.toContain('hunter2');
  });

  it('takes an address of IPv6', () => {
    expect(() => redisStore({ host: '::1' })).not.toThrow();
  });

  it('from the environment: neither', () => {
    expect(thrown(() => redisStoreFromEnv({ REDIS_HOST: 'redis://:hunter2@h' }))).toBe(
      'REDIS_HOST is a URL; set REDIS_URL instead',
    );
    expect(thrown(() => redisStoreFromEnv({ REDIS_HOST: 'h:6379' }))).toBe(
      'REDIS_HOST is "h:6379", with a port; set REDIS_PORT',
    );
  });
});

it('no message of misuse shows what an address has as a password', () => {
  for (const run of [
    () => createPresence('redis://h?password=hunter2' as never),
    () => createPresence('redis://:hunter2@h' as never),
    () => createPresence({ logger: 'redis://:hunter2@h' as never }),
    () => createPresence({ 'redis://:hunter2@h': true } as never),
  ]) {
    expect(thrown(run)).not.toMatch(/hunter2|nothing was thrown/);
  }
});

it('a status handler takes options, not the function', () => {
  expect(thrown(() => createStatusHandler(presence, (() => true) as never))).toBe(
    'options is a function; it is an object: { authorize }',
  );
  expect(thrown(() => createStatusHandler(memoryStore() as never))).toBe(
    'presence is a store; it is what createPresence() gave',
  );
});

describe('an unknown option that is close to a known one', () => {
  it.each<[string, (options: never) => unknown, object, string]>([
    ['createPresence', createPresence, { ttl: 1 }, 'ttlMs'],
    ['createPresence', createPresence, { ttlMS: 1 }, 'ttlMs'],
    ['createPresence', createPresence, { pingInterval: 1 }, 'pingIntervalMs'],
    ['createPresence', createPresence, { grace: 1 }, 'graceMs'],
    ['createPresence', createPresence, { lease_ms: 1 }, 'leaseMs'],
    ['createPresence', createPresence, { onErorr: 1 }, 'onError'],
    ['createPresence', createPresence, { authoriseWatch: 1 }, 'authorizeWatch'],
    ['createPresence', createPresence, { sotre: 1 }, 'store'],
    ['limits', (limits) => createPresence({ limits }), { watchRequestPerSecond: 1 }, 'watchRequestsPerSecond'],
    ['router', (router) => createPresence({ router }), { adress: 'h' }, 'address'],
    ['memoryStore', memoryStore, { retention: 1 }, 'retentionMs'],
    ['redisStore', redisStore, { hots: 'h' }, 'host'],
    ['redisStore', redisStore, { user: 'h' }, 'username'],
    ['redisStore', redisStore, { pass: 'h' }, 'password'],
    [
      'attachPresence',
      (options) => attachPresence(presence, wss, options),
      { identify, identifyTimeout: 1 },
      'identifyTimeoutMs',
    ],
    [
      'attachPresence',
      (options) => attachToIo(presence, io, options),
      { identify, closeUnidentifed: [] },
      'closeUnidentified',
    ],
    ['createStatusHandler', (options) => createStatusHandler(presence, options), { authorise: 1 }, 'authorize'],
    ['listOnline', (page) => presence.listOnline(page), { limits: 1 }, 'limit'],
    ['onUpdate', (options) => presence.onUpdate(identify, options), { id: 1 }, 'ids'],
    ['close', (options) => presence.close(options), { handover: 1 }, 'handoverMs'],
  ])('%s %#', (_, call, options, meant) => {
    expect(thrown(() => call(options as never))).toContain(` is no option: did you mean ${meant}?; there are `);
  });

  it('and one that is not is only named', () => {
    expect(thrown(() => createPresence({ heartbeatInterval: 1 } as never))).toMatch(
      /^"heartbeatInterval" is no option; there are store, /,
    );
    const names = ['store', 'ttlMs', 'limits'];
    for (const name of ['', 'x', 'to', 'constructor', '__proto__', 'x'.repeat(100_000)]) {
      expect(closest(name, names)).toBeUndefined();
    }
  });
});

describe('the environment in another unit', () => {
  const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  afterEach(() => warn.mockClear());

  it.each<[object, string]>([
    [{ PRESENCE_TTL: '360000' }, 'PRESENCE_TTL is 360000; it is in seconds: did you mean 360?'],
    [{ PRESENCE_TTL: '86401' }, 'PRESENCE_TTL is 86401; it is in seconds: did you mean 86.401?'],
    [{ PING_INTERVAL: '120' }, 'PING_INTERVAL is 120; it is in milliseconds: did you mean 120000?'],
  ])('%o starts, and is warned of', (env, words) => {
    expect(() => optionsFromEnv(env as never)).not.toThrow();
    expect(warn.mock.calls).toEqual([[words, { code: 'VP_PRESENCE_UNIT' }]]);
  });

  // The TTLs of the presence guide, and other values that are plausible in seconds.
  it.each(['360', '240', '180', '90', '86400', '1'])('a TTL of %s does neither', (ttl) => {
    optionsFromEnv({ PRESENCE_TTL: ttl, PING_INTERVAL: ttl === '1' ? '' : '1000' });
    optionsFromEnv({ PING_INTERVAL: '120000' });
    expect(warn.mock.calls).toEqual([]);
  });

  it.each<[object, RegExp]>([
    [
      { PRESENCE_TTL: '360000000' },
      /^PRESENCE_TTL is "360000000"; it is a number of seconds .*: did you mean 360000\?$/,
    ],
    [{ PING_INTERVAL: '25' }, /^PING_INTERVAL is "25"; it is a number of milliseconds .*: did you mean 25000\?$/],
    [{ PING_INTERVAL: 'x' }, /to 2147483647$/],
  ])('%o throws', (env, words) => {
    expect(thrown(() => optionsFromEnv(env as never))).toMatch(words);
  });
});
