import { decode, encode } from '@msgpack/msgpack';
import { describe, expect, it } from 'vitest';
import { createPresence, type Transport } from 'voiceping-presence';
import { fakeSocket } from 'voiceping-presence/testing';
import { router } from './world';

const TTL_MS = 60_000;

interface FakeTransport extends Transport {
  bufferedAmount?: number;
  readonly sent: Uint8Array[];
  readonly calls: string[];
}

/** A transport with all functions except those that a runtime lacks. */
function fakeTransport(...lacks: Array<'terminate' | 'ping' | 'bufferedAmount'>): FakeTransport {
  const sent: Uint8Array[] = [];
  const calls: string[] = [];
  const transport: FakeTransport = {
    sent,
    calls,
    bufferedAmount: 0,
    send: (data) => sent.push(data),
    close: (code, reason) => calls.push(`close ${code} ${reason}`),
    terminate: () => calls.push('terminate'),
    ping: () => calls.push('ping'),
  };
  for (const part of lacks) delete transport[part];
  return transport;
}

async function world(options: Parameters<typeof router>[0] = {}) {
  const { presence, lines, clock } = await router({ ttlMs: TTL_MS, graceMs: 8_000, ...options });
  const isOnline = async (): Promise<boolean> => (await presence.getStatuses(['u'])).u?.status === 'online';
  return { presence, lines, clock, isOnline };
}

describe('a transport that is not listened to', () => {
  it('makes its user online, and is told what came in', async () => {
    const { presence, clock, isOnline, lines } = await world();
    const attachment = presence.attach(fakeTransport(), { userId: 'u' });
    await attachment.ready;
    expect(await isOnline()).toBe(true);
    for (let passed = 0; passed < 3 * TTL_MS; passed += 20_000) {
      await clock.advance(20_000);
      attachment.received('anything');
      attachment.pinged();
    }
    expect(await isOnline()).toBe(true);
    attachment.closed(1000);
    await clock.settle();
    expect(lines()).toEqual(['u online connect', 'u offline disconnect']);
  });

  // Deno gives 0 where a connection was lost, and a second event after an idle timeout; crossws on Deno gives no code at all.
  it.each([
    [1006, 'lost'],
    [0, 'lost'],
    [undefined, 'lost'],
    [1000, 'clean'],
    [1001, 'clean'],
    [1005, 'clean'],
    [4000, 'clean'],
  ] as const)('that is closed with %s was %s, whatever is said later', async (code, how) => {
    const { presence, clock, isOnline, lines } = await world();
    const attachment = presence.attach(fakeTransport(), { userId: 'u' });
    await clock.settle();
    attachment.closed(code);
    attachment.closed(how === 'lost' ? 1000 : 1006);
    attachment.received('late');
    attachment.pinged();
    attachment.touch();
    await clock.settle();
    expect(await isOnline()).toBe(how === 'lost');
    await clock.advance(10_000);
    expect(lines()).toEqual(['u online connect', `u offline ${how === 'lost' ? 'timeout' : 'disconnect'}`]);
  });

  it('is pinged, and terminated where nothing comes back', async () => {
    const { presence, clock, lines } = await world({ pingIntervalMs: 20_000 });
    const transport = fakeTransport();
    presence.attach(transport, { userId: 'u' });
    await clock.advance(TTL_MS + 5_000);
    expect(transport.calls.filter((call) => call === 'ping').length).toBeGreaterThanOrEqual(2);
    expect(transport.calls).toContain('terminate');
    expect(lines()).toEqual(['u online connect', 'u offline timeout']);
  });

  it('is closed instead where it has no terminate, and is never pinged where it has no ping', async () => {
    const { presence, clock, lines } = await world({ pingIntervalMs: 20_000 });
    const transport = fakeTransport('terminate', 'ping', 'bufferedAmount');
    presence.attach(transport, { userId: 'u' });
    await clock.advance(TTL_MS + 5_000);
    expect(transport.calls).toEqual(['close undefined undefined']);
    expect(lines()).toEqual(['u online connect', 'u offline timeout']);
  });

  it('that is a second time attached replaces the first attachment, and nobody sees an event', async () => {
    const { presence, clock, lines, isOnline } = await world();
    const transport = fakeTransport();
    const first = presence.attach(transport, { userId: 'u' });
    const second = presence.attach(transport, { userId: 'u' });
    first.closed(1000);
    await clock.settle();
    expect([lines(), await isOnline()]).toEqual([['u online connect'], true]);
    second.closed(1000);
    await clock.settle();
    expect(await isOnline()).toBe(false);
  });

  // Bun and uWebSockets.js call their close handler within close(), with the code that was given to it.
  it('whose credentials end is closed with 4001, also where close() says at once that it is closed', async () => {
    const { presence, clock, lines } = await world();
    const transport = fakeTransport();
    const attachment = presence.attach(transport, { userId: 'u', expiresAt: clock.now() + 5_000 });
    transport.close = (code) => {
      transport.calls.push(`close ${code}`);
      attachment.closed(code);
    };
    await clock.advance(20_000);
    // The close is a drop with grace. The transport is not terminated afterwards, since it is closed already.
    expect(transport.calls.filter((call) => call !== 'ping')).toEqual(['close 4001']);
    expect(lines()).toEqual(['u online connect', 'u offline timeout']);
  });

  it('that does not close within five seconds is terminated, if it can be', async () => {
    const { presence, clock } = await world();
    const [whole, poor] = [fakeTransport(), fakeTransport('terminate')];
    for (const transport of [whole, poor]) {
      presence.attach(transport, { userId: 'u', expiresAt: clock.now() + 5_000 });
    }
    await clock.advance(12_000);
    expect(whole.calls.filter((call) => call !== 'ping')).toEqual(['close 4001 credentials have ended', 'terminate']);
    expect(poor.calls.filter((call) => call !== 'ping')).toEqual(['close 4001 credentials have ended']);
  });

  it.each([[[]], [['bufferedAmount', 'ping', 'terminate']]] as const)(
    'takes frames, and asks with one; it lacks %j',
    async (lacks) => {
      const { presence, clock } = await world({ authorizeWatch: () => true });
      const transport = fakeTransport(...lacks);
      const attachment = presence.attach(transport, { userId: 'dash', track: false });
      attachment.received(encode({ messageType: 33, ids: ['u'] }));
      await clock.settle();
      presence.attach(fakeTransport(), { userId: 'u' });
      await clock.settle();
      const size = transport.sent.length;
      expect(size).toBe(2);
      attachment.closed();
      presence.attach(fakeTransport(), { userId: 'u' }).closed(1000);
      await clock.settle();
      expect(transport.sent).toHaveLength(size);
    },
  );

  it('that is slow is sent nothing until it has taken what it was sent', async () => {
    const { presence, clock } = await world();
    const transport = fakeTransport();
    presence.attach(transport, { userId: 'dash', track: false, watch: ['u'] });
    await clock.settle();
    transport.bufferedAmount = 100_000;
    const phone = presence.attach(fakeTransport(), { userId: 'u' });
    await clock.settle();
    phone.closed(1000);
    await clock.settle();
    expect(transport.sent).toHaveLength(1);
    transport.bufferedAmount = 0;
    await clock.advance(100);
    // Only the latest of the two changes is sent.
    expect(transport.sent).toHaveLength(2);
  });

  it('throws nothing into its owner, whatever its functions throw', async () => {
    const errors: string[] = [];
    const { presence, clock } = await world({
      onError: (_error, { stage }) => errors.push(stage),
      pingIntervalMs: 20_000,
    });
    const broken = () => {
      throw new Error('closed');
    };
    const transport = { send: broken, close: broken, terminate: broken, ping: broken };
    presence.attach(transport, { userId: 'u', watch: true });
    await clock.advance(TTL_MS + 5_000);
    expect(new Set(errors)).toEqual(new Set(['send', 'ping', 'terminate']));
  });

  const part = () => undefined;
  const REFUSED: ReadonlyArray<readonly [string, unknown]> = [
    ['nothing', undefined],
    ['no send', { close: part }],
    ['no close', { send: part }],
    ['a ping that is a number', { send: part, close: part, ping: 1 }],
    ['a terminate that is a text', { send: part, close: part, terminate: 'x' }],
  ];
  it.each(REFUSED)('is refused where it is %s', (_what, transport) => {
    expect(() => createPresence().attach(transport as never, { userId: 'u' })).toThrow(/transport/);
  });

  it('does nothing on a presence that is closed or disabled', async () => {
    const closed = createPresence();
    await closed.close();
    for (const presence of [closed, createPresence({ enabled: false })]) {
      const transport = fakeTransport();
      const attachment = presence.attach(transport, { userId: 'u', watch: true });
      attachment.received('x');
      attachment.pinged();
      attachment.closed(1000);
      await attachment.detach();
      expect([transport.sent, transport.calls]).toEqual([[], []]);
    }
  });
});

// uWebSockets.js throws for a connection that is closed; the functions of others are async, and reject.
describe('a transport whose parts throw, or reject', () => {
  const broken = (): never => {
    throw new Error('closed');
  };
  const withGetter = (name: 'bufferedAmount' | 'readyState'): FakeTransport =>
    Object.defineProperty(fakeTransport(), name, { get: broken }) as FakeTransport;

  // The timer of all pings died with the first one: nobody was pinged any more, nor timed out.
  it.each(['bufferedAmount', 'readyState'] as const)('in %s stops no other one', async (name) => {
    const { presence, clock, lines, isOnline } = await world({ pingIntervalMs: 20_000, graceMs: 0 });
    const bad = withGetter(name);
    presence.attach(bad, { userId: 'dash', track: false, watch: true });
    const [dashboard, phone] = [fakeTransport(), fakeTransport()];
    presence.attach(dashboard, { userId: 'second', track: false, watch: true });
    await clock.settle();
    const attachment = presence.attach(phone, { userId: 'u' });
    await clock.advance(45_000);
    expect(phone.calls.filter((call) => call === 'ping').length).toBeGreaterThanOrEqual(2);
    attachment.pinged();
    expect(await isOnline()).toBe(true);
    await clock.advance(TTL_MS + 5_000);
    expect(lines()).toEqual(['u online connect', 'u offline timeout']);
    // A snapshot, and both changes.
    expect(dashboard.sent).toHaveLength(3);
    await presence.close();
    expect(clock.timers).toBe(0);
  });

  it('in what they promise is reported, and ends nothing', async () => {
    const errors: string[] = [];
    const { presence, clock, lines } = await world({
      onError: (_error, { stage }) => errors.push(stage),
      pingIntervalMs: 20_000,
    });
    const rejects = () => Promise.reject(new Error('closed'));
    const transport = { send: rejects, close: rejects, terminate: rejects, ping: rejects };
    presence.attach(transport, { userId: 'u', watch: true });
    await clock.advance(TTL_MS + 5_000);
    expect(new Set(errors)).toEqual(new Set(['send', 'ping', 'terminate']));
    expect(lines()).toEqual(['u online connect', 'u offline timeout']);
  });

  it('is not pinged any more once another one, which is pinged first, has detached it', async () => {
    const { presence, clock } = await world({ pingIntervalMs: 20_000 });
    const all = Array.from({ length: 60 }, () => fakeTransport());
    const attachments = all.map((transport, at) => presence.attach(transport, { userId: `u${at}` }));
    const detached = new Set<FakeTransport>();
    for (const [at, transport] of all.entries()) {
      transport.ping = () => {
        expect(detached.has(transport)).toBe(false);
        const next = (at + 1) % all.length;
        detached.add(all[next] as FakeTransport);
        void attachments[next]?.detach();
      };
    }
    await clock.advance(25_000);
    expect(detached.size).toBeGreaterThan(20);
  });

  it('in a Blob that gives no promise ends nothing', async () => {
    const { presence, isOnline } = await world();
    const attachment = presence.attach(fakeTransport(), { userId: 'u' });
    attachment.received({ size: 1, arrayBuffer: broken });
    attachment.received({ size: 1, arrayBuffer: () => 'no promise' });
    attachment.received(new Proxy({}, { get: broken }));
    expect(await isOnline()).toBe(true);
  });
});

describe('a socket whose on() throws', () => {
  // The second attachment released one that was in no list: the user was offline, with a connection that was open.
  it('is not attached, and may be attached again', async () => {
    const { presence, clock, isOnline, lines } = await world();
    const socket = fakeSocket();
    const on = socket.on.bind(socket);
    let isBroken = true;
    socket.on = ((...args: Parameters<typeof on>) => {
      if (isBroken && args[0] === 'pong') throw new Error('on');
      return on(...args);
    }) as typeof on;
    expect(() => presence.attachToSocket(socket, { userId: 'u' })).toThrow('on');
    expect(socket.listenerCount('message')).toBe(0);
    isBroken = false;
    presence.attachToSocket(socket, { userId: 'u' });
    await clock.settle();
    expect([await isOnline(), socket.listenerCount('message')]).toEqual([true, 1]);
    socket.removeListener = () => {
      throw new Error('removeListener');
    };
    await presence.close();
    expect([clock.timers, lines().pop()]).toEqual([0, 'u offline disconnect']);
  });
});

describe('a dashboard that is behind, and watches other users', () => {
  // More had changed than is kept, and the snapshot that was owed for it was forgotten with the next list: all were online for ever.
  it.each([
    ['more of a list', [...Array.from({ length: 300 }, (_, index) => `u${index}`), 'y']],
    ['everybody', true],
  ] as const)('is shown what it missed: %s', async (_what, wanted) => {
    const { presence, clock } = await world();
    const shown = new Map<string, string>();
    const dashboard = fakeTransport();
    dashboard.send = (data) => {
      const frame = decode(data) as {
        fromId?: string;
        status: string;
        users?: Array<{ userId: string; status: string }>;
      };
      const users = frame.fromId === undefined ? (frame.users ?? []) : [{ userId: frame.fromId, status: frame.status }];
      for (const { userId, status } of users) shown.set(userId, status);
    };
    const ids = Array.from({ length: 300 }, (_, index) => `u${index}`);
    const attachment = presence.attach(dashboard, { userId: 'dash', track: false, watch: ids });
    await clock.settle();
    const phones = ids.map((userId) => presence.attach(fakeTransport(), { userId }));
    await clock.advance(3_000);
    expect(ids.filter((id) => shown.get(id) === 'online')).toHaveLength(300);
    dashboard.bufferedAmount = 20_000;
    // A snapshot of one more user is owed.
    if (wanted !== true) attachment.watch([...ids, 'x']);
    for (const phone of phones) phone.closed(1000);
    await clock.advance(100);
    attachment.watch(wanted);
    dashboard.bufferedAmount = 0;
    await clock.advance(10_000);
    expect(ids.filter((id) => shown.get(id) !== 'offline')).toEqual([]);
  });
});
