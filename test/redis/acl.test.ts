import { readFileSync } from 'node:fs';
import { Cluster, Redis } from 'ioredis';
import { expect } from 'vitest';
import { createPresence, type PresenceError, type PresenceOptions, type PresenceUpdate } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { fakeSocket } from 'voiceping-presence/testing';
import { describe, it, onTestFinished } from '../side-by-side';
import { RedisCluster } from './cluster';
import { RedisServer } from './server';
import { sleep, until } from './wait';

// The users of docs/security.md, word for word, on a server that gives other users no rights.

const LEASE_MS = 1_500;
const docs = readFileSync(new URL('../../docs/security.md', import.meta.url), 'utf8');
const userLine = (version: string): string[] => {
  const [, line] = new RegExp(`<!-- acl: ${version} -->\\n\`\`\`\\n(.*?)\\n\`\`\``, 's').exec(docs) ?? [];
  expect(line).toMatch(/^ACL SETUSER presence /);
  return (line as string).split(/\s+/).slice(1);
};

async function serverWith(...line: string[]) {
  const server = await RedisServer.start();
  const admin = new Redis({ port: server.port });
  admin.on('error', () => undefined);
  onTestFinished(() => server.remove());
  onTestFinished(() => admin.disconnect());
  await admin.call('ACL', ...(line as [string]));
  const rules = (await admin.call('ACL', 'LIST')) as string[];
  expect(rules.some((rule) => rule.startsWith('user presence on '))).toBe(true);
  return { server, admin };
}

function routerOn(port: number, options: PresenceOptions = {}) {
  const errors: PresenceError[] = [];
  const told: PresenceUpdate[] = [];
  const presence = createPresence({
    leaseMs: LEASE_MS,
    graceMs: 300,
    pingIntervalMs: 200,
    store: redisStore({ host: '127.0.0.1', port, username: 'presence', password: 'secret' }),
    onError: (error) => errors.push(error),
    ...options,
  });
  presence.onUpdate((update) => told.push(update));
  onTestFinished(() => presence.close());
  const changes = (id: string) => told.filter(({ userId }) => userId === id).map((u) => `${u.status} ${u.reason}`);
  const attach = async (userId: string) => {
    const socket = fakeSocket();
    await presence.attachToSocket(socket, { userId }).ready;
    return socket;
  };
  return { presence, errors, changes, attach };
}

/** Everything that a router does: joins, leaves, graces, activity, queries, a death, a sweep, a loss. */
async function everything(port: number, admin: Redis): Promise<PresenceError[]> {
  const [a, b] = [routerOn(port), routerOn(port)];
  await Promise.all([a.presence.ready(), b.presence.ready()]);
  await a.attach('stays');
  (await a.attach('leaves')).close();
  (await a.attach('drops')).drop();
  await until('all is told', () => b.changes('leaves').length === 2 && b.changes('drops').length === 2);
  expect(b.changes('drops')).toEqual(['online connect', 'offline timeout']);
  // One router dies: its lease is deleted, and an unknown incarnation holds a user.
  const [epoch] = await admin.hmget('presence:meta:{0}', 'epoch');
  await admin.hset('presence:nodes:{0}', 'dead', '1500 0 0 0');
  await admin.zadd('presence:lease:{0}', 1, 'dead');
  expect(Object.keys(await a.presence.getStatuses(['stays', 'leaves', 'never']))).toHaveLength(3);
  expect((await b.presence.listOnline()).users.map(({ userId }) => userId)).toEqual(['stays']);
  expect(await b.presence.countOnline()).toBe(1);
  await until('the dead one is gone', async () => (await admin.hexists('presence:nodes:{0}', 'dead')) === 0);
  // Everything is lost, and a sweep goes round.
  for (const key of await admin.keys('presence:*')) await admin.del(key);
  await until('it is asserted anew', async () => (await admin.exists('presence:user:stays')) === 1);
  expect((await admin.hget('presence:meta:{0}', 'epoch')) === epoch).toBe(false);
  await admin.del(...(await admin.keys('presence:b:*')));
  await until('the sweep finds it', async () => (await b.presence.listOnline()).users.length === 1, LEASE_MS * 12);
  expect(a.presence.health()).toMatchObject({ status: 'ok', problems: [] });
  return a.errors.concat(b.errors);
}

describe('a user with the rights of docs/security.md', () => {
  it('does everything that presence does, and may not do what would harm others', async () => {
    const { server, admin } = await serverWith(...userLine('6\\.2'));
    expect((await everything(server.port, admin)).map(({ message, cause }) => `${message}: ${cause}`)).toEqual([]);
    const user = new Redis({ port: server.port, username: 'presence', password: 'secret' });
    onTestFinished(() => user.disconnect());
    for (const [command, ...args] of [
      ['FLUSHALL'],
      ['FLUSHDB'],
      ['KEYS', '*'],
      ['SCAN', '0'],
      ['CONFIG', 'GET', '*'],
      ['CLIENT', 'KILL', 'ID', '1'],
      ['CLIENT', 'LIST'],
      ['SHUTDOWN'],
      ['ACL', 'LIST'],
      ['SCRIPT', 'FLUSH'],
      ['FUNCTION', 'FLUSH'],
      ['MONITOR'],
      ['REPLICAOF', 'NO', 'ONE'],
      ['GET', 'other:key'],
      ['SET', 'other:key', '1'],
      ['PUBLISH', 'other', '1'],
      ['SUBSCRIBE', 'other'],
      ['SWAPDB', '0', '1'],
      ['SAVE'],
      ['MODULE', 'LIST'],
    ] as Array<[string, ...string[]]>) {
      await expect(user.call(command, ...args), `${command} ${args}`).rejects.toThrow(/NOPERM|can't|no permissions/i);
    }
    // Nor by a script.
    await expect(user.eval("return redis.call('FLUSHALL')", 0)).rejects.toThrow();
    await expect(user.eval("return redis.call('GET', 'other:key')", 0)).rejects.toThrow();
    await expect(user.eval("return redis.call('KEYS', '*')", 0)).rejects.toThrow();
  });

  it('each right is needed: none is given away', async () => {
    const line = userLine('6\\.2');
    const granted = line.filter((word) => word.startsWith('+'));
    const { server, admin } = await serverWith(...line);
    await admin.call('CONFIG', 'RESETSTAT');
    await everything(server.port, admin);
    const stats = await admin.info('commandstats');
    const unused = granted.filter((word) => !stats.includes(`cmdstat_${word.slice(1)}:`));
    // Of clients with another database, or that ping; of records that were lost; of a log that is read after a gap.
    const rare = ['+select', '+ping', '+unsubscribe', '+hexists', '+xrange', '+get'];
    expect(unused.filter((word) => !rare.includes(word))).toEqual([]);
  });

  it('on a Cluster, too', async () => {
    const cluster = await RedisCluster.start();
    onTestFinished(() => cluster.remove());
    for (const index of cluster.servers.keys()) {
      const node = cluster.client(index);
      for (const version of ['6\\.2', 'cluster']) await node.call('ACL', ...(userLine(version) as [string]));
      node.disconnect();
    }
    const errors: PresenceError[] = [];
    const client = new Cluster(cluster.nodes, { redisOptions: { username: 'presence', password: 'secret' } });
    onTestFinished(() => client.disconnect());
    const presence = createPresence({
      leaseMs: 3_000,
      graceMs: 300,
      store: redisStore({ client }),
      onError: (error) => errors.push(error),
    });
    onTestFinished(() => presence.close());
    const told: string[] = [];
    presence.onUpdate(({ userId, status }) => told.push(`${userId} ${status}`));
    await presence.ready();
    const sockets = Array.from({ length: 50 }, () => fakeSocket());
    await Promise.all(sockets.map((socket, user) => presence.attachToSocket(socket, { userId: user }).ready));
    await until('all are told', () => told.length === 50);
    expect(await presence.countOnline()).toBe(50);
    for (const socket of sockets) socket.drop();
    await until('all have gone', () => told.length === 100);
    expect(errors.map(({ message, cause }) => `${message}: ${cause}`)).toEqual([]);
  });
});

describe('a user without rights to channels', () => {
  it.each([
    ['none', ['resetchannels'], ['subscribe', 'publish']],
    ['those of the routers', ['resetchannels', '&presence:sync:*'], ['publish']],
  ] as const)(
    'who has %s: everything works, and health and onError say what is lacking',
    async (_, channels, stages) => {
      const line = userLine('6\\.2').filter((word) => !word.startsWith('&') && word !== 'resetchannels');
      const { server } = await serverWith(...line, ...channels);
      const [a, b] = [routerOn(server.port), routerOn(server.port)];
      await Promise.all([a.presence.ready(), b.presence.ready()]);
      (await a.attach('u')).close();
      await until('b learns of it by its beats', () => b.changes('u').length === 2);
      const lacks = (stage: string) => a.presence.health().problems.find((problem) => problem.stage === stage);
      await until('health says so', () => stages.every((stage) => lacks(stage) !== undefined));
      for (const stage of stages) expect(lacks(stage)?.message).toMatch(/its ACL lacks &presence:\*; /);
      await until('nothing else is wrong', () => a.presence.health().status === 'degraded');
      (await a.attach('v')).close();
      await sleep(300);
      for (const stage of stages) {
        const reports = a.errors.filter(({ message }) =>
          message.includes(stage === 'publish' ? 'publish on' : 'subscribe to'),
        );
        expect(new Set(reports.map(({ message }) => message)).size).toBe(reports.length);
      }
    },
  );
});
