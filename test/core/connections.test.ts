import { describe, expect, it } from 'vitest';
import { createPresence, memoryStore } from 'voiceping-presence';
import { type FakeSocket, fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { watchFrame } from '../../src/client/codec';
import { router } from './world';

describe('a user', () => {
  it('is online from the first connection to the clean close of the last, with one event each', async () => {
    const { connect, lines, clock, status } = await router();
    const phone = await connect('u');
    const tablet = await connect('u');
    expect(await status('u')).toBe('online');
    phone.close();
    await clock.settle();
    expect(await status('u')).toBe('online');
    tablet.close(1001);
    await clock.settle();
    expect(await status('u')).toBe('offline');
    expect(lines()).toEqual(['u online connect', 'u offline disconnect']);
  });

  it('given as a number is its decimal string', async () => {
    const { connect, presence } = await router();
    await connect(42);
    expect(await presence.getStatuses([42, '42'])).toEqual({
      '42': { userId: '42', status: 'online', lastSeen: '2025-12-12T10:30:45.123Z' },
    });
  });

  it('who drops and is back within the grace makes no event', async () => {
    const { connect, lines, clock, status } = await router({ graceMs: 8_000 });
    (await connect('u')).drop();
    await clock.advance(5_000);
    expect(await status('u')).toBe('online');
    await connect('u');
    await clock.advance(60_000);
    expect(lines()).toEqual(['u online connect']);
  });

  it('who drops and stays away goes offline when the grace has run out, last seen when last heard', async () => {
    const { connect, lines, clock, presence, status } = await router({ graceMs: 8_000 });
    const phone = await connect('u');
    await clock.advance(3_000);
    phone.receive(Buffer.from([0xc0]));
    await clock.advance(2_000);
    phone.drop();
    await clock.advance(7_999);
    expect(await status('u')).toBe('online');
    await clock.advance(100);
    expect(lines()).toEqual(['u online connect', 'u offline timeout']);
    expect((await presence.getStatuses(['u']))['u']?.lastSeen).toBe('2025-12-12T10:30:48.123Z');
  });

  it('who closes cleanly was last seen then: a close frame is a frame', async () => {
    const { connect, clock, presence } = await router();
    const phone = await connect('u');
    await clock.advance(10_000);
    phone.close();
    expect((await presence.getStatuses(['u']))['u']?.lastSeen).toBe('2025-12-12T10:30:55.123Z');
  });

  it('who drops with a grace of 0 is offline at once', async () => {
    const { connect, lines, clock } = await router({ graceMs: 0 });
    (await connect('u')).drop();
    await clock.settle();
    expect(lines()).toEqual(['u online connect', 'u offline timeout']);
  });

  // The user closes the tablet while the phone is in a tunnel. The phone is back after 5 s, so no change may be published.
  it('with one device in its grace stays online when the other one closes', async () => {
    const { connect, lines, clock } = await router({ graceMs: 8_000 });
    const phone = await connect('u');
    const tablet = await connect('u');
    phone.drop();
    await clock.advance(1_000);
    tablet.close();
    await clock.advance(4_000);
    await connect('u');
    await clock.advance(60_000);
    expect(lines()).toEqual(['u online connect']);
  });

  it('whose device is back from its grace is offline at once after a clean close', async () => {
    const { connect, lines, clock } = await router({ graceMs: 8_000 });
    const tablet = await connect('u');
    (await connect('u')).drop();
    await clock.advance(1_000);
    const phone = await connect('u');
    tablet.close();
    phone.close();
    await clock.settle();
    expect(lines()).toEqual(['u online connect', 'u offline disconnect']);
  });

  it('on two routers that share a store is online until both have let go', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now });
    const [east, west] = [await router({ store }, clock), await router({ store }, clock)];
    const phone = await east.connect('u');
    const tablet = await west.connect('u');
    phone.close();
    await clock.settle();
    expect(await west.status('u')).toBe('online');
    tablet.close();
    await clock.settle();
    for (const { lines } of [east, west]) expect(lines()).toEqual(['u online connect', 'u offline disconnect']);
  });
});

describe('an attachment', () => {
  it('is ready once the store holds the connection', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now });
    const presence = createPresence({ clock, store });
    const attachment = presence.attachToSocket(fakeSocket(), { userId: 'u', deviceId: 'Pixel 9' });
    await attachment.ready;
    expect((await store.read(['u'])).users).toMatchObject([{ online: true }]);
    expect(attachment.userId).toBe('u');
    expect(attachment.connectionId).toContain(presence.nodeId);
    await presence.attachToSocket(fakeSocket(), { userId: 'dashboard', track: false }).ready;
  });

  it('detaches as by a clean close, resolves when the store knows, and leaves the socket open', async () => {
    const { presence, clock, lines, status } = await router();
    const socket = fakeSocket();
    const attachment = presence.attachToSocket(socket, { userId: 'u' });
    await attachment.ready;
    await attachment.detach();
    expect(await status('u')).toBe('offline');
    await attachment.detach();
    attachment.touch();
    attachment.watch(true);
    socket.emit('pong');
    await clock.settle();
    expect(lines()).toEqual(['u online connect', 'u offline disconnect']);
    expect(socket.readyState).toBe(1);
    expect(socket.sent).toEqual([]);
    expect(socket.eventNames()).toEqual([]);
  });

  it('that is one of two of a user detaches without waiting for anything', async () => {
    const { presence, connect, status } = await router();
    await connect('u');
    await presence.attachToSocket(fakeSocket(), { userId: 'u' }).detach();
    expect(await status('u')).toBe('online');
  });

  it('to a socket that is closing or closed does nothing', async () => {
    const { presence, clock, lines } = await router();
    for (const readyState of [2, 3]) {
      const socket = fakeSocket();
      socket.readyState = readyState;
      const attachment = presence.attachToSocket(socket, { userId: 'u', watch: true });
      await attachment.ready;
      attachment.touch();
      attachment.watch(['x']);
      await attachment.detach();
      expect(socket.eventNames()).toEqual([]);
    }
    await clock.settle();
    expect(lines()).toEqual([]);
  });

  it('replaces an earlier one of the same socket: for the same user nobody sees an event', async () => {
    const { presence, clock, lines, status } = await router();
    const socket = fakeSocket();
    const first = presence.attachToSocket(socket, { userId: 'u' });
    await clock.settle();
    presence.attachToSocket(socket, { userId: 'u', watch: ['x'] });
    await first.detach();
    await clock.settle();
    expect(lines()).toEqual(['u online connect']);
    expect(socket.listenerCount('message')).toBe(1);
    presence.attachToSocket(socket, { userId: 'v' });
    await clock.settle();
    expect([await status('u'), await status('v')]).toEqual(['offline', 'online']);
    socket.close();
    await clock.settle();
    expect(await status('v')).toBe('offline');
  });

  it('that is not tracked makes nobody online', async () => {
    const { connect, lines, clock, status } = await router();
    const dashboard = await connect('dispatcher', { track: false });
    expect(await status('dispatcher')).toBe('offline');
    dashboard.close();
    await clock.settle();
    expect(lines()).toEqual([]);
  });

  it('touches: a sign of life that the library cannot see', async () => {
    const { presence, clock, status } = await router({ ttlMs: 10_000 });
    const socket = fakeSocket();
    socket.answersPings = false;
    const attachment = presence.attachToSocket(socket, { userId: 'u' });
    for (let second = 0; second < 30; second += 5) {
      await clock.advance(5_000);
      attachment.touch();
    }
    expect(await status('u')).toBe('online');
  });

  it('leaves foreign listeners of its socket alone', async () => {
    const { presence, clock } = await router();
    const socket = fakeSocket();
    const heard: string[] = [];
    for (const event of ['message', 'ping', 'pong', 'close']) socket.on(event, () => heard.push(event));
    const attachment = presence.attachToSocket(socket, { userId: 'u' });
    await attachment.detach();
    presence.attachToSocket(socket, { userId: 'u' });
    await presence.close();
    for (const event of ['message', 'ping', 'pong', 'close']) {
      expect(socket.listenerCount(event)).toBe(1);
      socket.emit(event);
    }
    await clock.settle();
    expect(heard).toEqual(['message', 'ping', 'pong', 'close']);
  });
});

// Each presence added four listeners of its own, and at the eleventh Node warned of a leak.
describe('one socket attached to a dozen presences', () => {
  const counts = (socket: FakeSocket) =>
    ['message', 'ping', 'pong', 'close'].map((event) => socket.listenerCount(event));

  it('has one listener an event; all hear it, and those that let go do not disturb the others', async () => {
    const clock = fakeClock();
    const socket = fakeSocket();
    const tenants = await Promise.all(
      Array.from({ length: 12 }, () => router({ ttlMs: 60_000, authorizeWatch: () => false }, clock)),
    );
    const attachments = tenants.map(({ presence }) => presence.attachToSocket(socket, { userId: 'u' }));
    await clock.settle();
    expect(counts(socket)).toEqual([1, 1, 1, 1]);
    socket.receive(watchFrame(true, undefined, 1));
    await clock.settle();
    expect(socket.sent).toHaveLength(12);
    socket.answersPings = false;
    await clock.advance(40_000);
    socket.emit('ping');
    await clock.advance(40_000);
    socket.emit('pong');
    await clock.advance(40_000);
    for (const tenant of tenants) expect(await tenant.status('u')).toBe('online');

    for (const attachment of attachments.slice(0, 6)) await attachment.detach();
    expect(counts(socket)).toEqual([1, 1, 1, 1]);
    socket.close();
    await clock.settle();
    for (const { lines } of tenants) expect(lines()).toEqual(['u online connect', 'u offline disconnect']);
    expect(counts(socket)).toEqual([0, 0, 0, 0]);
  });

  it('is closed by all of them at once, and nothing is left', async () => {
    const clock = fakeClock();
    const socket = fakeSocket();
    const tenants = await Promise.all(Array.from({ length: 12 }, () => router({}, clock)));
    for (const { presence } of tenants) {
      presence.attachToSocket(socket, { userId: 'u', expiresAt: clock.now() + 1_000 });
    }
    socket.close = () => undefined;
    await clock.advance(2_000);
    expect(counts(socket)).toEqual([0, 0, 0, 0]);
    for (const { presence } of tenants) await presence.close();
    expect([socket.listenerCount('close'), clock.timers]).toEqual([0, 0]);
  });
});
