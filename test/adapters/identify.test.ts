import { EventEmitter, once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { decode, encode } from '@msgpack/msgpack';
import { Server } from 'socket.io';
import { io as connectTo } from 'socket.io-client';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createPresence, type Identity, memoryStore, type PresenceOptions } from 'voiceping-presence';
import { createPresenceClient } from 'voiceping-presence/client';
import { attachPresence as attachSocketIo } from 'voiceping-presence/socket.io';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { type AttachOptions, attachPresence } from 'voiceping-presence/ws';
import { WebSocket, WebSocketServer } from 'ws';
import { watchFrame } from '../../src/client/codec';

const cleanups: Array<() => unknown> = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
const until = (check: () => unknown) => vi.waitFor(check, { timeout: 10_000, interval: 5 });

type Answer = Identity | null | Promise<Identity | null>;

/** A server of sockets without a network, on a fake clock. */
function fakeServer(answer: () => Answer, options: Partial<AttachOptions> = {}, presenceOptions: PresenceOptions = {}) {
  const clock = fakeClock();
  const errors: string[] = [];
  const presence = createPresence({
    clock,
    onError: (error, { stage }) => errors.push(`${stage}: ${error.message}`),
    authorizeWatch: () => true,
    ...presenceOptions,
  });
  let connect: ((socket: unknown, request: unknown) => void) | undefined;
  const server = {
    on: (_: string, listener: typeof connect) => {
      connect = listener;
    },
    removeListener: () => undefined,
  };
  attachPresence(presence, server, { identify: answer, ...options });
  const codes: number[] = [];
  return {
    clock,
    presence,
    errors,
    codes,
    async connect() {
      const socket = fakeSocket();
      socket.close = (code = 1000) => {
        codes.push(code);
        socket.readyState = 2;
      };
      socket.terminate = () => {
        codes.push(1006);
        socket.readyState = 3;
        socket.emit('close', 1006, Buffer.alloc(0));
      };
      connect?.(socket, { headers: {} });
      await clock.settle();
      return socket;
    },
  };
}

const never = () => new Promise<never>(() => undefined);
const failing = (): Answer => {
  throw new Error('no token');
};
const rejecting = () => Promise.reject(new Error('no database'));
const nobody = () => null;
const none = () => undefined as never;

describe('sockets of nobody', () => {
  it.each([
    ['null', nobody, [], 0],
    ['error', failing, [], 1],
    ['error', rejecting, [], 1],
    ['error', none, [], 1],
    ['error', () => Promise.resolve({ userId: '' }), [], 1],
    ['timeout', never, [1008, 1006], 1],
  ] as const)('%s: are left alone, or closed by default: %s', async (_, answer, codes, reports) => {
    const { connect, clock, codes: seen, errors } = fakeServer(answer);
    const socket = await connect();
    await clock.advance(16_000);
    expect(seen).toEqual(codes);
    expect(errors).toHaveLength(reports);
    expect(socket.listenerCount('message')).toBe(0);
    expect(socket.listenerCount('close')).toBe(0);
  });

  it.each([
    ['null', nobody],
    ['null', () => Promise.resolve(null)],
    ['error', failing],
    ['error', rejecting],
    ['error', none],
    ['error', () => Promise.resolve({ userId: '' })],
    ['timeout', never],
  ] as const)(
    '%s: are closed with 1008 where that is wanted, and terminated after five seconds',
    async (kind, answer) => {
      const { connect, clock, codes } = fakeServer(answer, { closeUnidentified: [kind], identifyTimeoutMs: 500 });
      await connect();
      await clock.advance(kind === 'timeout' ? 500 : 0);
      expect(codes).toEqual([1008]);
      await clock.advance(4_999);
      expect(codes).toEqual([1008]);
      await clock.advance(1);
      expect(codes).toEqual([1008, 1006]);
    },
  );

  it.each([
    ['null', failing],
    ['error', nobody],
    ['timeout', rejecting],
  ] as const)('%s alone closes no others', async (kind, answer) => {
    const { connect, clock, codes } = fakeServer(answer, { closeUnidentified: [kind] });
    await connect();
    await clock.advance(20_000);
    expect(codes).toEqual([]);
  });

  it('that are identified late are attached where they were left alone, and not where they were closed', async () => {
    const late = () => new Promise<Identity>((resolve) => cleanups.push(() => resolve({ userId: 'late' })));
    const kept = fakeServer(late, { closeUnidentified: [], identifyTimeoutMs: 500 });
    const closed = fakeServer(late, { identifyTimeoutMs: 500 });
    for (const { connect, clock } of [kept, closed]) {
      await connect();
      await clock.advance(600);
    }
    for (const resolve of cleanups.splice(0)) resolve();
    await kept.clock.settle();
    await closed.clock.settle();
    expect(kept.errors).toEqual(['identify: identify failed: identify did not answer within 500 ms']);
    expect(await kept.presence.countOnline()).toBe(1);
    expect(await closed.presence.countOnline()).toBe(0);
  });

  it('that close by themselves are forgotten', async () => {
    const { connect, clock, codes } = fakeServer(rejecting, { closeUnidentified: ['error'] });
    const socket = await connect();
    socket.readyState = 3;
    socket.emit('close', 1005, Buffer.alloc(0));
    await clock.advance(10_000);
    expect(codes).toEqual([1008]);
    expect(socket.listenerCount('close')).toBe(0);
  });

  it('of a presence that is disabled are left alone, whatever identify does', async () => {
    for (const answer of [never, rejecting, failing]) {
      const { connect, clock, codes } = fakeServer(
        answer,
        { closeUnidentified: ['error', 'timeout'] },
        { enabled: false },
      );
      const socket = await connect();
      await clock.advance(20_000);
      expect([codes, socket.listenerCount('message'), clock.timers]).toEqual([[], 0, 0]);
    }
  });

  it.each([
    [{ identifyTimeoutMs: 0 }, 'identifyTimeoutMs is 0'],
    [{ closeUnidentified: 'timeout' }, 'closeUnidentified is "timeout"; it is a list'],
    [{ closeUnidentified: ['nobody'] }, 'closeUnidentified has "nobody"; it is a list'],
  ])('%j is an error that says so', (options, message) => {
    expect(() => fakeServer(nobody, options as never)).toThrow(message);
  });
});

describe('an identity that is waited for', () => {
  const waiting = () => fakeServer(never, { closeUnidentified: ['error', 'timeout'] });

  it('is waited for no longer once the presence is closed: the socket stays as it is', async () => {
    const { connect, presence, clock, codes, errors } = waiting();
    const socket = await connect();
    await presence.close();
    expect([clock.timers, socket.listenerCount('message'), socket.listenerCount('close')]).toEqual([0, 0, 0]);
    await clock.advance(20_000);
    expect([codes, errors]).toEqual([[], []]);
    // One that comes after it, too.
    await connect();
    await clock.advance(20_000);
    expect(codes).toEqual([]);
  });

  it('is waited for no longer once its socket has gone, and nobody is told', async () => {
    const { connect, clock, errors } = waiting();
    const before = clock.timers;
    for (let visit = 0; visit < 5; visit += 1) {
      const socket = await connect();
      socket.readyState = 3;
      socket.emit('close', 1006, Buffer.alloc(0));
    }
    expect(clock.timers).toBe(before);
    await clock.advance(20_000);
    expect(errors).toEqual([]);
  });

  it('that is no good promise is a failure, and nothing is thrown into the server', async () => {
    const broken = {
      // biome-ignore lint/suspicious/noThenProperty: that is what it is about
      then() {
        throw new Error('boom');
      },
    };
    const { connect, errors } = fakeServer(() => broken as never);
    await connect();
    expect(errors).toEqual(['identify: identify failed: boom']);
  });

  it('fills no more memory than some, of however many sockets', async () => {
    const { connect, clock, presence } = waiting();
    const ids = Array.from({ length: 240 }, (_, id) => `${'x'.repeat(250)}${id % 10}`);
    const frame = watchFrame(ids, undefined, 1);
    const before = process.memoryUsage().arrayBuffers;
    for (let visit = 0; visit < 1_500; visit += 1) (await connect()).receive(Buffer.from(frame));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(80_000_000);
    await presence.close();
    await clock.settle();
  });
});

describe('frames that come before it is known whose they are', () => {
  it('are waited for with one listener, however many presences look at the socket', async () => {
    const wss = new EventEmitter();
    const tenants = Array.from({ length: 12 }, () => createPresence());
    for (const tenant of tenants) attachPresence(tenant, wss, { identify: () => new Promise(() => undefined) });
    const socket = fakeSocket();
    wss.emit('connection', socket, { headers: {} });
    const counts = () => ['message', 'close'].map((event) => socket.listenerCount(event));
    expect([wss.listenerCount('connection'), counts()]).toEqual([1, [1, 1]]);
    await Promise.all(tenants.map((tenant) => tenant.close()));
    expect(counts()).toEqual([0, 0]);
  });

  const slow = () => {
    let resolve: (identity: Identity | null) => void = () => undefined;
    const world = fakeServer(() => new Promise((done) => (resolve = done)));
    return { ...world, resolve: (identity: Identity | null) => resolve(identity) };
  };

  // They were lost: a client asks once it is open, and said "connecting" for ever.
  it('are heard once it is', async () => {
    const { connect, clock, resolve } = slow();
    const socket = await connect();
    socket.receive(encode([0, 4, 'hello']));
    socket.receive(watchFrame(['a'], undefined, 5));
    await clock.advance(3_000);
    resolve({ userId: 'd', track: false });
    await clock.settle();
    expect(socket.frames).toMatchObject([{ messageType: 32, request: 5, users: [{ userId: 'a' }] }]);
    expect(socket.listenerCount('message')).toBe(1);
  });

  it('are kept as they were, whatever becomes of the memory they came in', async () => {
    const { connect, clock, resolve } = slow();
    const socket = await connect();
    const frame = Buffer.from(watchFrame(['a'], undefined, 5));
    socket.receive(frame);
    frame.fill(0);
    resolve({ userId: 'd', track: false });
    await clock.settle();
    expect(socket.frames).toMatchObject([{ messageType: 32, request: 5 }]);
  });

  it('are kept up to sixteen of presence, and 64 KiB', async () => {
    for (const [ids, kept] of [
      [['a'], 16],
      [Array.from({ length: 100 }, (_, id) => `${'x'.repeat(200)}${id}`), 3],
    ] as const) {
      const asked: unknown[] = [];
      let resolve: (identity: Identity | null) => void = () => undefined;
      const { connect, clock } = fakeServer(
        () => new Promise((done) => (resolve = done)),
        {},
        { authorizeWatch: (_, wanted) => asked.push(wanted) > 0, limits: { watchRequestBurst: 100 } },
      );
      const socket = await connect();
      for (let frame = 0; frame < 500; frame += 1) {
        socket.receive(Buffer.alloc(30_000, 1));
        socket.receive(watchFrame([...ids, String(frame)], undefined, frame & 127));
      }
      resolve({ userId: 'd', track: false });
      await clock.settle();
      // Decisions are taken one at a time: the first, and the newest of those that were kept.
      expect(asked).toHaveLength(2);
      expect((asked[1] as string[]).at(-1)).toBe(String(kept - 1));
    }
  });

  it('of a socket that closes meanwhile, or is nobody, go with it', async () => {
    const { connect, clock, resolve, presence } = slow();
    const socket = await connect();
    socket.receive(watchFrame(['a'], undefined, 5));
    socket.readyState = 3;
    socket.emit('close', 1006, Buffer.alloc(0));
    expect(socket.listenerCount('message')).toBe(0);
    resolve({ userId: 'd' });
    await clock.settle();
    expect([socket.sent.length, await presence.countOnline()]).toEqual([0, 0]);
  });
});

describe('real sockets of nobody', () => {
  it('of ws: a client that asks at once is answered, and one of nobody is closed with 1008', async () => {
    const presence = createPresence({ authorizeWatch: () => true, onError: () => undefined });
    const wss = new WebSocketServer({ port: 0, host: '127.0.0.1', maxPayload: 300_000 });
    await once(wss, 'listening');
    attachPresence(presence, wss, {
      identify: async ({ url }) => {
        await new Promise((resolve) => setTimeout(resolve, 50));
        if (url === '/nobody') return never();
        return { userId: 'd', track: false };
      },
      identifyTimeoutMs: 400,
    });
    const { port } = wss.address() as AddressInfo;
    cleanups.push(async () => {
      await presence.close();
      for (const socket of wss.clients) socket.terminate();
      wss.close();
    });
    const frames: unknown[] = [];
    const client = new WebSocket(`ws://127.0.0.1:${port}`);
    client.on('open', () => client.send(watchFrame(['a'], undefined, 5)));
    client.on('message', (data: Buffer) => frames.push(decode(data)));
    const nobodyHere = new WebSocket(`ws://127.0.0.1:${port}/nobody`);
    const [code] = await once(nobodyHere, 'close');
    expect(code).toBe(1008);
    await until(() => expect(frames).toMatchObject([{ messageType: 32, request: 5 }]));
    client.terminate();
  });

  // An outage ended every dashboard that connected meanwhile, for good.
  it('of ws: a client of ours that was not identified in time comes back', async () => {
    const presence = createPresence({ authorizeWatch: () => true, onError: () => undefined });
    const wss = new WebSocketServer({ port: 0, host: '127.0.0.1', maxPayload: 300_000 });
    await once(wss, 'listening');
    let hangs = true;
    attachPresence(presence, wss, {
      identify: () => (hangs ? never() : Promise.resolve({ userId: 'd', track: false })),
      identifyTimeoutMs: 200,
    });
    const { port } = wss.address() as AddressInfo;
    const client = createPresenceClient({
      url: `ws://127.0.0.1:${port}`,
      WebSocket: WebSocket as never,
      minBackoffMs: 50,
    });
    cleanups.push(async () => {
      client.close();
      await presence.close();
      for (const socket of wss.clients) socket.terminate();
      wss.close();
    });
    await until(() => expect(client.connection.state).toBe('offline'));
    hangs = false;
    await until(() => expect(client.connection.state).toBe('live'));
  });

  it('of socket.io: nobody, and whose credentials end, are disconnected', async () => {
    const presence = createPresence({ onError: () => undefined });
    const http = createServer();
    const io = new Server(http);
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    attachSocketIo(presence, io, {
      identify: (_, socket) => {
        const { id } = (socket as unknown as { handshake: { auth: { id?: string } } }).handshake.auth;
        return id === undefined ? null : { userId: id, expiresAt: Date.now() + 300 };
      },
      closeUnidentified: ['null'],
    });
    cleanups.push(async () => {
      await presence.close();
      await io.close();
    });
    const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
    const reasons: string[] = [];
    for (const auth of [{}, { id: 'u' }]) {
      const client = connectTo(url, { auth, reconnection: false, forceNew: true });
      client.on('disconnect', (reason) => reasons.push(reason));
      cleanups.push(() => client.disconnect());
    }
    await until(() => expect(reasons).toEqual(['io server disconnect', 'io server disconnect']));
    // A drop, so that it can be back with new credentials.
    expect(await presence.countOnline()).toBe(1);
    // Without a namespace the connection would stay for ever.
    await until(() => expect(io.engine.clientsCount).toBe(0));
  });

  // It was judged by packets alone, of which one may hold five hundred users.
  it('of socket.io: one that reads nothing is sent no second page of a snapshot', async () => {
    const clock = fakeClock();
    const presence = createPresence({ clock, store: memoryStore({ now: clock.now }), onError: () => undefined });
    for (let user = 0; user < 2_000; user += 1) {
      presence.attachToSocket(fakeSocket(), { userId: `${'x'.repeat(100)}${user}` });
    }
    await presence.ready();
    let connect: (socket: unknown) => void = () => undefined;
    attachSocketIo(
      presence,
      { on: (_, listener) => (connect = listener), removeListener: () => undefined },
      { identify: () => ({ userId: 'd', track: false, watch: true }) },
    );
    const emitted: unknown[] = [];
    const conn = {
      writeBuffer: [] as unknown[],
      on: () => undefined,
      removeListener: () => undefined,
      close: () => undefined,
    };
    connect({
      connected: true,
      request: {},
      conn,
      on: () => undefined,
      removeListener: () => undefined,
      emit: (event: string) => {
        emitted.push(event);
        conn.writeBuffer.push(event);
      },
      disconnect: () => undefined,
    });
    await clock.advance(200);
    expect(emitted).toEqual(['presence:snapshot']);
    conn.writeBuffer.length = 0;
    await clock.advance(1_000);
    expect(emitted).toHaveLength(2);
    await presence.close();
  });
});
