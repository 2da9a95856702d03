import { encode } from '@msgpack/msgpack';
import { describe, expect, it, vi } from 'vitest';
import type { Connection, PresenceStatus } from 'voiceping-presence/client';
import { random } from '../random';
import { ISO, known, pass, playing } from './playing';

// The client against a router that a test plays, on a clock of its own.

const { start, live } = playing();
const gaps = (times: readonly number[]) => times.slice(1).map((at, index) => at - (times[index] as number));
describe('how often a client asks', () => {
  it('is at once, and then twice a second for the latest, however often it is told to watch others', async () => {
    const { router, client } = start({ ids: [] });
    router.socket.open();
    const { requests } = router.socket;
    expect(requests.map(({ ids }) => ids)).toEqual([[]]);
    router.socket.answer();
    await pass(10_000);
    const from = Date.now();
    for (let row = 0; row < 300; row += 1) {
      client.watch([`u${row}`, `u${row + 1}`]);
      await pass(10);
    }
    await pass(2_000);
    expect(requests[1]).toMatchObject({ ids: ['u0', 'u1'], at: from });
    expect(requests.slice(1).length).toBe(7);
    expect(Math.min(...gaps(requests.map(({ at }) => at)))).toBeGreaterThanOrEqual(500);
    expect(router.socket.last.ids).toEqual(['u299', 'u300']);
    expect(new Set(requests.map(({ request }) => request)).size).toBe(requests.length);
  });

  it('is once for components that mount together', async () => {
    const { router, client } = start({ ids: [] });
    for (let row = 0; row < 50; row += 1) client.watch([`u${row}`]);
    router.socket.open();
    expect(router.socket.requests.map(({ ids }) => ids)).toEqual([['u49']]);
    for (let row = 0; row < 50; row += 1) client.watch([`v${row}`]);
    await pass(5_000);
    expect(router.socket.requests.map(({ ids }) => ids)).toEqual([['u49'], ['v49']]);
  });

  it('counts probes too, and drops no link whose answer could not come yet', async () => {
    const { router, client, states } = start({ probeMs: 60, ids: ['a'] });
    router.socket.open();
    router.socket.answer();
    for (let round = 0; round < 300; round += 1) {
      const { length } = router.socket.requests;
      await pass(10);
      if (router.socket.requests.length > length) router.socket.answer();
      if (round === 150) client.watch(['b']);
    }
    expect(router.sockets).toHaveLength(1);
    expect(states).toEqual(['live']);
    const times = router.socket.requests.map(({ at }) => at);
    expect(times.length).toBeGreaterThan(4);
    expect(Math.min(...gaps(times))).toBeGreaterThanOrEqual(500);
    // It still notices one that is dead.
    await pass(1_500);
    expect(states.slice(0, 2)).toEqual(['live', 'offline']);
  });

  it('is counted for each connection: a new one is asked at once, for the latest, and once', async () => {
    const { router, client } = await live({ ids: ['a'], minBackoffMs: 1 });
    client.watch(['b']);
    client.watch(['c']);
    router.socket.end();
    client.watch(['d']);
    await pass(1);
    expect(router.sockets).toHaveLength(2);
    client.watch(['e']);
    const at = Date.now();
    router.socket.open();
    expect(router.socket.requests).toEqual([{ messageType: 33, ids: ['e'], request: expect.any(Number), at }]);
    client.watch(['f']);
    await pass(499);
    expect(router.socket.requests).toHaveLength(1);
    await pass(1);
    expect(router.socket.last.ids).toEqual(['f']);
    await pass(5_000);
    expect(router.socket.requests).toHaveLength(2);
  });

  // With a cursor that knows those watched before, the router would show of the others only who changes.
  it.each([undefined, 'its own'])(
    'an answer that comes while another request waits gives that no cursor (%s)',
    async (name) => {
      const { router, client } = start({ ids: ['a'] });
      router.socket.open();
      const { request } = router.socket.last;
      client.watch(['b']);
      router.socket.say({
        messageType: 32,
        users: [{ userId: 'a', status: 'online', lastSeen: null }],
        request: name && request,
        part: 0,
        more: false,
        resumed: false,
        cursor: 'e.9',
      });
      expect(known(client)).toEqual(['a online']);
      await pass(500);
      expect(router.socket.last).toEqual({ messageType: 33, ids: ['b'], request: request + 1, at: Date.now() });
    },
  );
});

describe.each([
  ['guide', (fields: object) => ({ messageType: 33, ...fields })],
  ['router', (fields: object) => [0, 33, 0, '', fields]],
] as const)('a refusal in the dialect %s', (_, refusal) => {
  it('is shown, with its code, until what is asked is granted', async () => {
    const { router, client } = await live({ ids: ['a'] });
    client.watch(['b']);
    const { request } = router.socket.last;
    router.socket.say(refusal({ error: 'these users may not be watched', code: 'not-allowed', request }));
    expect(client.connection).toMatchObject({
      state: 'live',
      refused: 'these users may not be watched',
      refusedCode: 'not-allowed',
    });
    // Nor does it ask again by itself.
    await pass(29_000);
    expect(router.socket.requests).toHaveLength(2);
    // Of those it watches still: not what was refused.
    router.socket.say({
      messageType: 32,
      users: [],
      request: request - 1,
      part: 0,
      more: false,
      resumed: true,
      cursor: 'e.2',
    });
    expect(client.connection.refusedCode).toBe('not-allowed');
    router.socket.say({ messageType: 34, stale: true, asOf: ISO });
    expect(client.connection).toMatchObject({ state: 'stale', asOf: ISO, refusedCode: 'not-allowed' });
    router.socket.say({ messageType: 34, stale: false, asOf: ISO });
    expect(client.connection).toMatchObject({ state: 'live', refusedCode: 'not-allowed' });
    client.watch(['a']);
    router.socket.answer();
    expect(client.connection.refused).toBeUndefined();
    expect(client.connection.refusedCode).toBeUndefined();
  });

  it('of an older router has no code, and no request', async () => {
    const { router, client } = start();
    router.socket.open();
    router.socket.say(refusal({ error: 'no' }));
    expect(client.connection).toEqual({ state: 'connecting', asOf: null, refused: 'no', refusedCode: undefined });
  });

  it('of an earlier request is passed by, sent or not', async () => {
    const { router, client } = await live({ ids: ['a'] });
    const { request } = router.socket.last;
    client.watch(['b']);
    for (const code of ['not-allowed', 'too-many-requests', 'timeout', undefined]) {
      router.socket.say(refusal({ error: 'no', code, request }));
    }
    // The next waits: what an older router refuses now is not what it will be asked.
    client.watch(['c']);
    router.socket.say(refusal({ error: 'no' }));
    router.socket.say(refusal({ error: 'no', code: 'timeout' }));
    expect(client.connection.refused).toBeUndefined();
    await pass(500);
    expect(router.socket.last.ids).toEqual(['c']);
  });

  it.each(['too-many-requests', 'timeout'])('for %s is not shown: it asks again, later each time', async (code) => {
    const { router, client, states } = start();
    router.socket.open();
    const { requests } = router.socket;
    const refuse = () => router.socket.say(refusal({ error: 'later', code, request: router.socket.last.request }));
    for (let times = 0; times < 8; times += 1) {
      refuse();
      const { length } = requests;
      for (let waited = 0; requests.length === length && waited < 60_000; waited += 50) await pass(50);
    }
    const waits = gaps(requests.map(({ at }) => at));
    expect(waits).toHaveLength(8);
    for (const [index, wait] of waits.entries()) {
      const least = Math.min(15_000, 1_000 * 2 ** index);
      expect(wait).toBeGreaterThanOrEqual(least);
      // It is looked at every 50 ms.
      expect(wait).toBeLessThanOrEqual(2 * least + 50);
    }
    // Those who were refused together do not come back together.
    expect(waits[6]).not.toBe(waits[7]);
    expect(states).toEqual([]);
    expect(client.connection.refused).toBeUndefined();
    router.socket.answer();
    expect(states).toEqual(['live']);
    // From the start again.
    client.watch(['a']);
    await pass(500);
    refuse();
    const { length } = requests;
    await pass(2_000);
    expect(requests).toHaveLength(length + 1);
    expect(router.sockets).toHaveLength(1);
  });

  it('for too many requests holds back whatever else would be asked', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0);
    const { router, client } = await live({ ids: ['a'] });
    client.watch(['b']);
    const { request } = router.socket.last;
    const { length } = router.socket.requests;
    router.socket.say(refusal({ error: 'later', code: 'too-many-requests', request }));
    for (let times = 0; times < 19; times += 1) {
      await pass(50);
      client.watch([`c${times}`]);
      // One that goes on refusing does not put it off for ever.
      router.socket.say(refusal({ error: 'later', code: 'too-many-requests' }));
    }
    expect(router.socket.requests).toHaveLength(length);
    await pass(50);
    expect(router.socket.requests).toHaveLength(length + 1);
    expect(router.socket.last.ids).toEqual(['c18']);
  });

  it('for too many requests holds back nothing on another connection', async () => {
    const { router } = start({ minBackoffMs: 1 });
    router.socket.open();
    router.socket.say(refusal({ error: 'later', code: 'too-many-requests', request: router.socket.last.request }));
    router.socket.end();
    await pass(1);
    router.socket.open();
    expect(router.socket.requests).toHaveLength(1);
  });
});

describe('a router that closes the connection', () => {
  it('for too many requests (4029) is left alone for longer each time, though each connection opens', async () => {
    const { router, client } = start({ minBackoffMs: 1 });
    const closedAt: number[] = [];
    for (let times = 0; times < 7; times += 1) {
      router.socket.open();
      router.socket.answer();
      await pass(20);
      closedAt.push(Date.now());
      router.socket.end(4029, 'presence: too many requests');
      expect(client.connection).toMatchObject({ state: 'offline', refused: undefined });
      const { length } = router.sockets;
      for (let waited = 0; router.sockets.length === length && waited < 60_000; waited += 50) await pass(50);
    }
    const waits = router.connectedAt.slice(1).map((at, index) => at - (closedAt[index] as number));
    expect(waits).toHaveLength(7);
    for (const [index, wait] of waits.entries()) {
      const least = Math.min(15_000, 1_000 * 2 ** index);
      expect(wait).toBeGreaterThanOrEqual(least);
      // It is looked at every 50 ms.
      expect(wait).toBeLessThanOrEqual(2 * least + 50);
    }
    // Forgiven after a minute in which it did nothing wrong.
    router.socket.open();
    router.socket.answer();
    for (let times = 0; times < 7; times += 1) {
      await pass(10_000);
      router.socket.say({ messageType: 34, stale: false, asOf: ISO });
    }
    router.socket.end(4029);
    const { length } = router.sockets;
    await pass(2_000);
    expect(router.sockets).toHaveLength(length + 1);
  });

  it('for too many requests is not hurried by a network that is there again', async () => {
    let online: (() => void) | undefined;
    vi.stubGlobal('addEventListener', (_: string, listener: () => void) => {
      online = listener;
    });
    vi.stubGlobal('removeEventListener', (_: string, listener: () => void) => {
      if (online === listener) online = undefined;
    });
    const { router, client } = await live({ minBackoffMs: 10_000 });
    router.socket.end(4029);
    online?.();
    await pass(999);
    expect(router.sockets).toHaveLength(1);
    await pass(20_000);
    expect(router.sockets).toHaveLength(2);
    router.socket.end(1006);
    online?.();
    expect(router.sockets).toHaveLength(3);
    client.close();
    expect(online).toBeUndefined();
  });

  it.each([
    ['its reason', 'presence: not identified', 'presence: not identified'],
    ['the rule, where there is none', '', 'this client is not allowed'],
    ['no more of it than fits', 'x'.repeat(5_000), 'x'.repeat(256)],
    ['the rule, where it is no text', { toString: 1 } as never, 'this client is not allowed'],
  ])('because the client is not allowed (1008) does not see it again; refused is %s', async (_, reason, refused) => {
    const { router, client, states } = await live({ minBackoffMs: 1 });
    client.watch(['a']);
    client.watch(['b']);
    router.socket.end(1008, reason);
    expect(client.connection).toMatchObject({ state: 'closed', refused, refusedCode: 'not-allowed' });
    expect(client.connection.asOf).toMatch(/^20/);
    expect(vi.getTimerCount()).toBe(0);
    await pass(600_000);
    client.watch(['c']);
    client.close();
    expect(router.sockets).toHaveLength(1);
    expect(states).toEqual(['live', 'closed']);
    expect(client.connection.refused).toBe(refused);
  });

  it.each([1000, 1001, 1006, 1011, 4001, 4008, undefined])('with %s sees it again', async (code) => {
    const { router, states } = await live({ minBackoffMs: 100 });
    if (code === undefined) router.socket.onclose?.();
    else router.socket.end(code, 'x');
    await pass(100);
    expect(states).toEqual(['live', 'offline', 'connecting']);
    router.socket.open();
    expect(router.socket.last.cursor).toBe('e.1');
  });

  it('sees nothing of a client that is closed by whoever hears that it connects again', async () => {
    const { router, client, states } = await live({ minBackoffMs: 1 });
    client.onConnectionChange(({ state }) => {
      if (state === 'connecting') client.close();
    });
    router.socket.end();
    await pass(60_000);
    expect(router.sockets).toHaveLength(1);
    expect(states.at(-1)).toBe('closed');
  });
});

describe('a router that means no good', () => {
  const junk: ReadonlyArray<[string, unknown]> = [
    ['a refusal whose error is an object', { messageType: 33, error: { toString: 1 } }],
    ['a refusal whose error is a list', [0, 33, 0, '', { error: [[]] }]],
    ['a cursor that is an object', { messageType: 32, users: [], part: 0, more: false, cursor: { toString: 1 } }],
    ['a cursor of 200 kB', { messageType: 32, users: [], part: 0, more: false, cursor: 'x'.repeat(200_000) }],
    ['an update whose version is no number', { messageType: 31, fromId: 'a', status: 'online', version: Number.NaN }],
    ['a status that is none', { messageType: 31, fromId: 'a', status: '<b>', version: 99 }],
    ['a time that is none', { messageType: 34, stale: true, asOf: 'never' }],
    [
      'a snapshot of one user, and one who is none',
      { messageType: 32, users: [{ userId: 'c', status: 'online' }, 'd'] },
    ],
  ];

  it.each(junk)('changes nothing, and ends nothing, by %s', async (_, frame) => {
    const { router, client, states } = await live({ probeMs: 1_000 });
    router.socket.say({ messageType: 31, fromId: 'a', status: 'offline', timestamp: ISO, version: 5, cursor: 'e.5' });
    const { connection } = client;
    const changes: unknown[] = [];
    client.onChange((changed) => changes.push(...changed));
    router.socket.say(frame);
    // Older than what it knows: where NaN has been taken, this is newer.
    router.socket.say({ messageType: 31, fromId: 'a', status: 'online', timestamp: ISO, version: 4, cursor: 'e.5' });
    expect(changes).toEqual([]);
    expect(client.connection).toBe(connection);
    expect(known(client)).toEqual(['a offline']);
    // The next request is as if it had not been.
    await pass(1_000);
    expect(router.socket.last.cursor).toBe('e.5');
    expect(states).toEqual(['live']);
  });

  it.each(['3000000000', 'text', new Blob(['x']), null])(
    'changes nothing by data that are no bytes: %s',
    async (data) => {
      const { router, client } = await live();
      const { connection } = client;
      router.socket.deliver(data);
      expect(client.connection).toBe(connection);
      expect(known(client)).toEqual([]);
    },
  );

  it.each<[string, unknown]>([
    ...junk,
    ['text', 'text'],
    ['noise', Uint8Array.of(1, 2, 3)],
    ['frames of others', { messageType: 5, fromId: 'a' }],
  ])('keeps no dead link alive by %s', async (_, frame) => {
    const { router, states } = await live({ probeMs: 1_000, minBackoffMs: 1 });
    for (let times = 0; times < 20 && router.sockets.length === 1; times += 1) {
      if (typeof frame === 'string' || frame instanceof Uint8Array) router.socket.deliver(frame);
      else router.socket.say(frame);
      await pass(100);
    }
    expect(states).toEqual(['live', 'offline', 'connecting']);
  });

  it('fills no memory with users whom nobody watches', async () => {
    const { router, client } = start({ ids: ['a', 'b'] });
    router.socket.open();
    router.socket.answer([
      ['a', 'online'],
      ['b', 'offline'],
      ['x', 'online'],
    ]);
    const changes: unknown[] = [];
    client.onChange((changed) => changes.push(...changed));
    for (let user = 0; user < 1_000; user += 1) {
      router.socket.say({
        messageType: 31,
        fromId: `u${user}`,
        status: 'online',
        timestamp: ISO,
        version: user + 9,
        cursor: 'u',
      });
      router.socket.say({ messageType: 32, users: [{ userId: `v${user}`, status: 'online', lastSeen: null }] });
      router.socket.say([
        0,
        32,
        0,
        '',
        { users: [{ userId: `w${user}`, status: 'online', lastSeen: 0 }], part: 1, more: true },
      ]);
    }
    expect(known(client)).toEqual(['a online', 'b offline']);
    expect(changes).toEqual([]);
    router.socket.say({ messageType: 31, fromId: 'b', status: 'online', timestamp: ISO, version: 9_999 });
    expect(known(client)).toEqual(['a online', 'b online']);
  });

  it('finds the rules kept whatever it makes of true frames', async () => {
    const dice = random();
    console.log(`seed ${dice.seed}`);
    const watched = ['a', 'b', 'c'];
    const { router, client } = start({ ids: watched, minBackoffMs: 1, probeMs: 1_000 });
    const user = () => ({
      userId: dice.pick(['a', 'b', 'c', 'x']),
      status: dice.pick(['online', 'offline']),
      lastSeen: dice.pick([null, ISO]),
    });
    const fields = () =>
      dice.pick<() => [number, object]>([
        () => [31, { ...user(), timestamp: ISO, version: dice.below(1_000), cursor: 'e.1' }],
        () => [
          32,
          {
            users: [user(), user()],
            request: router.socket.last?.request,
            part: dice.below(2),
            more: dice.chance(0.3),
            resumed: dice.chance(0.5),
            cursor: 'e.2',
          },
        ],
        () => [33, { error: 'no', code: dice.pick(['not-allowed', 'timeout']), request: router.socket.last?.request }],
        () => [34, { stale: dice.chance(0.5), asOf: ISO }],
      ])();
    const values = [{ toString: 1 }, [], Number.NaN, -1, 2 ** 60, '', 'x'.repeat(10_000), null, true];
    const isTime = (time: string | null) => time === null || new Date(time).toISOString() === time;
    const isRight = ({ state, asOf, refused = '', refusedCode = '' }: Connection) =>
      /^(connecting|live|stale|offline)$/.test(state) && isTime(asOf) && refused.length + refusedCode.length <= 512;
    const isUser = ({ userId, status, lastSeen }: PresenceStatus) =>
      watched.includes(userId) && /^(online|offline)$/.test(status) && isTime(lastSeen);
    const problems: unknown[] = [];
    let kept = 0;
    client.onChange((changed) => {
      kept += changed.length;
    });
    for (let round = 0; round < 10_000; round += 1) {
      if (router.socket.readyState === 0) router.socket.open();
      if (router.socket.readyState === 3) {
        await pass(3_000);
        continue;
      }
      const [type, body] = fields();
      const name = dice.pick(Object.keys(body));
      const changed = dice.chance(0.4) ? { ...body, [name]: dice.pick(values) } : body;
      const frame = dice.chance(0.5) ? { messageType: type, ...changed } : [0, type, 0, '', changed];
      const bytes = Uint8Array.from(encode(frame));
      if (dice.chance(0.4)) bytes[dice.below(bytes.length)] = dice.below(256);
      router.socket.deliver(dice.chance(0.1) ? bytes.subarray(0, dice.below(bytes.length)) : bytes);
      if (dice.chance(0.01)) router.socket.end(dice.pick([1006, 4029, 4008]));
      if (dice.chance(0.05)) await pass(dice.below(3_000));
      const { connection } = client;
      const users = client.getAll();
      if (!isRight(connection) || !users.every(isUser)) problems.push({ frame, connection, users });
    }
    expect(problems).toEqual([]);
    expect(kept).toBeGreaterThan(500);
  });
});

describe('the answer of statusUrl', () => {
  const answering = async (answer: () => unknown, ids = ['a', 'b']) => {
    const asked = vi.fn(async () => answer());
    vi.stubGlobal('fetch', asked);
    const started = start({ ids, statusUrl: 'http://router/api/presence/status', token: 'secret' });
    const changes: string[] = [];
    started.client.onChange((changed) => changes.push(...changed.map(({ userId }) => userId)));
    await pass(1);
    expect(asked).toHaveBeenCalledTimes(1);
    return { ...started, changes };
  };
  const a = { userId: 'a', status: 'online', lastSeen: ISO };

  it('shows those who were asked for, before the socket is open', async () => {
    const { client, changes } = await answering(() => Response.json({ a, b: { ...a, userId: 'b' } }));
    expect(client.getStatus('a')).toEqual(a);
    expect(changes).toEqual(['a', 'b']);
  });

  it('is passed by where it breaks a rule, user by user', async () => {
    const broken = [
      null,
      7,
      'a',
      [],
      {},
      { ...a, userId: '' },
      { ...a, userId: 'x'.repeat(257) },
      { ...a, status: 'away' },
      { ...a, lastSeen: 'never' },
      { ...a, lastSeen: {} },
      { ...a, userId: { toString: 1 } },
    ];
    const { client, changes } = await answering(() =>
      Response.json({ ...broken, x: { ...a, userId: 'x' }, b: { ...a, userId: 'b', lastSeen: 0 } }),
    );
    expect(client.getAll()).toEqual([{ userId: 'b', status: 'online', lastSeen: null }]);
    expect(changes).toEqual(['b']);
  });

  it.each<[string, () => unknown]>([
    ['null', () => Response.json(null)],
    ['a number', () => Response.json(7)],
    ['text', () => new Response('a')],
    ['a list', () => Response.json([[a], 'a'])],
    ['nothing', () => new Response('')],
    ['a deep one', () => new Response('['.repeat(60_000))],
    ['a refusal with users in it', () => Response.json({ a }, { status: 403 })],
    ['no answer', () => Promise.reject(new Error('no network'))],
    ['no response', () => undefined],
    [
      'one that breaks off',
      () => new Response(new ReadableStream({ pull: (stream) => stream.error(new Error('broken')) })),
    ],
  ])('is passed by as %s, and the socket goes on', async (_, answer) => {
    const { client, router, changes } = await answering(answer);
    expect(client.getAll()).toEqual([]);
    expect(changes).toEqual([]);
    router.socket.open();
    router.socket.answer([['a', 'online']]);
    expect(known(client)).toEqual(['a online']);
  });

  it('is not waited for without an end, nor kept', async () => {
    let sent = 0;
    let isCancelled = false;
    const { client } = await answering(() => {
      const body = new ReadableStream({
        async pull(stream) {
          sent += 10_000;
          stream.enqueue(new TextEncoder().encode(' '.repeat(10_000)));
          // An endless one must not keep the test, either, where it is waited for.
          if (sent > 50_000_000) stream.error(new Error('enough'));
        },
        cancel: () => {
          isCancelled = true;
        },
      });
      return new Response(body);
    });
    await vi.waitFor(() => expect(isCancelled).toBe(true));
    expect(sent).toBeLessThan(200_000);
    expect(client.connection.state).toBe('connecting');
  });

  it('may be long, where it is of many users with long ids', async () => {
    const ids = Array.from({ length: 1_000 }, (_, index) => `${'\u0001'.repeat(250)}${index}`);
    const users = Object.fromEntries(ids.map((userId) => [userId, { ...a, userId }]));
    const { client } = await answering(() => Response.json(users), ids);
    await vi.waitFor(() => expect(client.getAll()).toHaveLength(1_000));
  });

  it('may come from a fetch without streams, as in React Native', async () => {
    const { client } = await answering(() => ({ ok: true, text: async () => JSON.stringify({ a }) }));
    expect(client.getStatus('a')).toEqual(a);
  });

  it('shows nothing to a client that is closed, and nothing over what the socket has said', async () => {
    let answer: ((response: Response) => void) | undefined;
    const { client, router } = await answering(
      () =>
        new Promise((resolve) => {
          answer = resolve;
        }),
    );
    router.socket.open();
    router.socket.answer([['a', 'offline']]);
    answer?.(Response.json({ a }));
    await pass(1);
    expect(known(client)).toEqual(['a offline']);
  });
});
