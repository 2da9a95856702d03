import { decode } from '@msgpack/msgpack';
import { describe, expect, it } from 'vitest';
import { memoryStore, type PresenceStatus } from 'voiceping-presence';
import { type FakeSocket, fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { faultyStore } from './faulty-store';
import { router } from './world';

interface Frame {
  messageType: number;
  fromId?: string;
  status?: string;
  version?: number;
  users?: PresenceStatus[];
}

const framesOf = (socket: FakeSocket) => socket.frames as Frame[];
const updatesOf = (socket: FakeSocket) =>
  framesOf(socket)
    .filter(({ messageType }) => messageType === 31)
    .map(({ fromId, status }) => `${fromId} ${status}`);
const snapshotsOf = (socket: FakeSocket) =>
  framesOf(socket)
    .filter(({ messageType }) => messageType === 32)
    .map(({ users }) => (users ?? []).map(({ userId, status }) => `${userId} ${status}`));

const dashboard = (watch: boolean | string[]) => ({ track: false, watch });

describe('watching', () => {
  it('is off by default: a phone receives no presence frame', async () => {
    const { connect, clock } = await router();
    const phone = await connect('u');
    (await connect('v')).close();
    await clock.advance(10_000);
    expect(phone.sent).toEqual([]);
  });

  it('everybody: the online users first, then every change once', async () => {
    const { connect, clock } = await router();
    await connect('a');
    const b = await connect('b');
    const watcher = await connect('dash', dashboard(true));
    expect(snapshotsOf(watcher)).toEqual([['a online', 'b online']]);
    b.close();
    await connect('c');
    expect(updatesOf(watcher)).toEqual(['b offline', 'c online']);
    expect(framesOf(watcher)[0]?.users?.[0]).toEqual({
      userId: 'a',
      status: 'online',
      lastSeen: '2025-12-12T10:30:45.123Z',
    });
    watcher.close();
    await connect('d');
    await clock.settle();
    expect(updatesOf(watcher)).toHaveLength(2);
  });

  it('everybody while nobody is online: an empty snapshot', async () => {
    const { connect } = await router();
    expect(snapshotsOf(await connect('dash', dashboard(true)))).toEqual([[]]);
  });

  it('named ids: each of them, online or not, then only their changes', async () => {
    const { connect } = await router();
    await connect('a');
    const watcher = await connect('dash', dashboard(['a', '7', '__proto__']));
    expect(snapshotsOf(watcher)).toEqual([['a online', '7 offline', '__proto__ offline']]);
    await connect('other');
    await connect('__proto__');
    await connect(7);
    expect(updatesOf(watcher)).toEqual(['__proto__ online', '7 online']);
  });

  it('a list can be replaced at any time: a snapshot of the new ids, and no more of the old', async () => {
    const { presence, connect, clock } = await router();
    const a = await connect('a');
    await connect('b');
    const socket = fakeSocket();
    const attachment = presence.attachToSocket(socket, { userId: 'dash', track: false });
    await clock.settle();
    expect(socket.sent).toEqual([]);
    attachment.watch(['a']);
    await clock.settle();
    attachment.watch(['a', 'b']);
    await clock.settle();
    expect(snapshotsOf(socket)).toEqual([['a online'], ['b online']]);
    attachment.watch(['b']);
    a.close();
    await clock.settle();
    expect(updatesOf(socket)).toEqual([]);
    attachment.watch(true);
    await clock.settle();
    attachment.watch(true);
    await clock.settle();
    expect(snapshotsOf(socket).slice(2)).toEqual([['b online']]);
    attachment.watch(['b', 'never']);
    await clock.settle();
    expect(snapshotsOf(socket).slice(3)).toEqual([['b online', 'never offline']]);
    attachment.watch(false);
    await connect('c');
    expect(updatesOf(socket)).toEqual([]);
  });

  it('large snapshots come in frames of at most 500', async () => {
    const { presence, connect, clock } = await router();
    for (let id = 0; id < 1_234; id += 1) presence.attachToSocket(fakeSocket(), { userId: id });
    await clock.settle();
    const all = await connect('dash', dashboard(true));
    await clock.settle();
    const ids = Array.from({ length: 1_100 }, (_, id) => String(id));
    const named = await connect('dash', dashboard(ids));
    await clock.settle();
    expect(snapshotsOf(all).map(({ length }) => length)).toEqual([500, 500, 234]);
    expect(snapshotsOf(named).map(({ length }) => length)).toEqual([500, 500, 100]);
    expect(new Set(snapshotsOf(all).flat()).size).toBe(1_234);
  });

  // The store is read as "online", and an "offline" arrives meanwhile. In the opposite order, the dashboard would stay wrong.
  it('changes during the snapshot are in it or sent after it, never undone by it', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now });
    const { connect } = await router({ store }, clock);
    const leaves = await connect('leaves');
    const blinks = await connect('blinks');
    const read = store.read.bind(store);
    const gates: Array<() => void> = [];
    const open = async () => {
      for (const gate of gates.splice(0)) gate();
      await clock.settle();
    };
    store.read = async (ids) => {
      const answer = await read(ids);
      await new Promise<void>((resolve) => gates.push(resolve));
      return answer;
    };
    const all = await connect('all', dashboard(true));
    const named = await connect('named', dashboard(['leaves', 'blinks', 'comes']));
    leaves.close();
    blinks.close();
    await clock.settle();
    await connect('blinks');
    await connect('comes');
    expect([all.sent, named.sent]).toEqual([[], []]);
    await open();
    expect(snapshotsOf(named)).toEqual([['leaves offline', 'blinks online', 'comes online']]);
    expect(updatesOf(named)).toEqual([]);
    expect(snapshotsOf(all)).toEqual([['blinks online', 'comes online']]);
    expect(updatesOf(all)).toEqual(['leaves offline']);
  });

  // The feed is behind: the store already has a change that the feed has not received.
  it('shows what the feed has told, so that what follows is no news told twice, nor an old state', async () => {
    const clock = fakeClock();
    const { store } = faultyStore(clock.now);
    const { connect } = await router({ store }, clock);
    const late: Array<() => void> = [];
    const subscribe = store.subscribe;
    store.subscribe = (feed) =>
      subscribe({
        onTransition: (update, lastSeen) => late.push(() => feed.onTransition(update, lastSeen)),
        onGap: () => undefined,
        onDue: () => undefined,
        onLost: () => undefined,
        onError: () => undefined,
      });
    const other = await router({ store }, clock);
    await connect('u');
    const watcher = await other.connect('dash', dashboard(['u', 'never']));
    expect(snapshotsOf(watcher)).toEqual([['u offline', 'never offline']]);
    for (const tell of late.splice(0)) tell();
    expect(updatesOf(watcher)).toEqual(['u online']);
  });

  it('a snapshot that the store cannot give is given when it is back, and nothing is sent before it', async () => {
    const clock = fakeClock();
    const { store, link } = faultyStore(clock.now);
    const { connect, errors } = await router({ store }, clock);
    const phone = await connect('u');
    link.state = 'down';
    const watcher = await connect('dash', dashboard(['u']));
    await clock.advance(3_000);
    expect(watcher.sent).toEqual([]);
    expect(errors.map(({ stage }) => stage)).toContain('snapshot');
    phone.close();
    link.state = 'up';
    await clock.advance(3_000);
    expect(snapshotsOf(watcher)).toEqual([['u offline']]);
    expect(updatesOf(watcher)).toEqual([]);
  });

  it('a slow socket holds one update a user, the latest, and gets it when it drains', async () => {
    const { connect, clock } = await router({ limits: { updatesPerUserPerSecond: 1_000 } });
    const slow = await connect('dash', dashboard(true));
    const fast = await connect('dash', dashboard(true));
    slow.bufferedAmount = 100_000;
    for (let round = 0; round < 50; round += 1) {
      (await connect('u')).close();
      await clock.settle();
    }
    await connect('v');
    await clock.advance(1_000);
    expect(updatesOf(slow)).toEqual([]);
    expect(updatesOf(fast)).toHaveLength(101);
    slow.bufferedAmount = 0;
    await clock.advance(100);
    expect(updatesOf(slow)).toEqual(['u offline', 'v online']);
    await connect('w');
    expect(updatesOf(slow)).toEqual(['u offline', 'v online', 'w online']);
  });

  it('a snapshot waits for a slow socket, page by page', async () => {
    const { presence, clock } = await router();
    for (let id = 0; id < 1_200; id += 1) presence.attachToSocket(fakeSocket(), { userId: id });
    await clock.settle();
    const slow = fakeSocket();
    slow.send = (data) => {
      slow.sent.push(data);
      slow.bufferedAmount = 100_000;
    };
    presence.attachToSocket(slow, { userId: 'dash', track: false, watch: true });
    await clock.advance(1_000);
    expect(snapshotsOf(slow)).toHaveLength(1);
    slow.bufferedAmount = 0;
    await clock.advance(100);
    expect(snapshotsOf(slow)).toHaveLength(2);
    slow.bufferedAmount = 0;
    await clock.advance(100);
    expect(snapshotsOf(slow).flat()).toHaveLength(1_200);
  });

  it('what waits for a slow socket is dropped with the interest in it, and sent in order', async () => {
    const { presence, connect, clock } = await router();
    const slow = fakeSocket();
    const attachment = presence.attachToSocket(slow, { userId: 'dash', track: false, watch: ['a', 'b'] });
    await clock.settle();
    slow.bufferedAmount = 100_000;
    await connect('a');
    const b = await connect('b');
    attachment.watch(['b']);
    slow.bufferedAmount = 0;
    b.close();
    await clock.settle();
    expect(updatesOf(slow)).toEqual([]);
    await clock.advance(100);
    expect(updatesOf(slow)).toEqual(['b offline']);
  });

  // A pending snapshot was cancelled while an update waited for it, and nothing was sent after that.
  it('goes on when what it waited for is taken back', async () => {
    const clock = fakeClock();
    const { store, link } = faultyStore(clock.now);
    const { presence, connect } = await router({ store }, clock);
    const socket = fakeSocket();
    const attachment = presence.attachToSocket(socket, { userId: 'dash', track: false, watch: ['a'] });
    await clock.settle();
    const { read } = store;
    store.read = async () => {
      throw new Error('only reads fail');
    };
    attachment.watch(['a', 'b']);
    await clock.settle();
    const a = await connect('a');
    attachment.watch(['a']);
    await clock.settle();
    expect(updatesOf(socket)).toEqual(['a online']);
    a.close();
    await clock.settle();
    expect(updatesOf(socket)).toEqual(['a online', 'a offline']);
    store.read = read;
    expect(link.state).toBe('up');
  });

  it('sends no snapshot that was asked for before and is not wanted any more', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now });
    const { presence } = await router({ store }, clock);
    for (let id = 0; id < 1_200; id += 1) presence.attachToSocket(fakeSocket(), { userId: id });
    await clock.settle();
    const read = store.read.bind(store);
    const gates: Array<() => void> = [];
    store.read = async (ids) => {
      await new Promise<void>((resolve) => gates.push(resolve));
      return read(ids);
    };
    const open = async () => {
      for (const gate of gates.splice(0)) gate();
      await clock.settle();
    };
    const quiet = fakeSocket();
    const toQuiet = presence.attachToSocket(quiet, { userId: 'quiet', track: false, watch: true });
    const turning = fakeSocket();
    const toTurning = presence.attachToSocket(turning, { userId: 'turning', track: false, watch: true });
    await clock.settle();
    toQuiet.watch(false);
    toTurning.watch(['0']);
    toTurning.watch(true);
    for (let page = 0; page < 5; page += 1) await open();
    expect(quiet.sent).toEqual([]);
    expect(snapshotsOf(turning).flat()).toHaveLength(1_200);
    toTurning.watch(['0', '1']);
    await open();
    expect(snapshotsOf(turning).flat()).toHaveLength(1_202);
  });

  it('shows once what is asked for while a snapshot of it is under way', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now });
    const { presence, connect } = await router({ store }, clock);
    await connect('a');
    const read = store.read.bind(store);
    const gates: Array<() => void> = [];
    store.read = async (ids) => {
      await new Promise<void>((resolve) => gates.push(resolve));
      return read(ids);
    };
    const socket = fakeSocket();
    const attachment = presence.attachToSocket(socket, { userId: 'dash', track: false, watch: true });
    await clock.advance(10_000);
    attachment.watch(['a']);
    attachment.watch(['a', 'b']);
    for (let round = 0; round < 5; round += 1) {
      for (const gate of gates.splice(0)) gate();
      await clock.advance(6_000);
    }
    expect(snapshotsOf(socket)).toEqual([['a online', 'b offline']]);
  });

  it('a dashboard that detaches hears no more, and the next one hears all', async () => {
    const { presence, connect, clock } = await router();
    const socket = fakeSocket();
    const attachment = presence.attachToSocket(socket, { userId: 'dash', track: false, watch: true });
    await clock.settle();
    await attachment.detach();
    await connect('u');
    expect(updatesOf(socket)).toEqual([]);
    const next = await connect('dash', dashboard(true));
    await connect('v');
    expect(snapshotsOf(next)).toEqual([['u online']]);
    expect(updatesOf(next)).toEqual(['v online']);
  });

  it('a socket that is still connecting gets its snapshot when it is open', async () => {
    const { presence, connect, clock } = await router();
    await connect('u');
    const socket = fakeSocket();
    socket.readyState = 0;
    presence.attachToSocket(socket, { userId: 'dash', track: false, watch: true });
    await clock.advance(200);
    expect(socket.sent).toEqual([]);
    socket.readyState = 1;
    await clock.advance(100);
    expect(snapshotsOf(socket)).toEqual([['u online']]);
  });

  it('a slow dashboard leaves no timer behind when the presence is closed', async () => {
    const { presence, connect, clock } = await router();
    const slow = await connect('dash', dashboard(true));
    slow.bufferedAmount = 100_000;
    await connect('u');
    await presence.close();
    expect(clock.timers).toBe(0);
  });

  it('one that is being cut leaves no timer behind, is waited for no longer, and has its grace', async () => {
    const { presence, connect, clock, lines } = await router();
    const stuck = await connect('dash', { watch: true });
    stuck.bufferedAmount = 100_000;
    const close = stuck.close.bind(stuck);
    // The close frame cannot be sent.
    let isCut = false;
    stuck.close = (code) => {
      if (code === 4008) isCut = true;
      else close(code);
    };
    await connect('u');
    await clock.advance(31_000);
    expect(isCut).toBe(true);
    await presence.close();
    await clock.settle();
    expect(clock.timers).toBe(0);
    expect(lines()).toEqual(['dash online connect', 'u online connect', 'u offline disconnect']);
    expect(stuck.readyState).toBe(3);
  });

  // The dashboard kept showing users as online although it no longer received their changes.
  it('a dashboard on a router that closes is told that what it shows is from then', async () => {
    const { presence, connect, clock } = await router();
    const watchers = [await connect('dash', dashboard(true)), await connect('slow', dashboard(true))];
    await connect('u');
    (watchers[1] as FakeSocket).bufferedAmount = 100_000;
    await presence.close();
    await clock.settle();
    for (const { frames, readyState } of watchers) {
      expect(frames.at(-1)).toMatchObject({ messageType: 34, stale: true });
      expect(readyState).toBe(1);
    }
  });

  it('encodes an update once, whatever the number of watchers', async () => {
    const { connect, clock } = await router();
    const watchers = [];
    for (let id = 0; id < 5; id += 1) watchers.push(await connect(`dash-${id}`, dashboard(true)));
    watchers.push(await connect('dash-ids', dashboard(['u'])));
    await connect('u');
    await clock.settle();
    const frames = watchers.map(({ sent }) => sent[1]);
    expect(decode(frames[0] as Uint8Array)).toMatchObject({ messageType: 31, fromId: 'u' });
    for (const frame of frames) expect(frame).toBe(frames[0]);
  });

  it('reports a socket that throws on send, passes by one that is closing, and serves the others', async () => {
    const { connect, errors } = await router();
    const broken = await connect('broken', dashboard(true));
    broken.send = () => {
      throw new Error('EPIPE');
    };
    const closing = await connect('closing', dashboard(true));
    closing.readyState = 2;
    const fine = await connect('fine', dashboard(true));
    await connect('u');
    expect(updatesOf(fine)).toEqual(['u online']);
    expect(updatesOf(closing)).toEqual([]);
    expect(errors).toEqual([{ code: 'ERR_PRESENCE_SOCKET', stage: 'send', userId: 'broken' }]);
  });

  it('speaks the arrays of the existing router with wire: router', async () => {
    const { connect } = await router({ wire: 'router' });
    await connect('a');
    const watcher = await connect('dash', dashboard(['a', 'never']));
    const at = Date.parse('2025-12-12T10:30:45.123Z');
    (await connect('b')).close();
    await connect('never');
    expect(watcher.frames).toEqual([
      [
        0,
        32,
        0,
        '',
        {
          users: [
            { userId: 'a', status: 'online', lastSeen: at },
            { userId: 'never', status: 'offline', lastSeen: 0 },
          ],
          timestamp: at,
          totalOnline: 1,
        },
      ],
      [
        0,
        31,
        0,
        'broadcast',
        {
          type: 'presence_update',
          userId: 'never',
          status: 'online',
          timestamp: at,
          lastSeen: at,
          version: 4,
          reason: 'connect',
        },
      ],
    ]);
  });
});
