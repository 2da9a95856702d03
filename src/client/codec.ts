import type { PresenceStatus, PresenceUpdate } from '../public/types';
import { MsgpackReader } from '../wire/msgpack-reader';
import { decodeUtf8, encodeUtf8 } from './utf8';

/** The message types of presence frames. @internal */
export const UPDATE = 31;
/** @internal */
export const SNAPSHOT = 32;
/** @internal */
export const WATCH = 33;
/** @internal */
export const STALE = 34;

/** A frame from a router, in either dialect, whose fields have been validated. @internal */
export type Said =
  | {
      readonly kind: typeof UPDATE;
      readonly user: PresenceStatus;
      readonly version: number;
      /** `undefined` also for a reason that this version does not know. */
      readonly reason?: PresenceUpdate['reason'] | undefined;
      readonly cursor?: string | undefined;
    }
  | {
      readonly kind: typeof SNAPSHOT;
      readonly users: PresenceStatus[];
      /** The number of the request that it answers. */
      readonly request?: number | undefined;
      readonly part?: number | undefined;
      readonly more?: boolean | undefined;
      readonly resumed?: boolean | undefined;
      readonly cursor?: string | undefined;
    }
  | {
      readonly kind: typeof WATCH;
      readonly error: string;
      readonly code?: string | undefined;
      readonly request?: number | undefined;
    }
  | { readonly kind: typeof STALE; readonly stale: boolean; readonly asOf: string | null };

/** The most bytes of an id, and the most characters of a cursor, a code and an error. */
const MAX_LENGTH = 256;
/** How deep an unknown field, which is skipped, may nest. */
const MAX_DEPTH = 4;
/** From this time on, a year of ISO 8601 has more than four digits. */
const YEAR_10000 = 253_402_300_800_000;
const ISO_8601 = /^\d{4}-\d\d-\d\d(T[\d:.,+Z-]+)?$/;
/** The fields that are read. The users of a snapshot are read separately. */
const NAMES =
  'messageType fromId userId status timestamp lastSeen version reason cursor request part more resumed error code stale asOf'.split(
    ' ',
  );
const REASONS: ReadonlyArray<string | undefined> = ['connect', 'disconnect', 'timeout', 'node-down', 'resync'];

type Fields = { [name: string]: unknown };
type Rule<T> = (value: unknown) => value is T;

const isInteger = Number.isSafeInteger as Rule<number>;
const isCount: Rule<number> = (value): value is number => isInteger(value) && value >= 0;
const isTime: Rule<number> = (value): value is number => typeof value === 'number' && Math.abs(value) < YEAR_10000;
const isBoolean: Rule<boolean> = (value): value is boolean => typeof value === 'boolean';
const isText: Rule<string> = (value): value is string => typeof value === 'string';
const isShort: Rule<string> = (value): value is string => isText(value) && value.length <= MAX_LENGTH;
const isPresent: Rule<Uint8Array> = (value): value is Uint8Array => value !== undefined;
const isStatus: Rule<PresenceStatus['status']> = (value): value is PresenceStatus['status'] =>
  value === 'online' || value === 'offline';
const isId: Rule<string> = (value): value is string =>
  isShort(value) &&
  value !== '' &&
  // A UTF-16 unit is at most 3 bytes of UTF-8, so short ids need no counting.
  (value.length * 3 <= MAX_LENGTH || encodeUtf8(value).length <= MAX_LENGTH);

/** A single invalid field makes the whole frame invalid. */
function required<T>(value: unknown, rule: Rule<T>): T {
  if (rule(value)) return value;
  throw new RangeError('not a presence frame');
}

function optional<T>(value: unknown, rule: Rule<T>): T | undefined {
  return value === undefined || value === null ? undefined : required(value, rule);
}

/** Reads a time in ISO 8601 or in milliseconds; 0 stands for never. */
function timeOf(value: unknown): string | null {
  if (value === undefined || value === null || value === 0) return null;
  const ms = isText(value) && ISO_8601.test(value) ? Date.parse(value) : value;
  return new Date(required(ms, isTime)).toISOString();
}

function userOf({ userId, status, lastSeen }: Fields): PresenceStatus {
  return {
    userId: required(isInteger(userId) ? String(userId) : userId, isId),
    status: required(status, isStatus),
    lastSeen: timeOf(lastSeen),
  };
}

/** Reads the fields of a map. Unknown fields are skipped without being kept in memory. */
function readFields(reader: MsgpackReader, hasUsers: boolean): Fields {
  const fields: Fields = {};
  for (let left = required(reader.map(), isCount); left > 0; left -= 1) {
    const name = reader.read(0) as string;
    if (hasUsers && name === 'users') fields[name] = readUsers(reader);
    else if (NAMES.includes(name)) fields[name] = reader.read(0);
    else reader.skip(MAX_DEPTH);
  }
  return fields;
}

/** Reads and validates users one by one, so that an invalid list takes no more memory than its valid start. */
function readUsers(reader: MsgpackReader): PresenceStatus[] {
  const users: PresenceStatus[] = [];
  for (let left = required(reader.array(), isCount); left > 0; left -= 1) users.push(userOf(readFields(reader, false)));
  return users;
}

function toSaid(kind: unknown, fields: Fields): Said | undefined {
  const { userId = fields['fromId'], status, lastSeen = fields['timestamp'], users } = fields;
  const request = optional(fields['request'], isInteger);
  const cursor = optional(fields['cursor'], isShort);
  if (kind === UPDATE) {
    const reason = optional(fields['reason'], isText);
    return {
      kind,
      user: userOf({ userId, status, lastSeen }),
      version: required(fields['version'], isCount),
      reason: REASONS.includes(reason) ? (reason as PresenceUpdate['reason']) : undefined,
      cursor,
    };
  }
  if (kind === SNAPSHOT) {
    return {
      kind,
      users: required(users, Array.isArray as Rule<PresenceStatus[]>),
      request,
      part: optional(fields['part'], isCount),
      more: optional(fields['more'], isBoolean),
      resumed: optional(fields['resumed'], isBoolean),
      cursor,
    };
  }
  if (kind === WATCH) {
    const error = required(fields['error'], isText).slice(0, MAX_LENGTH);
    return { kind, error, code: optional(fields['code'], isShort), request };
  }
  if (kind !== STALE) return undefined;
  return { kind, stale: required(fields['stale'], isBoolean), asOf: timeOf(fields['asOf']) };
}

/** Reads a map, or an array whose second element is the type and whose fifth is the map. */
function readSaid(reader: MsgpackReader): Said | undefined {
  let type: unknown;
  let fields: Fields | undefined;
  const length = reader.array();
  if (length === undefined) fields = readFields(reader, true);
  for (let index = 0; index < Number(length); index += 1) {
    if (index === 1) type = reader.read(0);
    else if (index === 4) fields = readFields(reader, true);
    else reader.skip(0);
  }
  if (!fields || !reader.isAtEnd) return undefined;
  return toSaid(length === undefined ? fields['messageType'] : type, fields);
}

/** The bytes of a frame; `undefined` for text, and for a Blob, whose bytes can only be read asynchronously. */
function bytesOf(data: unknown): Uint8Array | undefined {
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  // ws gives a list where its binaryType is 'fragments'.
  if (Array.isArray(data)) return joined(data.map(bytesOf));
  // instanceof fails for an ArrayBuffer of another window or test environment.
  const isBuffer = Object.prototype.toString.call(data) === '[object ArrayBuffer]';
  return isBuffer ? new Uint8Array(data as ArrayBuffer) : undefined;
}

function joined(pieces: ReadonlyArray<Uint8Array | undefined>): Uint8Array {
  const bytes = new Uint8Array(pieces.reduce((length, piece) => length + required(piece, isPresent).length, 0));
  let at = 0;
  for (const piece of pieces as readonly Uint8Array[]) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** Reads a frame; `undefined` for one that is invalid, or is not a presence frame. Never throws. @internal */
export function readFrame(data: unknown): Said | undefined {
  try {
    const bytes = bytesOf(data);
    return bytes && readSaid(new MsgpackReader(bytes, decodeUtf8));
  } catch {
    return undefined;
  }
}

/** Reads a user in a response of the status endpoint; `undefined` for an invalid one. Never throws. @internal */
export function readUser(user: unknown): PresenceStatus | undefined {
  try {
    return userOf(user as Fields);
  } catch {
    return undefined;
  }
}

/** The header of a value whose length takes four bytes. A byte array keeps the lowest eight bits of each number. */
const longHeader = (type: number, length: number): number[] => [type, length >> 24, length >> 16, length >> 8, length];

/** Encodes texts as MessagePack. Numbers are bytes that are encoded already. */
function encoded(values: ReadonlyArray<string | number>): Uint8Array {
  const bytes: number[] = [];
  for (const value of values) {
    if (typeof value === 'number') {
      bytes.push(value);
      continue;
    }
    const utf8 = encodeUtf8(value);
    // Short texts must have the shortest header, since routers search for the key `messageType` without decoding.
    bytes.push(...(utf8.length < 32 ? [0xa0 | utf8.length] : longHeader(0xdb, utf8.length)));
    // One by one, since a long text would be more arguments than a call can have.
    for (const byte of utf8) bytes.push(byte);
  }
  return new Uint8Array(bytes);
}

/**
 * A PRESENCE_WATCH without ids, `{ messageType: 33, request: -1 }`. The router refuses it at once, without its store and
 * without a change to the subscription: it is a cheap proof that the connection is alive.
 * @internal
 */
export const PING = encoded([0x82, 'messageType', WATCH, 'request', 0xff]);

/**
 * Encodes PRESENCE_WATCH as MessagePack. It consists of strings, a list and small numbers, and a complete encoder would make the
 * client a third larger. `request` is at most 127.
 * @internal
 */
export function watchFrame(ids: readonly string[] | true, cursor: string | undefined, request: number): Uint8Array {
  const users = ids === true ? [0xc3] : [...longHeader(0xdd, ids.length), ...ids];
  const fields = ['messageType', WATCH, 'request', request, 'ids', ...users];
  return encoded(cursor ? [0x84, ...fields, 'cursor', cursor] : [0x83, ...fields]);
}
