import { encode } from '@msgpack/msgpack';
import type { Random } from '../random';

/** Users whom nobody may harm. Attackers name them. */
export const HONEST: readonly string[] = Array.from({ length: 12 }, (_, index) => `honest${index}`);

const STATUSES = ['online', 'offline'];

/** Sometimes all, sometimes some, and sometimes many. */
const ids = (dice: Random): unknown =>
  dice.pick<() => unknown>([
    () => true,
    () => false,
    () => HONEST.slice(dice.below(12)),
    () => Array.from({ length: dice.below(40) }, () => dice.below(100)),
    () => Array.from({ length: 900 + dice.below(200) }, (_, index) => `u${index}`),
  ])();

/** What clients send: PRESENCE_WATCH and heartbeats, in both dialects. */
export function clientMessage(dice: Random): unknown {
  const asked = {
    ids: ids(dice),
    request: dice.below(100),
    ...(dice.chance(0.3) && { cursor: `abcdefgh.${dice.below(99)}` }),
  };
  return dice.pick<unknown>([
    { messageType: 33, ...asked },
    { messageType: 33, ...asked },
    [0, 33, 0, '', asked],
    [1, 33, dice.pick(HONEST), null, asked],
    { messageType: 30, fromId: dice.pick(HONEST) },
    [0, 30, dice.pick(HONEST), 0],
    { messageType: 31, fromId: dice.pick(HONEST), status: dice.pick(STATUSES), version: 2 ** 40 },
  ]);
}

/** What routers send: updates, snapshots, refusals and stale frames, in both dialects. */
export function routerMessage(dice: Random): unknown {
  const at = 1_765_535_445_123 + dice.below(1e6);
  const time = new Date(at).toISOString();
  const [userId, status, version] = [dice.pick(HONEST), dice.pick(STATUSES), dice.below(1e6)];
  const known = { userId, status, lastSeen: dice.chance(0.8) ? time : null };
  const answer = { request: 1, part: dice.below(2), more: dice.chance(0.3), resumed: dice.chance(0.3), cursor: 'a.9' };
  const users = Array.from({ length: dice.below(20) }, () => ({ ...known, userId: dice.pick(HONEST) }));
  return dice.pick<unknown>([
    { messageType: 31, fromId: userId, toId: '', status, timestamp: time, channelType: 1, version, reason: 'connect' },
    [
      0,
      31,
      0,
      'broadcast',
      { type: 'presence_update', userId, status, timestamp: at, lastSeen: at, version, cursor: 'a.9' },
    ],
    { messageType: 32, users, ...answer },
    [
      0,
      32,
      0,
      '',
      { users: users.map((user) => ({ ...user, lastSeen: at })), timestamp: at, totalOnline: 3, ...answer },
    ],
    { messageType: 32, users: users.slice(0, 3) },
    { messageType: 33, error: 'these users may not be watched', code: 'not-allowed', request: 1 },
    [0, 33, 0, '', { error: 'too many requests', code: 'too-many-requests' }],
    { messageType: 34, stale: dice.chance(0.5), asOf: time },
    [0, 34, 0, '', { stale: dice.chance(0.5), asOf: at }],
  ]);
}

/** What tells the data of a Redis from those that were there before. */
export const EPOCH = '1765535445.5';

/** What routers publish to each other: changes, and losses. */
export function publishedMessage(dice: Random, next: number, at: number): unknown {
  if (dice.chance(0.1)) return { l: [dice.below(256), dice.below(256)], k: dice.below(10) };
  const count = 1 + dice.below(3);
  const change = () =>
    dice.pick([
      [dice.pick(HONEST), 1, at, 'connect'],
      [dice.pick(HONEST), 0, at, 'timeout'],
    ]);
  const changes = Array.from({ length: count }, change);
  return { e: EPOCH, n: next, t: at, u: changes };
}

const NUMBERS: readonly unknown[] = [
  0,
  -1,
  1,
  0.5,
  2 ** 31,
  2 ** 32,
  2 ** 53 - 1,
  2 ** 53,
  -(2 ** 60),
  1e300,
  NaN,
  -Infinity,
];
const TEXTS: readonly unknown[] = [
  '',
  'x',
  'x'.repeat(257),
  'x'.repeat(5_000),
  '__proto__',
  'constructor',
  'toString',
  'a\u0000b',
  '\u202egnp.exe',
  '\ud800',
  '😀'.repeat(64),
  'null',
  '{"userIds":["1"]}',
];
/** Keys that are none of their own in a literal. */
const ODD_MAPS: readonly unknown[] = ['{"__proto__":{"polluted":true}}', '{"toString":1}', '{"length":1e9}', '{}'].map(
  (text) => JSON.parse(text),
);

function hostileValue(dice: Random): unknown {
  return dice.pick<() => unknown>([
    () => dice.pick(NUMBERS),
    () => dice.pick(TEXTS),
    () => dice.pick(HONEST),
    () => dice.pick([null, true, false]),
    () => dice.pick(ODD_MAPS),
    () => [],
    () => Array.from({ length: dice.pick([1, 100, 1_001]) }, () => 7),
    () => JSON.parse('['.repeat(40) + ']'.repeat(40)),
  ])();
}

const isMap = (value: unknown): value is { [key: string]: unknown } => typeof value === 'object' && value !== null;

/** A copy in which one thing, somewhere, is another: left out, twice, swapped, called otherwise, or of another type. */
export function mutatedValue(dice: Random, value: unknown): unknown {
  const isList = Array.isArray(value);
  if (!isMap(value) || dice.chance(0.1)) return hostileValue(dice);
  const entries = Object.entries(value);
  const build = (changed: Array<[string, unknown]>): unknown => {
    if (isList) return changed.map(([, item]) => item);
    // As a parser would: no key is special.
    const map = {};
    for (const [key, item] of changed) {
      Object.defineProperty(map, key, { value: item, enumerable: true, writable: true, configurable: true });
    }
    return map;
  };
  const [at, other] = [dice.below(entries.length), dice.below(entries.length)];
  const [entry, second] = [entries[at], entries[other]];
  if (entry === undefined || second === undefined) return build([['messageType', hostileValue(dice)]]);
  const replaced = (index: number, ...by: Array<[string, unknown]>) =>
    entries.flatMap((one, i) => (i === index ? by : [one]));
  if (dice.chance(0.5)) return build(replaced(at, [entry[0], mutatedValue(dice, entry[1])]));
  return dice.pick([
    () => build(replaced(at)),
    () => build(replaced(at, entry, [`${entry[0]}2`, entry[1]])),
    () => build(replaced(at, [String(dice.pick(TEXTS)), entry[1]])),
    () => build(replaced(at, [entry[0], second[1]]).map((one, i) => (i === other ? [one[0], entry[1]] : one))),
    () => build(entries.reverse()),
    () => build([...entries, ...Array.from({ length: 20 }, (_, i): [string, unknown] => [`k${i}`, i])]),
    () => [value],
  ])();
}

/** Headers that promise much: arrays, maps, text and bytes, of 65,535 and of four thousand million. */
const PROMISES: readonly Buffer[] = [0xdc, 0xdd, 0xde, 0xdf, 0xda, 0xdb, 0xc5, 0xc6].map((first) =>
  Buffer.concat([Buffer.from([first]), Buffer.alloc(first % 2 === 0 && first !== 0xc6 ? 2 : 4, 0xff)]),
);
const NESTS: readonly Buffer[] = [[0x91], [0x81, 0xa1, 0x61], [0xdc, 0x03, 0xe8], [0xdd, 0, 0, 1, 0]].map((pattern) =>
  Buffer.alloc(3_000, Buffer.from(pattern)),
);
/** Where a container or text begins, most likely. */
const isHeader = (byte: number): boolean => (byte >= 0x80 && byte <= 0xbf) || (byte >= 0xd9 && byte <= 0xdf);

/** A copy with bytes flipped, cut off, put in, taken out or repeated, or with a length that is a lie. */
export function mutatedBytes(dice: Random, bytes: Uint8Array): Buffer {
  const copy = Buffer.from(bytes);
  const [at, to] = [dice.below(copy.length + 1), dice.below(copy.length + 1)];
  const spliced = (from: number, until: number, ...by: Uint8Array[]): Buffer =>
    Buffer.concat([copy.subarray(0, from), ...by, copy.subarray(until)]);
  const header = copy.findIndex((byte, index) => index >= at && isHeader(byte));
  return dice.pick<() => Buffer>([
    () => spliced(at, at + 1, Buffer.from([(copy[at] ?? 0) ^ (1 << dice.below(8))])),
    () => spliced(at, at + 1, Buffer.from([dice.below(256)])),
    () => copy.subarray(0, at),
    () => spliced(at, at, Buffer.from([dice.below(256), dice.below(256)])),
    () => spliced(Math.min(at, to), Math.max(at, to)),
    () => spliced(at, at, copy.subarray(Math.min(at, to), Math.max(at, to))),
    () => Buffer.concat([copy, copy]),
    () => spliced(header, header + 1, dice.pick(PROMISES)),
    () => spliced(header, header, dice.pick(NESTS)),
    () => spliced(header, header + 1, Buffer.from([((copy[header] ?? 0) & 0xf0) | dice.below(16)])),
  ])();
}

/** Most are wrong in one place or two; some are as they should be. */
function mutated<T>(dice: Random, value: T, mutate: (dice: Random, value: T) => T): T {
  let result = value;
  for (let left = dice.pick([0, 0, 1, 1, 2]); left > 0; left -= 1) result = mutate(dice, result);
  return result;
}

export const hostileMessage = (dice: Random, message: unknown): unknown => mutated(dice, message, mutatedValue);

/** As MessagePack. */
export function hostileFrame(dice: Random, message: unknown): Uint8Array {
  const bytes: Uint8Array = encode(hostileMessage(dice, message));
  return dice.chance(0.5) ? bytes : mutated(dice, bytes, mutatedBytes);
}

/** As JSON. */
export function hostileText(dice: Random, message: unknown): Buffer {
  const bytes: Uint8Array = Buffer.from(JSON.stringify(hostileMessage(dice, message)) ?? '');
  return Buffer.from(dice.chance(0.6) ? bytes : mutated(dice, bytes, mutatedBytes));
}
