import type { UpdateReason } from '../public/types';

/** The lease of a router, as owner of users: a fencing token. It is never used again, so nothing late speaks for a later one. */
export type OwnerId = string;

/** What a store keeps of one user. All times are of one clock of the store, in milliseconds. */
export interface UserRecord {
  /** Routers that hold a connection of the user: one, but for users with devices on several routers. */
  readonly owners: readonly OwnerId[];
  /** When the grace ends; 0 where none runs. */
  readonly graceUntil: number;
  /** The status that was published last. */
  readonly online: boolean;
  /** The time of the last activity; `null` before the first. */
  readonly lastSeen: number | null;
}

/** What happens to one user. Ages and durations are non-negative safe integers, in milliseconds. */
export type UserEvent =
  /** A router holds the user from now on. `reassert`: it held the user before, and the store has forgotten it. */
  | { readonly kind: 'join'; readonly owner: OwnerId; readonly ageMs: number; readonly reassert: boolean }
  /** A router holds the user no longer, after a clean close or after silence. */
  | {
      readonly kind: 'leave';
      readonly owner: OwnerId;
      readonly ageMs: number;
      readonly reason: 'disconnect' | 'timeout';
    }
  /** A router lost the last connection of the user without a close: the user has `graceMs` to come back. */
  | { readonly kind: 'drop'; readonly owner: OwnerId; readonly ageMs: number; readonly graceMs: number }
  /** A router has received something from the user. */
  | { readonly kind: 'activity'; readonly owner: OwnerId; readonly ageMs: number }
  /** A router is dead. */
  | { readonly kind: 'dead'; readonly owner: OwnerId }
  /** Time has passed. */
  | { readonly kind: 'due' };

/** A change of status. */
export interface Transition {
  readonly online: boolean;
  readonly reason: UpdateReason;
  /** When the user was last seen, as known at this change. */
  readonly lastSeen: number | null;
}

/** What follows from an event. */
export interface Decision {
  /** To be kept. Where its grace differs from the one before, the user is due at another time. */
  readonly record: UserRecord;
  /** To be published, in order. Two, where a grace had run out that nobody had ended. */
  readonly transitions: readonly Transition[];
  /** The router did not hold the user: nothing has changed but what time alone changes. */
  readonly isIgnored: boolean;
}

/** A user who was never seen. */
export const NEVER_SEEN: UserRecord = { owners: [], graceUntil: 0, online: false, lastSeen: null };

/**
 * Decides whether a user is online, and what changes it: a user is online exactly while a router holds a connection of
 * theirs, or a grace runs. Every store decides by this function, or by its translation (`redis/lua/decide.lua`).
 *
 * Time comes first, whoever notices it: a grace that has run out ends before the event, and a published status that
 * contradicts owners and grace is corrected. An event of a router that does not hold the user is ignored. Pure.
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
  /** How long it lasts from a heartbeat on. */
  readonly leaseMs: number;
  /** How long a user of this router counts as alive after the last activity. */
  readonly ttlMs: number;
  /** When it ends, by the clock of the store. */
  readonly endsAt: number;
  /** It was extended since the last heartbeat of its router. */
  readonly extendedOnce: boolean;
}

/**
 * What is to be done about a lease: nothing, to extend it, or to take the users away from its router.
 *
 * Routers send a heartbeat every third of a lease. Where the store was not asked anything for longer than half of one, the
 * store was away and not the routers: self-preservation, as Netflix Eureka calls it, then extends each lease that ran until
 * then, once from one heartbeat of its router to the next. Pure.
 *
 * @param activeAt - when the store was last asked something before `now`
 */
export function judgeLease(lease: Lease, activeAt: number, now: number): 'runs' | 'extend' | 'dead' {
  const wasAway = now - activeAt > lease.leaseMs / 2;
  if (wasAway && lease.endsAt > activeAt && !lease.extendedOnce) return 'extend';
  return lease.endsAt > now ? 'runs' : 'dead';
}

/**
 * Whether a query may say that a user is online. The published status alone does not answer that: a lease or a grace may
 * have ended that nobody has noticed, and an extended lease does not tell a router that lives from one that died meanwhile.
 * Of the users of such a router those count whose last activity is no older than the TTL. Pure.
 */
export function isOnlineNow(record: UserRecord, leaseOf: (owner: OwnerId) => Lease | undefined, now: number): boolean {
  if (record.graceUntil > now) return true;
  return record.owners.some((owner) => {
    const lease = leaseOf(owner);
    if (lease === undefined || lease.endsAt <= now) return false;
    return !lease.extendedOnce || (record.lastSeen ?? Number.NEGATIVE_INFINITY) + lease.ttlMs > now;
  });
}
