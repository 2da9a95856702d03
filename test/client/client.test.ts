import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { encode } from '@msgpack/msgpack';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createPresence, memoryStore, type Presence, type PresenceOptions } from 'voiceping-presence';
import {
  type Connection,
  createPresenceClient,
  type PresenceClient,
  type PresenceClientOptions,
  type WebSocketLike,
} from 'voiceping-presence/client';
import { createStatusHandler } from 'voiceping-presence/http';
import { fakeSocket } from 'voiceping-presence/testing';
import { attachPresence, type Identify } from 'voiceping-presence/ws';
import { type ServerOptions, WebSocket, WebSocketServer } from 'ws';

const endings: Array<() => unknown> = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});
const until = (check: () => unknown) => vi.waitFor(check, { timeout: 10_000, interval: 5 });

interface Door {
  readonly identify?: Identify;
  readonly verifyClient?: ServerOptions['verifyClient'];
}

/** A router with real sockets. `port`: one that was there before. */
async function router(options: PresenceOptions = {}, port = 0, door: Door = {}) {
  const presence = createPresence({ authorizeWatch: () => true, graceMs: 0, ...options });
  const answer = createStatusHandler(presence, { authorize: 'everybody' });
  const server = createServer((request, response) => void answer(request, response)).listen(port, '127.0.0.1');
  await once(server, 'listening');
  const wss = new WebSocketServer({ server, ...(door.verifyClient && { verifyClient: door.verifyClient }) });
  const protocols: string[] = [];
  let bytes = 0;
  wss.on('connection', (socket, request) => {
    protocols.push(String(request.headers['sec-websocket-protocol']));
    socket.on('error', () => undefined);
    const send = socket.send.bind(socket) as (data: Uint8Array) => void;
    socket.send = ((data: Uint8Array) => {
      bytes += data.length;
      send(data);
    }) as typeof socket.send;
  });
  attachPresence(presence, wss, { identify: door.identify ?? (() => ({ userId: 'dashboard', track: false })) });
  const stop = async (): Promise<void> => {
    for (const socket of wss.clients) socket.terminate();
    server.close();
    await presence.close();
  };
  endings.push(stop);
  const address = (server.address() as AddressInfo).port;
  return {
    presence,
    protocols,
    stop,
    port: address,
    url: `ws://127.0.0.1:${address}`,
    bytes: () => bytes,
    cut: () => {
      for (const socket of wss.clients) socket.terminate();
    },
    sockets: () => wss.clients,
  };
}

/** As on a Cluster, where versions are counted in many places. */
function withoutCursors() {
  const store = memoryStore();
  const list = store.list.bind(store);
  store.list = async (page) => {
    const { sequence, ...rest } = await list(page);
    return rest;
  };
  return store;
}

async function connect(presence: Presence, userId: string) {
  const socket = fakeSocket();
  await presence.attachToSocket(socket, { userId }).ready;
  return socket;
}

function dashboard(options: Partial<PresenceClientOptions> & { url: string }) {
  const client = createPresenceClient({
    WebSocket: WebSocket as unknown as new (url: string) => WebSocketLike,
    minBackoffMs: 50,
    logger: false,
    ...options,
  });
  endings.push(() => client.close());
  const changes: string[] = [];
  const states: Connection['state'][] = [];
  client.onChange((changed) => changes.push(...changed.map(({ userId, status }) => `${userId} ${status}`)));
  client.onConnectionChange(({ state }) => states.push(state));
  return { client, changes, states };
}

const statusesOf = (client: PresenceClient) =>
  client
    .getAll()
    .map(({ userId, status }) => `${userId} ${status}`)
    .sort();

describe('createPresenceClient', () => {
  it.each(['guide', 'router'] as const)('shows who is there, and each change once (%s)', async (wire) => {
    const { presence, url } = await router({ wire });
    const a = await connect(presence, 'a');
    const { client, changes, states } = dashboard({ url });
    await until(() => expect(client.connection.state).toBe('live'));
    expect(statusesOf(client)).toEqual(['a online']);
    await connect(presence, 'b');
    a.close();
    await until(() => expect(changes).toEqual(['a online', 'b online', 'a offline']));
    expect(client.getStatus('a')).toEqual({ userId: 'a', status: 'offline', lastSeen: expect.any(String) });
    expect(client.getStatus('a')).toBe(client.getStatus('a'));
    expect(client.getStatus('nobody')).toBeUndefined();
    expect(states).toEqual(['live']);
  });

  it('watches named ids, numbers too, and others instead', async () => {
    const { presence, url } = await router();
    await connect(presence, '7');
    const { client, changes } = dashboard({ url, ids: [7, 'x', 7] });
    await until(() => expect(statusesOf(client)).toEqual(['7 online', 'x offline']));
    client.watch(['x', 'y']);
    await until(() => expect(statusesOf(client)).toEqual(['x offline', 'y offline']));
    await connect(presence, 'y');
    (await connect(presence, '7')).close();
    await until(() => expect(changes).toContain('y online'));
    expect(statusesOf(client)).toEqual(['x offline', 'y online']);
  });

  // What was under way for those watched before carried a cursor that says nothing of the others.
  it.each(['a change', 'a snapshot'] as const)(
    'asks for everything after a loss where only %s of those it watched before has come',
    async (what) => {
      const store = memoryStore();
      const read = store.read.bind(store);
      let answer: (() => void) | undefined;
      const answered = new Promise<void>((resolve) => {
        answer = resolve;
      });
      store.read = async (ids) => {
        if (what === 'a snapshot') await answered;
        return read(ids);
      };
      let asked = 0;
      const { presence, url, cut } = await router({
        store,
        // The second request has no answer before the loss.
        authorizeWatch: () => {
          asked += 1;
          return asked === 2 ? new Promise<boolean>(() => undefined) : true;
        },
      });
      const a = await connect(presence, 'a');
      await connect(presence, 'b');
      const { client, states } = dashboard({ url, ids: ['a'] });
      if (what === 'a snapshot') await until(() => expect(asked).toBe(1));
      else await until(() => expect(statusesOf(client)).toEqual(['a online']));
      client.watch(['a', 'b']);
      await until(() => expect(asked).toBe(2));
      if (what === 'a snapshot') answer?.();
      else a.close();
      await until(() => expect(statusesOf(client)).toEqual([what === 'a snapshot' ? 'a online' : 'a offline']));
      cut();
      await until(() => expect(asked).toBe(3));
      await until(() => expect(states.at(-1)).toBe('live'));
      expect(client.getStatus('b')?.status).toBe('online');
    },
  );

  it('goes on where it was after a loss, on another router too, for a fraction of the bytes', async () => {
    const store = memoryStore();
    const east = await router({ store });
    const west = await router({ store });
    west.presence.onUpdate(() => undefined);
    const sockets = new Map<string, { close(): void }>();
    for (let user = 0; user < 2_000; user += 1) sockets.set(`u${user}`, await connect(east.presence, `u${user}`));
    // The client does not choose: a balancer does. It has no router until the users have gone, however quick the client.
    const nowhere = 'ws://127.0.0.1:1';
    let to = east.url;
    class Balanced extends WebSocket {
      constructor() {
        super(to);
      }
    }
    const { client, changes, states } = dashboard({ url: 'ws://balancer', WebSocket: Balanced as never });
    await until(() => expect(client.getAll()).toHaveLength(2_000));
    const whole = east.bytes();
    changes.length = 0;
    to = nowhere;
    east.cut();
    await until(() => expect(states).toContain('offline'));
    for (let user = 0; user < 20; user += 1) sockets.get(`u${user}`)?.close();
    to = west.url;
    await until(() => expect(states.at(-1)).toBe('live'));
    expect(changes.sort()).toEqual(Array.from({ length: 20 }, (_, user) => `u${user} offline`).sort());
    expect(west.bytes()).toBeLessThan(whole * 0.05);
  });

  it('a router that has forgotten everything: whoever is not there any more is offline', async () => {
    const first = await router();
    await connect(first.presence, 'a');
    await connect(first.presence, 'b');
    const { client, changes, states } = dashboard({ url: first.url });
    await until(() => expect(states.at(-1)).toBe('live'));
    await first.stop();
    await until(() => expect(states.at(-1)).toBe('offline'));
    expect(client.connection.asOf).toMatch(/^20/);
    expect(statusesOf(client)).toEqual(['a online', 'b online']);
    changes.length = 0;
    const second = await router({}, first.port);
    await connect(second.presence, 'b');
    await until(() => expect(states.at(-1)).toBe('live'));
    await until(() => expect(statusesOf(client)).toEqual(['a offline', 'b online']));
    expect(changes.filter((change) => change.startsWith('a'))).toEqual(['a offline']);
  });

  it('asks over HTTP first, with its token, where it may; and what the socket says wins', async () => {
    const { presence, url, port, protocols } = await router();
    await connect(presence, 'a');
    const { client } = dashboard({
      url,
      ids: ['a', 'b'],
      token: 'secret',
      deviceId: 'desk',
      statusUrl: `http://127.0.0.1:${port}`,
    });
    await until(() => expect(statusesOf(client)).toEqual(['a online', 'b offline']));
    await until(() => expect(protocols).toEqual(['secret,desk']));
  });

  it('says so when the router cannot hear its store, and when it can again', async () => {
    const store = memoryStore();
    let isAway = false;
    const away = {
      ...store,
      ...Object.fromEntries(
        (['beat', 'apply', 'refresh', 'release', 'read', 'list', 'count'] as const).map((name) => [
          name,
          (...args: never[]) =>
            isAway ? Promise.reject(new Error('away')) : (store[name] as (...args: never[]) => unknown)(...args),
        ]),
      ),
      subscribe: store.subscribe.bind(store),
    } as unknown as typeof store;
    const { url } = await router({ store: away, leaseMs: 1_000 });
    const { client, states } = dashboard({ url });
    await until(() => expect(states).toEqual(['live']));
    isAway = true;
    await until(() => expect(states).toEqual(['live', 'stale']));
    expect(Date.now() - Date.parse(String(client.connection.asOf))).toBeLessThan(5_000);
    isAway = false;
    await until(() => expect(states).toEqual(['live', 'stale', 'live']));
  });

  it('says why it may not watch, and shows what a router sends by itself', async () => {
    const { url } = await router({ authorizeWatch: () => false });
    const { client } = dashboard({ url });
    await until(() => expect(client.connection.refused).toBe('these users may not be watched'));
    expect(client.connection.state).toBe('connecting');
  });

  it('notices a link that is dead without a word', async () => {
    const { url, sockets } = await router();
    const { states } = dashboard({ url, probeMs: 1_000 });
    await until(() => expect(states.at(-1)).toBe('live'));
    for (const socket of sockets()) (socket as unknown as { _socket: { pause(): void } })._socket.pause();
    await until(() => expect(states.slice(-3)).toEqual(['offline', 'connecting', 'live']));
  });

  const deafen = (sockets: Iterable<unknown>) => {
    for (const socket of sockets) (socket as { _socket: { pause(): void } })._socket.pause();
  };

  // Without a cursor it asked nothing, and showed what had been for ever.
  it.each([
    ['that sends by itself', { identify: () => ({ userId: 'dashboard', track: false, watch: true }) }, {}],
    ['that gives no cursor', {}, { store: withoutCursors() }],
  ])('asks a router %s whether it is there, and notices a dead link', async (_, door, options) => {
    const { url, sockets } = await router(
      { authorizeWatch: 'identify' in door ? undefined : () => true, ...options } as PresenceOptions,
      0,
      door,
    );
    const { client, states } = dashboard({ url, probeMs: 600 });
    await until(() => expect(states.at(-1)).toBe('live'));
    const frames: unknown[] = [];
    const [socket] = sockets();
    socket?.on('message', (data) => frames.push(data));
    await until(() => expect(frames.length).toBeGreaterThan(0));
    await until(() => expect(client.connection.state).toBe('live'));
    expect(client.connection.refusedCode).not.toBe('malformed');
    states.length = 0;
    deafen(sockets());
    // A router that takes no requests says so after it is live, or before.
    await until(() => expect(new Set(states)).toEqual(new Set(['offline', 'connecting', 'live'])));
  });

  const tokenOf = (request: { headers: object }) =>
    String((request.headers as { [name: string]: string })['sec-websocket-protocol']).split(/, */)[0];

  // It was refused with 401 for ever, and told nobody.
  it('says that its token is refused in the handshake, and comes back with another one', async () => {
    let taken = 'first';
    let refused = 0;
    const { url, cut } = await router({}, 0, {
      verifyClient: ({ req }, done) => {
        const isTaken = tokenOf(req) === taken;
        if (!isTaken) refused += 1;
        done(isTaken, 401);
      },
    });
    const { client, states } = dashboard({ url, token: 'first' });
    await client.ready;
    taken = 'second';
    cut();
    await until(() => expect(states.at(-1)).toBe('closed'));
    expect(client.connection).toMatchObject({ refused: 'the router answered 401', refusedCode: 'unauthorized' });
    expect(refused).toBe(1);
    client.reconnect('second');
    await until(() => expect(states.at(-1)).toBe('live'));
  });

  it('asks for another token when its own has ended, and shows on', async () => {
    const asked: string[] = [];
    const { presence, url, protocols } = await router({}, 0, {
      identify: (request) => ({
        userId: 'dashboard',
        track: false,
        ...(tokenOf(request) === 't1' && { expiresAt: Date.now() + 300 }),
      }),
    });
    await connect(presence, 'a');
    const token = async () => {
      asked.push(`t${asked.length + 1}`);
      return String(asked.at(-1));
    };
    const { client, states } = dashboard({ url, token, minBackoffMs: 30_000 });
    const codes: unknown[] = [];
    client.onConnectionChange(({ refusedCode }) => refusedCode && codes.push(refusedCode));
    await until(() => expect(states).toEqual(['live', 'offline', 'connecting', 'live']));
    expect(protocols).toEqual(['t1,web', 't2,web']);
    expect(codes).toEqual(['unauthorized']);
    expect(statusesOf(client)).toEqual(['a online']);
  });

  it.each(['guide', 'router'] as const)('says why somebody changed, and in which order (%s)', async (wire) => {
    const { presence, url } = await router({ wire });
    const { client, states } = dashboard({ url });
    await until(() => expect(states.at(-1)).toBe('live'));
    const changes: unknown[] = [];
    client.onChange((changed) => changes.push(...changed));
    const socket = await connect(presence, 'a');
    await until(() => expect(changes).toHaveLength(1));
    socket.close();
    await until(() => expect(changes).toHaveLength(2));
    const lastSeen = expect.stringMatching(/^20/);
    expect(changes).toEqual([
      { userId: 'a', status: 'online', lastSeen, reason: 'connect', version: 1 },
      { userId: 'a', status: 'offline', lastSeen, reason: 'disconnect', version: 2 },
    ]);
  });

  it('waits longer each time, and never as long as any other', async () => {
    vi.useFakeTimers();
    try {
      const attempts: number[] = [];
      class Failing {
        binaryType = '';
        readyState = 0;
        onopen: unknown;
        onmessage: unknown;
        onerror: unknown;
        onclose: (() => void) | undefined;
        constructor() {
          attempts.push(Date.now());
          setTimeout(() => this.onclose?.(), 0);
        }
        send(): void {}
        close(): void {}
      }
      const client = createPresenceClient({ url: 'ws://x', WebSocket: Failing as never });
      await vi.advanceTimersByTimeAsync(600_000);
      client.close();
      const waits = attempts.slice(1).map((at, index) => at - (attempts[index] as number));
      expect(Math.max(...waits)).toBeLessThanOrEqual(30_001);
      expect(waits[0]).toBeLessThanOrEqual(1_001);
      expect(new Set(waits).size).toBeGreaterThan(waits.length / 2);
      const { length } = attempts;
      await vi.advanceTimersByTimeAsync(600_000);
      expect(attempts).toHaveLength(length);
      // On average half of the bound: 300 s / 15 s, and the few quick ones at the start.
      expect(length).toBeGreaterThan(25);
      expect(length).toBeLessThan(90);
    } finally {
      vi.useRealTimers();
    }
  });

  it('a listener that throws is in nobody’s way', () => {
    vi.useFakeTimers();
    try {
      let socket: Silent | undefined;
      class Silent {
        onmessage: ((event: { data: Uint8Array }) => void) | undefined;
        constructor() {
          socket = this;
        }
        close(): void {}
      }
      const client = createPresenceClient({ url: 'ws://x', WebSocket: Silent as never });
      const heard: string[] = [];
      client.onChange(() => {
        throw new Error('mine');
      });
      client.onChange((changed) => heard.push(...changed.map(({ userId }) => userId)));
      const frame = {
        messageType: 31,
        fromId: 'a',
        status: 'online',
        timestamp: '2025-12-12T10:30:45.123Z',
        version: 1,
      };
      socket?.onmessage?.({ data: encode(frame) });
      expect(heard).toEqual(['a']);
      // It is not lost either: whoever looks after uncaught errors sees it.
      expect(() => vi.advanceTimersByTime(0)).toThrow('mine');
      client.close();
    } finally {
      vi.useRealTimers();
    }
  });

  it('may be closed by whoever hears that it is offline: everybody hears that last, and nothing connects again', async () => {
    const first = await router();
    const { client, states } = dashboard({ url: first.url, minBackoffMs: 1 });
    client.onConnectionChange(({ state }) => {
      if (state === 'offline') client.close();
    });
    const last: string[] = [];
    client.onConnectionChange(({ state }) => last.push(state));
    await until(() => expect(states.at(-1)).toBe('live'));
    first.cut();
    await until(() => expect(client.connection.state).toBe('closed'));
    expect(last.at(-1)).toBe('closed');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(client.connection.state).toBe('closed');
    expect(first.sockets().size).toBe(0);
  });

  // Each attempt followed the one before at once.
  it('does not storm a router for a wait that is no number', async () => {
    vi.useFakeTimers();
    try {
      let attempts = 0;
      class Failing {
        onclose: (() => void) | undefined;
        constructor() {
          attempts += 1;
          setTimeout(() => this.onclose?.(), 0);
        }
        close(): void {}
      }
      const client = createPresenceClient({ url: 'ws://x', WebSocket: Failing as never, minBackoffMs: Number.NaN });
      await vi.advanceTimersByTimeAsync(10_000);
      client.close();
      expect(attempts).toBeLessThan(12);
    } finally {
      vi.useRealTimers();
    }
  });

  it('ends for good, and throws at once for what cannot work', async () => {
    const { presence, url, sockets } = await router();
    const { client, changes, states } = dashboard({ url });
    await until(() => expect(states.at(-1)).toBe('live'));
    client.close();
    client.close();
    await until(() => expect(sockets().size).toBe(0));
    await connect(presence, 'a');
    expect(changes).toEqual([]);
    expect(states).toEqual(['live', 'closed']);
    expect(() => createPresenceClient({ url: 'http://x' })).toThrow('ws://');
    expect(() => createPresenceClient({ url: 'ws://x', WebSocket: {} as never })).toThrow('WebSocket');
    // They were lists of letters.
    expect(() => createPresenceClient({ url, WebSocket: WebSocket as never, ids: 'abc' })).toThrow('ids is abc');
    expect(() => client.watch('abc')).toThrow('ids is abc');
  });
});
