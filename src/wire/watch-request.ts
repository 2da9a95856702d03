import { decode } from '@msgpack/msgpack';
import type { UserId } from '../types';

/** A client's frame of more bytes is not looked at. */
const MAX_BYTES = 262_144;

/** What a client asks to hear of. @internal */
export interface WatchRequest {
  /** All, none, or these; not checked yet. */
  readonly ids: boolean | UserId[];
  /** Where it was, when it comes back. */
  readonly cursor: string | undefined;
  /** How it calls this request, if it does: answers say so. */
  readonly request: number | undefined;
}

/**
 * PRESENCE_WATCH in either dialect: `{ messageType: 33, ids, cursor, request }`, or `[channelType, 33, fromId, toId, {
 * ids, cursor, request }]`.
 * `undefined` for whatever is not one, or none that is well made. Never throws.
 * @internal
 */
export function toWatchRequest(data: Uint8Array, maxIds: number): WatchRequest | undefined {
  if (data.length > MAX_BYTES) return undefined;
  let frame: unknown;
  try {
    frame = decode(data, { maxArrayLength: Math.max(maxIds, 5), maxMapLength: 16, maxStrLength: 1_024 });
  } catch {
    return undefined;
  }
  const body = (Array.isArray(frame) ? frame[4] : frame) as Body | null | undefined;
  if (typeof body !== 'object' || body === null) return undefined;
  const { ids, cursor, request } = body;
  if (typeof ids !== 'boolean' && !Array.isArray(ids)) return undefined;
  return {
    ids,
    cursor: typeof cursor === 'string' ? cursor : undefined,
    request: Number.isSafeInteger(request) ? (request as number) : undefined,
  };
}

interface Body {
  readonly ids?: unknown;
  readonly cursor?: unknown;
  readonly request?: unknown;
}
