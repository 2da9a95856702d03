import { createHash } from 'node:crypto';
import type { PresenceUpdate, UpdateReason } from '../../../public/types';
import { toUserId } from '../../../public/user-id';
import { type Batch, MAX_VERSION } from '../../batch';

/** The buckets of a loss of users; an empty list where it may be all. @internal */
export interface Loss {
  readonly buckets: number[];
  /** How often users were found to be missing by now. */
  readonly times: number;
}

/** Bounds of a message, far above what a script writes in one step. */
const MAX_TEXT = 4_000_000;
const MAX_CHANGES = 10_000;
/** The buckets of all partitions together. */
const BUCKETS = 4_096;
/** The latest time that a Date can represent. */
const MAX_TIME = 8.64e15;
/** The reasons that a change to each status can have. */
const REASONS: { readonly [status in PresenceUpdate['status']]: readonly UpdateReason[] } = {
  online: ['connect', 'resync'],
  offline: ['disconnect', 'timeout', 'node-down', 'resync'],
};

/** @internal */
export function isCount(value: unknown, max: number): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max;
}

/** @internal */
export function isEpoch(value: unknown): value is string {
  return typeof value === 'string' && /^\d{1,16}\.\d{1,6}$/.test(value);
}

/**
 * Parses a message; undefined for an invalid one, since any client of Redis may publish on a channel. A valid one may still be
 * forged. Unknown fields are ignored.
 * @internal
 */
export function parseMessage(text: string): Batch | Loss | undefined {
  if (text.length > MAX_TEXT) return undefined;
  try {
    const wire: { readonly [field: string]: unknown } = JSON.parse(text);
    return wire.l === undefined ? parseBatch(wire, text) : toLoss(wire);
  } catch {
    return undefined;
  }
}

/** Parses an entry of the log; undefined where it is not a batch of changes. @internal */
export function toBatch(text: string): Batch | undefined {
  const message = parseMessage(text);
  return message !== undefined && 'first' in message ? message : undefined;
}

function toLoss({ l: buckets, k: times }: { readonly [field: string]: unknown }): Loss | undefined {
  if (!Array.isArray(buckets) || buckets.length > BUCKETS || !isCount(times, MAX_VERSION)) return undefined;
  return buckets.every((bucket) => isCount(bucket, BUCKETS - 1)) ? { buckets, times } : undefined;
}

function parseBatch(wire: { readonly [field: string]: unknown }, text: string): Batch | undefined {
  const { e: epoch, n: first, t: at, u: told } = wire;
  if (!isEpoch(epoch) || !isCount(first, MAX_VERSION) || !isCount(at, MAX_TIME) || first === 0 || at === 0) {
    return undefined;
  }
  if (!Array.isArray(told) || told.length === 0 || told.length > MAX_CHANGES) return undefined;
  if (first + told.length > MAX_VERSION) return undefined;
  const timestamp = new Date(at).toISOString();
  const changes: Array<Batch['changes'][number]> = [];
  for (const change of told) {
    if (!Array.isArray(change)) return undefined;
    const [id, online, lastSeen, reason] = change;
    if (typeof id !== 'string' || (online !== 0 && online !== 1) || !isCount(lastSeen, MAX_TIME)) return undefined;
    const userId = toUserId(id, 'userId');
    const status = online === 1 ? ('online' as const) : ('offline' as const);
    if (!REASONS[status].includes(reason)) return undefined;
    const version = first + changes.length;
    // Frozen, since all listeners of all presences get this object.
    const update: PresenceUpdate = Object.freeze({ userId, status, timestamp, version, reason });
    changes.push({ update, lastSeen });
  }
  return { epoch, first, at, changes, digest: createHash('sha1').update(text).digest('base64') };
}
