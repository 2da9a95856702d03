import { encode } from '@msgpack/msgpack';
import { describe, expect, it } from 'vitest';
import { createPresence, type PresenceOptions } from 'voiceping-presence';
import { type FakeSocket, fakeSocket } from 'voiceping-presence/testing';
import { watchFrame } from '../../src/client/codec';
import { MAX_NESTED } from './hostile-frames';
import { router } from './world';

interface Frame {
  messageType: number;
  fromId?: string;
  status?: string;
  version?: number;
  cursor?: string;
  code?: string;
  request?: number;
  users?: Array<{ userId: string; status: string }>;
  resumed?: boolean;
}
const framesOf = (socket: FakeSocket) => socket.frames as Frame[];
const codesOf = (socket: FakeSocket) => framesOf(socket).map(({ code }) => code);
const watcher = { track: false };

/** A socket that can be closed with a code, like those of ws. */
async function closable(world: Awaited<ReturnType<typeof router>>, userId: string, identity: object = {}) {
  const codes: number[] = [];
  const socket = fakeSocket();
  socket.close = (code = 1000) => {
    codes.push(code);
    socket.readyState = 2;
  };
  socket.drop = () => {
    socket.readyState = 3;
    socket.emit('close', 1006, Buffer.alloc(0));
  };
  const attachment = world.presence.attachToSocket(socket, { userId, ...identity });
  await world.clock.settle();
  return { socket, codes, attachment };
}

describe('requests of one connection', () => {
  it('are refused above so many a second, and whoever goes on is closed with 4029, a drop with grace', async () => {
    const asked: unknown[] = [];
    const world = await router({ authorizeWatch: (_, ids) => asked.push(ids) > 0 });
    const { clock, lines } = world;
    const { socket, codes } = await closable(world, 'hostile');
    for (let request = 0; request < 20; request += 1) {
      socket.receive(watchFrame(['a'], undefined, request));
      await clock.settle();
    }
    expect(asked).toHaveLength(10);
    expect(codesOf(socket).slice(10)).toEqual(Array(10).fill('too-many-requests'));
    expect(codes).toEqual([]);
    for (let request = 0; request < 1_000; request += 1) socket.receive(watchFrame(['a'], undefined, 1));
    expect(codes).toEqual([4029]);
    expect(framesOf(socket)).toHaveLength(20);
    await clock.advance(5_000);
    // The close frame could not be sent.
    expect(socket.readyState).toBe(3);
    expect(lines()).toEqual(['hostile online connect']);
    await clock.advance(3_100);
    expect(lines()).toEqual(['hostile online connect', 'hostile offline timeout']);
  });

  it('are read no more once it is closed for them', async () => {
    const world = await router({ authorizeWatch: () => true });
    const socket = Object.assign(fakeSocket(), { pauses: 0 });
    socket.close = () => {
      socket.readyState = 2;
    };
    (socket as { pause?(): void }).pause = () => {
      socket.pauses += 1;
    };
    world.presence.attachToSocket(socket, { userId: 'hostile', ...watcher });
    await world.clock.settle();
    for (let request = 0; request < 19; request += 1) socket.receive(watchFrame(['a'], undefined, 1));
    expect(socket.pauses).toBe(0);
    for (let request = 0; request < 1_000; request += 1) socket.receive(watchFrame(['a'], undefined, 1));
    expect(socket.pauses).toBe(1);
  });

  it('may come again once it has waited, five a second', async () => {
    const { connect, clock } = await router({ authorizeWatch: () => true });
    const socket = await connect('d', watcher);
    let refused = 0;
    for (let request = 0; request < 60; request += 1) {
      const before = socket.sent.length;
      socket.receive(watchFrame(['a'], undefined, 1));
      await clock.advance(250);
      if (codesOf(socket).slice(before).includes('too-many-requests')) refused += 1;
    }
    expect(refused).toBe(0);
    expect(socket.readyState).toBe(1);
  });

  it('have limits that can be set', async () => {
    const { connect, clock } = await router({
      authorizeWatch: () => true,
      limits: { watchRequestsPerSecond: 1, watchRequestBurst: 2 },
    });
    const socket = await connect('d', watcher);
    for (let request = 0; request < 3; request += 1) socket.receive(watchFrame(['a'], undefined, 1));
    await clock.settle();
    expect(codesOf(socket)).toContain('too-many-requests');
    await clock.advance(1_000);
    const before = socket.sent.length;
    socket.receive(watchFrame(['b'], undefined, 1));
    await clock.settle();
    expect(framesOf(socket)[before]).toMatchObject({ messageType: 32 });
  });

  it('count where nobody may ask, too', async () => {
    const world = await router();
    const { socket, codes } = await closable(world, 'd', watcher);
    for (let request = 0; request < 100; request += 1) socket.receive(watchFrame(true, undefined, 1));
    expect(codesOf(socket)).toEqual([...Array(10).fill('not-allowed'), ...Array(10).fill('too-many-requests')]);
    expect(codes).toEqual([4029]);
  });

  it('are neither decoded where nobody may ask, nor allocate what they promise where somebody may', async () => {
    for (const authorizeWatch of [undefined, () => true]) {
      const { connect, clock } = await router(authorizeWatch && { authorizeWatch });
      const socket = await connect('d', watcher);
      const before = process.memoryUsage().heapUsed;
      for (let request = 0; request < 10; request += 1) socket.receive(MAX_NESTED);
      await clock.settle();
      expect(process.memoryUsage().heapUsed - before).toBeLessThan(10_000_000);
      expect(new Set(codesOf(socket))).toEqual(new Set([authorizeWatch === undefined ? 'not-allowed' : 'malformed']));
    }
  });

  it('wait for one decision at a time, the newest of them', async () => {
    let deciding = 0;
    let most = 0;
    const decisions: Array<() => void> = [];
    const { connect, clock } = await router({
      authorizeWatch: () => {
        deciding += 1;
        most = Math.max(most, deciding);
        return new Promise((resolve) =>
          decisions.push(() => {
            deciding -= 1;
            resolve(true);
          }),
        );
      },
    });
    const socket = await connect('d', watcher);
    for (let request = 0; request < 10; request += 1) socket.receive(watchFrame([`u${request}`], undefined, request));
    await clock.settle();
    decisions.shift()?.();
    await clock.settle();
    decisions.shift()?.();
    await clock.settle();
    expect([most, decisions.length]).toEqual([1, 0]);
    expect(framesOf(socket).map(({ users, request }) => [users?.map(({ userId }) => userId), request])).toEqual([
      [['u9'], 9],
    ]);
  });

  it('are refused where authorizeWatch does not answer in time, and heard again when it does', async () => {
    const decisions: Array<(allowed: boolean) => void> = [];
    const { connect, clock, errors } = await router({
      authorizeWatch: () => new Promise((resolve) => decisions.push(resolve)),
      limits: { callbackTimeoutMs: 1_000 },
    });
    const socket = await connect('d', watcher);
    for (let request = 1; request <= 6; request += 1) {
      socket.receive(watchFrame(['a'], undefined, request));
      await clock.advance(1_000);
    }
    expect(framesOf(socket).map(({ code, request }) => [code, request])).toEqual(
      [1, 2, 3, 4, 5, 6].map((request) => ['timeout', request]),
    );
    // The number of calls that never end is limited.
    expect(decisions).toHaveLength(4);
    expect(errors).toEqual(Array(4).fill({ code: 'ERR_PRESENCE_CALLBACK', stage: 'authorize', userId: 'd' }));
    for (const decide of decisions) decide(true);
    await clock.settle();
    expect(framesOf(socket)).toHaveLength(6);
    socket.receive(watchFrame(['a'], undefined, 7));
    await clock.settle();
    decisions[4]?.(true);
    await clock.settle();
    expect(framesOf(socket)[6]).toMatchObject({ messageType: 32, request: 7 });
  });

  it('of a connection that is gone are decided for nobody', async () => {
    const decisions: Array<(allowed: boolean) => void> = [];
    const { connect, clock, errors } = await router({
      authorizeWatch: () => new Promise((resolve) => decisions.push(resolve)),
    });
    const socket = await connect('d', watcher);
    socket.receive(watchFrame(['a'], undefined, 1));
    socket.receive(watchFrame(['b'], undefined, 2));
    await clock.settle();
    socket.drop();
    decisions[0]?.(false);
    await clock.settle();
    expect([socket.sent.length, decisions.length, errors.length]).toEqual([0, 1, 0]);
  });

  it.each([
    [{ watchRequestsPerSecond: 0 }, 'limits.watchRequestsPerSecond is 0; it is a number of at least 1'],
    [{ updatesPerUserPerSecond: Number.NaN }, 'limits.updatesPerUserPerSecond is NaN'],
    [{ callbackTimeoutMs: 0 }, 'limits.callbackTimeoutMs is 0; it is in milliseconds and at least 1'],
    [{ burst: 1 }, '"burst" is no option'],
  ])('%j is no limit', (limits, message) => {
    expect(() => createPresence({ limits } as PresenceOptions)).toThrow(message);
  });
});

describe('requests that come a little too fast', () => {
  // Each granted request reset the count of refusals, so a client that sent fifty requests a second was never closed.
  it('for long are closed, too; a few are not', async () => {
    for (const [everyMs, codes] of [
      [20, [4029, 1006]],
      [180, []],
    ] as const) {
      const world = await router({ authorizeWatch: () => true });
      const { socket, codes: seen } = await closable(world, 'd', watcher);
      socket.terminate = () => seen.push(1006);
      for (let request = 0; request < 60_000 / everyMs; request += 1) {
        socket.receive(watchFrame(['a'], undefined, 1));
        await world.clock.advance(everyMs);
      }
      expect(seen).toEqual(codes);
    }
  });

  it('are counted for the socket, however often it is attached', async () => {
    const { presence, clock } = await router({ authorizeWatch: () => true });
    const socket = fakeSocket();
    for (let time = 0; time < 12; time += 1) {
      presence.attachToSocket(socket, { userId: 'd', track: false });
      socket.receive(watchFrame(['a'], undefined, time));
      await clock.settle();
    }
    expect(codesOf(socket).filter((code) => code === 'too-many-requests')).toHaveLength(2);
  });

  it('are answered although the socket is attached anew while they are decided', async () => {
    let decide: (allowed: boolean) => void = () => undefined;
    const { presence, clock } = await router({ authorizeWatch: () => new Promise((resolve) => (decide = resolve)) });
    const socket = fakeSocket();
    presence.attachToSocket(socket, { userId: 'd', track: false });
    socket.receive(watchFrame(['a'], undefined, 3));
    await clock.settle();
    presence.attachToSocket(socket, { userId: 'e', track: false });
    decide(true);
    await clock.settle();
    expect(framesOf(socket)).toMatchObject([{ messageType: 33, code: 'timeout', request: 3 }]);
  });

  // The database connections of authorizeWatch died without an answer, and the dashboard was refused while it stayed connected.
  it('are decided again a minute after authorizeWatch has hung', async () => {
    let hangs = true;
    const { connect, clock } = await router({
      authorizeWatch: () => (hangs ? new Promise(() => undefined) : true),
    });
    const socket = await connect('d', watcher);
    for (let request = 0; request < 5; request += 1) {
      socket.receive(watchFrame(['a'], undefined, request));
      await clock.advance(2_500);
    }
    expect(codesOf(socket)).toEqual(Array(5).fill('timeout'));
    hangs = false;
    await clock.advance(60_000);
    socket.receive(watchFrame(['a'], undefined, 6));
    await clock.settle();
    expect(framesOf(socket).at(-1)).toMatchObject({ messageType: 32, request: 6 });
  });

  it('leave no deadline behind when the presence is closed', async () => {
    const { presence, connect, clock, errors } = await router({ authorizeWatch: () => new Promise(() => undefined) });
    const socket = await connect('d', watcher);
    socket.receive(watchFrame(['a'], undefined, 1));
    await clock.settle();
    await presence.close();
    expect(clock.timers).toBe(0);
    await clock.advance(10_000);
    expect(errors).toEqual([]);
  });
});

describe('a client that reads nothing', () => {
  // Refusals were sent however many bytes were unsent, and 16 MB of requests filled a gigabyte.
  it('is owed one refusal at most, and closed with 4008 after half a minute', async () => {
    const world = await router({ authorizeWatch: () => false });
    const { clock, errors } = world;
    const { socket, codes } = await closable(world, 'phone');
    socket.bufferedAmount = 20_000;
    for (let second = 0; second < 29; second += 1) {
      for (let request = 0; request < 4; request += 1) socket.receive(watchFrame(['a'], undefined, second));
      await clock.advance(1_000);
    }
    expect([socket.sent.length, codes.length]).toEqual([0, 0]);
    await clock.advance(2_000);
    expect(codes).toEqual([4008]);
    expect(errors.map(({ stage }) => stage)).toEqual(['send']);
    await clock.advance(5_000);
    expect(socket.readyState).toBe(3);
  });

  it('is told from one that reads slowly, and from a clock that jumps', async () => {
    const world = await router();
    const { socket, codes } = await closable(world, 'd', { track: false, watch: true });
    socket.bufferedAmount = 60_000;
    await world.connect('x');
    for (let second = 0; second < 40; second += 1) {
      socket.bufferedAmount -= 1_000;
      await world.clock.advance(1_000);
    }
    world.clock.set(world.clock.now() + 3_600_000);
    await world.clock.advance(1_000);
    expect(codes).toEqual([]);
  });

  /** A dashboard that is slow, since the router also sends it voice. `leave`: all bytes that are unsent now are sent. */
  async function busy(unsent: number) {
    const world = await router();
    const { socket, codes } = await closable(world, 'd', { track: false, watch: true });
    const pings: Array<() => void> = [];
    socket.ping = (sent?: () => void) => {
      if (sent !== undefined) pings.push(sent);
    };
    socket.bufferedAmount = unsent;
    socket.sent.length = 0;
    const minute = async (look: () => void = () => undefined) => {
      for (let second = 0; second < 60; second += 1) {
        socket.bufferedAmount += 5_000;
        look();
        await world.clock.advance(1_000);
      }
    };
    const leave = () => {
      for (const sent of pings.splice(0)) sent();
    };
    return { ...world, socket, codes, pings, minute, leave };
  }

  // Such a socket was closed, since its unsent bytes do not decrease while the router keeps sending.
  it('is told from one that takes what it is sent, however much the router sends meanwhile', async () => {
    const { socket, codes, minute, leave, pings, connect } = await busy(60_000);
    let phones = 0;
    for (let count = 0; count < 5; count += 1) {
      await minute(() => {
        phones += 1;
        if (phones % 10 === 0) void connect(`u${phones}`);
        if (phones % 25 === 0) leave();
        expect(pings.length).toBeLessThan(2);
      });
    }
    expect(codes).toEqual([]);
    // One frame for each time at which the last one had been sent, so presence adds no backlog to that of the router.
    expect(socket.sent.length).toBe(12);
    socket.bufferedAmount = 0;
    await minute();
    expect(socket.sent.length).toBe(30);
  });

  it('is closed once nothing leaves any more, however much the router still sends', async () => {
    const { codes, minute, leave, connect } = await busy(60_000);
    await connect('u');
    await minute(leave);
    await connect('v');
    await minute();
    expect(codes).toEqual([]);
    await minute();
    expect(codes).toEqual([4008]);
  });

  it('has longer where so much is unsent that it takes longer on a slow link: a second for each 4 KiB', async () => {
    const { codes, minute, connect } = await busy(4_096 * 100);
    await connect('u');
    await minute();
    expect(codes).toEqual([]);
    await minute();
    expect(codes).toEqual([4008]);
  });

  it('keeps a refusal that waits although the router ends what it watches', async () => {
    const { presence, clock } = await router({ authorizeWatch: () => false });
    const socket = fakeSocket();
    const attachment = presence.attachToSocket(socket, { userId: 'd', track: false, watch: ['x'] });
    await clock.settle();
    const before = socket.sent.length;
    socket.bufferedAmount = 20_000;
    socket.receive(watchFrame(['a'], undefined, 1));
    await clock.settle();
    attachment.watch(false);
    socket.bufferedAmount = 0;
    await clock.advance(100);
    expect(codesOf(socket).slice(before)).toEqual(['not-allowed']);
  });

  it('and reads again hears the latest refusal', async () => {
    const { connect, clock } = await router({ authorizeWatch: () => false });
    const socket = await connect('phone');
    socket.bufferedAmount = 20_000;
    for (let request = 1; request <= 3; request += 1) {
      socket.receive(watchFrame(['a'], undefined, request));
      await clock.advance(300);
    }
    socket.bufferedAmount = 0;
    await clock.advance(100);
    expect(framesOf(socket)).toEqual([
      { messageType: 33, error: 'these users may not be watched', code: 'not-allowed', request: 3 },
    ]);
  });

  it('is not pinged again while the ping before is unsent; one that talks is', async () => {
    const { connect, clock } = await router({ ttlMs: 90_000, pingIntervalMs: 10_000, terminateDeadSockets: false });
    const silent = await connect('silent');
    const busy = await connect('busy');
    for (const socket of [silent, busy]) {
      socket.answersPings = false;
      socket.bufferedAmount = 1_000_000;
    }
    for (let second = 0; second < 60; second += 1) {
      busy.receive(encode([0, 4, 'hello']));
      await clock.advance(1_000);
    }
    expect(silent.pings).toBeLessThanOrEqual(1);
    expect(busy.pings).toBeGreaterThanOrEqual(5);
  });

  it('is let go of with the presence', async () => {
    const { presence, connect, clock } = await router();
    const socket = await connect('phone');
    socket.bufferedAmount = 20_000;
    socket.receive(watchFrame(true, undefined, 1));
    await presence.close();
    expect(clock.timers).toBe(0);
  });
});

describe('changes of one user', () => {
  const flap = async (world: Awaited<ReturnType<typeof router>>, userId: string, times: number) => {
    for (let round = 0; round < times; round += 1) {
      (await world.connect(userId)).close();
      await world.clock.settle();
    }
  };
  const updatesOf = (socket: FakeSocket) =>
    framesOf(socket)
      .filter(({ messageType }) => messageType === 31)
      .map(({ fromId, status }) => `${fromId} ${status}`);

  it('reach a dashboard four times a second, the latest always; listeners hear all', async () => {
    const world = await router({ authorizeWatch: () => true });
    const everyone = await world.connect('d', { track: false, watch: true });
    const named = await world.connect('e', { track: false, watch: ['u', 'v'] });
    for (let second = 0; second < 3; second += 1) {
      await flap(world, 'u', 52);
      await world.clock.advance(1_000);
    }
    await world.connect('v');
    await world.connect('u');
    await world.clock.advance(2_000);
    expect(world.lines().filter((line) => line.startsWith('u '))).toHaveLength(3 * 104 + 1);
    for (const socket of [everyone, named]) {
      const updates = updatesOf(socket).filter((update) => update.startsWith('u '));
      expect(updates.length).toBeLessThanOrEqual(4 * 5);
      expect(updates.length).toBeGreaterThanOrEqual(4 * 3);
      expect(updates.at(-1)).toBe('u online');
      expect(updatesOf(socket)).toContain('v online');
    }
  });

  it('are at most four within any second', async () => {
    const world = await router();
    const socket = await world.connect('d', { track: false, watch: true });
    const at: number[] = [];
    const { send } = socket;
    socket.send = (data) => {
      at.push(world.clock.now());
      send.call(socket, data);
    };
    for (let round = 0; round < 300; round += 1) {
      await flap(world, 'u', 1);
      await world.clock.advance(37);
    }
    for (const [index, time] of at.entries())
      if (index >= 4) expect(time - (at[index - 4] as number)).toBeGreaterThanOrEqual(1_000);
    expect(at.length).toBeGreaterThan(4 * 9);
  });

  it('come as soon as they may, whoever else flaps', async () => {
    const world = await router();
    const socket = await world.connect('d', { track: false, watch: true });
    const start = world.clock.now();
    await flap(world, 'a', 3);
    await world.clock.advance(5);
    await flap(world, 'b', 2);
    await world.connect('b');
    await world.clock.advance(995);
    expect(updatesOf(socket).at(-1)).not.toBe('b online');
    await world.clock.advance(10);
    expect([updatesOf(socket).at(-1), world.clock.now() - start]).toEqual(['b online', 1_010]);
  });

  it('that are kept back are not lost where the router goes from a list to everybody', async () => {
    const world = await router();
    const socket = fakeSocket();
    const attachment = world.presence.attachToSocket(socket, { userId: 'd', track: false, watch: ['u', 'w'] });
    await world.clock.settle();
    await flap(world, 'u', 1);
    const u = await world.connect('u');
    await world.clock.settle();
    const shownOnline = updatesOf(socket).at(-1);
    u.close();
    (await world.connect('u')).close();
    attachment.watch(true);
    await world.clock.advance(2_000);
    expect([shownOnline, updatesOf(socket).at(-1)]).toEqual(['u online', 'u offline']);
  });

  it('that were kept back are not told to whoever attaches with their ids', async () => {
    const world = await router();
    await world.connect('first', { track: false, watch: true });
    await flap(world, 'u', 3);
    const socket = await world.connect('e', { track: false, watch: ['u'] });
    await world.clock.advance(2_000);
    expect(framesOf(socket).map(({ messageType }) => messageType)).toEqual([32]);
  });

  it('that are kept back are not lost to a client that goes on with its cursor', async () => {
    const world = await router({ authorizeWatch: () => true });
    const first = await world.connect('d', watcher);
    first.receive(watchFrame(true, undefined, 1));
    await world.clock.settle();
    await flap(world, 'u', 3);
    await world.connect('u'); // The seventh change is kept back.
    await world.connect('v');
    expect(updatesOf(first)).toEqual(['u online', 'u offline', 'u online', 'u offline', 'v online']);
    const { cursor } = framesOf(first).at(-1) as Frame;
    // All changes up to the sixth, and some up to the eighth: a router without the eighth would show older statuses.
    expect(cursor).toMatch(/\.6\.8$/);
    first.drop();
    const second = await world.connect('d', watcher);
    second.receive(watchFrame(true, cursor, 2));
    await world.clock.settle();
    expect(framesOf(second)[0]).toMatchObject({ messageType: 32, resumed: true });
    expect(framesOf(second)[0]?.users?.map(({ userId, status }) => `${userId} ${status}`)).toEqual(
      expect.arrayContaining(['u online', 'v online']),
    );
  });

  it('that were kept back are not told again to whoever has been shown them since', async () => {
    const world = await router({ authorizeWatch: () => true });
    const first = await world.connect('d', { track: false, watch: true });
    await flap(world, 'u', 3);
    const asks = await world.connect('d', watcher);
    asks.receive(watchFrame(true, undefined, 1));
    await world.clock.settle();
    const later = await world.connect('e', { track: false, watch: true });
    const shown = [asks.sent.length, later.sent.length];
    await world.clock.advance(1_100);
    expect([asks.sent.length, later.sent.length]).toEqual(shown);
    expect(updatesOf(first).at(-1)).toBe('u offline');
  });

  it('that were kept back are told with a cursor that has seen all', async () => {
    const world = await router({ authorizeWatch: () => true });
    const socket = await world.connect('d', watcher);
    socket.receive(watchFrame(true, undefined, 1));
    await world.clock.settle();
    await flap(world, 'u', 3);
    await world.connect('v');
    await world.clock.advance(1_100);
    const frames = framesOf(socket);
    expect(frames.at(-1)).toMatchObject({ fromId: 'u', status: 'offline', version: 6 });
    expect(frames.at(-1)?.cursor).toMatch(/\.7$/);
    await world.presence.close();
    expect(world.clock.timers).toBe(0);
  });
});

describe('a ping', () => {
  it('is a sign of life, and what is in it is obeyed by nobody', async () => {
    const { connect, clock } = await router({ authorizeWatch: () => true, ttlMs: 10_000, pingIntervalMs: false });
    const socket = await connect('d');
    for (let second = 0; second < 15; second += 1) {
      socket.emit('ping', Buffer.from(watchFrame(true, undefined, 1)));
      socket.emit('pong', Buffer.from(watchFrame(true, undefined, 1)));
      await clock.advance(1_000);
    }
    expect([socket.sent.length, socket.readyState]).toEqual([0, 1]);
  });
});

describe('credentials that end', () => {
  it('close the socket with 4001, as a drop with grace, and terminate it after five seconds', async () => {
    const world = await router();
    const { clock, lines } = world;
    const { socket, codes } = await closable(world, 'u', { expiresAt: clock.now() + 10_000, watch: true });
    await clock.advance(9_999);
    expect(codes).toEqual([]);
    await clock.advance(1);
    expect([codes, socket.readyState]).toEqual([[4001], 2]);
    await clock.advance(5_000);
    expect(socket.readyState).toBe(3);
    await clock.advance(2_900);
    expect(lines()).toEqual(['u online connect']);
    await clock.advance(200);
    expect(lines()).toEqual(['u online connect', 'u offline timeout']);
    expect(clock.timers).toBeGreaterThan(0);
    await world.presence.close();
    expect([clock.timers, socket.listenerCount('close')]).toEqual([0, 0]);
  });

  it('end later with new ones, or sooner, and not at all once the socket is detached', async () => {
    const world = await router();
    const { clock } = world;
    const later = await closable(world, 'later', { expiresAt: new Date(clock.now() + 1_000) });
    const sooner = await closable(world, 'sooner');
    const gone = await closable(world, 'gone', { expiresAt: clock.now() + 1_000 });
    later.attachment.expireAt(clock.now() + 100_000);
    sooner.attachment.expireAt(new Date(clock.now() + 500));
    await gone.attachment.detach();
    await clock.advance(99_999);
    expect([later.codes, sooner.codes, gone.codes]).toEqual([[], [4001], []]);
    await clock.advance(1);
    expect(later.codes).toEqual([4001]);
    gone.attachment.expireAt(clock.now() + 1);
    await clock.advance(10);
    expect(gone.codes).toEqual([]);
  });

  it('that have ended already close it at once; those of years to come wait', async () => {
    const world = await router();
    const past = await closable(world, 'past', { expiresAt: world.clock.now() - 1 });
    const far = await closable(world, 'far', { expiresAt: world.clock.now() + 10 * 365 * 86_400_000 });
    await world.clock.advance(100_000);
    expect([past.codes, far.codes]).toEqual([[4001], []]);
  });

  it('given in seconds, or as no time, are an error that says so', async () => {
    const { presence } = await router();
    const attach = (expiresAt: unknown) =>
      presence.attachToSocket(fakeSocket(), { userId: 'u', expiresAt: expiresAt as number });
    expect(() => attach(1_800_000_000)).toThrow('did you mean 1800000000000?');
    expect(() => attach('tomorrow')).toThrow('expiresAt is "tomorrow"; it is a Date, or milliseconds since the epoch');
    expect(() => attach(new Date('never'))).toThrow('expiresAt is');
    const attachment = attach(undefined);
    expect(() => attachment.expireAt(1_800_000_000)).toThrow(TypeError);
  });

  it('of ten thousand cost one timer', async () => {
    const { presence, clock } = await router({ pingIntervalMs: false });
    const before = clock.timers;
    for (let user = 0; user < 10_000; user += 1) {
      presence.attachToSocket(fakeSocket(), { userId: user, expiresAt: clock.now() + 1_000_000 + user });
    }
    await clock.settle();
    expect(clock.timers).toBeLessThanOrEqual(before + 3);
  });
});
