import { encode } from '@msgpack/msgpack';
import { describe, expect, it } from 'vitest';
import { decodeWatch, requestOf } from '../../src/wire/decode-watch';

const guide = (fields: object) => encode({ messageType: 33, ...fields });
const router = (fields: unknown) => encode([0, 33, 'd', 0, fields]);
const bytes = (...values: number[]) => Uint8Array.from(values);
const text = (value: string) => [0xa0 | value.length, ...Buffer.from(value)];
/** `{ messageType: 33, ids: <raw> }`. */
const withIds = (...raw: number[]) => bytes(0x82, ...text('messageType'), 33, ...text('ids'), ...raw);

describe('PRESENCE_WATCH is decoded', () => {
  it.each([
    ['a list, in the dialect of the guide', guide({ ids: ['a', 7, 'a'] }), new Set(['a', '7'])],
    ['a list, in that of the router', router({ ids: ['a', 7] }), new Set(['a', '7'])],
    ['everybody', guide({ ids: true }), true],
    ['nobody any more', guide({ ids: false }), false],
    ['an empty list', guide({ ids: [] }), new Set()],
    ['the largest number there is', guide({ ids: [Number.MAX_SAFE_INTEGER, -5] }), new Set(['9007199254740991', '-5'])],
    ['any id', guide({ ids: ['__proto__', '\uFEFFx', 'é', '😀'] }), new Set(['__proto__', '\uFEFFx', 'é', '😀'])],
  ])('%s', (_, frame, ids) => {
    expect(decodeWatch(frame, 100)).toEqual({ ids, cursor: undefined, request: undefined });
  });

  it('with cursor and name, and past keys that it does not know, whatever they hold', () => {
    const fields = { more: { deep: [1] }, ids: ['a'], list: [new Uint8Array(3), null, 1.5], cursor: 'e.7', request: 9 };
    expect(decodeWatch(guide(fields), 100)).toEqual({ ids: new Set(['a']), cursor: 'e.7', request: 9 });
    const { more, ...flat } = fields;
    expect(decodeWatch(router({ ...flat, more: [1] }), 100)).toMatchObject({ cursor: 'e.7', request: 9 });
  });

  it('a cursor or a name of another kind is none', () => {
    expect(decodeWatch(guide({ ids: true, cursor: 5, request: 'x' }), 1)).toEqual({
      ids: true,
      cursor: undefined,
      request: undefined,
    });
    expect(decodeWatch(guide({ ids: true, request: 2 ** 60 }), 1)).toMatchObject({ request: undefined });
  });

  it('too many ids are refused before one of them is read', () => {
    expect(decodeWatch(guide({ request: 4, ids: ['a', 'b'] }), 1)).toEqual({
      code: 'too-many-ids',
      error: 'ids has 2 ids; at most 1 are allowed',
      request: 4,
    });
  });

  it.each([
    ['no ids', guide({}), 'ids is true, false, or a list'],
    ['ids of text', guide({ ids: 'abc' }), 'ids is true, false, or a list'],
    ['ids that are a map', guide({ ids: {} }), 'ids is true, false, or a list'],
    ['a list of lists', guide({ ids: [['a']] }), 'ids is true, false, or a list'],
    ['an empty id', guide({ ids: ['a', ''] }), 'ids[1] is ""; an id is 1 to 256 bytes of UTF-8'],
    ['an id of 257 bytes', guide({ ids: ['x'.repeat(257)] }), 'an id is 1 to 256 bytes'],
    ['a fraction', guide({ ids: [1.5] }), 'a number as an id is a finite integer'],
    ['not a number', guide({ ids: [Number.NaN] }), 'a number as an id is a finite integer'],
    ['nil', guide({ ids: [null] }), 'an id is a string or a finite integer'],
    ['bytes', guide({ ids: [new Uint8Array(3)] }), 'an id is a string or a finite integer'],
    // Another user was watched.
    ['2^53 + 1', withIds(0x91, 0xcf, 0, 32, 0, 0, 0, 0, 0, 1), 'beyond 9007199254740991; give it as a string'],
    ['-2^63', withIds(0x91, 0xd3, 128, 0, 0, 0, 0, 0, 0, 0), 'beyond 9007199254740991'],
    ['1e300', guide({ ids: [1e300] }), 'beyond 9007199254740991'],
    ['text that is no UTF-8', withIds(0x91, 0xa2, 0xc3, 0x28), 'ids is true, false, or a list'],
    ['half a surrogate pair', withIds(0x91, 0xa3, 0xed, 0xa0, 0x80), 'ids is true, false, or a list'],
    ['something after it', Buffer.concat([guide({ ids: true }), bytes(0)]), 'ids is true, false, or a list'],
    ['more than 256 KiB', Buffer.concat([guide({ ids: true }), Buffer.alloc(262_144)]), 'in 256 KiB'],
    ['a map of 17 keys', guide(Object.fromEntries(Array.from({ length: 17 }, (_, k) => [`k${k}`, k]))), 'ids is'],
    ['a short array', encode([0, 33, 'd', 0]), 'ids is'],
    ['an array without a map', encode([0, 33, 'd', 0, null]), 'ids is'],
    ['a long cursor', guide({ ids: true, cursor: 'x'.repeat(1_025) }), 'no router gave this cursor'],
    ['an extension', withIds(0xc7, 1, 1, 0), 'ids is true'],
    ['nesting in a key that it does not know', guide({ ids: true, x: [[[[1]]]] }), 'ids is true'],
  ])('%s is refused', (_, frame, error) => {
    expect(decodeWatch(frame, 100)).toMatchObject({ code: 'malformed', error: expect.stringContaining(error) });
  });

  // A header of 3 bytes promised an array of a thousand, which was allocated: one frame ended the process.
  it.each([
    ['arrays in arrays', [0xdc, 0x03, 0xe8]],
    ['large arrays', [0xdd, 0x00, 0x03, 0xff, 0x00]],
    ['maps in maps', [0xde, 0x03, 0xe8]],
    ['small arrays in arrays', [0x91]],
  ])('%s that promise more than there is cost nothing', (_, header) => {
    const nested = Buffer.alloc(262_000, Uint8Array.from(header));
    for (const frame of [
      Buffer.concat([withIds(), nested]),
      Buffer.concat([bytes(0x82, ...text('messageType'), 33, ...text('x')), nested]),
    ]) {
      const before = process.memoryUsage().heapUsed;
      for (let round = 0; round < 100; round += 1) {
        expect(decodeWatch(frame, 1_000)).toMatchObject({ code: expect.stringMatching(/malformed|too-many-ids/) });
      }
      expect(process.memoryUsage().heapUsed - before).toBeLessThan(10_000_000);
    }
  });

  it.each([
    ['array32', [0xdd, 0xff, 0xff, 0xff, 0xff]],
    ['map32', [0xdf, 0xff, 0xff, 0xff, 0xff]],
    ['str32', [0xdb, 0xff, 0xff, 0xff, 0xff]],
    ['bin32', [0xc6, 0xff, 0xff, 0xff, 0xff]],
  ])('%s of four billion in five bytes is refused', (_, header) => {
    expect(decodeWatch(withIds(...header), 2 ** 33)).toMatchObject({ code: 'malformed' });
    expect(decodeWatch(bytes(...header), 2 ** 33)).toMatchObject({ code: 'malformed' });
  });

  it('every cut of a frame is refused', () => {
    const frame = guide({ ids: ['alice', 1_000_000, 'é'], cursor: 'e.7', request: 3 });
    for (let end = 0; end < frame.length; end += 1) {
      expect(decodeWatch(frame.slice(0, end), 100)).toMatchObject({ code: 'malformed' });
    }
  });
});

describe('the number of a request that is refused unread', () => {
  const many = (count: number) => Array.from({ length: count }, (_, index) => index);

  it.each<[string, Uint8Array, number | undefined]>([
    ['in front', guide({ request: 7, ids: ['a'] }), 7],
    ['behind a list', guide({ ids: many(16_384), request: 7 }), 7],
    ['behind a longer one, which is too dear to pass by', guide({ ids: many(16_385), request: 7 }), undefined],
    ['in the dialect of the router', router({ ids: ['a'], cursor: 'x', request: 7 }), 7],
    [
      'in front of more than a frame may have',
      Buffer.concat([guide({ request: 7, ids: [] }), Buffer.alloc(300_000)]),
      7,
    ],
    ['in front of what is cut off', guide({ request: 7, ids: ['a', 'b'] }).subarray(0, 26), 7],
    ['behind what nests', guide({ more: [[1]], request: 7 }), undefined],
    ['that is none', guide({ request: 'x', ids: [] }), undefined],
    ['that no double holds', guide({ request: 2 ** 60, ids: [] }), undefined],
    ['that is not there', guide({ ids: ['a'] }), undefined],
    ['of what is no frame', bytes(0xc0), undefined],
    ['of nothing', bytes(), undefined],
  ])('%s', (_, frame, request) => {
    expect(requestOf(frame)).toBe(request);
  });
});
