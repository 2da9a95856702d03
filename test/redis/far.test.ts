import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect } from 'vitest';
import { createPresence } from 'voiceping-presence';
import { type RedisLike, redisStore } from 'voiceping-presence/redis';
import { type FakeSocket, fakeSocket, storeConformance } from 'voiceping-presence/testing';
import { describe, it, onTestFinished } from '../side-by-side';
import { conforms } from '../stores/conforms';
import { openOn, REDIS_FAILS } from '../stores/redis-backend';
import { RedisCluster } from './cluster';
import { FarCluster, FarServer } from './far';
import { RedisServer } from './server';
import { sleep, until } from './wait';

// A Redis in another region: 300 ms a round trip, with all defaults. By `npm run far` for a minute, and through the whole
// conformance suite.

const ROUND_TRIP_MS = 300;
const LIVE_MS = 5_000;
const IS_LONG = process.env['FAR'] !== undefined;
const FLOW_MS = IS_LONG ? 60_000 : 3_000;

interface Far {
  readonly connect: () => RedisLike;
  /** Everything is lost. */
  flush(): Promise<void>;
  end(): Promise<void>;
}

async function flush(admin: Redis): Promise<void> {
  await admin.flushall();
  admin.disconnect();
}

async function farServer(): Promise<Far> {
  const server = await RedisServer.start();
  const link = await FarServer.start(server.port, ROUND_TRIP_MS);
  return {
    connect: () => new Redis({ port: link.port }),
    flush: () => flush(new Redis({ port: server.port })),
    end() {
      link.close();
      return server.remove();
    },
  };
}

async function farCluster(): Promise<Far> {
  const cluster = await RedisCluster.start();
  const links = await FarCluster.start(cluster, ROUND_TRIP_MS);
  return {
    connect: () => links.client({ slotsRefreshTimeout: 10_000 }),
    async flush() {
      await Promise.all([0, 1, 2].map((master) => flush(cluster.client(master))));
    },
    end() {
      links.close();
      return cluster.remove();
    },
  };
}

interface Frame {
  readonly messageType: number;
  readonly users?: Array<{ userId: string; status: string }>;
  readonly fromId?: string;
  readonly status?: string;
}

/** What a dashboard shows by the frames that it was sent. */
function shownOn(socket: FakeSocket): Map<string, string> {
  const shown = new Map<string, string>();
  for (const { users = [], fromId, status } of socket.frames as Frame[]) {
    for (const user of users) shown.set(user.userId, user.status);
    if (fromId !== undefined) shown.set(fromId, status as string);
  }
  return shown;
}

const isLive = (socket: FakeSocket): boolean =>
  (socket.frames as Frame[]).some(({ messageType, users }) => messageType === 32 && users !== undefined);

describe.each([
  ['a single server', farServer],
  ['a Cluster', farCluster],
] as const)('300 ms away, %s', (_, start) => {
  it('dashboards are live within five seconds, everything works, and nothing is reported', async () => {
    const far = await start();
    onTestFinished(() => far.end());
    const errors: string[] = [];
    const routers = [0, 1].map(() => {
      const client = far.connect() as Redis;
      onTestFinished(() => client.disconnect());
      return createPresence({
        store: redisStore({ client }),
        onError: (error, { stage }) => errors.push(`${stage}: ${error.message}`),
      });
    }) as [ReturnType<typeof createPresence>, ReturnType<typeof createPresence>];
    const [here, there] = routers;
    const dashboard = (): FakeSocket => {
      const socket = fakeSocket();
      here.attachToSocket(socket, { userId: 'dashboard', track: false, watch: true });
      return socket;
    };
    // Also one that is there before Redis is reached.
    const first = dashboard();
    await until('it is live', () => isLive(first), 20_000);
    await Promise.all(routers.map((router) => router.ready()));

    const phones = new Map<string, FakeSocket>();
    const connect = (userId: string): void => {
      phones.set(userId, fakeSocket());
      there.attachToSocket(phones.get(userId) as FakeSocket, { userId });
    };
    for (let user = 0; user < 20; user += 1) connect(`stays${user}`);
    await until('all are shown', () => shownOn(first).size === 20, 20_000);
    const connectedAt = Date.now();
    const second = dashboard();
    await until('another one shows all', () => shownOn(second).size === 20, 20_000);
    expect(Date.now() - connectedAt).toBeLessThan(LIVE_MS);

    const end = Date.now() + FLOW_MS;
    for (let step = 0; Date.now() < end; step += 1) {
      // Some are back before their grace is over, some come and some leave.
      phones.get(`stays${step % 20}`)?.drop();
      connect(`stays${step % 20}`);
      if (step % 5 === 0) connect(`comes${step}`);
      phones.get(`comes${step - 10}`)?.close();
      await sleep(100);
    }
    for (const [userId, phone] of phones) if (userId.startsWith('comes')) phone.close();
    const isRight = (socket: FakeSocket): boolean =>
      Array.from(shownOn(socket)).every(([userId, status]) => (status === 'online') === userId.startsWith('stays'));
    await until('both show who is there, and nobody else', () => isRight(first) && isRight(second), 20_000);

    expect(await here.countOnline()).toBe(20);
    if (IS_LONG) {
      await far.flush();
      // Until each router has found out, a count says why it cannot tell.
      await until('all are there again', async () => (await here.countOnline().catch(() => 0)) === 20, 30_000);
      expect(isRight(first) && isRight(second)).toBe(true);
    }
    expect((await here.listOnline({ limit: 1_000 })).users).toHaveLength(20);
    const ids = Array.from({ length: 1_000 }, (_, user) => `stays${user}`);
    const statuses = Object.values(await here.getStatuses(ids));
    expect(statuses.filter(({ status }) => status === 'online')).toHaveLength(20);
    expect(routers.map((router) => router.health().status)).toEqual(['ok', 'ok']);
    await Promise.all(routers.map((router) => router.close()));
    expect(errors).toEqual([]);
  }, 150_000);
});

if (IS_LONG) {
  describe.each([
    ['a single server', farServer],
    ['a Cluster', farCluster],
  ] as const)('300 ms away, redisStore over %s conforms', (_, start) => {
    let far: Far;
    beforeAll(async () => {
      far = await start();
    });
    const backend = openOn(() => far.connect());
    afterAll(() => {
      backend.disconnect();
      return far.end();
    });
    conforms(storeConformance(backend.open), { fails: REDIS_FAILS, timeoutMs: 600_000 });
  });
}
