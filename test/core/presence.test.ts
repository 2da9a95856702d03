import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { describe, expect, it, vi } from 'vitest';
import * as entry from 'voiceping-presence';
import { createPresence, isPresenceError, MessageType, PresenceError, type PresenceOptions } from 'voiceping-presence';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { attachPresence } from 'voiceping-presence/ws';
import { faultyStore } from './faulty-store';
import { router } from './world';

const misuse = (code: string, ...parts: string[]) =>
  expect.objectContaining({
    name: 'TypeError',
    code,
    message: expect.stringMatching(parts.map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('.*')),
  });

describe('options', () => {
  it.each<[object, string[]]>([
    [{ ttlMs: 360 }, ['ttlMs is 360; it is in milliseconds and at least 1000: did you mean 360000?']],
    [{ ttlMs: '360000' }, ['ttlMs is "360000"', 'milliseconds']],
    [{ ttlMs: Number.NaN }, ['ttlMs is NaN']],
    [{ ttlMs: -5 }, ['ttlMs is -5', 'at least 1000']],
    [{ ttlMs: Number.POSITIVE_INFINITY }, ['ttlMs is Infinity', 'at most 2147483647']],
    [{ pingIntervalMs: 30 }, ['pingIntervalMs is 30', 'at least 100', 'did you mean 30000?']],
    [{ pingIntervalMs: true }, ['pingIntervalMs is true']],
    [{ graceMs: -1 }, ['graceMs is -1', 'at least 0']],
    [{ leaseMs: 15 }, ['leaseMs is 15', 'did you mean 15000?']],
    [{ commandTimeoutMs: 0 }, ['commandTimeoutMs is 0']],
    [{ ttlMs: 60_000, pingIntervalMs: 60_000 }, ['ttlMs is 60000 and pingIntervalMs 60000']],
    [{ pingIntervalMs: 400_000 }, ['ttlMs is 360000 and pingIntervalMs 400000']],
    [{ wire: 'json' }, ['wire is "json"', "'guide' or 'router'"]],
    [{ enabled: 'false' }, ['enabled is "false"', 'true or false']],
    [{ terminateDeadSockets: 1 }, ['terminateDeadSockets is 1']],
    [{ onError: 'log' }, ['onError is "log"', 'function']],
    [{ store: {} }, ['store is an object without beat()']],
    [{ store: 'redis://localhost' }, ['store is "redis://localhost" without beat()']],
    [{ clock: { now: Date.now } }, ['clock is an object without setTimeout()']],
    [{ clock: null }, ['clock is null without now()']],
    [{ clock: { ...fakeClock(), random: 0.5 } }, ['clock is an object without random()']],
    [{ ttl: 360 }, ['"ttl" is no option', 'ttlMs']],
  ])('%o throws at once, and names the option, its value and the rule', (options, parts) => {
    expect(() => createPresence(options as PresenceOptions)).toThrow(misuse('ERR_PRESENCE_OPTIONS', ...parts));
  });

  it('no object at all throws too', () => {
    expect(() => createPresence('redis' as never)).toThrow(misuse('ERR_PRESENCE_OPTIONS', 'the options are "redis"'));
    expect(() => createPresence(null as never)).toThrow(misuse('ERR_PRESENCE_OPTIONS', 'the options are null'));
  });

  it('a ttl below twice the ping interval warns once, with the rule of the guide', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    try {
      await createPresence({ ttlMs: 180_000, pingIntervalMs: 120_000, clock: fakeClock() }).close();
      expect(warn).toHaveBeenCalledTimes(1);
      expect(String(warn.mock.calls[0]?.[0])).toContain('should be at least 2x the');
      warn.mockClear();
      await createPresence({ ttlMs: 240_000, pingIntervalMs: 120_000, clock: fakeClock() }).close();
      await createPresence({ ttlMs: 1_000, pingIntervalMs: false, clock: fakeClock() }).close();
      expect(warn).not.toHaveBeenCalled();
    } finally {
      warn.mockRestore();
    }
  });

  it('the smallest values start', async () => {
    await createPresence({ ttlMs: 1_000, leaseMs: 1_000, pingIntervalMs: 100, graceMs: 0 }).close({ handoverMs: 0 });
  });
});

describe('ids', () => {
  const invalid: Array<[string, unknown]> = [
    ['an empty one', ''],
    ['one of 257 bytes', `${'é'.repeat(128)}x`],
    ['half of a surrogate pair', 'a\ud800'],
    ['the other half', '\udc00'],
    ['a fraction', 1.5],
    ['NaN', Number.NaN],
    ['Infinity', Number.POSITIVE_INFINITY],
    ['null', null],
    ['nothing', undefined],
    ['an object', { toString: () => 'u' }],
    ['a list', ['u']],
    ['a boolean', true],
    ['an integer of 301 digits', 1e300],
    ['half of a pair in the middle', 'a\udc00b'],
  ];

  it.each(invalid)('%s is refused everywhere', async (_name, id) => {
    const { presence } = await router();
    const refused = misuse('ERR_PRESENCE_INVALID_ID');
    expect(() => presence.attachToSocket(fakeSocket(), { userId: id as string })).toThrow(refused);
    expect(() => presence.attachToSocket(fakeSocket(), { userId: 'u', watch: ['a', id as string] })).toThrow(refused);
    expect(() => presence.getStatuses(['a', id as string])).toThrow(refused);
    expect(() => presence.onUpdate(() => undefined, { ids: [id as string] })).toThrow(refused);
  });

  it.each(['__proto__', 'a:b', '{x}', '👷🏽', ' ', 'é'.repeat(128), 'a\u0000', '..', '0'])(
    '%o is just an id',
    async (id) => {
      const { connect, presence, told } = await router();
      await connect(id);
      expect(Object.keys(await presence.getStatuses([id]))).toEqual([id]);
      expect(told.map(({ userId }) => userId)).toEqual([id]);
      expect((await presence.listOnline()).users.map(({ userId }) => userId)).toEqual([id]);
    },
  );

  it('large and negative integers become their decimal string', async () => {
    const { presence } = await router();
    expect(Object.keys(await presence.getStatuses([-3, 2 ** 53, 1e21, -0]))).toEqual(
      expect.arrayContaining(['-3', '9007199254740992', '1000000000000000000000', '0']),
    );
  });

  it('a lone string is no list of letters', async () => {
    const { presence } = await router();
    const refused = misuse('ERR_PRESENCE_INVALID_ID', 'a list of ids is wanted');
    for (const list of ['abc', 5, null, {}] as never[]) {
      expect(() => presence.getStatuses(list)).toThrow(refused);
      expect(() => presence.onUpdate(() => undefined, { ids: list ?? 'abc' })).toThrow(refused);
    }
    expect(() => presence.attachToSocket(fakeSocket(), { userId: 'u', watch: 'abc' })).toThrow(refused);
  });
});

describe('misuse of attachToSocket', () => {
  it.each<[unknown, unknown, string]>([
    [undefined, { userId: 'u' }, 'socket is undefined without on()'],
    [{ on: () => undefined }, { userId: 'u' }, 'socket is an object without removeListener()'],
    [fakeSocket(), undefined, 'identity is undefined'],
    [fakeSocket(), 'u', 'identity is "u"'],
    [fakeSocket(), { userId: 'u', track: 'no' }, 'track is "no"'],
    [fakeSocket(), { userId: 'u', deviceId: 5 }, 'deviceId is 5'],
  ])('throws: %o %o', async (socket, identity, message) => {
    const { presence } = await router();
    expect(() => presence.attachToSocket(socket as never, identity as never)).toThrow(
      misuse('ERR_PRESENCE_OPTIONS', message),
    );
  });
});

describe('queries', () => {
  it('give one entry an id, without a prototype, also for those never seen', async () => {
    const { presence, connect } = await router();
    await connect('u');
    const statuses = await presence.getStatuses(new Set(['u', 'never', 'u']));
    expect(Object.getPrototypeOf(statuses)).toBeNull();
    expect(Object.keys(statuses).sort()).toEqual(['never', 'u']);
    expect(statuses['never']).toEqual({ userId: 'never', status: 'offline', lastSeen: null });
    expect(await presence.getStatuses([])).toEqual({});
  });

  it('see a socket that was attached, or closed, just now', async () => {
    const { presence, clock } = await router();
    const socket = fakeSocket();
    presence.attachToSocket(socket, { userId: 'u' });
    expect((await presence.getStatuses(['u']))['u']?.status).toBe('online');
    expect(await presence.countOnline()).toBe(1);
    socket.close();
    expect((await presence.getStatuses(['u']))['u']?.status).toBe('offline');
    expect(await presence.countOnline()).toBe(0);
    await clock.settle();
  });

  it('page through who is online', async () => {
    const { presence, connect } = await router();
    for (let id = 0; id < 5; id += 1) await connect(id);
    const first = await presence.listOnline({ limit: 3 });
    expect(first.users.map(({ userId }) => userId)).toEqual(['0', '1', '2']);
    const second = await presence.listOnline({ limit: 3, cursor: first.cursor ?? '' });
    expect(second).toMatchObject({ users: [{ userId: '3' }, { userId: '4' }], cursor: null });
  });

  it.each([0, 1.5, 1_001, '10', -1])('refuse a limit of %o', async (limit) => {
    const { presence } = await router();
    expect(() => presence.listOnline({ limit: limit as number })).toThrow(misuse('ERR_PRESENCE_OPTIONS', 'limit is'));
  });

  it('refuse a cursor that no page gave', async () => {
    const { presence } = await router();
    expect(() => presence.listOnline({ cursor: 5 as never })).toThrow(misuse('ERR_PRESENCE_OPTIONS', 'cursor is 5'));
    await expect(presence.listOnline({ cursor: 'x' })).rejects.toThrow(misuse('ERR_PRESENCE_OPTIONS', 'cursor is "x"'));
  });
});

describe('onUpdate', () => {
  it('tells all changes, or those of some ids, until it is ended', async () => {
    const { presence, connect, clock } = await router();
    const all: string[] = [];
    const some: string[] = [];
    const endAll = presence.onUpdate(({ userId, status }) => all.push(`${userId} ${status}`));
    const endSome = presence.onUpdate(({ userId, status }) => some.push(`${userId} ${status}`), { ids: ['b', 7] });
    const a = await connect('a');
    await connect('b');
    await connect(7);
    endAll();
    endAll();
    a.close();
    await clock.settle();
    endSome();
    await connect('c');
    expect(all).toEqual(['a online', 'b online', '7 online']);
    expect(some).toEqual(['b online', '7 online']);
  });

  it('gives the update as documented', async () => {
    const { connect, told } = await router();
    await connect('u');
    expect(told).toEqual([
      { userId: 'u', status: 'online', timestamp: '2025-12-12T10:30:45.123Z', version: 1, reason: 'connect' },
    ]);
  });

  it('reports a listener that throws, and tells the others', async () => {
    const { presence, connect, errors } = await router();
    const heard: string[] = [];
    presence.onUpdate(() => {
      throw new Error('mine');
    });
    presence.onUpdate(({ userId }) => heard.push(userId));
    await connect('u');
    expect(heard).toEqual(['u']);
    expect(errors).toEqual([{ code: 'ERR_PRESENCE_CALLBACK', stage: 'listener', userId: 'u' }]);
  });

  it('refuses what is no function', async () => {
    const { presence } = await router();
    expect(() => presence.onUpdate('x' as never)).toThrow(misuse('ERR_PRESENCE_OPTIONS', 'listener is "x"'));
  });
});

describe('onError', () => {
  it('that throws or rejects itself harms nothing, nor does its absence', async () => {
    const unhandled: unknown[] = [];
    const onUnhandled = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', onUnhandled);
    for (const onError of [
      () => {
        throw new Error('in onError');
      },
      () => Promise.reject(new Error('in onError')),
      undefined,
    ]) {
      const clock = fakeClock();
      const presence = createPresence(onError === undefined ? { clock } : { clock, onError });
      const heard: string[] = [];
      presence.onUpdate(() => {
        throw 'not even an Error';
      });
      presence.onUpdate(({ userId }) => heard.push(userId));
      presence.attachToSocket(fakeSocket(), { userId: 'u' });
      await clock.settle();
      expect(heard).toEqual(['u']);
    }
    await new Promise((resolve) => setImmediate(resolve));
    process.off('unhandledRejection', onUnhandled);
    expect(unhandled).toEqual([]);
  });

  it('gets a PresenceError, also for what a callback got wrong', async () => {
    const reported: unknown[] = [];
    const { presence } = await router({ onError: (error) => reported.push(error) });
    const server = new EventEmitter();
    attachPresence(presence, server as never, { identify: () => ({ userId: '' }) });
    server.emit('connection', fakeSocket(), {});
    expect(reported).toEqual([expect.any(entry.PresenceError)]);
    expect(reported[0]).toMatchObject({
      code: 'ERR_PRESENCE_INVALID_ID',
      message: expect.stringContaining('userId is ""'),
    });
  });
});

describe('close', () => {
  it('lets users leave as by a clean close, removes all it added, and is idempotent', async () => {
    const clock = fakeClock();
    const shared = await router({}, clock);
    const { presence, connect, lines, clock: time } = shared;
    const phone = await connect('u');
    const closing = presence.close();
    expect(presence.close()).toBe(closing);
    await closing;
    await time.settle();
    expect(lines()).toEqual(['u online connect', 'u offline disconnect']);
    expect(phone.eventNames()).toEqual([]);
    expect(phone.readyState).toBe(1);
    expect(clock.timers).toBe(0);
  });

  // Each of the two calls could take the whole time.
  it('takes no longer than commandTimeoutMs, whatever the store does', async () => {
    const clock = fakeClock();
    const { store, link } = faultyStore(clock.now);
    const { presence, connect } = await router({ store, commandTimeoutMs: 1_000 }, clock);
    await connect('u');
    link.state = 'hangs';
    let isClosed = false;
    void presence.close().then(() => {
      isClosed = true;
    });
    await clock.advance(1_000);
    expect(isClosed).toBe(true);
    expect(clock.timers).toBe(0);
  });

  it('takes no longer where every call of several takes most of it, and reports nothing that was not tried', async () => {
    const clock = fakeClock();
    const { store } = faultyStore(clock.now);
    const { presence, errors } = await router({ store, commandTimeoutMs: 1_000 }, clock);
    for (let id = 0; id < 1_500; id += 1) presence.attachToSocket(fakeSocket(), { userId: id });
    await clock.settle();
    const apply = store.apply.bind(store);
    store.apply = async (node, ops) => {
      await new Promise<void>((resolve) => clock.setTimeout(resolve, 700));
      return apply(node, ops);
    };
    let isClosed = false;
    void presence.close().then(() => {
      isClosed = true;
    });
    await clock.advance(700);
    expect(isClosed).toBe(false);
    await clock.advance(300);
    expect(isClosed).toBe(true);
    // Only the second call timed out. The remaining timer is that of the store.
    expect(errors.map(({ stage }) => stage)).toEqual(['apply']);
    expect(clock.timers).toBe(1);
  });

  it('reports a release without an answer only where somebody is left whom it would have taken away', async () => {
    const clock = fakeClock();
    for (const isTold of [true, false]) {
      const { store } = faultyStore(clock.now);
      const { presence, errors, connect } = await router({ store, commandTimeoutMs: 1_000 }, clock);
      await connect('u');
      store.release = () => new Promise(() => undefined);
      // The call fails too late for another attempt.
      if (!isTold) {
        store.apply = () =>
          new Promise((_, reject) => clock.setTimeout(() => reject(new Error('the connection is lost')), 950));
      }
      void presence.close();
      await clock.advance(1_000);
      expect(errors.map(({ stage }) => stage)).toEqual(isTold ? [] : ['apply', 'release']);
    }
  });

  it('may be called again by whoever hears of it', async () => {
    let again: Promise<void> | undefined;
    const { presence, connect } = await router({
      onError: () => {
        again = presence.close();
      },
    });
    const broken = await connect('dash', { track: false, watch: true });
    broken.send = () => {
      throw new Error('EPIPE');
    };
    const closing = presence.close();
    await Promise.all([closing, again]);
    expect(again).toBe(closing);
  });

  it('makes queries reject, attachments inert and listeners silent', async () => {
    const { presence, clock } = await router();
    await presence.close();
    for (const query of [
      presence.getStatuses(['u']),
      presence.listOnline(),
      presence.countOnline(),
      presence.ready(),
    ]) {
      await expect(query).rejects.toMatchObject({ code: 'ERR_PRESENCE_CLOSED' });
    }
    const socket = fakeSocket();
    const attachment = presence.attachToSocket(socket, { userId: 'u' });
    await attachment.ready;
    await attachment.detach();
    expect(socket.eventNames()).toEqual([]);
    presence.onUpdate(() => undefined)();
    await clock.settle();
  });

  it('with handoverMs: users stay online that long to reappear elsewhere', async () => {
    const clock = fakeClock();
    const old = await router({}, clock);
    const { memoryStore } = entry;
    const store = memoryStore({ now: clock.now });
    const [from, to] = [await router({ store }, clock), await router({ store }, clock)];
    await from.connect('moves');
    await from.connect('stays-away');
    await from.presence.close({ handoverMs: 5_000 });
    await clock.advance(2_000);
    await to.connect('moves');
    expect(await to.status('stays-away')).toBe('online');
    await clock.advance(3_100);
    expect(to.lines()).toEqual(['moves online connect', 'stays-away online connect', 'stays-away offline timeout']);
    await old.presence.close();
  });

  it('with handoverMs: a longer grace that runs already is not cut short by it', async () => {
    const clock = fakeClock();
    const { memoryStore } = entry;
    const store = memoryStore({ now: clock.now });
    const [from, to] = [await router({ store, graceMs: 8_000 }, clock), await router({ store }, clock)];
    const dropped = await from.connect('u');
    await from.connect('u');
    dropped.drop();
    await from.presence.close({ handoverMs: 1_000 });
    await clock.advance(5_000);
    expect(await to.status('u')).toBe('online');
    await clock.advance(4_000);
    expect(await to.status('u')).toBe('offline');
  });

  it('refuses a handover that is no duration', async () => {
    const { presence } = await router();
    expect(() => presence.close({ handoverMs: -1 })).toThrow(misuse('ERR_PRESENCE_OPTIONS', 'handoverMs is -1'));
  });

  it('while closing, what was asked is answered', async () => {
    const { presence } = await router();
    const socket = fakeSocket();
    const attachment = presence.attachToSocket(socket, { userId: 'u' });
    const { ready } = attachment;
    const detached = attachment.detach();
    await presence.close();
    await Promise.all([ready, detached, attachment.ready]);
  });
});

describe('a router that dies', () => {
  it('takes its users offline, once each, within a lease and a beat', async () => {
    const clock = fakeClock();
    const faulty = faultyStore(clock.now);
    const store = faulty.direct();
    const survivors = [await router({ store }, clock), await router({ store }, clock)];
    const dying = createPresence({ store: faulty.store, clock });
    for (let id = 0; id < 10; id += 1) dying.attachToSocket(fakeSocket(), { userId: id });
    await clock.settle();
    // The router is killed: its calls no longer reach the store.
    faulty.link.state = 'hangs';
    await clock.advance(20_000);
    for (const { lines } of survivors) {
      expect(lines()).toHaveLength(20);
      expect(lines().slice(10).sort()).toEqual(Array.from({ length: 10 }, (_, id) => `${id} offline node-down`).sort());
    }
  });
});

describe('options that are none', () => {
  it.each([null, 'x', 5, [[]]])('%o in place of options throws with a code', async (options) => {
    const { presence } = await router();
    const refused = misuse('ERR_PRESENCE_OPTIONS', 'the options are');
    expect(() => presence.listOnline(options as never)).toThrow(refused);
    expect(() => presence.onUpdate(() => undefined, options as never)).toThrow(refused);
    expect(() => presence.close(options as never)).toThrow(refused);
  });

  it('a misspelt one throws and names those there are', async () => {
    const { presence } = await router();
    expect(() => presence.listOnline({ size: 5 } as never)).toThrow(
      misuse('ERR_PRESENCE_OPTIONS', '"size" is no option'),
    );
    expect(() => presence.close({ handover: 5 } as never)).toThrow(misuse('ERR_PRESENCE_OPTIONS', 'handoverMs'));
  });

  it('a clock that is an instance of a class is one', async () => {
    class OwnClock {
      private readonly start = 5;
      now(): number {
        return this.start;
      }
      setTimeout(): void {}
      clearTimeout(): void {}
    }
    const presence = createPresence({ clock: new OwnClock() });
    await presence.ready();
  });
});

describe('enabled: false', () => {
  it('adds no listener, asks no store, rejects queries, and still checks its arguments', async () => {
    const clock = fakeClock();
    const presence = createPresence({ enabled: false, clock });
    await presence.ready();
    const socket = fakeSocket();
    const attachment = presence.attachToSocket(socket, { userId: 'u', watch: true });
    await attachment.ready;
    attachment.touch();
    attachment.watch(['x']);
    expect(() => attachment.watch('x')).toThrow(misuse('ERR_PRESENCE_INVALID_ID'));
    await attachment.detach();
    expect(socket.eventNames()).toEqual([]);
    expect(clock.timers).toBe(0);
    for (const query of [presence.getStatuses(['u']), presence.listOnline(), presence.countOnline()]) {
      await expect(query).rejects.toMatchObject({ code: 'ERR_PRESENCE_DISABLED' });
    }
    presence.onUpdate(() => undefined, { ids: ['u'] })();
    expect(() => presence.attachToSocket(socket, { userId: '' })).toThrow(misuse('ERR_PRESENCE_INVALID_ID'));
    expect(() => presence.getStatuses('u')).toThrow(misuse('ERR_PRESENCE_INVALID_ID'));
    await presence.close();
    await presence.close();
    await expect(presence.ready()).rejects.toMatchObject({ code: 'ERR_PRESENCE_CLOSED' });
    await expect(presence.countOnline()).rejects.toMatchObject({ code: 'ERR_PRESENCE_CLOSED' });
  });
});

describe('the entry', () => {
  it('exports what the public surface names, and nothing else', () => {
    expect(Object.keys(entry).sort()).toEqual([
      'MessageType',
      // The rule, for stores of others.
      'NEVER_SEEN',
      'PresenceError',
      'createPresence',
      'decide',
      'isOnlineNow',
      'isPresenceError',
      'judgeLease',
      'memoryStore',
      'optionsFromEnv',
    ]);
    expect(MessageType).toEqual({
      HEARTBEAT: 30,
      PRESENCE_UPDATE: 31,
      PRESENCE_SNAPSHOT: 32,
      PRESENCE_WATCH: 33,
      PRESENCE_STALE: 34,
    });
  });

  it('knows its errors', () => {
    const error = new PresenceError('ERR_PRESENCE_STORE', 'gone', new Error('ECONNREFUSED'));
    expect(isPresenceError(error)).toBe(true);
    expect(error).toMatchObject({
      name: 'PresenceError',
      code: 'ERR_PRESENCE_STORE',
      cause: { message: 'ECONNREFUSED' },
    });
    expect('cause' in new PresenceError('ERR_PRESENCE_STORE', 'gone')).toBe(false);
    for (const other of [new Error('x'), new TypeError('x'), null, 'x', { code: 'ERR_PRESENCE_STORE' }]) {
      expect(isPresenceError(other)).toBe(false);
    }
  });
});

it('what getStatuses gives is compared as a copy, whatever the ids', async () => {
  const { presence } = await router();
  const statuses = await presence.getStatuses(['u', '__proto__']);
  const never = (userId: string) => ({ userId, status: 'offline', lastSeen: null });
  // As the docstring promises. The name is computed, since a plain `__proto__` would set the prototype.
  assert.deepStrictEqual({ ...statuses }, { u: never('u'), ['__proto__']: never('__proto__') });
});
