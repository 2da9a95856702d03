import { PresenceError, shown } from '../public/errors';
import type { UserId } from '../public/types';
import { toUserId } from '../public/user-id';
import { invalid, Refusal } from './responses';

/** A request with a larger body is answered with 413. In bytes. */
export const MAX_BODY_BYTES = 1_048_576;

/** A request whose body takes longer to arrive is answered with 408. In milliseconds. */
export const BODY_TIMEOUT_MS = 10_000;

/** A client that keeps sending after its answer is disconnected after this many bytes. @internal */
export const MAX_DISCARDED_BYTES = 16 * MAX_BODY_BYTES;

/**
 * The result of reading the body of a request. Text and parsed bodies were decoded by something else.
 * `tooLarge`: it has more than `MAX_BODY_BYTES`. `ended`: the request ended before its body. `consumed`: something else has
 * read the body and has left nothing.
 */
export type StatusBody =
  | { readonly parsed: unknown }
  | { readonly bytes: Uint8Array | string }
  | 'tooLarge'
  | 'ended'
  | 'consumed';

const FATAL = { fatal: true };

const NOT_HANDED_ON =
  'something in front of the status handler has read the body of the request and has left nothing; put what it read on ' +
  'the body property of the request, or, for the handler of the Fetch standard, hand it over as the second argument';

/** Whether a value is an ArrayBuffer, of this realm or of another. @internal */
export function isArrayBuffer(value: unknown): value is ArrayBuffer {
  return Object.prototype.toString.call(value) === '[object ArrayBuffer]';
}

/** Wraps a body that something else has read, in the form in which it was left. @internal */
export function leftBody(left: unknown): StatusBody {
  if (left === undefined) return 'consumed';
  if (typeof left === 'string') return { bytes: left };
  if (ArrayBuffer.isView(left)) return { bytes: new Uint8Array(left.buffer, left.byteOffset, left.byteLength) };
  if (isArrayBuffer(left)) return { bytes: new Uint8Array(left) };
  return { parsed: left };
}

/**
 * The ids in a body, each once.
 *
 * @throws Refusal 400 or 413
 * @throws PresenceError `ERR_PRESENCE_OPTIONS` where the router has read the body and has not handed it on
 * @internal
 */
export function readIds(body: StatusBody, maxIds: number): string[] {
  if (body === 'tooLarge') throw tooLarge();
  if (body === 'ended') throw invalid('the request ended before its body');
  if (body === 'consumed') throw new PresenceError('ERR_PRESENCE_OPTIONS', NOT_HANDED_ON);
  const value = 'parsed' in body ? body.parsed : parse(body.bytes);
  // This library decodes strictly. Other decoders replace bytes that are not UTF-8 by U+FFFD.
  const isStrict = 'bytes' in body && typeof body.bytes !== 'string';
  const userIds = typeof value === 'object' && value !== null ? (value as { userIds?: unknown }).userIds : undefined;
  if (userIds === undefined) throw invalid('userIds is missing; the body is {"userIds": ["123", "456"]}');
  if (!Array.isArray(userIds)) throw invalid(`userIds is ${shown(userIds)}; it is an array of ids`);
  if (userIds.length > maxIds) throw invalid(`userIds has ${userIds.length} ids; at most ${maxIds} are allowed`);
  try {
    return Array.from(new Set(userIds.map((id: UserId, index) => idOf(id, index, isStrict))));
  } catch (error) {
    throw error instanceof Refusal ? error : invalid((error as Error).message);
  }
}

/** @internal */
export function tooLarge(): Refusal {
  return new Refusal(413, 'Request too large', `the body is larger than ${MAX_BODY_BYTES} bytes`);
}

function parse(bytes: Uint8Array | string): unknown {
  try {
    // A byte order mark is ignored, as RFC 8259, section 8.1, allows. TextDecoder does the same.
    if (typeof bytes === 'string') return JSON.parse(bytes.charCodeAt(0) === 0xfeff ? bytes.slice(1) : bytes);
    // Two different ids that are not valid UTF-8 must not become the same id.
    return JSON.parse(new TextDecoder('utf-8', FATAL).decode(bytes));
  } catch {
    throw invalid('the body is not valid JSON');
  }
}

function idOf(id: UserId, index: number, isStrict: boolean): string {
  // Parsing has rounded it, so it would be the id of another user.
  if (typeof id === 'number' && Math.abs(id) > Number.MAX_SAFE_INTEGER) {
    throw invalid(`userIds[${index}] is a number beyond ${Number.MAX_SAFE_INTEGER}; give it as a string`);
  }
  if (!isStrict && typeof id === 'string' && id.includes('\ufffd')) {
    throw invalid(
      `userIds[${index}] is ${shown(id)}; it holds U+FFFD, which a body parser writes in place of what is not UTF-8`,
    );
  }
  return toUserId(id, 'userIds', index);
}
