import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdapter } from '@socket.io/redis-adapter';
import { Redis } from 'ioredis';
import { Server } from 'socket.io';
import { io as connectTo } from 'socket.io-client';
import { afterEach, expect, it } from 'vitest';
import { createPresence } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { attachPresence } from 'voiceping-presence/socket.io';
import { RedisServer } from './server';
import { until } from './wait';

const endings: Array<() => unknown> = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

async function router(port: number) {
  const client = new Redis({ port });
  const ear = client.duplicate();
  const http = createServer();
  const io = new Server(http, { adapter: createAdapter(client, ear) });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const presence = createPresence({ store: redisStore({ client }), graceMs: 200 });
  attachPresence(presence, io, {
    identify: (_request, { handshake: { auth } }) => ({
      userId: String(auth['id']),
      track: auth['watch'] !== true,
      watch: auth['watch'] === true,
    }),
  });
  await presence.ready();
  endings.push(async () => {
    await presence.close();
    await io.close();
    // Once what the adapter has still to say is said.
    await Promise.all([client.quit(), ear.quit()]);
  });
  return { io, presence, url: `http://127.0.0.1:${(http.address() as AddressInfo).port}` };
}

function client(url: string, auth: object) {
  const socket = connectTo(url, { auth, reconnection: false, forceNew: true });
  const heard: Array<[event: string, payload: unknown]> = [];
  socket.onAny((event, payload) => heard.push([event, payload]));
  endings.push(() => socket.disconnect());
  return { socket, heard };
}

it('beside the Redis adapter: each watcher hears of each change once, on whichever server, and broadcasts still work', async () => {
  const server = await RedisServer.start();
  endings.push(() => server.remove());
  const [east, west] = [await router(server.port), await router(server.port)];
  const dashboards = [client(east.url, { id: 'd1', watch: true }), client(west.url, { id: 'd2', watch: true })];
  await until('both have their snapshot', () => dashboards.every(({ heard }) => heard.length === 1));

  const phone = client(west.url, { id: 'u' });
  await until('both are told', () => dashboards.every(({ heard }) => heard.length >= 2));
  expect((await east.presence.getStatuses(['u']))['u']?.status).toBe('online');
  east.io.emit('announcement', 'to all of both servers');
  await until('the phone hears it', () => phone.heard.length === 1);
  phone.socket.disconnect();
  await until('both are told', () =>
    dashboards.every(({ heard }) => heard.filter(([event]) => event === 'presence:update').length === 2),
  );
  for (const { heard } of dashboards) {
    const updates = heard.filter(([event]) => event === 'presence:update').map(([, update]) => update);
    expect(updates).toMatchObject([
      { userId: 'u', status: 'online', reason: 'connect' },
      { userId: 'u', status: 'offline', reason: 'disconnect' },
    ]);
    expect(heard.filter(([event]) => event === 'announcement')).toHaveLength(1);
  }
  expect(phone.heard).toEqual([['announcement', 'to all of both servers']]);
});
