import { execFileSync } from 'node:child_process';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPresence, type Presence } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { type FakeSocket, fakeSocket } from 'voiceping-presence/testing';
import { readPage } from '../package/pages';
import { RedisServer } from './server';
import { until } from './wait';

// The commands of docs/operations.md, run as they stand there, beside a router with one phone.

const page = readPage('docs/operations.md');
const blocks = Array.from(page.matchAll(/```sh\n(redis-cli .*?)```/gs), ([, text]) => String(text).trim());
const inTables = Array.from(page.matchAll(/`(redis-cli [^`]+|HVALS [^`]+)`/g), ([, text]) => String(text));

let server: RedisServer;
let admin: Redis;
let presence: Presence;
let phone: FakeSocket;

/** What a command prints, run on the server of this test. */
function print(command: string): string {
  const here = command.replace(/redis-cli/g, `redis-cli -p ${server.port}`);
  const env = { ...process.env, REDIS_PASSWORD: 'of the test' };
  return execFileSync('bash', ['-c', here], { encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'ignore'] }).trim();
}

/** The one command of the page that has these words. */
function command(words: string): string {
  const found = [...blocks, ...inTables].filter((text) => text.includes(words));
  expect(new Set(found).size, words).toBe(1);
  const [text] = found as [string];
  return text.startsWith('redis-cli') ? text : `redis-cli ${text}`;
}

beforeAll(async () => {
  server = await RedisServer.start();
  admin = new Redis({ port: server.port });
  await admin.call('ACL', 'SETUSER', 'presence', 'on', '>of the test', '+ping');
  presence = createPresence({
    store: redisStore({ client: new Redis({ port: server.port }) }),
    router: { name: 'east' },
    logger: false,
  });
  phone = fakeSocket();
  await presence.attachToSocket(phone, { userId: 'acme_u1' }).ready;
});
afterAll(async () => {
  await presence.close();
  admin.disconnect();
  await server.remove();
});

describe('the runbook', () => {
  it('has commands', () => {
    expect(blocks.length).toBeGreaterThanOrEqual(6);
  });

  it('why is this user grey: the key has time left, or is not there', async () => {
    expect(Number(print(command('TTL presence:user')))).toBeGreaterThan(300);
    phone.close();
    await until('the user is offline', () => print(command('TTL presence:user')) === '-2');
    phone = fakeSocket();
    await presence.attachToSocket(phone, { userId: 'acme_u1' }).ready;
  });

  it('two prefixes: a line for each', async () => {
    expect(print(command('*lease:{0}'))).toBe('presence:lease:{0}');
    await admin.zadd('other:lease:{0}', 1, 'x');
    expect(print(command('*lease:{0}')).split('\n').sort()).toEqual(['other:lease:{0}', 'presence:lease:{0}']);
    await admin.del('other:lease:{0}');
  });

  // With --user and --pass redis-cli goes on as the default user where the password is wrong, and a PING is answered.
  it('a wrong password: OK where it is right, and nothing else', async () => {
    expect(print(command('AUTH'))).toBe('OK');
    await admin.call('ACL', 'SETUSER', 'presence', 'resetpass', '>another');
    expect(print(command('AUTH'))).toMatch(/^WRONGPASS/);
  });

  it('Redis is full: how much it has, how much it may, and what it does then', () => {
    const lines = print(command('INFO memory')).split('\n');
    expect(lines.map((line) => line.split(':')[0])).toEqual([
      'used_memory_human',
      'maxmemory_human',
      'maxmemory_policy',
    ]);
  });

  it('a presence key was left over: a time in milliseconds', () => {
    expect(Math.abs(Number(print(command('GET presence:user'))) - Date.now())).toBeLessThan(60_000);
  });

  it('a clock is wrong: the time of Redis', () => {
    const [seconds] = print('redis-cli TIME').split('\n');
    expect(Math.abs(Number(seconds) - Date.now() / 1_000)).toBeLessThan(60);
  });

  it('at three in the morning: routers, their leases, how many are online, who listens', async () => {
    const lease = print(command('ZRANGE presence:lease')).split('\n');
    expect(lease).toHaveLength(2);
    expect(Number(lease[1])).toBeGreaterThan(Date.now() - 60_000);
    const counts = print(command('HVALS presence:count')).split('\n').map(Number);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(1);
    const [id, described] = print(command('HGETALL presence:routers')).split('\n');
    expect(id).toBe(lease[0]);
    expect(JSON.parse(described as string)).toMatchObject({ name: 'east', address: null });
    presence.onUpdate(() => undefined);
    await until('it listens', () => print(command('PUBSUB NUMSUB')).split('\n')[1] === '1');
  });
});
