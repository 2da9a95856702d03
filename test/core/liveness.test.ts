import { describe, expect, it } from 'vitest';
import { memoryStore } from 'voiceping-presence';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { router } from './world';

const NIL = Buffer.from([0xc0]);

describe('liveness', () => {
  it('pings every interval by default, and a phone that answers stays online', async () => {
    const { connect, clock, status, lines } = await router();
    const phone = await connect('u');
    await clock.advance(20 * 120_000);
    expect(phone.pings).toBe(20);
    expect(await status('u')).toBe('online');
    expect(lines()).toEqual(['u online connect']);
  });

  it('sends no pings where the router sends its own', async () => {
    const { connect, clock, status } = await router({ pingIntervalMs: false });
    const phone = await connect('u');
    for (let minute = 0; minute < 20; minute += 2) {
      await clock.advance(120_000);
      phone.emit('pong');
    }
    expect(phone.pings).toBe(0);
    expect(await status('u')).toBe('online');
  });

  it('spreads the pings of sockets that came all at once', async () => {
    const { presence, clock } = await router({ ttlMs: 360_000, pingIntervalMs: 120_000 });
    const sockets = Array.from({ length: 1_200 }, () => fakeSocket());
    for (const [index, socket] of sockets.entries()) presence.attachToSocket(socket, { userId: index });
    const pings = () => sockets.reduce((sum, socket) => sum + socket.pings, 0);
    let most = 0;
    for (let second = 0; second < 120; second += 1) {
      const before = pings();
      await clock.advance(1_000);
      most = Math.max(most, pings() - before);
    }
    expect(pings()).toBe(1_200);
    expect(most).toBeLessThanOrEqual(20);
  });

  it.each([
    ['pong', (socket: ReturnType<typeof fakeSocket>) => socket.emit('pong', Buffer.alloc(0))],
    ['ping', (socket: ReturnType<typeof fakeSocket>) => socket.emit('ping', Buffer.alloc(0))],
    ['message', (socket: ReturnType<typeof fakeSocket>) => socket.receive(NIL)],
  ])('takes a %s for a sign of life', async (_name, give) => {
    const { connect, clock, status } = await router({ ttlMs: 75_000 });
    const phone = await connect('u');
    phone.answersPings = false;
    for (let round = 0; round < 10; round += 1) {
      await clock.advance(30_000);
      give(phone);
    }
    expect(await status('u')).toBe('online');
  });

  it('takes a frozen phone offline once the ttl has run out, at once, and terminates its socket', async () => {
    const { connect, clock, lines, status } = await router({ ttlMs: 75_000 });
    const phone = await connect('u');
    phone.answersPings = false;
    await clock.advance(74_999);
    expect(await status('u')).toBe('online');
    await clock.advance(2_000);
    expect(lines()).toEqual(['u online connect', 'u offline timeout']);
    expect(phone.readyState).toBe(3);
    await clock.advance(20_000);
    expect(lines()).toHaveLength(2);
  });

  it('brings a user back on a late pong, where dead sockets are not terminated', async () => {
    const { connect, clock, lines, status } = await router({ ttlMs: 75_000, terminateDeadSockets: false });
    const phone = await connect('u');
    phone.answersPings = false;
    await clock.advance(80_000);
    expect(await status('u')).toBe('offline');
    expect(phone.readyState).toBe(1);
    phone.emit('pong', Buffer.alloc(0));
    await clock.settle();
    expect(await status('u')).toBe('online');
    await clock.advance(80_000);
    expect(await status('u')).toBe('offline');
    phone.receive(NIL);
    await clock.settle();
    phone.close();
    await clock.settle();
    expect(lines()).toEqual([
      'u online connect',
      'u offline timeout',
      'u online connect',
      'u offline timeout',
      'u online connect',
      'u offline disconnect',
    ]);
  });

  it('keeps a user whose other device is alive', async () => {
    const { connect, clock, status } = await router({ ttlMs: 75_000 });
    const frozen = await connect('u');
    frozen.answersPings = false;
    await connect('u');
    await clock.advance(200_000);
    expect(frozen.readyState).toBe(3);
    expect(await status('u')).toBe('online');
  });

  // When a process resumes after a closed lid, a long garbage collection or a debugger, all phones seem to have been silent.
  it('does not take its own stall for the silence of phones', async () => {
    const { connect, clock, lines, status } = await router({ ttlMs: 75_000 });
    await connect('alive');
    const frozen = await connect('frozen');
    frozen.answersPings = false;
    await clock.jump(300_000);
    expect(await status('alive')).toBe('online');
    await clock.advance(80_000);
    expect(await status('alive')).toBe('online');
    expect(lines()).toEqual(['alive online connect', 'frozen online connect', 'frozen offline timeout']);
  });

  // The frames of the phone are unread in the kernel, and it answers the next ping. Half a ttl is enough for that.
  it.each([20_000, 300_000])('gives a phone time to be heard after a stall of %i ms', async (stall) => {
    const { connect, clock, lines } = await router({ ttlMs: 75_000 });
    const phone = await connect('u');
    phone.answersPings = false;
    await clock.advance(60_000);
    await clock.jump(stall);
    await clock.advance(20_000);
    phone.emit('pong', Buffer.alloc(0));
    await clock.advance(50_000);
    expect(lines()).toEqual(['u online connect']);
  });

  it('tells the store of signs of life, and keeps graces as long as they are, when the clock is set back', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now });
    const refreshed: string[] = [];
    const refresh = store.refresh.bind(store);
    store.refresh = async (node, signs) => {
      refreshed.push(...signs.map(({ userId }) => userId));
      return refresh(node, signs);
    };
    const { connect, lines } = await router({ store, graceMs: 8_000 }, clock);
    const phone = await connect('u');
    const dropped = await connect('dropped');
    const tablet = await connect('dropped');
    await clock.advance(1_000);
    dropped.drop();
    clock.set(clock.now() - 3_600_000);
    tablet.close();
    await clock.advance(9_000);
    expect(lines().slice(2)).toEqual(['dropped offline timeout']);
    for (let minute = 0; minute < 10; minute += 1) {
      await clock.advance(60_000);
      phone.emit('pong', Buffer.alloc(0));
    }
    expect(refreshed.length).toBeGreaterThanOrEqual(4);
  });

  // The router had called socket.removeAllListeners(), so presence did not receive the close.
  it('finds sockets that have closed unheard', async () => {
    const { connect, clock, lines, presence } = await router({ graceMs: 1_000 });
    const socket = await connect('u');
    const stripped = await connect('dash', { track: false, watch: true });
    for (const each of [socket, stripped]) {
      each.removeAllListeners();
      each.readyState = 3;
    }
    const timers = clock.timers;
    await clock.advance(122_000);
    expect(lines()).toEqual(['u online connect', 'u offline timeout']);
    expect(clock.timers).toBeLessThan(timers);
    expect(await presence.countOnline()).toBe(0);
  });

  it('brings a user back on the connection that wakes, also when another one has come and gone since', async () => {
    const { connect, clock, status } = await router({ ttlMs: 75_000, terminateDeadSockets: false });
    const sleeper = await connect('u');
    sleeper.answersPings = false;
    await clock.advance(80_000);
    const other = await connect('u');
    sleeper.emit('pong', Buffer.alloc(0));
    other.close();
    await clock.settle();
    expect(await status('u')).toBe('online');
    sleeper.readyState = 2;
    sleeper.answersPings = false;
    await clock.advance(80_000);
    sleeper.emit('pong', Buffer.alloc(0));
    await clock.settle();
    expect(await status('u')).toBe('offline');
  });

  it('survives a clock that is set forward or back', async () => {
    const { connect, clock, lines, status } = await router({ ttlMs: 75_000 });
    await connect('alive');
    const frozen = await connect('frozen');
    clock.set(clock.now() + 3_600_000);
    await clock.advance(200_000);
    clock.set(clock.now() - 7_200_000);
    await clock.advance(200_000);
    expect(lines()).toEqual(['alive online connect', 'frozen online connect']);
    frozen.answersPings = false;
    await clock.advance(110_000);
    expect([await status('alive'), await status('frozen')]).toEqual(['online', 'offline']);
  });

  it('moves last seen with each sign of life, at once for its own queries', async () => {
    const { connect, clock, presence } = await router();
    const phone = await connect('u');
    phone.answersPings = false;
    const seen = async () => (await presence.getStatuses(['u']))['u']?.lastSeen;
    expect(await seen()).toBe('2025-12-12T10:30:45.123Z');
    await clock.advance(10_000);
    expect(await seen()).toBe('2025-12-12T10:30:45.123Z');
    phone.emit('pong', Buffer.alloc(0));
    expect(await seen()).toBe('2025-12-12T10:30:55.123Z');
  });

  it('tells the store of a sign of life within one ping interval, however the phone talks', async () => {
    const { connect, clock, presence } = await router({ ttlMs: 360_000, pingIntervalMs: 120_000 });
    const phone = await connect('u');
    phone.answersPings = false;
    for (let second = 0; second < 240; second += 1) {
      await clock.advance(1_000);
      phone.receive(NIL);
      const { users } = await presence.listOnline();
      const age = clock.now() - Date.parse(users[0]?.lastSeen ?? '');
      expect(age).toBeLessThanOrEqual(120_000);
    }
  });

  it('reports a socket that throws, and goes on', async () => {
    const { connect, clock, errors, status } = await router({ ttlMs: 75_000 });
    const broken = await connect('broken');
    broken.ping = () => {
      throw new Error('not open');
    };
    broken.terminate = () => {
      throw new Error('nor this');
    };
    await connect('fine');
    await clock.advance(80_000);
    expect(await status('broken')).toBe('offline');
    expect(await status('fine')).toBe('online');
    expect(new Set(errors.map(({ stage, code, userId }) => `${stage} ${code} ${userId}`))).toEqual(
      new Set(['ping ERR_PRESENCE_SOCKET broken', 'terminate ERR_PRESENCE_SOCKET broken']),
    );
  });

  it('pings no socket that is closing', async () => {
    const { connect, clock, errors } = await router({ ttlMs: 75_000 });
    const closing = await connect('u');
    closing.readyState = 2;
    await clock.advance(30_000);
    expect(closing.pings).toBe(0);
    expect(errors).toEqual([]);
  });

  it('has one timer for all sockets, and none without any', async () => {
    const { presence, clock } = await router();
    const idle = clock.timers;
    const attachments = Array.from({ length: 100 }, (_, id) => presence.attachToSocket(fakeSocket(), { userId: id }));
    await clock.settle();
    expect(clock.timers).toBe(idle + 1);
    for (const attachment of attachments) await attachment.detach();
    expect(clock.timers).toBe(idle);
  });
});

describe('many sockets, of which some leave', () => {
  it('the others go on to be pinged, each once an interval, and nobody who has left', async () => {
    const { presence, clock } = await router({ ttlMs: 30_000, pingIntervalMs: 10_000 });
    const sockets = Array.from({ length: 60 }, () => fakeSocket());
    for (const [index, socket] of sockets.entries()) presence.attachToSocket(socket, { userId: index });
    // Several sockets of each slot of the wheel leave: the first ones, and others that were moved into their places.
    const leaving = sockets.filter((_, index) => index < 20 || (index >= 40 && index < 50));
    for (const socket of leaving) socket.close();
    const staying = sockets.filter((socket) => !leaving.includes(socket));
    for (const socket of sockets) socket.pings = 0;
    await clock.advance(10_000);
    expect(staying.map(({ pings }) => pings)).toEqual(staying.map(() => 1));
    expect(leaving.map(({ pings }) => pings)).toEqual(leaving.map(() => 0));
  });

  it('one that died is found although the clock was set back an hour since it was heard', async () => {
    const { connect, clock, lines } = await router({ ttlMs: 30_000, pingIntervalMs: 10_000 });
    const phone = await connect('u');
    phone.answersPings = false;
    clock.set(clock.now() - 3_600_000);
    await clock.advance(70_000);
    expect(lines()).toEqual(['u online connect', 'u offline timeout']);
  });
});
