import { runInNewContext } from 'node:vm';
import { encode } from '@msgpack/msgpack';
import { describe, expect, it, vi } from 'vitest';
import { createPresence, memoryStore } from 'voiceping-presence';
import { fakeSocket } from 'voiceping-presence/testing';
import { PING, readFrame, type Said, type UPDATE, watchFrame } from '../../src/client/codec';
import { decodeWatch } from '../../src/wire/decode-watch';
import { peekMessageType } from '../../src/wire/peek';

type Fields = { [name: string]: unknown };

const ISO = '2025-12-12T10:30:45.123Z';
const MS = Date.parse(ISO);

/** A whole frame of each kind, as routers send it. */
const FRAMES: { [kind: string]: { type: number; fields: Fields } } = {
  update: {
    type: 31,
    fields: { userId: 'a', status: 'online', timestamp: ISO, version: 7, reason: 'connect', cursor: 'e.7' },
  },
  snapshot: {
    type: 32,
    fields: {
      users: [
        { userId: 'b', status: 'offline', lastSeen: null },
        { userId: 'a', status: 'online', lastSeen: ISO },
      ],
      request: 3,
      part: 0,
      more: false,
      resumed: false,
      cursor: 'e.7',
    },
  },
  refusal: { type: 33, fields: { error: 'no', code: 'not-allowed', request: 3 } },
  stale: { type: 34, fields: { stale: true, asOf: ISO } },
};

const DIALECTS = {
  guide: (type: unknown, fields: unknown) => ({ messageType: type, ...(fields as Fields) }),
  router: (type: unknown, fields: unknown) => [0, type, 0, 'broadcast', fields],
};
const dialects = Object.entries(DIALECTS);

const bytesOf = (frame: unknown) => encode(frame, { ignoreUndefined: true });
const said = (frame: unknown) => readFrame(bytesOf(frame));

/** The frame of a kind with another value in one field: of the first user, where the field is called `users.…`. */
function changed(kind: string, field: string, value: unknown): { type: number; fields: Fields } {
  const { type, fields } = FRAMES[kind] as { type: number; fields: Fields };
  const [, ofUser] = field.split('users.');
  if (ofUser === undefined) return { type, fields: { ...fields, [field]: value } };
  const [first, ...rest] = fields['users'] as Fields[];
  return { type, fields: { ...fields, users: [{ ...first, [ofUser]: value }, ...rest] } };
}

const CONTAINERS: readonly unknown[] = [{}, { toString: 1 }, [], ['a'], [[]], Uint8Array.of(97)];
const UNSAFE = [Number.NaN, Number.POSITIVE_INFINITY, 1.5, 2 ** 53, -(2 ** 53)];
const NOT_BOOLEAN = [0, 1, 'true', ...CONTAINERS];
const NOT_INTEGER = [...UNSAFE, '1', true, ...CONTAINERS];
const NOT_COUNT = [-1, ...NOT_INTEGER];
const NOT_CURSOR = ['x'.repeat(257), 'x'.repeat(200_000), 7, true, ...CONTAINERS];
const NOT_ID = ['', 'x'.repeat(257), 'é'.repeat(129), '😀'.repeat(65), true, null, undefined, ...UNSAFE, ...CONTAINERS];
const NOT_STATUS = ['', 'away', 'ONLINE', 'constructor', 1, true, null, undefined, ...CONTAINERS];
const NOT_TIME = [
  ...['', 'yesterday', '1', '12 December 2025', '2025-13-45T00:00:00Z', `${ISO} (evil)`, '9'.repeat(100_000)],
  ...[Number.NaN, Number.POSITIVE_INFINITY, 8.64e15 + 1, 1e300, 2 ** 53, true, ...CONTAINERS],
];

/** What breaks the rule of each field. */
const BROKEN: ReadonlyArray<[string, string, readonly unknown[]]> = [
  ['update', 'userId', NOT_ID],
  ['update', 'status', NOT_STATUS],
  ['update', 'timestamp', NOT_TIME],
  ['update', 'lastSeen', NOT_TIME],
  ['update', 'version', [null, undefined, ...NOT_COUNT]],
  ['update', 'cursor', NOT_CURSOR],
  ['update', 'reason', [7, true, ...CONTAINERS]],
  ['snapshot', 'users', [null, undefined, {}, 'a', 7, ['a'], [null], [[]], [{}], Uint8Array.of(0x90)]],
  ['snapshot', 'users.userId', NOT_ID],
  ['snapshot', 'users.status', NOT_STATUS],
  ['snapshot', 'users.lastSeen', NOT_TIME],
  // A user of users of users would go on until there is no stack.
  ['snapshot', 'users.users', [[[[[[]]]]]]],
  ['snapshot', 'request', NOT_INTEGER],
  ['snapshot', 'part', NOT_COUNT],
  ['snapshot', 'more', NOT_BOOLEAN],
  ['snapshot', 'resumed', NOT_BOOLEAN],
  ['snapshot', 'cursor', NOT_CURSOR],
  ['refusal', 'error', [null, undefined, 7, true, ...CONTAINERS]],
  ['refusal', 'code', ['x'.repeat(257), 7, true, ...CONTAINERS]],
  ['refusal', 'request', NOT_INTEGER],
  ['stale', 'stale', [null, undefined, ...NOT_BOOLEAN]],
  ['stale', 'asOf', NOT_TIME],
];

describe.each(dialects)('frames of the dialect %s', (_, frameOf) => {
  it('are read as what they say', () => {
    const user = { userId: 'a', status: 'online', lastSeen: ISO };
    const of = (kind: string) => {
      const { type, fields } = FRAMES[kind] as { type: number; fields: Fields };
      return said(frameOf(type, fields));
    };
    expect(of('update')).toEqual({ kind: 31, user, version: 7, reason: 'connect', cursor: 'e.7' });
    expect(of('snapshot')).toEqual({
      kind: 32,
      users: [{ userId: 'b', status: 'offline', lastSeen: null }, user],
      request: 3,
      part: 0,
      more: false,
      resumed: false,
      cursor: 'e.7',
    });
    expect(of('refusal')).toEqual({ kind: 33, error: 'no', code: 'not-allowed', request: 3 });
    expect(of('stale')).toEqual({ kind: 34, stale: true, asOf: ISO });
  });

  it.each(BROKEN)('are none: a %s whose %s breaks its rule', (kind, field, values) => {
    for (const value of values) {
      const { type, fields } = changed(kind, field, value);
      expect([value, said(frameOf(type, fields))]).toEqual([value, undefined]);
    }
  });

  it.each<[string, string, readonly unknown[]]>([
    ['update', 'userId', ['x'.repeat(256), 'é'.repeat(128), '\ufeffa', '<img src=x>', '__proto__', 7, 0, -7]],
    ['update', 'version', [0, 1, Number.MAX_SAFE_INTEGER]],
    ['update', 'cursor', [undefined, null, '', 'x'.repeat(256)]],
    ['update', 'timestamp', [ISO, MS, 0, '2025-12-12T10:30:45+01:00', '2025-12-12', undefined, null]],
    ['snapshot', 'users', [[]]],
    ['snapshot', 'request', [undefined, null, 0, -5, Number.MAX_SAFE_INTEGER]],
    ['snapshot', 'part', [undefined, null, 0, 12]],
    ['snapshot', 'more', [undefined, null, true]],
    ['refusal', 'code', [undefined, null, 'of-a-later-router']],
    ['refusal', 'request', [undefined, null]],
    ['stale', 'stale', [true, false]],
    ['stale', 'asOf', [ISO, MS, undefined, null, 0]],
    ['update', 'reason', ['connect', 'disconnect', 'timeout', 'node-down', 'resync', undefined, null]],
    // Of a later router.
    ['update', 'reason', ['moved', '', '<b>', 'constructor', 'x'.repeat(1_000)]],
    ['update', 'groups', ['g', ['g'], [{ name: 'g', of: ['a'] }], null]],
  ])('are frames: a %s whose %s keeps it', (kind, field, values) => {
    for (const value of values) {
      const { type, fields } = changed(kind, field, value);
      expect([value, said(frameOf(type, fields))?.kind]).toEqual([value, type]);
    }
  });

  it('are none with a type that is not one of presence', () => {
    const { fields } = FRAMES['update'] as { fields: Fields };
    for (const type of [undefined, null, 0, 5, 30, 35, 31.5, -31, 2 ** 32 + 31, '31', true, ...CONTAINERS]) {
      expect([type, said(frameOf(type, fields))]).toEqual([type, undefined]);
    }
  });

  it('are none with anything behind them, or without their end', () => {
    for (const { type, fields } of Object.values(FRAMES)) {
      const bytes = bytesOf(frameOf(type, fields));
      for (const more of [[0xc0], [0], Array.from(bytes)]) {
        expect(readFrame(Uint8Array.from([...Array.from(bytes), ...more]))).toBeUndefined();
      }
      for (let length = 0; length < bytes.length; length += 1) {
        expect(readFrame(bytes.subarray(0, length))).toBeUndefined();
      }
    }
  });

  it('give an error of which no more is kept than can be shown', () => {
    expect(said(frameOf(33, { error: 'x'.repeat(1_000_000) }))).toEqual({ kind: 33, error: 'x'.repeat(256) });
  });

  it('say why, in words that are known, and when somebody was last active where a router says it', () => {
    const { type, fields } = FRAMES['update'] as { type: number; fields: Fields };
    for (const reason of ['moved', '<b>', 'constructor', null]) {
      expect(said(frameOf(type, { ...fields, reason }))).toMatchObject({ reason: undefined });
    }
    const earlier = '2025-12-12T10:24:45.123Z';
    expect(said(frameOf(type, { ...fields, lastSeen: earlier }))).toMatchObject({ user: { lastSeen: earlier } });
    // One that does not: the change is all that is known of it.
    const { lastSeen, ...without } = { ...fields };
    expect(said(frameOf(type, without))).toMatchObject({ user: { lastSeen: ISO } });
  });

  it('may be of numbers: ids as the existing router has them, and milliseconds', () => {
    const users = [
      { userId: 7, status: 'online', lastSeen: MS },
      { userId: 8, status: 'offline', lastSeen: 0 },
    ];
    expect(said(frameOf(32, { users }))).toMatchObject({
      users: [
        { userId: '7', status: 'online', lastSeen: ISO },
        { userId: '8', status: 'offline', lastSeen: null },
      ],
    });
  });
});

describe('what a WebSocket gives', () => {
  /** What the process has taken for its heap: that stays for a while where garbage has been collected already. */
  const heap = () => process.memoryUsage().heapTotal;
  const { type, fields } = FRAMES['update'] as { type: number; fields: Fields };
  const bytes = bytesOf(DIALECTS.guide(type, fields));

  it('is a frame as an ArrayBuffer, a Buffer, and any view of one', () => {
    const whole = Buffer.concat([Buffer.from([0xff]), bytes, Buffer.from([0xff])]);
    const part = whole.subarray(1, whole.length - 1);
    const copy = Uint8Array.from(bytes).buffer;
    for (const data of [copy, part, new Uint8Array(copy), new DataView(copy), bytes]) {
      expect(readFrame(data)).toMatchObject({ kind: 31, version: 7 });
    }
  });

  // What is of another realm is no instance of our classes: that is so of everything under jest's jsdom.
  it('is a frame whichever realm it is from, and in pieces', () => {
    const other = runInNewContext(`({
      buffer: (bytes) => Uint8Array.from(bytes).buffer,
      view: (bytes) => Uint8Array.from(bytes),
      pieces: (bytes) => [Uint8Array.from(bytes.slice(0, 5)).buffer, Uint8Array.from(bytes.slice(5))],
    })`) as { [form: string]: (bytes: number[]) => unknown };
    for (const make of Object.values(other)) {
      const data = make(Array.from(bytes));
      expect(data).not.toBeInstanceOf(Object);
      expect(readFrame(data)).toMatchObject({ kind: 31, version: 7 });
    }
    const pieces = [Buffer.from(bytes.subarray(0, 1)), Uint8Array.from(bytes.subarray(1, 9)).buffer, bytes.subarray(9)];
    for (const data of [pieces, [bytes]]) expect(readFrame(data)).toMatchObject({ kind: 31, version: 7 });
  });

  // jsdom has none of the two, and React Native one.
  it('is read, and asked for, without TextEncoder and TextDecoder', () => {
    const ids = ['é', '日本', '😀', '\ufeffa', '100%25', 'a\u0000\u007f', 'é'.repeat(128)];
    const frames = ids.map((userId) => bytesOf(DIALECTS.guide(type, { ...fields, userId })));
    const wanted = `${ids.join()}\ud800\udc00\udc00\ud800`;
    const asked = Array.from(new TextEncoder().encode(wanted));
    vi.stubGlobal('TextEncoder', undefined);
    vi.stubGlobal('TextDecoder', undefined);
    try {
      const read = frames.map((frame) => readFrame(frame) as Extract<Said, { kind: typeof UPDATE }>);
      expect(read.map(({ user }) => user.userId)).toEqual(ids);
      expect(Array.from(watchFrame([wanted], undefined, 1).slice(-asked.length))).toEqual(asked);
      // No UTF-8: too long, too short, a surrogate, beyond what there is.
      for (const bad of [[0xc0, 0xaf], [0xe2, 0x82], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xff], [0x80]]) {
        const id = String.fromCharCode(...bad.map(() => 0x61));
        const frame = Buffer.from(bytesOf(DIALECTS.guide(type, { ...fields, userId: id })));
        frame.set(bad, frame.indexOf('userId') + 7);
        expect(readFrame(frame)).toBeUndefined();
      }
    } finally {
      vi.unstubAllGlobals();
    }
  });

  // A text of digits was taken for a length: 3 GB.
  it.each(['3000000000', '400000000', '31', '', 'text', '{"messageType":31}'])('is none as the text %s', (text) => {
    const before = process.memoryUsage().arrayBuffers;
    expect(readFrame(text)).toBeUndefined();
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(10_000_000);
  });

  it('is none as anything else', () => {
    const values = [
      undefined,
      null,
      400_000_000,
      true,
      new Blob([Buffer.from(bytes)]),
      {},
      Array.from(bytes),
      [],
      ['text'],
      [Buffer.from(bytes), null],
      [[], [[]]],
    ];
    for (const value of [...values, { length: 400_000_000 }, { byteLength: 5 }, () => bytes, Symbol('frame')]) {
      const before = process.memoryUsage().arrayBuffers;
      expect(readFrame(value)).toBeUndefined();
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(10_000_000);
    }
  });

  // Room for 32M elements was made: 281 MB for five bytes.
  it.each<[string, number[]]>([
    ['a list', [0xdd, 0x01, 0xff, 0xff, 0xff]],
    ['a list of users', [0x81, 0xa5, ...Buffer.from('users'), 0xdd, 0x01, 0xff, 0xff, 0xff]],
    ['a list in a field that is not known', [0x81, 0xa1, 120, 0xdd, 0x01, 0xff, 0xff, 0xff]],
    ['a map', [0xdf, 0x01, 0xff, 0xff, 0xff]],
  ])('takes no memory that %s merely promises', (_, promise) => {
    const before = heap();
    expect(readFrame(Uint8Array.from(promise))).toBeUndefined();
    expect(heap() - before).toBeLessThan(50_000_000);
  });

  // An object for each byte would be a hundred times as much as was sent.
  it.each<[string, number[], number]>([
    ['users that are empty maps', [0x81, 0xa5, ...Buffer.from('users'), 0xdd], 0x80],
    ['empty maps in a field that is not known', [0x81, 0xa1, 120, 0xdd], 0x80],
    ['empty lists in an element that is not looked at', [0x95, 0xdd], 0x90],
  ])('takes no memory for what it does not keep: %s', (_, head, filler) => {
    const count = 2_000_000;
    const frame = new Uint8Array(head.length + 4 + count).fill(filler);
    frame.set(head);
    new DataView(frame.buffer).setUint32(head.length, count);
    const before = heap();
    expect(readFrame(frame)).toBeUndefined();
    expect(heap() - before).toBeLessThan(50_000_000);
  });

  it('is none nested to any depth', () => {
    for (const header of [[0x91], [0x81, 0xa0], [0xdc, 0x03, 0xe8], [0x81, 0xa5, ...Buffer.from('users'), 0x91]]) {
      expect(readFrame(Uint8Array.from(Array.from({ length: 50_000 }, () => header).flat()))).toBeUndefined();
    }
  });
});

// What the rules are made for: no router of ours is ever misread.
it.each(['guide', 'router'] as const)('every frame that a router sends keeps the rules (%s)', async (wire) => {
  const presence = createPresence({ wire, graceMs: 0, store: memoryStore(), authorizeWatch: (_, ids) => ids === true });
  const dashboard = fakeSocket();
  presence.attachToSocket(dashboard, { userId: 'dashboard', track: false });
  const longest = '😀'.repeat(64);
  const frames = () => dashboard.sent.map(readFrame);
  const until = (kinds: number[]) => vi.waitFor(() => expect(frames().map((frame) => frame?.kind)).toEqual(kinds));
  dashboard.receive(watchFrame(true, undefined, 1));
  await until([32]);
  const phone = fakeSocket();
  await presence.attachToSocket(phone, { userId: longest }).ready;
  phone.close();
  await until([32, 31, 31]);
  expect(frames()[2]).toMatchObject({ user: { userId: longest, status: 'offline' } });
  dashboard.receive(watchFrame(['a'], undefined, 2));
  await until([32, 31, 31, 33]);
  await presence.close();
  await until([32, 31, 31, 33, 34]);
});

describe('watchFrame', () => {
  // A long text was more arguments than a call can have: a RangeError in a handler of the socket.
  it('takes ids and cursors of any length, which routers refuse', () => {
    for (const length of [31, 32, 65_535, 65_536, 200_000]) {
      const id = 'x'.repeat(length);
      expect(() => watchFrame([id], id, 1)).not.toThrow();
    }
    const many = Array.from({ length: 70_000 }, (_, index) => `u${index}`);
    expect(() => watchFrame(many, undefined, 1)).not.toThrow();
  });

  it('is read by routers as what it was made of', () => {
    for (const length of [1, 31, 32, 255, 256]) {
      const ids = ['x'.repeat(length), 'é'.repeat(length / 2)].filter((id) => id !== '');
      expect(decodeWatch(watchFrame(ids, 'c'.repeat(length), 127), 1_000)).toEqual({
        ids: new Set(ids),
        cursor: 'c'.repeat(length),
        request: 127,
      });
    }
    expect(decodeWatch(watchFrame([], undefined, 0), 1_000)).toEqual({ ids: new Set(), cursor: undefined, request: 0 });
  });

  it('has one that asks nothing: routers refuse it at once, by its name, and what is watched stays', () => {
    expect(peekMessageType(PING)).toBe(33);
    expect(decodeWatch(PING, 1_000)).toMatchObject({ code: 'malformed', request: -1 });
  });
});
