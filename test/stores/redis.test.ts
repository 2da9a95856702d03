import { Redis } from 'ioredis';
import Redis4 from 'ioredis4';
import { Redis as Redis6 } from 'ioredis6';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { RedisLike } from 'voiceping-presence/redis';
import { storeConformance } from 'voiceping-presence/testing';
import { RedisServer } from '../redis/server';
import { conforms } from './conforms';
import { type KeysOnly, keysOnly } from './keys-only';
import { openOn, REDIS_FAILS } from './redis-backend';

// They wait most of the time.
vi.setConfig({ maxConcurrency: 24 });

let server: RedisServer;
beforeAll(async () => {
  server = await RedisServer.start();
});
afterAll(() => server.remove());

const watched: KeysOnly = { ran: new Set(), undeclared: [] };

const CLIENTS: Array<[name: string, connect: () => RedisLike]> = [
  ['ioredis 4', () => new Redis4({ port: server.port })],
  ['ioredis 5', () => keysOnly(new Redis({ port: server.port }), watched)],
  ['ioredis 6', () => new Redis6({ port: server.port })],
];

describe.concurrent.each(CLIENTS)('redisStore over %s conforms', (_name, connect) => {
  const backend = openOn(connect);
  afterAll(() => backend.disconnect());
  conforms(storeConformance(backend.open), { fails: REDIS_FAILS, isConcurrent: true, timeoutMs: 120_000 });
});

it('no script has touched a key that is not in its KEYS', () => {
  expect(watched.undeclared).toEqual([]);
  // `stray` runs in test/redis/steps*.test.ts; `leased` and `seen` on a Cluster.
  expect(Array.from(watched.ran).sort().join(' ')).toBe(
    'advance apply beat begin claim count deliveries held list read reap refresh registered release settle sweep',
  );
});
