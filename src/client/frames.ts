import { decode } from '@msgpack/msgpack';
import type { PresenceStatus } from '../types';

const UPDATE = 31;
const SNAPSHOT = 32;
const WATCH = 33;
const STALE = 34;

/** What a router says, whichever dialect it speaks. @internal */
export type Said =
  | { readonly kind: 'update'; readonly user: PresenceStatus; readonly version: number; readonly cursor?: string }
  | {
      readonly kind: 'snapshot';
      readonly users: PresenceStatus[];
      /** Of a router that was asked. */
      readonly part?: number;
      readonly more?: boolean;
      readonly resumed?: boolean;
      readonly cursor?: string;
    }
  | { readonly kind: 'refused'; readonly details: string }
  | { readonly kind: 'stale'; readonly stale: boolean; readonly asOf: string };

type Fields = { readonly [name: string]: unknown };

/** ISO 8601, or milliseconds, of which 0 is never. */
function time(value: unknown): string | null {
  if (typeof value === 'number') return value === 0 ? null : new Date(value).toISOString();
  return typeof value === 'string' ? value : null;
}

function userOf({ userId, status, lastSeen }: Fields): PresenceStatus {
  return { userId: String(userId), status: status === 'online' ? 'online' : 'offline', lastSeen: time(lastSeen) };
}

/** Reads a frame; `undefined` for one that is not of presence, or broken. Never throws. @internal */
export function readFrame(data: unknown): Said | undefined {
  let frame: unknown;
  try {
    frame = decode(new Uint8Array(data as ArrayBuffer));
  } catch {
    return undefined;
  }
  // Maps, or arrays whose fifth element is one.
  const isArray = Array.isArray(frame);
  const type: unknown = isArray ? (frame as unknown[])[1] : (frame as Fields | null)?.['messageType'];
  const fields = (isArray ? (frame as unknown[])[4] : frame) as Fields | null | undefined;
  if (typeof fields !== 'object' || fields === null) return undefined;
  if (type === UPDATE) {
    const { userId, fromId, status, lastSeen, timestamp, version } = fields;
    return {
      ...fields,
      kind: 'update',
      user: userOf({ userId: userId ?? fromId, status, lastSeen: lastSeen ?? timestamp }),
      version: Number(version),
    };
  }
  if (type === SNAPSHOT) {
    const { users } = fields;
    return { ...fields, kind: 'snapshot', users: Array.isArray(users) ? users.map(userOf) : [] };
  }
  if (type === WATCH) return { kind: 'refused', details: String(fields['error']) };
  if (type === STALE) return { kind: 'stale', stale: fields['stale'] === true, asOf: time(fields['asOf']) ?? '' };
  return undefined;
}

/** PRESENCE_WATCH, as MessagePack: there is nothing in it but strings and a list, so no encoder is needed. @internal */
export function watchFrame(ids: readonly string[] | true, cursor: string | undefined): Uint8Array {
  const bytes: number[] = [cursor === undefined ? 0x82 : 0x83];
  const text = new TextEncoder();
  const string = (value: string): void => {
    const utf8 = text.encode(value);
    // Short ones as short as can be: routers look for the key of the type without decoding.
    if (utf8.length < 32) bytes.push(0xa0 | utf8.length);
    else bytes.push(0xda, utf8.length >> 8, utf8.length & 0xff);
    for (const byte of utf8) bytes.push(byte);
  };
  string('messageType');
  bytes.push(WATCH);
  string('ids');
  if (ids === true) {
    bytes.push(0xc3);
  } else {
    bytes.push(0xdd, ids.length >>> 24, (ids.length >> 16) & 0xff, (ids.length >> 8) & 0xff, ids.length & 0xff);
    for (const id of ids) string(id);
  }
  if (cursor !== undefined) {
    string('cursor');
    string(cursor);
  }
  return new Uint8Array(bytes);
}
