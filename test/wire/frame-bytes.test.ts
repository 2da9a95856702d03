import { runInNewContext } from 'node:vm';
import { encode } from '@msgpack/msgpack';
import { describe, expect, it, vi } from 'vitest';
import { bytesOf, isBlob, readBlob } from '../../src/wire/frame-bytes';
import { peekMessageType } from '../../src/wire/peek';

const HEARTBEAT = Buffer.from(encode({ channelType: 1, fromId: 'acme_u1', messageType: 30 }));
const exact = (bytes: Uint8Array): ArrayBuffer => Uint8Array.from(bytes).buffer;
/** What a test runner with a realm of its own, such as that of jsdom, hands over. */
const foreign = (code: string) => runInNewContext(code, { bytes: Array.from(HEARTBEAT) });

describe('the bytes of a frame', () => {
  it.each<[string, () => unknown]>([
    ['a Buffer', () => HEARTBEAT],
    ['a Uint8Array', () => Uint8Array.from(HEARTBEAT)],
    ['an ArrayBuffer', () => exact(HEARTBEAT)],
    ['a DataView that begins later', () => new DataView(exact(Buffer.concat([Buffer.alloc(3), HEARTBEAT])), 3)],
    ['one fragment', () => [HEARTBEAT]],
    ['fragments', () => [HEARTBEAT.subarray(0, 3), Buffer.alloc(0), HEARTBEAT.subarray(3, 20), HEARTBEAT.subarray(20)]],
    ['fragments that are ArrayBuffers', () => [exact(HEARTBEAT.subarray(0, 3)), exact(HEARTBEAT.subarray(3))]],
    ['a Uint8Array of another realm', () => foreign('Uint8Array.from(bytes)')],
    ['an ArrayBuffer of another realm', () => foreign('Uint8Array.from(bytes).buffer')],
    [
      'fragments of another realm',
      () => foreign('[Uint8Array.from(bytes.slice(0, 9)), Uint8Array.from(bytes.slice(9))]'),
    ],
  ])('%s', (_, frame) => {
    expect(Buffer.from(bytesOf(frame(), 1_000) as Uint8Array).equals(HEARTBEAT)).toBe(true);
    expect(peekMessageType(frame())).toBe(30);
  });

  it('of fragments are put together only as far as they are wanted', () => {
    const fragments = Array.from({ length: 100_000 }, () => Buffer.from([1]));
    expect(bytesOf(fragments, 10)).toEqual(new Uint8Array(10).fill(1));
    expect(bytesOf([Buffer.alloc(7, 1), Buffer.alloc(7, 2)], 10)).toEqual(Uint8Array.of(1, 1, 1, 1, 1, 1, 1, 2, 2, 2));
    expect(bytesOf([], 10)).toEqual(new Uint8Array(0));
  });

  it.each<[string, unknown]>([
    ['text', 'hello'],
    ['nothing', undefined],
    ['null', null],
    ['an object', { byteLength: 3 }],
    ['a number', 3],
    ['fragments with text among them', ['x', HEARTBEAT]],
    ['a Blob', new Blob([HEARTBEAT])],
  ])('there are none in %s', (_, data) => {
    expect(bytesOf(data, 10)).toBeUndefined();
    expect(peekMessageType(data)).toBeUndefined();
  });

  it('that were handed to another thread are none', () => {
    const buffer = exact(HEARTBEAT);
    structuredClone(buffer, { transfer: [buffer] });
    expect(bytesOf(buffer, 10) ?? new Uint8Array(0)).toHaveLength(0);
  });
});

describe('a Blob', () => {
  it('is known by what it can do, whatever made it', () => {
    expect(isBlob(new Blob([]))).toBe(true);
    for (const other of [undefined, null, 'text', 5, HEARTBEAT, [HEARTBEAT], { size: 5 }, { type: 'message' }]) {
      expect(isBlob(other)).toBe(false);
    }
  });

  it('is read after those that came before it, also where one cannot be read; a long one is passed by', async () => {
    const owner = {};
    const read: number[][] = [];
    const use = (bytes: Uint8Array) => read.push(Array.from(bytes));
    let answer: (buffer: ArrayBuffer) => void = () => undefined;
    const slow = new Promise<ArrayBuffer>((resolve) => {
      answer = resolve;
    });
    readBlob(owner, { size: 1, arrayBuffer: () => slow }, use);
    readBlob(owner, { size: 1, arrayBuffer: () => Promise.reject(new Error('gone')) }, use);
    readBlob(owner, new Blob([new Uint8Array(300_000)]), use);
    readBlob(owner, new Blob([Uint8Array.of(2)]), use);
    readBlob({}, new Blob([Uint8Array.of(3)]), use);
    await vi.waitFor(() => expect(read).toEqual([[3]]));
    answer(exact(Uint8Array.of(1)));
    await vi.waitFor(() => expect(read).toEqual([[3], [1], [2]]));
  });
});
