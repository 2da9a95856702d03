import { EventEmitter, once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server } from 'socket.io';
import { type Socket as ClientSocket, io as connectTo } from 'socket.io-client';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  createPresence,
  type Identity,
  type Presence,
  type PresenceOptions,
  type PresenceUpdate,
} from 'voiceping-presence';
import { attachPresence } from 'voiceping-presence/socket.io';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';

const cleanups: Array<() => unknown> = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

type Identifier = (request: unknown, socket: { handshake: { auth: Record<string, unknown> } }) => unknown;

const identify: Identifier = (_request, { handshake: { auth } }): Identity =>
  auth['watch'] === undefined
    ? { userId: String(auth['id']) }
    : { userId: String(auth['id']), track: false, watch: auth['watch'] as boolean | string[] };

async function server(options: PresenceOptions = {}, identifier: Identifier = identify, engine = {}) {
  const errors: string[] = [];
  const presence = createPresence({
    onError: (error, { stage }) => errors.push(`${stage}: ${error.message}`),
    ...options,
  });
  const http = createServer();
  const io = new Server(http, engine);
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const stop = attachPresence(presence, io, { identify: identifier as never });
  const told: PresenceUpdate[] = [];
  presence.onUpdate((update) => told.push(update));
  cleanups.push(async () => {
    await presence.close();
    await io.close();
  });
  return { presence, io, stop, told, errors, url: `http://127.0.0.1:${(http.address() as AddressInfo).port}` };
}

async function client(url: string, auth: object, options = {}): Promise<ClientSocket> {
  const socket = connectTo(url, { auth, reconnection: false, forceNew: true, ...options });
  cleanups.push(() => socket.disconnect());
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('connect_error', reject);
  });
  return socket;
}

/** The network is gone: nothing of it reaches the other side in good order. */
const cut = (socket: ClientSocket) => socket.io.engine.close();
const until = (check: () => unknown) => vi.waitFor(check, { timeout: 10_000, interval: 5 });
const isOnline = async (presence: Presence, id: string) => (await presence.getStatuses([id]))[id]?.status === 'online';
const lines = (told: PresenceUpdate[]) => told.map(({ userId, status, reason }) => `${userId} ${status} ${reason}`);

describe.each([{ transports: ['websocket'] }, { transports: ['polling'] }])(
  'attachPresence on socket.io by %o',
  (how) => {
    it('a client comes, drops, comes back within the grace, and disconnects', async () => {
      const { told, url, presence } = await server({ graceMs: 60_000 });
      const phone = await client(url, { id: 'u' }, how);
      await until(async () => expect(await isOnline(presence, 'u')).toBe(true));
      cut(phone);
      const again = await client(url, { id: 'u' }, how);
      again.disconnect();
      await until(() => expect(lines(told)).toEqual(['u online connect', 'u offline disconnect']));
    });

    it('a client that is lost goes offline after the grace', async () => {
      const { told, url } = await server({ graceMs: 200 });
      cut(await client(url, { id: 'u' }, how));
      await until(() => expect(lines(told)).toEqual(['u online connect', 'u offline timeout']));
    });

    it('watchers get a snapshot and updates as events, and nobody else gets any', async () => {
      const { url, presence } = await server();
      const phone = await client(url, { id: 'u' }, how);
      const heard: unknown[] = [];
      phone.onAny((event) => heard.push(event));
      await until(async () => expect(await isOnline(presence, 'u')).toBe(true));

      const events: unknown[] = [];
      const dashboard = connectTo(url, { auth: { id: 'dash', watch: true }, forceNew: true, ...how });
      cleanups.push(() => dashboard.disconnect());
      dashboard.onAny((event, payload) => events.push([event, payload]));
      await until(() => expect(events).toHaveLength(1));
      await client(url, { id: 'v' }, how);
      await until(() => expect(events).toHaveLength(2));
      expect(events).toEqual([
        ['presence:snapshot', { users: [{ userId: 'u', status: 'online', lastSeen: expect.any(String) }] }],
        [
          'presence:update',
          {
            userId: 'v',
            status: 'online',
            timestamp: expect.any(String),
            lastSeen: expect.any(String),
            version: 2,
            reason: 'connect',
          },
        ],
      ]);
      expect(heard).toEqual([]);
    });
  },
);

describe('attachPresence on socket.io', () => {
  it("takes engine.io's heartbeat for a sign of life, and any packet", async () => {
    const { presence, url } = await server({ ttlMs: 1_000, pingIntervalMs: false }, identify, {
      pingInterval: 200,
      pingTimeout: 5_000,
    });
    await client(url, { id: 'quiet' });
    await until(async () => expect(await isOnline(presence, 'quiet')).toBe(true));
    const start = (await presence.getStatuses(['quiet']))['quiet']?.lastSeen ?? '';
    await until(async () => {
      const now = (await presence.getStatuses(['quiet']))['quiet'];
      expect(now?.status).toBe('online');
      expect(Date.parse(now?.lastSeen ?? '') - Date.parse(start)).toBeGreaterThan(2_000);
    });
  });

  it('takes a silent client offline after the ttl, and terminates it', async () => {
    const { told, url, io } = await server({ ttlMs: 1_000 }, identify, { pingInterval: 60_000, pingTimeout: 60_000 });
    await client(url, { id: 'silent' });
    await until(() => expect(lines(told)).toEqual(['silent online connect', 'silent offline timeout']));
    await until(() => expect(io.engine.clientsCount).toBe(0));
  });

  it('works with several namespaces, each with its own identity', async () => {
    const { presence, io, url, told } = await server();
    attachPresence(presence, io.of('/staff'), {
      identify: (_request, socket) => ({ userId: `staff-${socket.handshake.auth.id}` }),
    });
    const staff = await client(`${url}/staff`, { id: 'u' });
    await client(url, { id: 'u' });
    await until(async () => expect(await presence.countOnline()).toBe(2));
    staff.disconnect();
    await until(() => expect(lines(told)).toContain('staff-u offline disconnect'));
    expect(await isOnline(presence, 'u')).toBe(true);
  });

  it('encodes what many dashboards are sent once for each namespace, and lets outgoing listeners see it', async () => {
    const { presence, io, url } = await server();
    attachPresence(presence, io.of('/staff'), { identify: () => ({ userId: 's', track: false, watch: true }) });
    for (let user = 0; user < 600; user += 1) presence.attachToSocket(fakeSocket(), { userId: `u${user}` });
    const { encoder } = io as unknown as { encoder: { encode(packet: { type: number; data?: unknown[] }): unknown } };
    const encode = encoder.encode.bind(encoder);
    const encoded: unknown[] = [];
    encoder.encode = (packet) => {
      if (packet.type === 2) encoded.push(packet.data?.[0]);
      return encode(packet);
    };
    const outgoing: string[] = [];
    io.use((socket, next) => {
      socket.onAnyOutgoing((event: string) => outgoing.push(event));
      next();
    });
    const seen: Array<Map<string, string>> = [];
    const open = async (place: string): Promise<void> => {
      const statuses = new Map<string, string>();
      seen.push(statuses);
      const socket = connectTo(`${url}${place}`, {
        auth: { id: 'dash', watch: true },
        reconnection: false,
        forceNew: true,
      });
      cleanups.push(() => socket.disconnect());
      socket.on('presence:snapshot', ({ users }) => {
        for (const { userId, status } of users) statuses.set(userId, status);
      });
      socket.on('presence:update', ({ userId, status }) => statuses.set(userId, status));
      await until(() => expect(statuses.size).toBe(600));
    };
    await Promise.all(['/', '/', '/', '/staff', '/staff'].map(open));
    expect(outgoing.filter((event) => event === 'presence:snapshot')).toHaveLength(6);
    encoded.length = 0;
    presence.attachToSocket(fakeSocket(), { userId: 'comes' });
    await until(() => {
      for (const statuses of seen) expect(statuses.get('comes')).toBe('online');
    });
    // One for each namespace, and not for each socket.
    expect(encoded).toEqual(['presence:update', 'presence:update']);
    expect(outgoing.filter((event) => event === 'presence:update')).toHaveLength(3);
  });

  // They share one connection of engine.io; Node warns of the eleventh listener on it.
  it('a dozen namespaces on one connection, and a dozen presences on one server, are no leak', async () => {
    const warnings: string[] = [];
    const onWarning = ({ message }: Error) => warnings.push(message);
    process.on('warning', onWarning);
    cleanups.push(() => process.removeListener('warning', onWarning));
    const { presence, io, url } = await server({ graceMs: 0 });
    const [manager, ...others] = Array.from({ length: 12 }, (_, index) => `/n${index}`).map((name) => {
      const stop = attachPresence(presence, io.of(name), { identify: () => ({ userId: name }) });
      return { name, stop };
    });
    const { io: connection } = await client(`${url}${manager?.name}`, {});
    const sockets = others.map(({ name }) => connection.socket(name, {}));
    await until(async () => expect(await presence.countOnline()).toBe(12));
    const [conn] = Array.from(io.of('/n0').sockets.values()).map((socket) => socket.conn);
    expect(conn?.listenerCount('packet')).toBe(1);
    // A client that has not heard yet that it is connected leaves without a word.
    await until(() => expect(sockets.every(({ connected }) => connected)).toBe(true));
    for (const socket of sockets) socket.disconnect();
    await until(async () => expect(await presence.countOnline()).toBe(1));
    expect(conn?.listenerCount('packet')).toBe(1);

    const tenants = Array.from({ length: 12 }, () => createPresence());
    const stops = tenants.map((tenant) => attachPresence(tenant, io, { identify: () => null }));
    cleanups.push(() => Promise.all(tenants.map((tenant) => tenant.close())));
    for (const stop of stops) stop();
    await client(url, { id: 'u' });
    await until(async () => expect(await presence.countOnline()).toBe(2));
    // A warning comes on a later tick.
    await new Promise(setImmediate);
    expect(warnings).toEqual([]);
  });

  it('a dozen presences on one socket are no leak', async () => {
    const { io, url } = await server({}, () => null);
    const tenants = Array.from({ length: 12 }, () => createPresence());
    cleanups.push(() => Promise.all(tenants.map((tenant) => tenant.close())));
    for (const tenant of tenants) attachPresence(tenant, io, { identify: () => ({ userId: 'u' }) });
    await client(url, { id: 'u' });
    await until(async () => {
      for (const tenant of tenants) expect(await isOnline(tenant, 'u')).toBe(true);
    });
    const [socket] = Array.from(io.sockets.sockets.values());
    // One of ours, and those of socket.io.
    expect(socket?.listenerCount('disconnect')).toBe(1);
    expect(socket?.conn.listenerCount('packet')).toBe(1);
  });

  // Packets of the router itself wait all the time, so it was taken for one that takes nothing, told nothing and closed.
  it('a dashboard that also hears voice is shown what changes, and closed once nothing leaves any more', async () => {
    const clock = fakeClock();
    const presence = createPresence({ clock, onError: () => undefined });
    const emitted: string[] = [];
    const ends: unknown[] = [];
    const events = new EventEmitter();
    const conn = Object.assign(new EventEmitter(), {
      writeBuffer: [] as unknown[],
      close(how: unknown) {
        ends.push(how);
        socket.connected = false;
        events.emit('disconnect', 'forced close');
      },
    });
    const socket = {
      connected: true,
      request: {},
      conn,
      on: events.on.bind(events),
      removeListener: events.removeListener.bind(events),
      emit: (event: string, { userId }: { userId?: string }) => emitted.push(userId ?? event),
      disconnect: () => undefined,
    };
    const io = new EventEmitter();
    attachPresence(presence, io, { identify: () => ({ userId: 'dash', track: false, watch: true }) });
    io.emit('connection', socket);
    await clock.settle();
    conn.writeBuffer = Array(100).fill('voice');
    for (let second = 1; second <= 120; second += 1) {
      if (second % 20 === 0) presence.attachToSocket(fakeSocket(), { userId: `u${second}` });
      conn.writeBuffer.push('voice');
      if (second % 15 === 0) conn.emit('flush');
      await clock.advance(1_000);
      expect(conn.listenerCount('flush')).toBeLessThan(2);
    }
    expect(ends).toEqual([]);
    expect(emitted).toEqual(['presence:snapshot', 'u20', 'u40', 'u60', 'u80', 'u100']);
    await clock.advance(60_000);
    expect(ends).toEqual([true]);
    await presence.close();
    expect([conn.listenerCount('flush'), conn.listenerCount('packet'), events.listenerCount('disconnect')]).toEqual([
      0, 0, 0,
    ]);
  });

  // Each wait for a flush ended that of the other presence, which took the socket for one that takes nothing.
  it('a slow dashboard of two presences is closed by neither, as long as all leaves in time', async () => {
    const clock = fakeClock();
    const presences = [createPresence({ clock }), createPresence({ clock })];
    const ends: unknown[] = [];
    const events = new EventEmitter();
    const conn = Object.assign(new EventEmitter(), {
      writeBuffer: Array(100).fill('voice') as unknown[],
      close: (how: unknown) => ends.push(how),
    });
    const socket = {
      connected: true,
      request: {},
      conn,
      on: events.on.bind(events),
      removeListener: events.removeListener.bind(events),
      emit: () => true,
      disconnect: () => undefined,
    };
    const io = new EventEmitter();
    for (const presence of presences) {
      attachPresence(presence, io, { identify: () => ({ userId: 'dash', track: false, watch: true }) });
    }
    io.emit('connection', socket);
    await clock.settle();
    for (const presence of presences) presence.attachToSocket(fakeSocket(), { userId: 'u' });
    for (let tick = 0; tick < 400; tick += 1) {
      await clock.advance(100);
      conn.emit('flush');
    }
    expect(ends).toEqual([]);
    for (const presence of presences) await presence.close();
    expect([conn.listenerCount('flush'), conn.listenerCount('packet'), clock.timers]).toEqual([0, 0, 0]);
  });

  it('a server-side disconnect is a clean close', async () => {
    const { io, url, told } = await server({ graceMs: 60_000 });
    await client(url, { id: 'u' });
    await until(() => expect(told).toHaveLength(1));
    io.disconnectSockets();
    await until(() => expect(lines(told)).toEqual(['u online connect', 'u offline disconnect']));
  });

  it('leaves nothing behind on a socket that it has let go of', async () => {
    const { presence, io, url } = await server();
    await client(url, { id: 'u' });
    await until(async () => expect(await presence.countOnline()).toBe(1));
    const [socket] = await io.fetchSockets();
    const real = io.sockets.sockets.get(socket?.id ?? '');
    expect(real?.listenerCount('disconnect')).toBe(1);
    await presence.close();
    expect(real?.listenerCount('disconnect')).toBe(0);
    expect(real?.conn.listeners('packet')).toEqual([]);
    expect(real?.connected).toBe(true);
  });

  it('attached twice, the same socket is one connection', async () => {
    const { presence, io, url, told } = await server({}, () => null);
    for (let count = 0; count < 2; count += 1) {
      attachPresence(presence, io, { identify: (_request, socket) => ({ userId: socket.handshake.auth.id }) });
    }
    const phone = await client(url, { id: 'u' });
    await until(async () => expect(await presence.countOnline()).toBe(1));
    phone.disconnect();
    await until(() => expect(lines(told)).toEqual(['u online connect', 'u offline disconnect']));
  });

  it.each<[string, Identifier, string]>([
    [
      'throws',
      () => {
        throw new Error('no auth');
      },
      'identify: identify failed: no auth',
    ],
    ['rejects', async () => Promise.reject(new Error('no auth')), 'identify: identify failed: no auth'],
    [
      'gives an identity that is none',
      () => ({}),
      'identify: userId is undefined; an id is a string or a finite integer',
    ],
  ])('where identify %s the socket is left alone', async (_name, identifier, message) => {
    const { presence, errors, url } = await server({}, identifier);
    const socket = await client(url, { id: 'u' });
    await until(() => expect(errors).toEqual([message]));
    expect(await presence.countOnline()).toBe(0);
    expect(socket.connected).toBe(true);
  });

  it('stops taking new sockets, and refuses misuse', async () => {
    const { presence, io, stop, url, told } = await server();
    stop();
    await client(url, { id: 'u' });
    expect(told).toEqual([]);
    const refused = (message: string) =>
      expect.objectContaining({ code: 'ERR_PRESENCE_OPTIONS', message: expect.stringContaining(message) });
    expect(() => attachPresence(presence, {} as never, { identify: () => null })).toThrow(refused('io is an object'));
    expect(() => attachPresence(presence, io, {} as never)).toThrow(refused('identify is undefined'));
    expect(() => attachPresence({} as never, io, { identify: () => null })).toThrow(refused('presence is an object'));
  });
});
