import { Decoder } from '@msgpack/msgpack';
import type { PresenceStatus } from '../types';

/** The kinds of frames, by their message types. @internal */
export const UPDATE = 31;
/** @internal */
export const SNAPSHOT = 32;
/** @internal */
export const WATCH = 33;
/** @internal */
export const STALE = 34;

/** What a router says, whichever dialect it speaks. @internal */
export type Said =
  | { readonly kind: typeof UPDATE; readonly user: PresenceStatus; readonly version: number; readonly cursor?: string }
  | {
      readonly kind: typeof SNAPSHOT;
      readonly users: PresenceStatus[];
      /** How the request was called that it answers. */
      readonly request?: number;
      readonly part?: number;
      readonly more?: boolean;
      readonly resumed?: boolean;
      readonly cursor?: string;
    }
  | { readonly kind: typeof WATCH; readonly error: string }
  | { readonly kind: typeof STALE; readonly stale: boolean; readonly asOf: string };

/** Remembers the names of fields from frame to frame. */
const decoder = new Decoder();

type Fields = { readonly [name: string]: unknown };

/** ISO 8601, or milliseconds, of which 0 is never. */
const time = (value: unknown): string | null => (value ? new Date(value as string | number).toISOString() : null);

function userOf({ userId, status, lastSeen }: Fields): PresenceStatus {
  return { userId: String(userId), status: status as PresenceStatus['status'], lastSeen: time(lastSeen) };
}

/** @throws whatever is wrong with it */
function toSaid(frame: unknown): Said | undefined {
  // Maps, or arrays whose fifth element is one.
  const isArray = Array.isArray(frame);
  const fields = (isArray ? frame[4] : frame) as Fields;
  // An integer, whatever it is.
  const type = ((isArray ? frame[1] : fields['messageType']) as number) | 0;
  const { userId = fields['fromId'], status, lastSeen = fields['timestamp'], asOf, users } = fields;
  if (type < UPDATE || type > STALE) return undefined;
  return {
    ...fields,
    kind: type,
    user: type === UPDATE && userOf({ userId, status, lastSeen }),
    users: type === SNAPSHOT && (users as Fields[]).map(userOf),
    asOf: time(asOf),
  } as Said;
}

/** Reads a frame; `undefined` for one that is not of presence, or broken. Never throws. @internal */
export function readFrame(data: unknown): Said | undefined {
  try {
    return toSaid(decoder.decode(new Uint8Array(data as ArrayBuffer)));
  } catch {
    return undefined;
  }
}

/**
 * PRESENCE_WATCH, as MessagePack: there is nothing in it but strings and a list, so no encoder is needed. A list of more
 * than 65,535 ids has no place in it, nor has a request of more than 127.
 * @internal
 */
export function watchFrame(ids: readonly string[] | true, cursor: string | undefined, request: number): Uint8Array {
  const bytes: number[] = [];
  const put = (...values: ReadonlyArray<string | number>): void => {
    for (const value of values) {
      if (typeof value === 'number') {
        bytes.push(value);
        continue;
      }
      const utf8 = new TextEncoder().encode(value);
      // Short ones as short as can be: routers look for the key of the type without decoding.
      if (utf8.length < 32) bytes.push(0xa0 | utf8.length, ...utf8);
      else bytes.push(0xda, utf8.length >> 8, utf8.length & 0xff, ...utf8);
    }
  };
  put(cursor ? 0x84 : 0x83, 'messageType', WATCH, 'request', request, 'ids');
  if (ids === true) put(0xc3);
  else put(0xdc, ids.length >> 8, ids.length & 0xff, ...ids);
  if (cursor) put('cursor', cursor);
  return new Uint8Array(bytes);
}
