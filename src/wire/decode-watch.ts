import { toUserId } from '../public/user-id';
import { MAX_FRAME_BYTES } from './frame-bytes';
import { MsgpackReader } from './msgpack-reader';

/** A request has few keys. */
const MAX_KEYS = 16;
const MAX_CURSOR = 1_024;
/** How many ids are skipped at most, to find the number of a request that is refused undecoded. */
const MAX_PASSED_BY = 16_384;

/** The reason for a refusal, for programs. @internal */
export type RefusalCode =
  | 'not-allowed'
  | 'too-many-ids'
  | 'too-many-requests'
  | 'malformed'
  | 'timeout'
  | 'unsupported';

/** The answer to a client that may not watch the users whom it asked for. @internal */
export interface Refusal {
  readonly code: RefusalCode;
  /** The reason in words. */
  readonly error: string;
  /** The number that the client gave the request, where it is known. */
  readonly request: number | undefined;
}

/** A client's request to watch users. @internal */
export interface WatchRequest {
  /** All users, none, or these. */
  readonly ids: boolean | Set<string>;
  /** The cursor at which a client that was disconnected resumes. */
  readonly cursor: string | undefined;
  /** The number that the client gave the request. Answers repeat it. */
  readonly request: number | undefined;
}

/** The fields that were read so far. */
interface Fields {
  ids: WatchRequest['ids'] | undefined;
  cursor: string | undefined;
  request: number | undefined;
}

/** A request breaks a rule that its message can name, unlike the errors of the reader. */
class Malformed extends Error {
  constructor(
    message: string,
    readonly code: 'malformed' | 'too-many-ids' = 'malformed',
  ) {
    super(message);
  }
}

/**
 * Decodes PRESENCE_WATCH in either dialect: `{ messageType: 33, ids, cursor, request }`, or `[channelType, 33, fromId, toId,
 * { ids, cursor, request }]`. Unknown keys are skipped. Containers nest at most three deep, and no memory is allocated for
 * data that a header only announces. Never throws.
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
    // The number may come after the error.
    const request = fields.request ?? requestOf(data);
    if (error instanceof Malformed) return { code: error.code, error: error.message, request };
    return { code: 'malformed', error: rule, request };
  }
}

/**
 * Finds the number of a request that is refused undecoded. To stay cheap, the search skips only scalars and lists of scalars.
 * Never throws.
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
    // A value nests, or the frame is cut short: the number is not found.
  }
  return undefined;
}

function toRequest(value: unknown): number | undefined {
  return Number.isSafeInteger(value) ? (value as number) : undefined;
}

function readFields(reader: MsgpackReader, depth: number, maxIds: number, fields: Fields): void {
  const pairs = reader.map();
  if (pairs === undefined || pairs > MAX_KEYS) throw new RangeError('not a request');
  for (let pair = 0; pair < pairs; pair += 1) {
    const key = reader.read(0);
    if (key === 'ids') fields.ids = readIds(reader, maxIds);
    else if (key === 'cursor') {
      const cursor = reader.read(0);
      if (typeof cursor === 'string' && cursor.length > MAX_CURSOR) throw new Malformed('no router gave this cursor');
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
    if (typeof all !== 'boolean') throw new RangeError('not ids');
    return all;
  }
  if (count > maxIds) throw new Malformed(`ids has ${count} ids; at most ${maxIds} are allowed`, 'too-many-ids');
  const ids = new Set<string>();
  for (let index = 0; index < count; index += 1) ids.add(toId(reader.read(0), index));
  return ids;
}

function toId(value: unknown, index: number): string {
  // Decoding has rounded it, so it would be the id of another user.
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw new Malformed(`ids[${index}] is a number beyond ${Number.MAX_SAFE_INTEGER}; give it as a string`);
  }
  try {
    return toUserId(value, 'ids', index);
  } catch (error) {
    throw new Malformed((error as Error).message);
  }
}
