import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createPresenceClient, type PresenceClient } from 'voiceping-presence/client';
import { WebSocket } from 'ws';
import { sleep, until } from '../redis/wait';
import { Child } from './child';
import { binary, bombs, clientFrame, handshake, SHORTEST_REQUEST, watchAll, watchList } from './frames';
import type { RouterCommands, RouterSettings } from './router-process';

const MIB = 2 ** 20;
const USERS = 1_000;
/** What a client asks for costs the router this, at most, of its heap; and of resident memory, while it lasts. */
const MAX_HEAP_MIB = 10;
const MAX_RSS_MIB = 100;
/** A connection is closed at the latest by then: that of who goes on to ask, after the time for a close frame. */
const BURST = 10;
const PER_SECOND = 5;

const ends: Array<() => Promise<void> | void> = [];
afterEach(async () => {
  await Promise.all(ends.splice(0).map((end) => end()));
});

/** A router with little memory, a thousand users, and a dashboard that is shown them where that is allowed. */
async function world(authorizeWatch: boolean) {
  const given: RouterSettings = { authorizeWatch };
  const flags = ['--expose-gc', '--max-old-space-size=128'];
  const router = new Child<RouterCommands>('the router', 'hostile/router-process', given, { flags });
  ends.push(() => router.end());
  const port = await router.ask('listen');
  await router.ask('populate', USERS);
  const url = `ws://127.0.0.1:${port}/dashboard`;
  const dashboard = createPresenceClient({ url, WebSocket, minBackoffMs: 50, maxBackoffMs: 100 });
  ends.push(() => dashboard.close());
  if (authorizeWatch) await until('the users are shown', () => dashboard.getStatus('other0')?.status === 'online');
  else await until('it is refused', () => dashboard.connection.refused !== undefined);
  await router.ask('memory');
  await sleep(300);
  const before = await router.ask('memory');
  await router.ask('begin');
  return { router, port, dashboard: authorizeWatch ? dashboard : undefined, before };
}

type World = Awaited<ReturnType<typeof world>>;

/** A connection of an attacker, which reads nothing more once it is known whose it is. */
async function attacker(port: number, path: string): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  ends.push(() => void socket.destroy());
  socket.on('error', () => undefined);
  socket.write(handshake(path));
  await once(socket, 'data');
  socket.pause();
  return socket;
}

/** Resolves once the kernel has taken it; false where the connection has ended. */
function written(socket: Socket, bytes: Uint8Array): Promise<boolean> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve(false));
    socket.write(bytes, (error) => {
      socket.removeAllListeners('close');
      resolve(!error);
    });
  });
}

/**
 * Sends something again and again, on a new connection once one has ended, or has sent as much as it may: until all is
 * sent, or time is up. Gives how many connections there were, and how often it was sent.
 */
async function attack(
  { port, router }: World,
  path: string,
  bytes: readonly Buffer[],
  { times = Number.POSITIVE_INFINITY, forMs = 30_000, perConnection = Number.POSITIVE_INFINITY },
) {
  const endsAt = performance.now() + forMs;
  const connected = (): Promise<Socket> =>
    attacker(port, path).catch(async (error: unknown) => {
      // Where it has died, that says so.
      await router.ask('report');
      throw error;
    });
  let socket = await connected();
  let connections = 1;
  let sent = 0;
  let left = perConnection;
  while (sent < times && performance.now() < endsAt) {
    if (left > 0 && (await written(socket, bytes[sent % bytes.length] as Buffer))) {
      sent += 1;
      left -= 1;
      continue;
    }
    if (left > 0) await sleep(100);
    socket.end();
    socket = await connected();
    connections += 1;
    left = perConnection;
  }
  return { sent, connections };
}

/** After an attack: the router lives, holds little, and everybody else is who they were; and it still tells changes. */
async function assertUnharmed({ router, dashboard, before }: World): Promise<void> {
  const after = await router.ask('memory');
  const report = await router.ask('report');
  const shown = (bytes: number) => `${(bytes / MIB).toFixed(1)} MiB`;
  console.log(
    `heap ${shown(before.heap)} before, ${shown(after.heap)} after; resident ${shown(before.rss)} before, ` +
      `${shown(after.highestRss)} at most, ${shown(after.rss)} after; ${report.frames} frames received, ` +
      `${report.decisions} asked authorizeWatch, ${Math.round(report.busy * 100)} % of its loop, ` +
      `closes ${JSON.stringify(report.closes)}`,
  );
  expect(report.changes).toEqual([]);
  expect((after.heap - before.heap) / MIB, 'MiB of heap').toBeLessThan(MAX_HEAP_MIB);
  expect((after.highestRss - before.rss) / MIB, 'MiB of resident memory').toBeLessThan(MAX_RSS_MIB);

  const users = Array.from({ length: USERS }, (_, index) => `other${index}`);
  expect(new Set(await router.ask('statuses', users))).toEqual(new Set(['online']));
  await router.ask('leave', 'other7');
  expect(await router.ask('statuses', ['other6', 'other7'])).toEqual(['online', 'offline']);
  if (dashboard !== undefined) await assertShown(dashboard, users);
}

async function assertShown(dashboard: PresenceClient, users: string[]): Promise<void> {
  await until('the user who left is shown', () => dashboard.getStatus('other7')?.status === 'offline');
  expect(users.filter((userId) => dashboard.getStatus(userId)?.status !== 'online')).toEqual(['other7']);
}

describe.each([{ authorizeWatch: true }, { authorizeWatch: false }])(
  'a router with 128 MiB, authorizeWatch $authorizeWatch',
  ({ authorizeWatch }) => {
    it('survives a thousand frames of 256 KiB that promise more than they hold', async () => {
      const attacked = await world(authorizeWatch);
      const frames = bombs(262_144).map((bomb) => binary(bomb));
      const { sent } = await attack(attacked, '/dashboard-hostile', frames, {
        times: 1_000,
        perConnection: BURST,
      });
      expect(sent).toBe(1_000);
      await until('all are received', async () => (await attacked.router.ask('report')).frames > 990);
      await assertUnharmed(attacked);
    });

    it('survives 16 MB of the shortest requests, from a client that reads nothing', async () => {
      const attacked = await world(authorizeWatch);
      const request = binary(SHORTEST_REQUEST);
      const block = Buffer.concat(Array.from({ length: 7_000 }, () => request));
      const times = Math.ceil(16e6 / block.length);
      // Once it is closed it is not read any more, and what it still sends stays with the kernel, which takes so much.
      const { sent } = await attack(attacked, '/hostile', [block], { times, perConnection: 8 });
      expect(sent).toBe(times);
      await assertUnharmed(attacked);
    });
  },
);

// That is a bound of ws itself (`maxPendingAutoPongs`): an answer to each would wait for ever.
it('a router with 128 MiB survives 16 MB of pings, from a client that reads no pong', async () => {
  const attacked = await world(false);
  const ping = clientFrame(0x9, Buffer.alloc(125, SHORTEST_REQUEST));
  const block = Buffer.concat(Array.from({ length: 500 }, () => ping));
  const times = Math.ceil(16e6 / block.length);
  const { sent } = await attack(attacked, '/hostile', [block], { times });
  expect(sent).toBe(times);
  await assertUnharmed(attacked);
});

describe('a dashboard that asks without pause', () => {
  const requests = {
    'swaps lists of 1,000 ids': Array.from({ length: 5 }, (_, index) => binary(watchList(index * 1_000))),
    'asks for everybody again': Array.from({ length: 5 }, (_, index) => binary(watchAll(index))),
  };
  it.each(Object.entries(requests))('%s, and is answered as often as it may', async (_what, frames) => {
    const attacked = await world(true);
    const forMs = 1_500;
    const { connections, sent } = await attack(attacked, '/dashboard-hostile', frames, { forMs });
    const { decisions } = await attacked.router.ask('report');
    // After some it is closed, and not read any more.
    expect(sent).toBeGreaterThan(5 * BURST);
    expect(decisions).toBeGreaterThan(0);
    expect(decisions).toBeLessThanOrEqual(connections * (BURST + (PER_SECOND * (forMs + 1_000)) / 1_000));
    await assertUnharmed(attacked);
  });
});
