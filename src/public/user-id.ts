import { PresenceTypeError, shown } from './errors';
import type { UserId } from './types';

const MAX_BYTES = 256;

/** A lone surrogate has no UTF-8 form, so two different ids would become the same bytes on the wire. */
const LONE_SURROGATE = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?:[^\uD800-\uDBFF]|^)[\uDC00-\uDFFF]/;

function invalid(message: string): PresenceTypeError {
  return new PresenceTypeError('ERR_PRESENCE_INVALID_ID', message);
}

/** Builds the name, `userIds[3]`, only when there is an error: a valid id needs none. */
function invalidId(name: string, index: number | undefined, what: string): PresenceTypeError {
  return invalid(`${index === undefined ? name : `${name}[${index}]`} is ${what}`);
}

/**
 * Validates an id from outside. No other function does.
 *
 * @param name - its name in the error, such as `userId`
 * @param index - its position in a list of that name: `userIds[3]`
 * @throws TypeError `ERR_PRESENCE_INVALID_ID`
 * @internal
 */
export function toUserId(value: unknown, name: string, index?: number): string {
  if (typeof value === 'number') {
    if (!Number.isInteger(value)) {
      throw invalidId(name, index, `${value}; a number as an id is a finite integer`);
    }
    // From 1e21 on, String() gives an exponent, and an id is decimal.
    const isShort = Math.abs(value) < 1e21;
    const id = isShort
      ? String(value)
      : value.toLocaleString('en-US', { useGrouping: false, maximumFractionDigits: 0 });
    return toUserId(id, name, index);
  }
  if (typeof value !== 'string') {
    throw invalidId(name, index, `${shown(value)}; an id is a string or a finite integer`);
  }
  // A UTF-16 unit is at most 3 bytes of UTF-8, so short ids need no counting.
  if (value.length === 0 || (value.length * 3 > MAX_BYTES && Buffer.byteLength(value) > MAX_BYTES)) {
    throw invalidId(name, index, `${shown(value)}; an id is 1 to ${MAX_BYTES} bytes of UTF-8`);
  }
  if (LONE_SURROGATE.test(value)) {
    throw invalidId(name, index, `${shown(value)}; an id is valid UTF-8, and this has half of a surrogate pair`);
  }
  return value;
}

/**
 * Validates a list of ids. The set holds each once, in the order given.
 *
 * @throws TypeError `ERR_PRESENCE_INVALID_ID`, also for a lone string, which would be a list of letters
 * @internal
 */
export function toUserIds(ids: Iterable<UserId>, name: string): Set<string> {
  if (typeof ids !== 'object' || ids === null || typeof ids[Symbol.iterator] !== 'function') {
    throw invalid(`${name} is ${shown(ids)}; a list of ids is wanted, such as an array or a Set`);
  }
  const unique = new Set<string>();
  let index = 0;
  for (const id of ids) {
    unique.add(toUserId(id, name, index));
    index += 1;
  }
  return unique;
}
