import { encode } from '@msgpack/msgpack';
import { describe, expect, it } from 'vitest';
import { MsgpackReader } from '../../src/wire/msgpack-reader';
import { type Random, random } from '../random';

const DEPTH = 6;
const readerOf = (...bytes: number[]) => new MsgpackReader(Uint8Array.from(bytes));
const read = (bytes: Uint8Array, depth = DEPTH) => {
  const reader = new MsgpackReader(bytes);
  const value = reader.read(depth);
  expect(reader.isAtEnd).toBe(true);
  return value;
};

/** The bounds of every size of integers, and what lies beside them. */
const INTEGERS = [0, 5, 7, 8, 15, 16, 31, 32, 53].flatMap((bits) =>
  [-1, 0, 1].flatMap((offset) => [2 ** bits + offset, -(2 ** bits) + offset]).filter(Number.isSafeInteger),
);

function text(dice: Random): string {
  const alphabet = dice.pick(['abc', 'aé', '😀ß\u0000', '\ufeffa', '中文']);
  const letters = Array.from(alphabet);
  // Around the bounds of each header, and of the short way through the reader.
  const length = dice.pick([0, 1, 5, 31, 32, 47, 48, 49, 255, 256]);
  return Array.from({ length }, () => dice.pick(letters)).join('');
}

function value(dice: Random, depth: number): unknown {
  const scalars: Array<() => unknown> = [
    () => dice.pick([null, true, false]),
    () => dice.pick(INTEGERS),
    () => dice.below(2 ** 31) - 2 ** 30,
    () => dice.pick([0.1, -1e300, Number.POSITIVE_INFINITY, Number.NaN, -0.5]),
    () => text(dice),
    () => Uint8Array.from({ length: dice.below(40) }, () => dice.below(256)),
  ];
  const length = dice.pick([0, 1, 3, 15, 16]);
  const containers: Array<() => unknown> = [
    () => Array.from({ length: depth > 3 ? length : 2 }, () => value(dice, depth - 1)),
    () =>
      Object.fromEntries(Array.from({ length: depth > 3 ? length : 2 }, () => [text(dice), value(dice, depth - 1)])),
  ];
  return dice.pick(depth > 0 ? [...scalars, ...containers, ...containers] : scalars)();
}

describe('MsgpackReader', () => {
  it('reads what an encoder writes, and passes by exactly as much', () => {
    const dice = random();
    console.log(`seed ${dice.seed}`);
    for (let round = 0; round < 2_000; round += 1) {
      const written = value(dice, 4);
      const bytes = encode(written, { forceFloat32: false });
      expect(read(bytes)).toEqual(written);
      const passing = new MsgpackReader(bytes);
      passing.skip(DEPTH);
      expect(passing.isAtEnd).toBe(true);
    }
  });

  it.each(INTEGERS)('reads %d', (integer) => {
    expect(read(encode(integer))).toBe(integer);
  });

  it('reads the headers that our encoder never writes', () => {
    expect(read(encode(0.5, { forceFloat32: true }))).toBe(0.5);
    // Longer than need be: other encoders do that.
    expect(read(Uint8Array.of(0xdb, 0, 0, 0, 1, 97))).toBe('a');
    expect(read(Uint8Array.of(0xdd, 0, 0, 0, 1, 0xdc, 0, 1, 5))).toEqual([[5]]);
    expect(read(Uint8Array.of(0xdf, 0, 0, 0, 1, 0xd9, 1, 97, 0xde, 0, 0))).toEqual({ a: {} });
    expect(read(Uint8Array.of(0xc6, 0, 0, 0, 1, 9))).toEqual(Uint8Array.of(9));
    expect(read(Uint8Array.of(0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe))).toBe(-2);
  });

  it('gives an integer beyond 2^53 as one that is not safe', () => {
    for (const bytes of [
      [0xcf, 0, 0x20, 0, 0, 0, 0, 0, 1],
      [0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
      [0xd3, 0xff, 0xdf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
      [0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0],
    ]) {
      const integer = read(Uint8Array.from(bytes));
      expect(typeof integer).toBe('number');
      expect(Number.isSafeInteger(integer)).toBe(false);
    }
    expect(read(Uint8Array.of(0xcf, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))).toBe(Number.MAX_SAFE_INTEGER);
  });

  it('throws for every frame that ends too soon, wherever', () => {
    const dice = random();
    console.log(`seed ${dice.seed}`);
    const frames: unknown[] = [
      { messageType: 33, request: 7, ids: ['a', 'b', 'é'.repeat(40)], cursor: 'e.1' },
      [
        0,
        31,
        0,
        'broadcast',
        { userId: 'a', status: 'online', timestamp: 1_765_535_445_123, version: 2 ** 40, lastSeen: 1.5 },
      ],
      { messageType: 32, users: [{ userId: 'a', status: 'offline', lastSeen: null }], part: 0, more: false },
      ...Array.from({ length: 100 }, () => value(dice, 3)),
    ];
    for (const frame of frames) {
      const bytes = encode(frame);
      for (let length = 0; length < bytes.length; length += 1) {
        const cut = bytes.subarray(0, length);
        expect(() => new MsgpackReader(cut).read(DEPTH)).toThrow(RangeError);
        expect(() => new MsgpackReader(cut).skip(DEPTH)).toThrow(RangeError);
      }
    }
  });

  // 32M elements: where a decoder makes room for what it is promised, these are 268 MB.
  it.each([
    ['array32', 0xdd],
    ['map32', 0xdf],
    ['str32', 0xdb],
    ['bin32', 0xc6],
  ])('believes no %s that promises more than is there', (_, header) => {
    for (const promised of [0x01_ff_ff_ff, 0xff_ff_ff_ff, 0x00_00_00_03]) {
      const bytes = new Uint8Array(5 + 2);
      new DataView(bytes.buffer).setUint32(1, promised);
      bytes[0] = header;
      const held = () => process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers;
      const before = held();
      expect(() => new MsgpackReader(bytes).read(DEPTH)).toThrow('too short');
      expect(() => new MsgpackReader(bytes).skip(DEPTH)).toThrow('too short');
      expect(() => new MsgpackReader(bytes).array()).toThrow(header === 0xdd ? 'too short' : RangeError);
      expect(held() - before).toBeLessThan(8_000_000);
    }
  });

  it('a map of which only the keys would fit is too short', () => {
    expect(() => readerOf(0x83, 0xa0, 0xa0, 0xa0, 0xa0, 0xa0).read(1)).toThrow('too short');
    expect(readerOf(0x81, 0xa0, 0xa0).read(1)).toEqual({ '': '' });
  });

  it('goes no deeper than it is told, and so never out of stack', () => {
    const nested = encode([{ users: [{ userId: 'a' }] }]);
    expect(read(nested, 4)).toEqual([{ users: [{ userId: 'a' }] }]);
    for (const depth of [0, 1, 2, 3]) {
      expect(() => new MsgpackReader(nested).read(depth)).toThrow('too deep');
      expect(() => new MsgpackReader(nested).skip(depth)).toThrow('too deep');
    }
    for (const header of [[0x91], [0x81, 0xa0], [0xdc, 0, 1]]) {
      const deep = Uint8Array.from(Array.from({ length: 100_000 }, () => header).flat());
      expect(() => new MsgpackReader(deep).read(4)).toThrow('too deep');
      expect(() => new MsgpackReader(deep).skip(4)).toThrow('too deep');
    }
    // A key is no container, at any depth.
    expect(() => readerOf(0x81, 0x90, 0xc0).read(4)).toThrow('too deep');
  });

  it.each([0xc1, 0xc7, 0xc8, 0xc9, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8])('has no value for the header %d', (header) => {
    const bytes = Uint8Array.from({ length: 40 }, (_, index) => (index === 0 ? header : 1));
    expect(() => new MsgpackReader(bytes).read(DEPTH)).toThrow('no value');
    expect(() => new MsgpackReader(bytes).skip(DEPTH)).toThrow('no value');
  });

  it.each([
    ['a lone continuation', [0x80]],
    ['an overlong slash', [0xc0, 0xaf]],
    ['half of a surrogate pair', [0xed, 0xa0, 0x80]],
    ['a character that is cut off', [0x61, 0xe2, 0x82]],
    ['beyond Unicode', [0xf4, 0x90, 0x80, 0x80]],
  ])('throws for text that is no UTF-8: %s', (_, bytes) => {
    expect(() => readerOf(0xa0 | bytes.length, ...bytes).read(0)).toThrow();
    const long = [...Array.from({ length: 60 }, () => 97), ...bytes];
    expect(() => readerOf(0xd9, long.length, ...long).read(0)).toThrow();
  });

  it('keeps a byte order mark, which is a character of an id like any other', () => {
    for (const id of ['\ufeffa', 'a\ufeff', `\ufeff${'a'.repeat(60)}`]) expect(read(encode(id))).toBe(id);
  });

  it('says whether bytes are left over', () => {
    const reader = readerOf(0x05, 0x06);
    expect(reader.isAtEnd).toBe(false);
    expect(reader.read(0)).toBe(5);
    expect(reader.isAtEnd).toBe(false);
    expect(reader.read(0)).toBe(6);
    expect(reader.isAtEnd).toBe(true);
    expect(() => reader.read(0)).toThrow('too short');
    expect(readerOf().isAtEnd).toBe(true);
  });

  it('reads containers step by step, and does not take what is none', () => {
    const reader = new MsgpackReader(encode([{ a: 1 }, 'x']));
    expect(reader.map()).toBeUndefined();
    expect(reader.array()).toBe(2);
    expect(reader.array()).toBeUndefined();
    expect(reader.map()).toBe(1);
    expect(reader.read(0)).toBe('a');
    reader.skip(0);
    expect(reader.map()).toBeUndefined();
    expect(reader.read(0)).toBe('x');
    expect(reader.isAtEnd).toBe(true);
  });

  it('reads a part of a larger buffer as that part', () => {
    const whole = Buffer.concat([Buffer.from([0xff, 0xff]), encode({ a: [1.5, 'é'] }), Buffer.from([0xff])]);
    expect(read(whole.subarray(2, whole.length - 1))).toEqual({ a: [1.5, 'é'] });
  });

  it('a key may be called as what every object has', () => {
    const map = read(Uint8Array.of(0x81, 0xa9, ...Buffer.from('__proto__'), 0x81, 0xa1, 97, 1)) as object;
    expect(Object.keys(map)).toEqual(['__proto__']);
    expect(({} as { a?: number }).a).toBeUndefined();
  });

  it('needs no Buffer, as browsers have none', () => {
    const { Buffer: own } = globalThis;
    Reflect.deleteProperty(globalThis, 'Buffer');
    try {
      expect(read(encode({ users: ['a', 'é'.repeat(60)], bytes: Uint8Array.of(1) }))).toEqual({
        users: ['a', 'é'.repeat(60)],
        bytes: Uint8Array.of(1),
      });
    } finally {
      globalThis.Buffer = own;
    }
  });
});
