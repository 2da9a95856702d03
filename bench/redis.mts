import { Redis } from 'ioredis';
import { createPresence, type Presence } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { fakeSocket } from 'voiceping-presence/testing';
import { Observer, RouterProcess } from '../test/redis/processes';
import { RedisServer } from '../test/redis/server';

// What a user costs on a real redis-server, beside what the plainest command costs in the same run.

const USERS = 100_000;
const BATCH = 1_000;
const ROUNDS = 15;
const ROUND_USERS = 20_000;

const median = (values: number[]): number => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const show = (what: string, measured: string, limit: string): void =>
  console.log(`${what.padEnd(66)} ${measured.padStart(22)}   limit ${limit}`);

const server = await RedisServer.start();
const client = new Redis({ port: server.port });
const userIds = Array.from({ length: USERS }, (_, index) => `acme_u${index}`);
const quiet = { onTransition() {}, onGap() {}, onDue() {}, onLost() {} };

const cpuOfRedis = async (): Promise<number> => {
  const info = await client.info('cpu');
  const seconds = (name: string) => Number(new RegExp(`${name}:([\\d.]+)`).exec(info)?.[1]);
  return (seconds('used_cpu_user') + seconds('used_cpu_sys')) * 1e6;
};
const memory = async (): Promise<number> => {
  // What the server itself remembers of slow commands is no user's.
  await client.slowlog('RESET');
  return Number(/used_memory:(\d+)/.exec(await client.info('memory'))?.[1]);
};
const batches = (from: number, count: number): string[][] => {
  const all: string[][] = [];
  for (let at = from; at < from + count; at += BATCH) all.push(userIds.slice(at, at + BATCH));
  return all;
};
const join = (userId: string) => ({ kind: 'join', userId, ageMs: 5, reassert: false }) as const;
const leave = (userId: string) => ({ kind: 'leave', userId, ageMs: 5, reason: 'disconnect' }) as const;

async function costs(): Promise<void> {
  const store = redisStore({ client });
  const node = { nodeId: 'aB3+x/9z', leaseMs: 60_000, ttlMs: 360_000 };
  const end = store.subscribe({ ...quiet, onError: (stage, error) => console.error(stage, error) });
  await store.beat(node);
  await sleep(1_000);
  const empty = await memory();
  for (const batch of batches(0, USERS)) await store.apply(node, batch.map(join));
  await sleep(2_000);
  const full = await memory();

  const jobs: { [name: string]: (batch: string[]) => Promise<unknown> } = {
    floor: (batch) => {
      const pipeline = client.pipeline();
      for (const id of batch) pipeline.set(`presence:user:${id}`, String(Date.now()), 'PX', 360_000);
      return pipeline.exec();
    },
    sign: (batch) =>
      store.refresh(
        node,
        batch.map((userId) => ({ userId, ageMs: 5 })),
      ),
    leave: (batch) => store.apply(node, batch.map(leave)),
    join: (batch) => store.apply(node, batch.map(join)),
  };
  const redisCpu = new Map<string, number[]>();
  const nodeCpu = new Map<string, number[]>();
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [name, job] of Object.entries(jobs)) {
      const [redisBefore, nodeBefore] = [await cpuOfRedis(), process.cpuUsage()];
      for (const batch of batches((round % 5) * ROUND_USERS, ROUND_USERS)) await job(batch);
      const { user, system } = process.cpuUsage(nodeBefore);
      const spent = (await cpuOfRedis()) - redisBefore;
      redisCpu.set(name, [...(redisCpu.get(name) ?? []), spent / ROUND_USERS]);
      nodeCpu.set(name, [...(nodeCpu.get(name) ?? []), (user + system) / ROUND_USERS]);
    }
  }
  const cost = (all: Map<string, number[]>, name: string) => {
    const values = all.get(name) as number[];
    return `${median(values).toFixed(2)} (${Math.min(...values).toFixed(2)}) µs`;
  };
  console.log('CPU a user: the median of 15 alternating rounds, and the least');
  show('  floor: a pipelined SET key now PX ttl, Redis', cost(redisCpu, 'floor'), 'none');
  show('  one sign of life, Redis', cost(redisCpu, 'sign'), '3 µs');
  show('  one sign of life, Node', cost(nodeCpu, 'sign'), '3 µs');
  show('  join, Redis', cost(redisCpu, 'join'), '12 µs');
  show('  leave, Redis', cost(redisCpu, 'leave'), '12 µs');
  show('signs of life a round trip', String(BATCH), '200');
  show('memory a user online', `${((full - empty) / USERS).toFixed(1)} bytes`, '190 bytes');

  const times: { [name: string]: number[] } = { mget: [], online: [], half: [] };
  for (let round = 0; round < 100; round += 1) {
    const asked = batches(((round * 7) % 50) * BATCH, BATCH)[0] as string[];
    const half = asked.map((id, index) => (index % 2 === 0 ? id : `never_${id}`));
    const jobs: { [name: string]: () => Promise<unknown> } = {
      mget: () => client.mget(...asked.map((id) => `presence:user:${id}`)),
      online: () => store.read(asked),
      half: () => store.read(half),
    };
    for (const [name, job] of Object.entries(jobs)) {
      const startedAt = performance.now();
      await job();
      times[name]?.push(performance.now() - startedAt);
    }
  }
  const floor = median(times['mget'] as number[]);
  const ratio = (name: string) => `${(median(times[name] as number[]) / floor).toFixed(2)} × ${floor.toFixed(2)} ms`;
  show('1,000 ids who are online, beside MGET of as many keys', ratio('online'), '2 ×');
  show('1,000 ids, half of them never seen', ratio('half'), '2 ×');

  const other = new Redis({ port: server.port });
  await other.ping();
  let longest = 0;
  let isAnswered = false;
  const bulk = store.read(userIds.slice(0, 10_000)).then(() => {
    isAnswered = true;
  });
  while (!isAnswered) {
    const startedAt = performance.now();
    await other.ping();
    longest = Math.max(longest, performance.now() - startedAt);
  }
  await bulk;
  const slow = (await client.slowlog('GET', 128)) as Array<[number, number, number, string[]]>;
  other.disconnect();
  show('10,000 ids: the longest that a PING of another client took', `${longest.toFixed(1)} ms`, '10 ms');
  const longestCommand = Math.max(
    0,
    ...slow.filter(([, , , args]) => args[0] !== 'info').map(([, , micros]) => micros),
  );
  show('the longest command of all this, by SLOWLOG', `${(longestCommand / 1_000).toFixed(1)} ms`, 'none');

  for (const batch of batches(0, USERS)) await store.apply(node, batch.map(leave));
  await sleep(3_000);
  show('memory a user known and offline', `${(((await memory()) - empty) / USERS).toFixed(1)} bytes`, '45 bytes');
  end();
  await client.flushall();
}

/** Attached, and stored. */
async function routerWith(ids: string[], leaseMs: number, port = server.port): Promise<Presence> {
  const presence = createPresence({ leaseMs, graceMs: 0, store: redisStore({ host: '127.0.0.1', port }) });
  await presence.ready();
  for (const userId of ids) presence.attachToSocket(fakeSocket(), { userId });
  while ((await presence.countOnline()) < ids.length) await sleep(10);
  return presence;
}

async function flush(): Promise<void> {
  const presence = await routerWith(userIds, 15_000);
  let offline = 0;
  const observer = new Redis({ port: server.port });
  await observer.subscribe('presence:offline');
  observer.on('message', () => {
    offline += 1;
  });
  await client.flushall();
  const startedAt = performance.now();
  // Until all are back, and nothing but a few control keys besides.
  for (;;) {
    const count = await client.call(
      'EVAL',
      "local n = 0 for _, v in ipairs(redis.call('HVALS', KEYS[1])) do n = n + v end return n",
      1,
      'presence:count:{0}',
    );
    if (Number(count) === USERS) break;
    await sleep(20);
  }
  const keys = await client.dbsize();
  show(
    'FLUSHALL with 100,000 live users: contract keys are back',
    `${((performance.now() - startedAt) / 1_000).toFixed(2)} s`,
    '3 s',
  );
  show('  offline published meanwhile, and keys in all', `${offline}, ${keys}`, '0');
  observer.disconnect();
  await presence.close();
  await client.flushall();
}

/** A router process is killed; until all of its users are told offline, once each. */
async function kill(leaseMs: number, limitMs: number): Promise<void> {
  const observer = await Observer.start(server.port);
  const settings = { port: server.port, leaseMs, graceMs: 0 };
  const [dying, survivor] = [await RouterProcess.start(settings), await RouterProcess.start(settings)];
  const ids = userIds.slice(0, 12_500);
  await dying.attach(...ids);
  dying.signal('SIGKILL');
  const killedAt = performance.now();
  const told = () => observer.messages.filter(({ channel }) => channel === 'presence:offline');
  while (told().length < ids.length) await sleep(10);
  const took = performance.now() - killedAt;
  await sleep(leaseMs / 2);
  const twice = told().length - new Set(told().map(({ update }) => update.userId)).size;
  show(
    `a router with 12,500 users is killed, lease ${leaseMs / 1_000} s: all are told offline`,
    `${(took / 1_000).toFixed(1)} s, ${twice} twice`,
    `${limitMs / 1_000} s, 0 twice`,
  );
  observer.end();
  await survivor.end();
  await client.flushall();
}

await costs();
await flush();
await kill(1_500, 3_000);
await kill(15_000, 20_000);
client.disconnect();
await server.remove();
