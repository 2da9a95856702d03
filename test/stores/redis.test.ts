import { Redis } from 'ioredis';
import Redis4 from 'ioredis4';
import { Redis as Redis6 } from 'ioredis6';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RedisLike, redisStore } from 'voiceping-presence/redis';
import { type StoreBackend, storeConformance } from 'voiceping-presence/testing';
import { RedisServer } from '../redis/server';
import { sleep } from '../redis/wait';

let server: RedisServer;
beforeAll(async () => {
  server = await RedisServer.start();
});
afterAll(() => server.remove());

let opened = 0;

/** A prefix of its own is a backend of its own. */
async function openOn(connect: () => RedisLike): Promise<StoreBackend> {
  const clients: RedisLike[] = [];
  opened += 1;
  const prefix = `case-${opened}:`;
  return {
    store() {
      const client = connect();
      clients.push(client);
      return redisStore({ client, prefix });
    },
    async pass(ms, everyMs, whileAlive) {
      for (const end = Date.now() + ms; Date.now() < end; ) {
        await sleep(Math.min(everyMs, end - Date.now()));
        await whileAlive();
      }
    },
    standStill: sleep,
    arrive: () => sleep(200),
    async close() {
      for (const client of clients) client.disconnect();
    },
  };
}

const CLIENTS: Array<[name: string, connect: () => RedisLike]> = [
  ['ioredis 4', () => new Redis4({ port: server.port })],
  ['ioredis 5', () => new Redis({ port: server.port })],
  ['ioredis 6', () => new Redis6({ port: server.port })],
];

describe.each(CLIENTS)('redisStore over %s conforms', (_name, connect) => {
  const cases = storeConformance(() => openOn(connect));
  it('to a suite that is not empty', () => expect(cases.length).toBeGreaterThan(20));
  for (const { name, run } of cases) it.concurrent(name, run);
});
