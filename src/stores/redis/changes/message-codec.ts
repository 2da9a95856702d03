import { createHash } from 'node:crypto';
import type { PresenceUpdate, UpdateReason } from '../../../public/types';
import { toUserId } from '../../../public/user-id';
import { type Batch, MAX_VERSION } from '../../change-receiver';

/** Buckets of which users were lost; none are named where it may be all. @internal */
export interface Loss {
  readonly buckets: number[];
  /** How often that was found by now. */
  readonly times: number;
}

/** Far more than any script writes in one step. */
const MAX_TEXT = 4_000_000;
const MAX_CHANGES = 10_000;
/** Of all partitions together. */
const BUCKETS = 4_096;
/** The last moment that a Date can hold. */
const MAX_TIME = 8.64e15;
/** Which reasons a change to each status can have. */
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
 * Undefined for what no router of this kind has sent: anybody may publish anything on a channel. What is valid may still
 * be forged. Fields that are not known are passed by.
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

/** What stands in the log is a batch, or was written by somebody else. @internal */
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
    // Every listener of every presence is handed this one object.
    const update: PresenceUpdate = Object.freeze({ userId, status, timestamp, version, reason });
    changes.push({ update, lastSeen });
  }
  return { epoch, first, at, changes, digest: createHash('sha1').update(text).digest('base64') };
}
