import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { decode, encode } from '@msgpack/msgpack';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createPresence, type Identity, type Presence, type PresenceUpdate } from 'voiceping-presence';
import { attachPresence, type RequestLike } from 'voiceping-presence/ws';
import { WebSocket, WebSocketServer } from 'ws';
import ws5 from 'ws5';
import ws6 from 'ws6';
import ws7 from 'ws7';

const cleanups: Array<() => unknown> = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** The server of each major version, as the router that exists has 5, and today's has 8. Clients are always today's. */
const VERSIONS = [
  { version: 5, Server: ws5.Server },
  { version: 6, Server: ws6.Server },
  { version: 7, Server: ws7.Server },
  { version: 8, Server: WebSocketServer },
];

const identify = (request: RequestLike): Identity => {
  const token = String(request.headers['token']);
  return token === 'dashboard' ? { userId: token, track: false, watch: true } : { userId: token };
};

async function serverOf(
  Server: typeof WebSocketServer,
  options: Parameters<typeof createPresence>[0] = {},
  identifier: typeof identify | object = identify,
) {
  const errors: string[] = [];
  const presence = createPresence({
    onError: (error, { stage }) => errors.push(`${stage}: ${error.message}`),
    ...options,
  });
  const wss = new Server({ port: 0, host: '127.0.0.1' });
  await once(wss, 'listening');
  const stop = attachPresence(presence, wss, { identify: identifier as typeof identify });
  const told: PresenceUpdate[] = [];
  presence.onUpdate((update) => told.push(update));
  cleanups.push(async () => {
    await presence.close();
    for (const client of wss.clients) client.terminate();
    wss.close();
  });
  const { port } = wss.address() as AddressInfo;
  return { presence, wss, stop, told, errors, port };
}

async function client(port: number, token: string, options = {}): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, { headers: { token }, ...options });
  cleanups.push(() => socket.terminate());
  await once(socket, 'open');
  return socket;
}

const until = (check: () => unknown) => vi.waitFor(check, { timeout: 10_000, interval: 5 });
const isOnline = async (presence: Presence, id: string) => (await presence.getStatuses([id]))[id]?.status === 'online';

it('every socket adapter has a suite', () => {
  const adapters = readdirSync(new URL('../../src/adapters', import.meta.url))
    .map((file) => file.replace('.ts', ''))
    .filter((name) => !['attach-each', 'early-frames', 'shared-packets'].includes(name)); // what they have in common
  const suites = readdirSync(new URL('.', import.meta.url)).map((file) => file.replace('.test.ts', ''));
  expect(suites).toEqual(expect.arrayContaining(adapters));
});

describe.each(VERSIONS)('attachPresence on ws $version', ({ Server }) => {
  const server = (options?: Parameters<typeof createPresence>[0], identifier?: object) =>
    serverOf(Server, options, identifier);

  it('a real phone comes, drops, comes back within the grace, and closes', async () => {
    const { presence, told, port } = await server({ graceMs: 60_000 });
    const phone = await client(port, 'u');
    await until(async () => expect(await isOnline(presence, 'u')).toBe(true));
    phone.terminate();
    const again = await client(port, 'u');
    again.close(1000);
    await until(() => expect(told).toHaveLength(2));
    expect(told.map(({ status, reason }) => `${status} ${reason}`)).toEqual(['online connect', 'offline disconnect']);
  });

  it('a real phone that loses its connection goes offline after the grace', async () => {
    const { told, port } = await server({ graceMs: 200 });
    (await client(port, 'u')).terminate();
    await until(() => expect(told).toHaveLength(2));
    expect(told[1]).toMatchObject({ status: 'offline', reason: 'timeout' });
  });

  it.each([1000, 1001, 4000, undefined])('a close with %s is clean', async (code) => {
    const { told, port } = await server({ graceMs: 60_000 });
    (await client(port, 'u')).close(code);
    await until(() => expect(told.map(({ reason }) => reason)).toEqual(['connect', 'disconnect']));
  });

  it('a phone that freezes is pinged in vain, goes offline after the ttl, and is terminated', async () => {
    const { told, wss, port } = await server({ ttlMs: 1_000, pingIntervalMs: 200 });
    const frozen = await client(port, 'frozen', { autoPong: false });
    const alive = await client(port, 'alive');
    const closed = once(frozen, 'close');
    await until(() => expect(told).toHaveLength(3));
    expect(told[2]).toMatchObject({ userId: 'frozen', status: 'offline', reason: 'timeout' });
    expect((await closed)[0]).toBe(1006);
    await until(() => expect(wss.clients.size).toBe(1));
    expect(alive.readyState).toBe(WebSocket.OPEN);
  });

  it('a dashboard receives MessagePack maps, a phone nothing', async () => {
    const { presence, port } = await server();
    const phone = await client(port, 'phone');
    const received: unknown[] = [];
    phone.on('message', (data) => received.push(data));
    await until(async () => expect(await isOnline(presence, 'phone')).toBe(true));

    const dashboard = new WebSocket(`ws://127.0.0.1:${port}`, { headers: { token: 'dashboard' } });
    cleanups.push(() => dashboard.terminate());
    const frames: Array<{ messageType: number; binary: boolean }> = [];
    dashboard.on('message', (data: Buffer, binary) => {
      frames.push({ ...(decode(data) as { messageType: number }), binary });
    });
    await until(() => expect(frames).toHaveLength(1));
    const other = await client(port, 'other');
    other.send(encode([0, 30, 'phone', 0]));
    await until(() => expect(frames).toHaveLength(2));
    expect(frames).toMatchObject([
      { messageType: 32, users: [{ userId: 'phone', status: 'online' }], binary: true },
      { messageType: 31, fromId: 'other', toId: '', status: 'online', channelType: 1, binary: true },
    ]);
    expect(received).toEqual([]);
  });

  it('identify may be asynchronous; a socket that is closed by then is no ghost', async () => {
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { presence, wss, port } = await server({}, async (request: RequestLike) => {
      await gate;
      return identify(request);
    });
    const gone = await client(port, 'gone');
    await client(port, 'stays');
    await until(() => expect(wss.clients.size).toBe(2));
    gone.terminate();
    await until(() => expect(wss.clients.size).toBe(1));
    release();
    await until(async () => expect(await isOnline(presence, 'stays')).toBe(true));
    expect(await isOnline(presence, 'gone')).toBe(false);
  });

  it.each<[string, (request: RequestLike) => unknown, string[]]>([
    ['gives null', () => null, []],
    ['resolves to null', async () => null, []],
    [
      'throws',
      () => {
        throw new Error('no header');
      },
      ['identify: identify failed: no header'],
    ],
    ['rejects', async () => Promise.reject(new Error('no header')), ['identify: identify failed: no header']],
    [
      'gives an identity that is none',
      () => ({ userId: '' }),
      ['identify: userId is ""; an id is 1 to 256 bytes of UTF-8'],
    ],
    [
      'gives nothing',
      () => undefined,
      ['identify: identify gave undefined; it gives an identity, or null to leave the socket alone'],
    ],
  ])('where identify %s the socket is left alone, and open', async (_name, identifier, expected) => {
    const { presence, wss, errors, port } = await server({}, identifier);
    const socket = await client(port, 'u');
    await until(() => expect(wss.clients.size).toBe(1));
    await until(() => expect(errors).toEqual(expected));
    expect(await presence.countOnline()).toBe(0);
    expect(socket.readyState).toBe(WebSocket.OPEN);
    const [serverSocket] = wss.clients;
    expect(serverSocket?.listenerCount('pong')).toBe(0);
  });

  it('the function it returns stops taking new sockets; those attached stay', async () => {
    const { presence, wss, stop, told, port } = await server();
    const before = await client(port, 'before');
    await until(async () => expect(await isOnline(presence, 'before')).toBe(true));
    stop();
    stop();
    await client(port, 'after');
    await until(() => expect(wss.clients.size).toBe(2));
    before.close();
    await until(() => expect(told).toHaveLength(2));
    expect(told.map(({ userId }) => userId)).toEqual(['before', 'before']);
  });

  // Shared code of browsers sets it, and then each frame is an ArrayBuffer; presence heard neither heartbeats nor questions.
  it.each<[string, { early?: boolean }]>(
    ['nodebuffer', 'arraybuffer', 'fragments', 'blob'].flatMap(
      (type): Array<[string, { early?: boolean }]> => [
        [type, {}],
        [type, { early: true }],
      ],
    ),
  )('a client is answered where binaryType is %s, %j', async (binaryType, { early = false }) => {
    // The types that this version knows; it keeps its own where it does not.
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const identifier = (_: RequestLike, socket: WebSocket) => {
      socket.binaryType = binaryType as 'nodebuffer';
      const identity = { userId: 'd', track: false };
      return early ? gate.then(() => identity) : identity;
    };
    const { port, wss } = await server({ authorizeWatch: () => true, maxWatchIds: 10_000 }, identifier);
    const heard: unknown[] = [];
    wss.on('connection', (socket) => socket.on('message', (data) => heard.push(data)));
    const dashboard = await client(port, 'd');
    const answers: Array<{ request: number; users: Array<{ userId: string }> }> = [];
    dashboard.on('message', (data: Buffer) => answers.push(decode(data) as (typeof answers)[number]));
    // In two pieces, the first of which ends before the type, and of a size that compression leaves alone.
    const first = Buffer.from(encode({ messageType: 33, ids: ['a'], request: 1 }));
    dashboard.send(first.subarray(0, 5), { fin: false });
    dashboard.send(first.subarray(5), { fin: true });
    const many = Array.from({ length: 2_000 }, (_, index) => `user-${index}`);
    const second = Buffer.from(encode({ messageType: 33, ids: many, request: 2 }));
    dashboard.send(second.subarray(0, 9_000), { fin: false });
    dashboard.send(second.subarray(9_000), { fin: true });
    await until(() => expect(heard).toHaveLength(2));
    release();
    await until(() => expect(answers[answers.length - 1]).toMatchObject({ request: 2, more: false }));
    const shown = answers
      .filter(({ request }) => request === 2)
      .flatMap(({ users }) => users.map(({ userId }) => userId));
    expect(shown).toEqual(many);
  });

  it('the voice of a call passes through untouched', async () => {
    const { wss, port } = await server();
    wss.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
    const phone = await client(port, 'u');
    const voice = Buffer.from(encode([1, 3, 'u', 'v', Buffer.alloc(320, 7)]));
    const echoed = once(phone, 'message');
    phone.send(voice);
    expect(voice.equals((await echoed)[0] as Buffer)).toBe(true);
  });

  it('refuses misuse at once', async () => {
    const { presence, wss } = await server();
    const refused = (message: string) =>
      expect.objectContaining({
        name: 'TypeError',
        code: 'ERR_PRESENCE_OPTIONS',
        message: expect.stringContaining(message),
      });
    expect(() => attachPresence(presence, wss, {} as never)).toThrow(
      refused('identify is undefined; it is a function'),
    );
    expect(() => attachPresence(presence, wss, undefined as never)).toThrow(refused('identify is undefined'));
    expect(() => attachPresence(undefined as never, wss, { identify })).toThrow(refused('presence is undefined'));
    expect(() => attachPresence(presence, {} as never, { identify })).toThrow(refused('server is an object'));
  });
});
