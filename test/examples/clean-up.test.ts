import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { createPresence } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { fakeSocket } from 'voiceping-presence/testing';
import { RedisServer } from '../redis/server';
import { onCleanup, until } from './running';

// The commands of the guide for the existing router that delete keys, as they stand there, in a real shell, on a real Redis.

const guide = readFileSync(new URL('../../examples/voiceping-router/README.md', import.meta.url), 'utf8');
const blocks = Array.from(guide.matchAll(/```sh\n(.*?)```/gs), ([, code]) => String(code));
const [afterFork = '', afterOurs = ''] = blocks.filter((code) => code.includes('redis-cli DEL presence:fork'));

/** Ids that a shell, a glob, a script or a terminal may take for something else. */
const ODD_IDS = [
  'acme_u1',
  'two words',
  ' ',
  'tab\tand\nnewline',
  '\n',
  `it's "quoted"`,
  "'; redis-cli FLUSHALL; '",
  '$(redis-cli FLUSHALL)',
  '{x}',
  '{0}x',
  'x{0}',
  '{0}:1',
  '*',
  '[a-z]?\\',
  'é👷🏽',
  '\u202e',
  '\u0000zero',
  '-n',
  '',
];

async function redis() {
  const server = await RedisServer.start();
  const client = new Redis({ host: '127.0.0.1', port: server.port });
  const bin = mkdtempSync(join(tmpdir(), 'clean-up-'));
  writeFileSync(join(bin, 'redis-cli'), `#!/bin/sh\nPATH=$REAL_PATH exec redis-cli -p ${server.port} "$@"\n`);
  chmodSync(join(bin, 'redis-cli'), 0o755);
  onCleanup(async () => {
    client.disconnect();
    await server.remove();
    rmSync(bin, { recursive: true });
  });
  const { PATH = '' } = process.env;
  return {
    client,
    run: (commands: string) =>
      promisify(execFile)('sh', ['-c', commands], {
        env: { ...process.env, PATH: `${bin}${delimiter}${PATH}`, REAL_PATH: PATH },
        timeout: 30_000,
      }),
    keys: async () => (await client.keysBuffer('*')).map(String).sort(),
  };
}

/** What is not ours, although it looks like it. */
const FOREIGN: ReadonlyArray<readonly [string, 'string' | 'hash' | 'set']> = [
  ['presence:other app', 'string'],
  ['presence:other', 'hash'],
  ['presence:{0}', 'string'],
  ['presence:meta', 'hash'],
  ['presence:meta:settings', 'string'],
  ['presence:meta:hash of another app', 'hash'],
  ['presence:meta:a set', 'set'],
  ['presence:metadata:{0}', 'hash'],
  ['presence:b:{0}:x', 'hash'],
  ['presence:b:{0}:1:2', 'hash'],
  ['presence:count:{0}:today', 'hash'],
  ['presence:jobs:{0}', 'hash'],
  ['presence:log:{day}', 'string'],
  ['presence:log:{0}\n', 'string'],
  ['my presence:lease:{0}', 'hash'],
  ['xpresence:meta:acme_u1', 'hash'],
  ['Presence:meta:acme_u1', 'hash'],
  ['other app', 'string'],
  ['app', 'string'],
  ['', 'string'],
];

async function writeForeign(client: Redis): Promise<string[]> {
  for (const [key, type] of FOREIGN) {
    if (type === 'string') await client.set(key, 'x');
    else if (type === 'hash') await client.hset(key, 'colour', 'red');
    else await client.sadd(key, 'x');
  }
  // The fields of the fork, on keys that are not its.
  for (const key of ['xpresence:meta:acme_u1', 'presence:metadata:{0}']) {
    await client.hset(key, 'status', 'online', 'lastSeen', '1');
  }
  // Keys of whoever is online: they end by themselves, and routers of both kinds read them.
  const users = ODD_IDS.map((id) => `presence:user:${id}`);
  for (const key of users) await client.set(key, '1', 'EX', 600);
  return [...FOREIGN.map(([key]) => key), ...users];
}

const writeFork = async (client: Redis): Promise<void> => {
  for (const id of ODD_IDS)
    await client.hset(`presence:meta:${id}`, 'status', 'online', 'lastSeen', '1', 'role', 'web');
  await client.sadd('presence:fork', ...ODD_IDS);
};

/** Keys as a router of ours leaves them, by its own store. */
async function writeOurs(client: Redis): Promise<string[]> {
  const before = await client.keys('*');
  const presence = createPresence({ store: redisStore({ client }), graceMs: 60_000 });
  await presence.ready();
  for (const id of ['ours_u1', 'ours, in two words', '{0}ours', 'ours{0}']) {
    const socket = fakeSocket();
    await presence.attachToSocket(socket, { userId: id }).ready;
    if (id === 'ours_u1') socket.drop();
  }
  await until(async () => expect(await client.exists('presence:limbo:{0}', 'presence:grace:{0}')).toBe(1));
  const written = (await client.keys('*')).filter((key) => !before.includes(key));
  await presence.close();
  // That of the one in grace would end by itself.
  await client.del('presence:user:ours_u1');
  return written.filter((key) => !key.startsWith('presence:user:')).sort();
}

describe('once the last router of the fork is gone', () => {
  it('what it has left is deleted, and nothing else is', async () => {
    const { client, run, keys } = await redis();
    await writeFork(client);
    const foreign = await writeForeign(client);
    const ours = await writeOurs(client);
    expect(ours).toContain('presence:meta:{0}');
    const oursNow = (await keys()).filter((key) => ours.includes(key));
    await run(afterFork);
    expect(await keys()).toEqual(Array.from(new Set([...foreign, ...oursNow])).sort());
  });

  it('also among many keys, a step at a time', async () => {
    const { client, run, keys } = await redis();
    const pipeline = client.pipeline();
    for (let user = 0; user < 5_000; user += 1) {
      pipeline.hset(`presence:meta:two words ${user}`, 'status', 'online', 'lastSeen', '1');
      pipeline.set(`words ${user}`, 'x');
    }
    await pipeline.exec();
    await run(afterFork);
    expect((await keys()).filter((key) => key.startsWith('presence:'))).toEqual([]);
    expect(await client.dbsize()).toBe(5_000);
  });
});

describe('once the last router of ours is gone', () => {
  it('what it has left is deleted, and nothing else is', async () => {
    const { client, run, keys } = await redis();
    const foreign = await writeForeign(client);
    const ours = await writeOurs(client);
    expect(ours.some((key) => key.startsWith('presence:b:{0}:'))).toBe(true);
    await client.hset('presence:meta:acme_u1', 'status', 'online', 'lastSeen', '1');
    await run(afterOurs);
    expect(await keys()).toEqual([...foreign, 'presence:meta:acme_u1'].sort());
  });
});

it.each([
  ['after the fork', afterFork],
  ['after ours', afterOurs],
])('%s: it ends where Redis refuses, and says so', async (_name, commands) => {
  const { client, run, keys } = await redis();
  await writeFork(client);
  const before = await keys();
  await client.call('ACL', 'SETUSER', 'default', '-eval', '-del');
  const { stderr, stdout } = await run(commands);
  expect(stderr).toMatch(/NOPERM/);
  expect(stdout).toMatch(/NOPERM|^$/);
  expect(await keys()).toEqual(before);
});
