import { Redis } from 'ioredis';
import { afterEach, expect, it } from 'vitest';
import { createPresence } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { Link } from './link';
import { RedisServer } from './server';
import { until } from './wait';

const ends: Array<() => unknown> = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

// No command is ever sent on that connection, so only health() can report that it is down.
it('a connection for messages that is down while commands get through: health, onError and the log say so', async () => {
  const server = await RedisServer.start();
  ends.push(() => server.remove());
  const link = await Link.start(server.port);
  ends.push(() => link.close());
  const client = new Redis({ port: server.port });
  ends.push(() => client.disconnect());
  client.duplicate = (overrides) => new Redis({ ...overrides, port: link.port });
  link.cut();
  const began = Date.now();

  const lines: string[] = [];
  const say = (line: string) => lines.push(line);
  const errors: string[] = [];
  const presence = createPresence({
    store: redisStore({ client }),
    leaseMs: 1_000,
    router: { name: 'r' },
    logger: { warn: say, error: say },
    onError: ({ message }, { stage }) => errors.push(`${stage}: ${message}`),
  });
  ends.push(() => presence.close());
  await presence.ready();
  await until('health says so', () => presence.health().status === 'degraded');
  const [problem] = presence.health().problems;
  expect(problem).toMatchObject({
    stage: 'subscribe',
    code: 'ERR_PRESENCE_STORE',
    message: expect.stringMatching(
      /^the connection for messages is down: .+; changes on other routers are learned from heartbeats only/,
    ),
  });
  const since = Date.parse(problem?.since as string);
  expect([since >= began - 50, since <= Date.now()]).toEqual([true, true]);
  expect(errors).toEqual([`subscribe: subscribe failed: ${problem?.message}`]);
  expect(lines).toEqual([expect.stringMatching(/^presence r: subscribe failed: the connection for messages is down/)]);

  // The problem lasts, and is reported once.
  const { asOf } = presence.health();
  await until('more heartbeats', () => Date.parse(presence.health().asOf as string) > Date.parse(asOf as string) + 700);
  expect(presence.health().problems).toEqual([problem]);
  expect(errors).toHaveLength(1);

  link.mend();
  await until('it is over', () => presence.health().status === 'ok');
  await until('the log says so', () => lines.length === 2);
  expect(lines[1]).toMatch(/^presence r: subscribe works again after [\d.]+ s$/);

  // It was there, and goes.
  link.cut();
  await until('health says so', () => presence.health().status === 'degraded');
  link.mend();
  await until('it is over', () => presence.health().status === 'ok');
});

// Where graces end, heartbeats follow each other more closely than anybody connects.
it('a connection for messages that is on its way is none that is down, however many heartbeats there are', async () => {
  const server = await RedisServer.start();
  ends.push(() => server.remove());
  const link = await Link.start(server.port);
  ends.push(() => link.close());
  const client = new Redis({ port: server.port });
  ends.push(() => client.disconnect());
  client.duplicate = (overrides) => new Redis({ ...overrides, port: link.port });
  link.silence();
  const store = redisStore({ client });
  const told: string[] = [];
  const errors: unknown[] = [];
  const unsubscribe = store.subscribe({
    onTransition: ({ userId }) => told.push(userId),
    onGap: () => undefined,
    onDue: () => undefined,
    onLost: () => undefined,
    onError: (_stage, error) => errors.push(error),
  });
  ends.push(unsubscribe);
  const node = { nodeId: 'n', leaseMs: 600_000, ttlMs: 60_000 };
  for (let beat = 0; beat < 10; beat += 1) await store.beat(node);
  expect(errors).toEqual([]);
  link.mend();
  await store.apply(node, [{ kind: 'join', userId: 'u', ageMs: 0, reassert: false }]);
  await until('it hears', () => told.length === 1);
  expect(errors).toEqual([]);
});
