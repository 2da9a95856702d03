import { Redis } from 'ioredis';
import { afterEach, expect, it } from 'vitest';
import { createPresence, type PresenceStatus } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { fakeSocket } from 'voiceping-presence/testing';
import { Link } from './link';
import { RedisServer } from './server';
import { until } from './wait';

const endings: Array<() => unknown> = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

interface Frame {
  messageType: number;
  fromId?: string;
  status?: string;
  users?: PresenceStatus[];
  stale?: boolean;
}

// A heartbeat got through, the router said that all was well, and only then read in the log what it had missed.
it('changes missed in an outage arrive before its end, also where they have to be read from the log', async () => {
  const server = await RedisServer.start();
  endings.push(() => server.remove());
  const [commands, messages] = [await Link.start(server.port), await Link.start(server.port)];
  endings.push(() => commands.close());
  endings.push(() => messages.close());
  const retryStrategy = () => 50;
  const client = new Redis({ port: commands.port, retryStrategy });
  endings.push(() => client.disconnect());
  client.on('error', () => undefined);
  client.duplicate = (options) => new Redis({ ...options, port: messages.port });
  const start = async (store: ReturnType<typeof redisStore>) => {
    const presence = createPresence({
      store,
      leaseMs: 1_000,
      graceMs: 0,
      commandTimeoutMs: 5_000,
      onError: () => undefined,
    });
    endings.push(() => presence.close());
    await presence.ready();
    return presence;
  };
  const here = await start(redisStore({ client }));
  const there = await start(redisStore({ host: '127.0.0.1', port: server.port }));
  const dashboard = fakeSocket();
  here.attachToSocket(dashboard, { userId: 'dash', track: false, watch: true });
  await until('it is shown who is there', () => dashboard.sent.length > 0);
  const phone = fakeSocket();
  there.attachToSocket(phone, { userId: 'leaves' });
  const lines = () =>
    (dashboard.frames as Frame[])
      .filter(({ messageType }) => messageType !== 32)
      .map(({ stale, fromId, status }) => (stale === undefined ? `${fromId} ${status}` : stale ? 'stale' : 'fresh'));
  await until('it is shown', () => lines().includes('leaves online'));
  commands.cut();
  messages.cut();
  await until('it is stale', () => lines().includes('stale'));
  dashboard.sent.length = 0;
  phone.close();
  await there.attachToSocket(fakeSocket(), { userId: 'comes' }).ready;
  // Messages stay cut: what was missed stands in the log only.
  commands.mend();
  await until('it is over', () => lines().includes('fresh'), 15_000);
  expect(lines()).toEqual(['leaves offline', 'comes online', 'fresh']);
});
