import { toUserId } from '../public/user-id';
import { MAX_FRAME_BYTES } from './frame-bytes';
import { MsgpackReader } from './msgpack-reader';

/** A map of ours has few keys. */
const MAX_KEYS = 16;
const MAX_CURSOR = 1_024;
/** So many ids are passed by to find out how a request is called that is refused unread. */
const MAX_PASSED_BY = 16_384;

/** Why a request is refused, as a client can read it. @internal */
export type RefusalCode =
  | 'not-allowed'
  | 'too-many-ids'
  | 'too-many-requests'
  | 'malformed'
  | 'timeout'
  | 'unsupported';

/** A client may not watch what it asked for. @internal */
export interface Refusal {
  readonly code: RefusalCode;
  /** For people. */
  readonly error: string;
  /** How the client called the request, if that is known. */
  readonly request: number | undefined;
}

/** What a client asks to hear of. @internal */
export interface WatchRequest {
  /** All, none, or these. */
  readonly ids: boolean | Set<string>;
  /** Where it was, when it comes back. */
  readonly cursor: string | undefined;
  /** How it calls this request, if it does: answers say so. */
  readonly request: number | undefined;
}

/** What was read so far. */
interface Fields {
  ids: WatchRequest['ids'] | undefined;
  cursor: string | undefined;
  request: number | undefined;
}

/** Something is wrong with a request, which is not what decoders throw. */
class Malformed extends Error {
  constructor(
    message: string,
    readonly code: 'malformed' | 'too-many-ids' = 'malformed',
  ) {
    super(message);
  }
}

/**
 * PRESENCE_WATCH in either dialect: `{ messageType: 33, ids, cursor, request }`, or `[channelType, 33, fromId, toId, {
 * ids, cursor, request }]`. Keys that it does not know are passed by. Containers nest three deep at most, and nothing is
 * allocated that is not there. Never throws.
 * @internal
 */
export function decodeWatch(data: Uint8Array, maxIds: number): WatchRequest | Refusal {
  const rule = `ids is true, false, or a list of at most ${maxIds} ids in 256 KiB`;
  const fields: Fields = { ids: undefined, cursor: undefined, request: undefined };
  try {
    if (data.length > MAX_FRAME_BYTES) throw new Malformed(rule);
    const reader = new MsgpackReader(data);
    const elements = reader.array();
    if (elements !== undefined) {
      if (elements < 5) throw new Malformed(rule);
      for (let index = 0; index < 4; index += 1) reader.skip(1);
    }
    readFields(reader, elements === undefined ? 2 : 1, maxIds, fields);
    for (let index = 5; index < (elements ?? 0); index += 1) reader.skip(1);
    const { ids, cursor, request } = fields;
    if (ids === undefined || !reader.isAtEnd) throw new Malformed(rule);
    return { ids, cursor, request };
  } catch (error) {
    // It may stand behind what was wrong.
    const request = fields.request ?? requestOf(data);
    if (error instanceof Malformed) return { code: error.code, error: error.message, request };
    return { code: 'malformed', error: rule, request };
  }
}

/**
 * How a client calls a request that is refused without a look at the rest of it. Looked for past plain values and one list,
 * not further than is cheap. Never throws.
 * @internal
 */
export function requestOf(data: Uint8Array): number | undefined {
  try {
    const reader = new MsgpackReader(data.subarray(0, MAX_FRAME_BYTES));
    if (reader.array() !== undefined) for (let index = 0; index < 4; index += 1) reader.skip(0);
    for (let pair = Math.min(reader.map() ?? 0, MAX_KEYS); pair > 0; pair -= 1) {
      if (reader.read(0) === 'request') return toRequest(reader.read(0));
      const elements = reader.array();
      if (elements === undefined) reader.skip(0);
      else if (elements > MAX_PASSED_BY) return undefined;
      else for (let index = 0; index < elements; index += 1) reader.skip(0);
    }
  } catch {
    // It nests, or ends too soon: what stands behind is not found.
  }
  return undefined;
}

function toRequest(value: unknown): number | undefined {
  return Number.isSafeInteger(value) ? (value as number) : undefined;
}

function readFields(reader: MsgpackReader, depth: number, maxIds: number, fields: Fields): void {
  const pairs = reader.map();
  if (pairs === undefined || pairs > MAX_KEYS) throw new RangeError('no map of ours');
  for (let pair = 0; pair < pairs; pair += 1) {
    const key = reader.read(0);
    if (key === 'ids') fields.ids = readIds(reader, maxIds);
    else if (key === 'cursor') {
      const cursor = reader.read(0);
      if (typeof cursor === 'string' && cursor.length > MAX_CURSOR) throw new Malformed('the cursor is none of ours');
      fields.cursor = typeof cursor === 'string' ? cursor : undefined;
    } else if (key === 'request') {
      fields.request = toRequest(reader.read(0));
    } else reader.skip(depth);
  }
}

function readIds(reader: MsgpackReader, maxIds: number): boolean | Set<string> {
  const count = reader.array();
  if (count === undefined) {
    const all = reader.read(0);
    if (typeof all !== 'boolean') throw new RangeError('no ids');
    return all;
  }
  if (count > maxIds) throw new Malformed(`ids has ${count} ids; at most ${maxIds} are allowed`, 'too-many-ids');
  const ids = new Set<string>();
  for (let index = 0; index < count; index += 1) ids.add(toId(reader.read(0), index));
  return ids;
}

function toId(value: unknown, index: number): string {
  // It was another number on the wire.
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw new Malformed(`ids[${index}] is a number beyond ${Number.MAX_SAFE_INTEGER}; give it as a string`);
  }
  try {
    return toUserId(value, 'ids', index);
  } catch (error) {
    throw new Malformed((error as Error).message);
  }
}
