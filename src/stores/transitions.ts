import type { UpdateReason } from '../public/types';

/** The id of a lease, as owner of users: a fencing token. It is never used again, so a late call cannot act for a later lease. */
export type OwnerId = string;

/** The record of a user in a store. All times are by the clock of the store, in milliseconds. */
export interface UserRecord {
  /** The routers that hold a connection of the user. There are several for a user with devices on several routers. */
  readonly owners: readonly OwnerId[];
  /** When the grace ends; 0 where none is running. */
  readonly graceUntil: number;
  /** The status that was published last. */
  readonly online: boolean;
  /** The time of the last activity; `null` before the first. */
  readonly lastSeen: number | null;
}

/** An event of one user. Ages and durations are non-negative safe integers, in milliseconds. */
export type UserEvent =
  /** A router holds the user from now on. `reassert`: it held the user before, and the store has lost that. */
  | { readonly kind: 'join'; readonly owner: OwnerId; readonly ageMs: number; readonly reassert: boolean }
  /** A router no longer holds the user, after a clean close or a time-out. */
  | {
      readonly kind: 'leave';
      readonly owner: OwnerId;
      readonly ageMs: number;
      readonly reason: 'disconnect' | 'timeout';
    }
  /** A router lost the last connection of the user without a close: the user has `graceMs` to come back. */
  | { readonly kind: 'drop'; readonly owner: OwnerId; readonly ageMs: number; readonly graceMs: number }
  /** A router has received a frame, a ping or a pong from the user. */
  | { readonly kind: 'activity'; readonly owner: OwnerId; readonly ageMs: number }
  /** A router is dead. */
  | { readonly kind: 'dead'; readonly owner: OwnerId }
  /** Time has passed. */
  | { readonly kind: 'due' };

/** A change of status. */
export interface Transition {
  /** The status from now on. */
  readonly online: boolean;
  /** Why it has changed. */
  readonly reason: UpdateReason;
  /** When the user was last seen, as known at the time of the change. */
  readonly lastSeen: number | null;
}

/** The consequences of an event. */
export interface Decision {
  /** The new record. Where its `graceUntil` differs from the old one, the store has to change the user's deadline. */
  readonly record: UserRecord;
  /** The changes to publish, in order. There are two where a grace had run out and had not been ended yet. */
  readonly transitions: readonly Transition[];
  /** The router did not hold the user, so that only the passing of time has changed the record. */
  readonly isIgnored: boolean;
}

/** The record of a user who was never seen. */
export const NEVER_SEEN: UserRecord = { owners: [], graceUntil: 0, online: false, lastSeen: null };

/**
 * Decides how an event changes the record of a user. A user is online exactly while a router holds a connection of
 * theirs, or a grace is running. Every store decides by this function, or by its translation (`redis/lua/decide.lua`).
 *
 * Before the event, a grace that has run out is ended, and a published status that contradicts owners and grace is
 * corrected. An event of a router that does not hold the user is ignored, unless it is a join. Pure.
 */
export function decide(before: UserRecord, event: UserEvent, now: number): Decision {
  const transitions: Transition[] = [];
  let { owners, graceUntil, online, lastSeen } = before;
  if (graceUntil <= now) graceUntil = 0;

  const publish = (reason: UpdateReason): void => {
    const isOnline = owners.length > 0 || graceUntil > 0;
    if (isOnline === online) return;
    online = isOnline;
    transitions.push({ online, reason, lastSeen });
  };
  const decided = (isIgnored = false): Decision => ({
    record: { owners, graceUntil, online, lastSeen },
    transitions,
    isIgnored,
  });

  publish(online ? 'timeout' : 'resync');
  if (event.kind === 'due') return decided();

  const isHeld = owners.includes(event.owner);
  if (!isHeld && event.kind !== 'join') return decided(true);
  if (event.kind !== 'dead') lastSeen = Math.max(lastSeen ?? Number.NEGATIVE_INFINITY, now - event.ageMs);
  switch (event.kind) {
    case 'join':
      if (!isHeld) owners = owners.concat(event.owner);
      graceUntil = 0;
      publish(event.reassert ? 'resync' : 'connect');
      break;
    case 'leave':
      owners = without(owners, event.owner);
      publish(event.reason);
      break;
    case 'drop':
      owners = without(owners, event.owner);
      if (event.graceMs > 0) graceUntil = Math.max(graceUntil, now + event.graceMs);
      publish('timeout');
      break;
    case 'dead':
      owners = without(owners, event.owner);
      publish('node-down');
      break;
  }
  return decided();
}

function without(owners: readonly OwnerId[], owner: OwnerId): readonly OwnerId[] {
  return owners.length === 1 ? NEVER_SEEN.owners : owners.filter((other) => other !== owner);
}

/** A router's claim that it is alive. */
export interface Lease {
  /** How long it lasts from a heartbeat, in milliseconds. */
  readonly leaseMs: number;
  /** How long a user of this router counts as alive after the last activity, in milliseconds. */
  readonly ttlMs: number;
  /** When it ends, by the clock of the store. */
  readonly endsAt: number;
  /** It was extended since the last heartbeat of its router. */
  readonly extendedOnce: boolean;
}

/**
 * Decides about a lease: it runs, it has to be extended, or its router is dead and loses its users.
 *
 * Routers send a heartbeat every third of a lease. Where the store received no call for longer than half a lease, the store
 * was away and not the routers. Then self-preservation, a term of Netflix Eureka, extends each lease that was running when the
 * store was last active, once between two heartbeats of its router. Pure.
 *
 * @param activeAt - when the store received the last call before `now`
 */
export function judgeLease(lease: Lease, activeAt: number, now: number): 'runs' | 'extend' | 'dead' {
  const wasAway = now - activeAt > lease.leaseMs / 2;
  if (wasAway && lease.endsAt > activeAt && !lease.extendedOnce) return 'extend';
  return lease.endsAt > now ? 'runs' : 'dead';
}

/**
 * Whether a query may say that a user is online. The published status is not enough: a lease or a grace may have ended since,
 * and the router of an extended lease may have died. A user whom only such a router holds counts as online while the last
 * activity is no older than the TTL. Pure.
 */
export function isOnlineNow(record: UserRecord, leaseOf: (owner: OwnerId) => Lease | undefined, now: number): boolean {
  if (record.graceUntil > now) return true;
  return record.owners.some((owner) => {
    const lease = leaseOf(owner);
    if (lease === undefined || lease.endsAt <= now) return false;
    return !lease.extendedOnce || (record.lastSeen ?? Number.NEGATIVE_INFINITY) + lease.ttlMs > now;
  });
}
