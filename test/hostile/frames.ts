import { randomBytes } from 'node:crypto';
import { encode } from '@msgpack/msgpack';
import type { Random } from '../random';

/** What a call begins with: one byte that is no MessagePack, then whom it is for, in 4 bytes. */
export const AUDIO = 0xc1;

const CONTINUATION = 0x0;
const TEXT = 0x1;
const BINARY = 0x2;
const CLOSE = 0x8;
const PING = 0x9;
const PONG = 0xa;

/** A frame as a client sends it: masked, and by hand, so that it may also be wrong. RFC 6455, section 5.2. */
export function clientFrame(opcode: number, payload: Uint8Array, { isFinal = true, reserved = 0 } = {}): Buffer {
  const { length } = payload;
  const size = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const frame = Buffer.allocUnsafe(size + 4 + length);
  frame[0] = (isFinal ? 0x80 : 0) | (reserved << 4) | opcode;
  frame[1] = 0x80 | (size === 2 ? length : size === 4 ? 126 : 127);
  if (size === 4) frame.writeUInt16BE(length, 2);
  if (size === 10) frame.writeBigUInt64BE(BigInt(length), 2);
  const mask = randomBytes(4);
  mask.copy(frame, size);
  for (let index = 0; index < length; index += 1) {
    frame[size + 4 + index] = (payload[index] as number) ^ (mask[index & 3] as number);
  }
  return frame;
}

export const binary = (payload: Uint8Array): Buffer => clientFrame(BINARY, payload);

/** The handshake of a client; the path says who it is. RFC 6455, section 4.1. */
export function handshake(path: string): string {
  const key = randomBytes(16).toString('base64');
  return (
    `GET ${path} HTTP/1.1\r\nHost: router\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`
  );
}

const ids = (count: number, from = 0): string[] => Array.from({ length: count }, (_, index) => `phone${from + index}`);
const repeated = (bytes: number, ...pattern: number[]): Buffer => Buffer.alloc(bytes, Buffer.from(pattern));

/** `[0, 33, 0, '', body]`, with a body that is made by hand. */
const asked = (...body: Uint8Array[]): Buffer => Buffer.concat([Buffer.from([0x95, 0, 33, 0, 0xa0]), ...body]);
/** `{ messageType: 33, ids: … }`, likewise. */
const askedByMap = (...body: Uint8Array[]): Buffer =>
  Buffer.concat([Buffer.from([0x82]), encode('messageType'), Buffer.from([33]), encode('ids'), ...body]);

/** PRESENCE_WATCH that promises more than it holds, in `bytes` bytes. */
export function bombs(bytes: number): Buffer[] {
  const [router, guide] = [asked().length, askedByMap().length];
  return [
    // Arrays in arrays, each of 1,000 elements.
    asked(repeated(bytes - router, 0xdc, 0x03, 0xe8)),
    askedByMap(repeated(bytes - guide, 0xdc, 0x03, 0xe8)),
    // Arrays, maps and text of 4 thousand million elements.
    asked(repeated(bytes - router, 0xdd, 0xff, 0xff, 0xff, 0xff)),
    askedByMap(repeated(bytes - guide, 0xdf, 0xff, 0xff, 0xff, 0xff)),
    askedByMap(Buffer.from([0xdb, 0xff, 0xff, 0xff, 0xff]), repeated(bytes - guide - 5, 0x61)),
    // Maps in maps, as a list of ids is in a list of ids.
    asked(repeated(bytes - router, 0xde, 0x03, 0xe8, 0xa1, 0x61)),
    asked(repeated(bytes - router, 0x81, 0xa1, 0x61)),
    asked(repeated(bytes - router, 0x91)),
    // Nothing but ids, of a byte each; and of none.
    askedByMap(Buffer.from([0xdd, 0, 0x03, 0xff, 0xff]), repeated(bytes - guide - 5, 0x07)),
    askedByMap(Buffer.from([0xdd, 0, 0x03, 0xff, 0xff]), repeated(bytes - guide - 5, 0xa0)),
  ];
}

/** The shortest request there is: 9 bytes with all that WebSocket adds. */
export const SHORTEST_REQUEST = Buffer.from([0x92, 0, 33]);

/** PRESENCE_WATCH as a client of a dashboard sends it. */
export const watchAll = (request: number): Uint8Array => encode({ messageType: 33, request, ids: true });
export const watchList = (from: number): Uint8Array => encode({ messageType: 33, request: 1, ids: ids(1_000, from) });

/** What is sent in one go: several frames, and how many these are. */
export interface Volley {
  readonly bytes: Buffer;
  readonly frames: number;
}

const volley = (...frames: Buffer[]): Volley => ({ bytes: Buffer.concat(frames), frames: frames.length });
const many = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));

/** Kinds of volleys, made before the siege since nobody has time then. `big` and `illegal` are for now and then. */
export function volleys(dice: Random) {
  const noise = (length: number): Buffer => randomBytes(length);
  const watch = [
    () => SHORTEST_REQUEST,
    () => watchAll(dice.below(100)),
    () => watchList(dice.below(5_000)),
    () => encode([0, 33, 0, '', { ids: ids(dice.below(1_000)), cursor: 'x'.repeat(dice.below(1_000)) }]),
    () => encode({ messageType: 33, ids: true, cursor: `${'A'.repeat(8)}.${dice.below(1e9)}`, request: 2 ** 53 }),
    () => encode({ messageType: 33, ids: [2 ** 53, 2 ** 53 + 2, -(2 ** 60), 1e300, 0.5] }),
    () => encode({ messageType: 33, ids: [{}, [], null, '', 'x'.repeat(300), '__proto__'], request: { toString: 1 } }),
    () => encode([0, 33, 0, '', { ids: false, [`key${dice.below(100)}`]: [[[[1]]]] }]),
    () => askedByMap(encode(['a']), noise(20)),
    ...bombs(2_000).map((bomb) => () => bomb),
  ];
  const chatter = [
    () => binary(encode({ messageType: 30, fromId: 'phone1' })),
    () => binary(encode([0, 30, 'phone1', 0])),
    () => binary(encode({ messageType: 31, fromId: 'phone1', status: 'offline', version: 2 ** 53 })),
    () => binary(encode([0, 32, 0, '', { users: [{ userId: 'phone1', status: 'offline', lastSeen: 0 }] }])),
    () => binary(Buffer.from([AUDIO, 0, 0, 0, 1, ...noise(60)])),
    () => binary(noise(dice.below(300))),
    () => binary(Buffer.alloc(0)),
    () => clientFrame(TEXT, Buffer.from('{"messageType":33,"ids":true}')),
    () => clientFrame(TEXT, Buffer.from('['.repeat(dice.below(500)))),
    () => clientFrame(PING, encode({ messageType: 33, ids: true })),
    () => clientFrame(PING, encode([0, 33, 0, '', { ids: true }])),
    () => clientFrame(PONG, SHORTEST_REQUEST),
  ];
  const fragments = (payload: Uint8Array, count: number): Buffer[] => {
    const size = Math.ceil(payload.length / count);
    return many(count, (index) => {
      const part = payload.subarray(index * size, (index + 1) * size);
      return clientFrame(index === 0 ? BINARY : CONTINUATION, part, { isFinal: index === count - 1 });
    });
  };
  const big = bombs(262_144).concat(noise(262_144), repeated(300 * 1_024, 0x95, 0, 33));
  return {
    watch: many(30, () => volley(...many(16, () => binary(dice.pick(watch)())))),
    chatter: many(30, () => volley(...many(20, () => dice.pick(chatter)()))),
    fragments: many(10, () => volley(...fragments(dice.pick(watch)(), 10), ...fragments(noise(500), 10))),
    big: big.map((payload) => volley(binary(payload))),
    illegal: [
      clientFrame(BINARY, noise(10), { reserved: 7 }),
      clientFrame(TEXT, Buffer.from([0xff, 0xfe])),
      clientFrame(CONTINUATION, noise(10)),
      clientFrame(PING, noise(10), { isFinal: false }),
      clientFrame(CLOSE, Buffer.from([0x00])),
      clientFrame(0x3, noise(4)),
      Buffer.from([0x82, 0x05, ...noise(5)]),
      binary(Buffer.alloc(300 * 1_024 + 1)),
    ].map((frame) => volley(frame)),
  };
}
