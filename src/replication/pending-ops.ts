import { graceLeft, type LocalUser } from '../connections/local-user';
import type { PresenceOp } from '../stores/port';
import type { SetAside } from './set-aside';

/** The operations by which the store gets the present state of a user; none where it has that already. Pure. @internal */
export function pendingOps(user: LocalUser, now: number): PresenceOp[] {
  const { userId, acknowledged, departure } = user;
  // The clock may return fractions, and a store takes whole milliseconds.
  const ageMs = Math.ceil(Math.max(0, now - user.lastLife));
  const join: PresenceOp = { kind: 'join', userId, ageMs, reassert: acknowledged === 'doubted' };
  if (user.alive > 0) return acknowledged === 'held' ? [] : [join];

  const graceMs = Math.ceil(graceLeft(departure, now));
  const drop: PresenceOp = { kind: 'drop', userId, ageMs, graceMs };
  // The connection was lost before its join was sent. The user has a grace all the same.
  if (acknowledged === 'absent') return departure.ending === 'drop' && graceMs > 0 ? [join, drop] : [];
  if (departure.ending === 'drop' || graceMs > 0) return [drop];
  return [{ kind: 'leave', userId, ageMs, reason: departure.ending }];
}

/** @internal */
export interface Batch {
  readonly ops: readonly PresenceOp[];
  readonly users: readonly LocalUser[];
  /** Users who are back in the state that the store has acknowledged. */
  readonly unchanged: readonly LocalUser[];
  /** No user is left for another batch, except those who are set aside. */
  readonly isLast: boolean;
}

/**
 * The next batch: at most `most` operations of users who have changed; or a single user whom the store has refused, once that
 * user is due to be tried again. Pure.
 * @internal
 */
export function nextBatch(
  changed: ReadonlySet<LocalUser>,
  aside: Pick<SetAside<LocalUser>, 'due' | 'has'>,
  most: number,
  now: number,
): Batch {
  const ops: PresenceOp[] = [];
  const users: LocalUser[] = [];
  const unchanged: LocalUser[] = [];
  const alone = aside.due(now);
  let isLast = alone === undefined;
  for (const user of alone !== undefined && changed.has(alone) ? [alone] : changed) {
    if (user !== alone && aside.has(user)) continue;
    const own = pendingOps(user, now);
    if (ops.length > 0 && ops.length + own.length > most) {
      isLast = false;
      break;
    }
    if (own.length === 0) unchanged.push(user);
    else {
      ops.push(...own);
      users.push(user);
    }
  }
  return { ops, users, unchanged, isLast };
}
