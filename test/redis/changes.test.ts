import { Cluster, Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import {
  type ChangeBatch,
  type ChangeLog,
  createPresence,
  type Presence,
  type PresenceOptions,
  type PresenceStore,
  type StoreNode,
} from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { fakeSocket } from 'voiceping-presence/testing';
import { RedisCluster } from './cluster';
import { RedisServer } from './server';
import { sleep, until } from './wait';

let server: RedisServer;
let cluster: RedisCluster;
let admin: Redis;
let prefixes = 0;
beforeAll(async () => {
  [server, cluster] = await Promise.all([RedisServer.start(), RedisCluster.start()]);
  admin = new Redis({ port: server.port });
}, 60_000);
afterAll(async () => {
  admin.disconnect();
  await Promise.all([server.remove(), cluster.remove()]);
});

interface Fleet {
  readonly prefix: string;
  readonly errors: string[];
  router(options?: Parameters<typeof redisStore>[0], more?: PresenceOptions): Promise<Presence>;
}

function fleet(kind: 'single' | 'cluster' = 'single'): Fleet {
  prefixes += 1;
  const prefix = `c${prefixes}:`;
  const errors: string[] = [];
  return {
    prefix,
    errors,
    async router(options = {}, more = {}) {
      const client = kind === 'single' ? new Redis({ port: server.port }) : new Cluster(cluster.nodes);
      const presence = createPresence({
        store: redisStore({ client, prefix, ...options }),
        leaseMs: 2_000,
        onError: ({ message }, { stage }) => errors.push(`${stage}: ${message}`),
        ...more,
      });
      onTestFinished(async () => {
        await presence.close();
        client.disconnect();
      });
      await presence.ready();
      return presence;
    },
  };
}

async function come(presence: Presence, ...userIds: string[]): Promise<void> {
  await Promise.all(userIds.map((userId) => presence.attachToSocket(fakeSocket(), { userId }).ready));
}

/** Who is online, by what a handler was given. */
function onlineBy(batches: readonly ChangeBatch[]): string[] {
  let online = new Set<string>();
  for (const { changes, gap, users = [] } of batches) {
    if (gap) online = new Set(users.map(({ userId }) => userId));
    for (const { userId, status } of changes) {
      if (status === 'online') online.add(userId);
      else online.delete(userId);
    }
  }
  return Array.from(online).sort();
}

const lines = ({ changes }: ChangeBatch): string[] => changes.map(({ userId, status }) => `${userId} ${status}`);

it('a flush is a gap with everybody who is online, and the delivery goes on from there', async () => {
  const { router, errors } = fleet();
  const [east, west] = [await router(), await router()];
  const batches: ChangeBatch[] = [];
  for (const presence of [east, west]) presence.changes.deliver('billing', (batch) => void batches.push(batch));
  await until('it is claimed', async () => (await east.changes.deliveries()).length === 1);
  await come(east, 'a');
  await come(west, 'b');
  await until('both were told', () => batches.flatMap(lines).length === 2);
  const { cursor } = await east.changes.read();
  await admin.flushall();
  await until('the gap is told', () => batches.some(({ gap }) => gap), 20_000);
  await come(west, 'c');
  // A router of which the other one has not heard yet registers its users after the listing, as a change.
  await until('everybody is there', () => onlineBy(batches).join() === 'a,b,c', 20_000);
  expect((await east.changes.read({ since: cursor })).gap).toBe(true);
  expect(errors.filter((error) => error.startsWith('delivery'))).toEqual([]);
}, 60_000);

it('a router that stood still for longer than its lease does not move the position that another one has moved', async () => {
  const { router } = fleet();
  const [east, west] = [await router(), await router()];
  const told: string[] = [];
  let holds: (() => void) | undefined;
  east.changes.deliver('billing', async (batch) => {
    told.push(...lines(batch).map((line) => `east ${line}`));
    await new Promise<void>((resolve) => {
      holds = resolve;
    });
  });
  await until('east has it', async () => (await west.changes.deliveries())[0]?.router?.nodeId === east.nodeId);
  await come(west, 'a');
  await until('east is in its handler', () => holds !== undefined);
  west.changes.deliver('billing', (batch) => void told.push(...lines(batch).map((line) => `west ${line}`)));
  // As if its lease had lapsed: its heartbeats find a new one.
  const prefix = `c${prefixes}:`;
  const tags = await admin.zrange(`${prefix}lease:{0}`, 0, -1);
  const tag = tags.find((name) => name.startsWith(east.nodeId)) as string;
  const other = tags.find((name) => name.startsWith(west.nodeId)) as string;
  await admin.hset(
    `${prefix}deliveries:{0}`,
    'billing',
    ((await admin.hget(`${prefix}deliveries:{0}`, 'billing')) as string).replace(`|${tag}|`, '|nobody|'),
  );
  expect(other).toBeDefined();
  await until('west has it', async () => (await west.changes.deliveries())[0]?.router?.nodeId === west.nodeId, 20_000);
  await until('west tells it again', () => told.includes('west a online'), 20_000);
  await come(west, 'b');
  await until('west goes on', () => told.includes('west b online'), 20_000);
  const before = (await west.changes.deliveries())[0];
  holds?.();
  await sleep(1_000);
  expect((await west.changes.deliveries())[0]).toEqual(before);
  expect(told).toEqual(['east a online', 'west a online', 'west b online']);
}, 60_000);

it('of a step of many changes each is given once, at whatever limit, and a cursor of a frame goes on in its middle', async () => {
  const { router } = fleet();
  const presence = await router();
  const userIds = Array.from({ length: 700 }, (_, index) => `u${index}`);
  await come(presence, ...userIds);
  for (const limit of [13, 499, 10_000]) {
    const read: string[] = [];
    let batch = await presence.changes.read({ limit });
    for (; ; batch = await presence.changes.read({ limit, since: batch.cursor })) {
      expect(batch.gap).toBe(false);
      read.push(...batch.changes.map(({ userId }) => userId));
      if (batch.more !== true) break;
    }
    expect(read).toEqual(userIds);
  }
  const { changes, cursor } = await presence.changes.read();
  const [epoch] = cursor.split('.');
  const middle = changes[321] as { version: number };
  const rest = await presence.changes.read({ since: `${epoch}.${middle.version}.${middle.version + 5}`, limit: 5 });
  expect(rest.changes.map(({ userId }) => userId)).toEqual(userIds.slice(322, 327));
});

it('what another program writes into the log or among the deliveries hides no change', async () => {
  const { router, prefix } = fleet();
  const presence = await router();
  await come(presence, 'a');
  await admin.xadd(`${prefix}log:{0}`, '*', 'b', 'junk');
  const { cursor } = await presence.changes.read();
  await admin.hset(`${prefix}deliveries:{0}`, 'broken', 'nonsense', 'a\n|b', '1||0|e.1||', 'odd', '1||0|%%%|%|%');
  expect(await presence.changes.deliveries()).toEqual([]);
  await admin.xadd(`${prefix}log:{0}`, '*', 'x', 'y');
  // The log does not take what comes next, whose number is lower, so it was deleted.
  await come(presence, 'b');
  const next = await presence.changes.read({ since: cursor });
  expect(next.gap || lines(next).join() === 'b online').toBe(true);
  const told: string[] = [];
  presence.changes.deliver('broken', (batch) => void told.push(...lines(batch)));
  await until('it is claimed', async () => (await presence.changes.deliveries()).length === 1);
  await come(presence, 'c');
  await until('it is told', () => told.includes('c online'));
  await admin.del(`${prefix}deliveries:{0}`);
  await admin.set(`${prefix}deliveries:{0}`, 'a string');
  await come(presence, 'd');
  await until('it goes on', () => told.includes('d online'), 20_000);
}, 60_000);

it('a position that another program has written is a gap, and never silence', async () => {
  const { router, prefix } = fleet();
  const presence = await router();
  await come(presence, 'a');
  const entries = { junk: '3||0|junk||', large: '999999999999999||0|e.1||', odd: 'nonsense' };
  await admin.hset(`${prefix}deliveries:{0}`, entries);
  expect((await presence.changes.deliveries()).map(({ name }) => name).sort()).toEqual(['junk', 'large']);
  for (const name of Object.keys(entries)) {
    const batches: ChangeBatch[] = [];
    const stop = presence.changes.deliver(name, (batch) => void batches.push(batch));
    await until(`${name} is told of a gap`, () => batches.some(({ gap }) => gap));
    expect(onlineBy(batches)).toEqual(['a']);
    await stop();
  }
}, 60_000);

it('an entry of another program with the largest id there is does not stop readers', async () => {
  const { router, prefix } = fleet();
  const presence = await router();
  await come(presence, 'a');
  const { cursor } = await presence.changes.read();
  await come(presence, 'b');
  const [[id]] = (await admin.xrevrange(`${prefix}log:{0}`, '+', '-', 'COUNT', 1)) as [[string, string[]]];
  const [ms] = id.split('-');
  for (const serial of ['1', '2', '18446744073709551615'])
    await admin.xadd(`${prefix}log:{0}`, `${ms}-${serial}`, 'b', 'x');
  await come(presence, 'c');
  expect(lines(await presence.changes.read({ since: cursor }))).toEqual(['b online', 'c online']);
});

it('a receiver that ends with an emoji where the message is cut has ended', async () => {
  const { router } = fleet();
  const presence = await router();
  presence.changes.deliver(
    'billing',
    () => {
      throw Object.assign(new Error(`${'x'.repeat(499)}😀`), { ended: true });
    },
    { from: 'start' },
  );
  await come(presence, 'a');
  await until('it has ended', async () => (await presence.changes.deliveries())[0]?.ended === true);
});

it('the log keeps as many changes as the largest wish of the fleet, and those who disagree warn once', async () => {
  const { router, prefix, errors } = fleet();
  const east = await router({ logChanges: 2_000 });
  await come(east, 'first');
  const { cursor } = await east.changes.read();
  const west = await router({ logChanges: 100 });
  await come(west, ...Array.from({ length: 1_500 }, (_, index) => `u${index}`));
  expect((await west.changes.read({ since: cursor, limit: 10_000 })).changes.length).toBe(1_500);
  await until('west warns', () => errors.length > 0);
  await sleep(1_500);
  expect(errors).toEqual([
    'beat: beat failed: routers disagree on the log: this one has logChanges 100 and logMs 604800000, and it keeps 2000 changes for 604800000 ms, the larger of each',
  ]);
  // Far more than that is cut.
  for (let turn = 0; turn < 4; turn += 1) {
    await come(west, ...Array.from({ length: 1_000 }, (_, index) => `v${turn}-${index}`));
  }
  expect((await west.changes.read({ since: cursor })).gap).toBe(true);
  expect(await admin.xlen(`${prefix}log:{0}`)).toBeLessThan(400);
}, 60_000);

it('a change is kept for logMs', async () => {
  const { router, prefix } = fleet();
  const presence = await router({ logMs: 1_000 });
  const { cursor } = await presence.changes.read();
  await come(presence, 'a');
  expect(lines(await presence.changes.read({ since: cursor }))).toEqual(['a online']);
  await until('it is gone', async () => (await admin.exists(`${prefix}log:{0}`)) === 0, 20_000);
  expect((await presence.changes.read({ since: cursor })).gap).toBe(true);
  await come(presence, 'b');
  expect(lines(await presence.changes.read())).toEqual(['b online']);
}, 60_000);

it('on a Cluster a cursor is a vector, by which each change is given once, in order for each user', async () => {
  const { router } = fleet('cluster');
  const [east, west] = [await router(), await router()];
  const told: ChangeBatch[] = [];
  const stop = west.changes.deliver('billing', (batch) => void told.push(batch));
  await until('it is claimed', async () => (await east.changes.deliveries()).length === 1);
  let { cursor } = await east.changes.read();
  expect(cursor.length).toBeLessThanOrEqual(1_024);
  const read = new Map<string, number[]>();
  const expected = new Map<string, number>();
  for (let turn = 0; turn < 5; turn += 1) {
    const sockets = Array.from({ length: 100 }, (_, index) => {
      const socket = fakeSocket();
      const { ready } = east.attachToSocket(socket, { userId: `u${index}` });
      expected.set(`u${index}`, (expected.get(`u${index}`) ?? 0) + 2);
      return { socket, ready };
    });
    await Promise.all(sockets.map(({ ready }) => ready));
    for (const { socket } of sockets) socket.close(1000);
    await until('all have left', async () => (await east.countOnline()) === 0);
    for (let more: boolean | undefined = true; more; ) {
      const batch: ChangeBatch = await west.changes.read({ since: cursor, limit: 70 });
      expect(batch.gap).toBe(false);
      expect(batch.changes.length).toBeLessThanOrEqual(70);
      for (const { userId, version } of batch.changes) read.set(userId, (read.get(userId) ?? []).concat(version));
      ({ cursor, more } = batch);
    }
  }
  const ordered = (versions: number[]): boolean =>
    versions.every((one, at) => at === 0 || one > (versions[at - 1] ?? 0));
  expect(Array.from(read.values()).every(ordered)).toBe(true);
  expect(new Map(Array.from(read, ([userId, { length }]) => [userId, length]))).toEqual(expected);
  await until('all are delivered', () => told.flatMap(lines).length >= 1_000, 20_000);
  expect(told.flatMap(lines).length).toBe(1_000);
  expect(told.some(({ gap }) => gap)).toBe(false);
  await stop();
}, 90_000);

it('two claims of one name at the same moment: one is refused, on whichever connection', async () => {
  const { prefix } = fleet();
  const stores = Array.from({ length: 8 }, () => redisStore({ host: '127.0.0.1', port: server.port, prefix }));
  const nodes = stores.map((_, index): StoreNode => ({ nodeId: `n${index}`, leaseMs: 5_000, ttlMs: 60_000 }));
  const ignore = (): void => undefined;
  const feed = { onTransition: ignore, onGap: ignore, onDue: ignore, onLost: ignore, onError: ignore };
  for (const store of stores) onTestFinished(store.subscribe(feed));
  await Promise.all(stores.map((store, index) => store.beat(nodes[index] as StoreNode)));
  const logOf = (store: PresenceStore): ChangeLog => store.log as ChangeLog;
  const head = await logOf(stores[0] as PresenceStore).head();
  for (let turn = 0; turn < 20; turn += 1) {
    const claims = await Promise.all(
      stores.map((store, index) => logOf(store).claim(nodes[index] as StoreNode, `d${turn}`, head, false)),
    );
    expect(claims.filter(({ token }) => token !== undefined).length).toBe(1);
  }
});
