import { decode, encode } from '@msgpack/msgpack';
import { describe, expect, it } from 'vitest';
import { memoryStore, type PresenceStatus } from 'voiceping-presence';
import { type FakeSocket, fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { watchFrame } from '../../src/client/codec';
import { faultyStore } from './faulty-store';
import { router } from './world';

interface Frame {
  messageType: number;
  fromId?: string;
  status?: string;
  users?: PresenceStatus[];
  request?: number;
  part?: number;
  more?: boolean;
  resumed?: boolean;
  cursor?: string;
  error?: string;
  stale?: boolean;
  asOf?: string;
}
const framesOf = (socket: FakeSocket) => socket.frames as Frame[];
const last = (socket: FakeSocket) => framesOf(socket).at(-1);
const shown = (frame: Frame | undefined) => frame?.users?.map(({ userId, status }) => `${userId} ${status}`);
const dashboard = { track: false };

describe('PRESENCE_WATCH', () => {
  it('is refused where nobody says who may', async () => {
    const { connect, clock } = await router();
    const socket = await connect('d', dashboard);
    socket.receive(watchFrame(true, undefined, 1));
    await clock.settle();
    expect(framesOf(socket)).toEqual([
      { messageType: 33, error: 'this router takes no PRESENCE_WATCH', code: 'not-allowed', request: 1 },
    ]);
  });

  // Without the number, a client took the refusal of an older request for that of its latest one.
  it('says in each refusal which request it answers', async () => {
    const { connect, clock } = await router({
      authorizeWatch: () => false,
      maxWatchIds: 2,
      limits: { watchRequestBurst: 5 },
    });
    const socket = await connect('d', dashboard);
    const many = Array.from({ length: 5_000 }, (_, index) => `u${index}`);
    const frames = [
      encode({ messageType: 33, ids: ['a'], request: 1 }),
      encode({ messageType: 33, ids: many, request: 2 }),
      encode({ messageType: 33, ids: many, cursor: 'x'.repeat(2_000), request: 3 }),
      encode([0, 33, 0, '', { ids: [''], request: 4 }]),
      Buffer.concat([encode({ messageType: 33, request: 5, ids: [] }), Buffer.alloc(300_000)]),
      encode({ messageType: 33, ids: ['a'], request: 6 }),
    ];
    for (const frame of frames) {
      socket.receive(frame);
      await clock.settle();
    }
    const codes = ['not-allowed', 'too-many-ids', 'too-many-ids', 'malformed', 'malformed', 'too-many-requests'];
    expect(framesOf(socket)).toMatchObject(codes.map((code, index) => ({ code, request: index + 1 })));
  });

  it('an older one that is refused late is told by its own number, and undoes nothing', async () => {
    const { connect, clock } = await router({
      authorizeWatch: (_, ids) => ids !== true,
      limits: { watchRequestBurst: 2 },
    });
    const socket = await connect('d', dashboard);
    // The refusal waits until the socket is no longer slow.
    socket.bufferedAmount = 20_000;
    socket.receive(watchFrame(true, undefined, 1));
    await clock.settle();
    socket.receive(watchFrame(['a'], undefined, 2));
    await clock.settle();
    socket.bufferedAmount = 0;
    await clock.advance(100);
    expect(framesOf(socket).map((frame) => [frame.request, frame.messageType])).toEqual([
      [1, 33],
      [2, 32],
    ]);
    await connect('a');
    expect(last(socket)).toMatchObject({ messageType: 31, fromId: 'a' });
  });

  it('is answered no more once its attachment is detached, wherever it stood', async () => {
    const decisions: Array<(allowed: boolean) => void> = [];
    const world = await router({ authorizeWatch: () => new Promise((resolve) => decisions.push(resolve)) });
    const { presence, clock, connect } = world;
    for (let user = 0; user < 600; user += 1) void connect(`u${user}`);
    await clock.settle();
    const attach = (watch: boolean) => {
      const socket = fakeSocket();
      return { socket, attachment: presence.attachToSocket(socket, { userId: 'd', track: false, watch }) };
    };
    const [deciding, refused, waiting, halfShown] = [attach(false), attach(false), attach(false), attach(true)];
    for (const { socket } of [deciding, refused, waiting]) socket.receive(watchFrame(true, undefined, 1));
    waiting.socket.receive(watchFrame(['a'], undefined, 2));
    for (const { socket } of [refused, halfShown]) socket.bufferedAmount = 20_000;
    await clock.settle();
    decisions[1]?.(false);
    await clock.settle();
    const all = [deciding, refused, waiting, halfShown];
    await Promise.all(all.map(({ attachment }) => attachment.detach()));
    const before = all.map(({ socket }) => socket.sent.length);
    for (const decide of decisions) decide(true);
    for (const { socket } of all) {
      socket.bufferedAmount = 0;
      // Later requests are not answered either.
      socket.receive(watchFrame(true, undefined, 3));
    }
    await clock.advance(10_000);
    expect(all.map(({ socket }) => socket.sent.length)).toEqual(before);
  });

  it('asks whether this identity may watch these users, and only true lets it', async () => {
    const asked: unknown[] = [];
    const { connect, clock, errors } = await router({
      authorizeWatch: (identity, ids) => {
        asked.push([identity.userId, ids]);
        if (ids === true) return Promise.reject(new Error('the words of a database'));
        return ids[0] === 'a' ? true : ('yes' as never);
      },
    });
    const socket = await connect('d', dashboard);
    for (const ids of [['a', 'b'], ['b'], true] as const) {
      socket.receive(watchFrame(ids === true ? true : [...ids], undefined, 1));
      await clock.settle();
    }
    expect(asked).toEqual([
      ['d', ['a', 'b']],
      ['d', ['b']],
      ['d', true],
    ]);
    const [allowed, ...refused] = framesOf(socket);
    expect(shown(allowed)).toEqual(['a offline', 'b offline']);
    expect(refused.map(({ error }) => error)).toEqual(Array(2).fill('these users may not be watched'));
    expect(errors).toEqual([{ code: 'ERR_PRESENCE_CALLBACK', stage: 'authorize', userId: 'd' }]);
  });

  it('of too many ids, of none that are ids, or broken, is refused with the rule', async () => {
    const { connect, clock } = await router({ authorizeWatch: () => true, maxWatchIds: 3 });
    const socket = await connect('d', dashboard);
    for (const frame of [
      watchFrame(['1', '2', '3', '4'], undefined, 1),
      encode({ messageType: 33, ids: 'abc' }),
      encode({ messageType: 33 }),
      encode({ messageType: 33, ids: [''] }),
      encode({ messageType: 33, ids: [{}] }),
      encode({ messageType: 33, ids: true }).slice(0, -1),
      encode([1, 33, 'd', '', null]),
    ]) {
      const before = socket.sent.length;
      socket.receive(frame);
      await clock.settle();
      expect(socket.sent.length).toBe(before + 1);
      expect(last(socket)).toMatchObject({ messageType: 33, error: expect.stringMatching(/ids|an id is/) });
    }
    socket.receive(watchFrame(['1', '2', '3'], undefined, 1));
    await clock.settle();
    expect(last(socket)).toMatchObject({ messageType: 32 });
  });

  it('is understood in both dialects, and answered in that of the router', async () => {
    const { connect, clock } = await router({ authorizeWatch: () => true, wire: 'router' });
    await connect('a');
    const socket = await connect('d', dashboard);
    socket.receive(encode([0, 33, 'd', 0, { ids: ['a', 7] }]));
    await clock.settle();
    expect(last(socket)).toMatchObject([
      0,
      32,
      0,
      '',
      { users: [{ userId: 'a', status: 'online' }, { userId: '7' }], part: 0, more: false, resumed: false },
    ]);
    socket.receive(encode({ messageType: 33, ids: false }));
    await clock.settle();
    const before = socket.sent.length;
    (await connect('a')).close();
    expect(socket.sent.length).toBe(before);
  });

  // Client and router each counted requests. A first frame that arrived before there was a listener made the counts differ, and
  // the client took every answer for an old one: it never got a cursor, and never noticed that its connection was dead.
  it('is answered by the name that the client gave it, whatever came before', async () => {
    const { connect, clock } = await router({ authorizeWatch: () => true });
    const socket = await connect('d', dashboard);
    socket.receive(watchFrame(['a'], undefined, 7));
    socket.receive(encode({ messageType: 33, ids: ['b'], request: 'x' }));
    await clock.settle();
    socket.receive(watchFrame(['c'], undefined, 9));
    await clock.settle();
    expect(framesOf(socket).map((frame) => [shown(frame), frame.request])).toEqual([
      [['b offline'], undefined],
      [['c offline'], 9],
    ]);
    expect(framesOf(socket)[0]).not.toHaveProperty('request');
  });

  // The client was sent only the new users, as the start of a snapshot, and removed all others.
  it('is not undone where the router changes what such a client watches: all of it is shown', async () => {
    const { presence, clock } = await router({ authorizeWatch: () => true });
    const socket = fakeSocket();
    const attachment = presence.attachToSocket(socket, { userId: 'd', track: false });
    socket.receive(watchFrame(['a', 'b'], undefined, 1));
    await clock.settle();
    attachment.watch(['b', 'c']);
    await clock.settle();
    expect(shown(last(socket))).toEqual(['b offline', 'c offline']);
    expect(last(socket)).toMatchObject({ part: 0, more: false, resumed: false, cursor: expect.any(String) });
  });

  it('a newer one makes one that is still being decided moot', async () => {
    const decisions: Array<(allowed: boolean) => void> = [];
    const { connect, clock } = await router({
      authorizeWatch: () => new Promise((resolve) => decisions.push(resolve)),
    });
    const socket = await connect('d', dashboard);
    for (const [index, id] of ['old', 'newer', 'new'].entries()) socket.receive(watchFrame([id], undefined, index));
    await clock.settle();
    // One decision is made at a time, and then one for the latest request that waits.
    expect(decisions).toHaveLength(1);
    decisions[0]?.(true);
    await clock.settle();
    expect(decisions).toHaveLength(2);
    decisions[1]?.(true);
    await clock.settle();
    expect(framesOf(socket).map((frame) => [shown(frame), frame.request])).toEqual([[['new offline'], 2]]);
  });

  it('a large snapshot comes in numbered parts, and the last one says where to go on', async () => {
    const { connect, clock } = await router({ authorizeWatch: () => true });
    for (let user = 0; user < 1_001; user += 1) void connect(`u${user}`);
    await clock.settle();
    const socket = await connect('d', dashboard);
    socket.receive(watchFrame(true, undefined, 1));
    await clock.settle();
    expect(framesOf(socket).map(({ users, part, more, cursor }) => [users?.length, part, more, typeof cursor])).toEqual(
      [
        [500, 0, true, 'undefined'],
        [500, 1, true, 'undefined'],
        [1, 2, false, 'string'],
      ],
    );
  });
});

describe('who comes back with a cursor', () => {
  async function fleet() {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now });
    const options = { store, authorizeWatch: () => true, graceMs: 0 };
    const [east, west] = [await router(options, clock), await router(options, clock)];
    const ask = async (at: typeof east, ids: true | string[], cursor?: string) => {
      const socket = await at.connect('d', dashboard);
      socket.receive(watchFrame(ids, cursor, 1));
      await clock.settle();
      return socket;
    };
    return { clock, east, west, ask };
  }

  it.each([[true as const], [['a', 'b', 'c', 'd']]])(
    'is told only what has changed meanwhile, also on another router (%j)',
    async (ids) => {
      const { clock, east, west, ask } = await fleet();
      const phones = await Promise.all(['a', 'b', 'c'].map((userId) => east.connect(userId)));
      const first = await ask(east, ids);
      phones[0]?.close();
      await clock.settle();
      expect(last(first)).toMatchObject({ messageType: 31, fromId: 'a', status: 'offline' });
      const cursor = last(first)?.cursor;
      first.close();

      phones[1]?.close();
      await west.connect('d');
      await east.connect('a');
      (await east.connect('x')).close();
      const again = await ask(west, ids, cursor);
      const answer = last(again);
      expect(answer).toMatchObject({ messageType: 32, resumed: true, part: 0, more: false });
      const expected = ['a online', 'b offline', 'd online', ...(ids === true ? ['x offline'] : [])];
      expect(shown(answer)?.sort()).toEqual(expected);

      // Without a change, the snapshot is empty.
      const third = await ask(east, ids, answer?.cursor);
      expect(framesOf(third)).toEqual([
        { messageType: 32, users: [], request: 1, part: 0, more: false, resumed: true, cursor: answer?.cursor },
      ]);
    },
  );

  it.each([['x.1'], ['nonsense'], [''], ['.'], ['__proto__.1'], ['1.2.3']])(
    'from another time, or with a cursor that is none, is shown everything: %s',
    async (cursor) => {
      const { east, ask } = await fleet();
      await east.connect('a');
      expect(last(await ask(east, true, cursor))).toMatchObject({ resumed: false, users: [{ userId: 'a' }] });
    },
  );

  it('on a router that has begun to listen later is shown everything', async () => {
    const { clock, east, west, ask } = await fleet();
    await west.presence.close();
    const a = await east.connect('a');
    await east.connect('b');
    const { cursor = '' } = last(await ask(east, true)) ?? {};
    a.close();
    await clock.settle();
    const store = memoryStore({ now: clock.now });
    const other = await router({ store, authorizeWatch: () => true }, clock);
    expect(last(await ask(other, true, cursor))).toMatchObject({ resumed: false });
  });

  it('to a router that lags behind is told nothing older than it has seen', async () => {
    const clock = fakeClock();
    const shared = memoryStore({ now: clock.now });
    const east = await router({ store: shared, authorizeWatch: () => true }, clock);
    const lagging = {
      ...Object.fromEntries(
        (['beat', 'apply', 'refresh', 'release', 'read', 'list', 'count'] as const).map((name) => [
          name,
          (...args: never[]) => (shared[name] as (...args: never[]) => unknown)(...args),
        ]),
      ),
      subscribe: (feed: Parameters<typeof shared.subscribe>[0]) =>
        shared.subscribe({
          ...feed,
          onDue: (ms) => feed.onDue(ms),
          onGap: () => feed.onGap(),
          onTransition: (update, lastSeen) => {
            clock.setTimeout(() => feed.onTransition(update, lastSeen), 700);
          },
        }),
    } as unknown as typeof shared;
    const west = await router({ store: lagging, authorizeWatch: () => true }, clock);
    const a = await east.connect('a');
    await clock.advance(1_000);
    const first = await east.connect('d', dashboard);
    first.receive(watchFrame(true, undefined, 1));
    await clock.settle();
    a.close();
    await clock.settle();
    const { cursor = '' } = last(first) ?? {};
    const again = await west.connect('d', dashboard);
    again.receive(watchFrame(true, cursor, 1));
    await clock.settle();
    expect(again.sent).toEqual([]);
    await clock.advance(1_000);
    expect(framesOf(again)).toMatchObject([{ messageType: 32, resumed: true, users: [] }]);
  });
});

describe('a watcher that takes nothing', () => {
  it('holds little, whatever happens, and is told the newest of each user when it takes something again', async () => {
    const { connect, clock } = await router({ graceMs: 0 });
    const phones = await Promise.all(Array.from({ length: 2_000 }, (_, index) => connect(`u${index}`)));
    const slow = await connect('d', { track: false, watch: true });
    const before = slow.sent.length;
    slow.bufferedAmount = 60_000;
    for (const phone of phones) phone.close();
    await clock.settle();
    for (let index = 0; index < 1_000; index += 1) void connect(`u${index}`);
    await clock.advance(1_000);
    expect(slow.sent.length).toBe(before);
    slow.bufferedAmount = 0;
    await clock.advance(1_000);
    const view = new Map<string, string>();
    for (const { users = [], fromId, status } of framesOf(slow).slice(before)) {
      for (const user of users) view.set(user.userId, user.status);
      if (fromId !== undefined) view.set(fromId, String(status));
    }
    expect(view.size).toBe(2_000);
    for (const [userId, status] of view) expect(status).toBe(Number(userId.slice(1)) < 1_000 ? 'online' : 'offline');
    // Far fewer frames than the 3,000 changes.
    expect(slow.sent.length - before).toBeLessThan(300);
  });

  it('for half a minute is closed, with a code and a reason; others notice nothing', async () => {
    const { connect, clock, errors } = await router();
    const closed: unknown[] = [];
    const stuck = await connect('d', { track: false, watch: true });
    stuck.close = (code, reason?: string) => closed.push(code, reason) as never;
    const other = await connect('e', { track: false, watch: true });
    stuck.bufferedAmount = 60_000;
    await connect('a');
    await clock.advance(29_000);
    expect(closed).toEqual([]);
    await clock.advance(2_000);
    expect(closed).toEqual([4008, 'presence: too slow']);
    expect(stuck.readyState).toBe(1);
    await clock.advance(5_000);
    expect(closed).toEqual([4008, 'presence: too slow', 1006, undefined]);
    expect(errors).toMatchObject([{ code: 'ERR_PRESENCE_SOCKET', stage: 'send', userId: 'd' }]);
    expect(last(other)).toMatchObject({ fromId: 'a', status: 'online' });
  });
});

describe('while the store cannot be heard', () => {
  it('watchers are told since when, health says so, and after it the truth follows; nobody goes offline', async () => {
    const clock = fakeClock();
    const shared = faultyStore(clock.now);
    const { presence, connect, told } = await router(
      { store: shared.store, graceMs: 0, authorizeWatch: () => true },
      clock,
    );
    await connect('a');
    const socket = await connect('d', { track: false, watch: true });
    expect(presence.health()).toEqual({ status: 'ok', asOf: expect.any(String), problems: [] });
    const { asOf } = presence.health();
    shared.link.state = 'down';
    await clock.advance(6_000);
    expect(presence.health()).toMatchObject({
      status: 'stale',
      problems: [{ stage: 'beat', since: expect.any(String) }],
    });
    const since = presence.health().asOf;
    expect(since !== null && asOf !== null && since >= asOf).toBe(true);
    expect(last(socket)).toEqual({ messageType: 34, stale: true, asOf: since });
    const late = await connect('late', { track: false, watch: ['a'] });
    expect(framesOf(late)[0]).toEqual({ messageType: 34, stale: true, asOf: since });
    shared.link.state = 'up';
    await clock.advance(6_000);
    expect(presence.health()).toMatchObject({ status: 'ok', problems: [] });
    expect(last(socket)).toMatchObject({ messageType: 34, stale: false });
    expect(told.map(({ status }) => status)).toEqual(['online']);
    await presence.close();
    expect(presence.health()).toMatchObject({ status: 'closed' });
  });

  it('before it was ever heard there is nothing to be as of', async () => {
    const clock = fakeClock();
    const shared = faultyStore(clock.now);
    shared.link.state = 'down';
    const { presence, connect } = await router({ store: shared.store }, clock);
    await clock.advance(3_000);
    expect(presence.health()).toEqual({
      status: 'stale',
      asOf: null,
      problems: [
        {
          stage: 'beat',
          code: 'ERR_PRESENCE_STORE',
          message: 'the store failed: connect ECONNREFUSED',
          since: expect.any(String),
        },
      ],
    });
    const socket = await connect('d', { track: false, watch: true });
    expect(last(socket)).toMatchObject({ messageType: 34, stale: true });
  });
});

it('frames that ask are those that MessagePack has', () => {
  expect(decode(watchFrame(['a', 'ü€😀'], 'e.1', 1))).toEqual({
    messageType: 33,
    request: 1,
    ids: ['a', 'ü€😀'],
    cursor: 'e.1',
  });
  const many = Array.from({ length: 60_000 }, (_, index) => `user ${index}`);
  expect(decode(watchFrame(many, undefined, 1))).toEqual({ messageType: 33, request: 1, ids: many });
  expect(decode(watchFrame(true, undefined, 1))).toEqual({ messageType: 33, request: 1, ids: true });
});
