import { graceLeft, type LocalUser } from '../connections/local-user';
import type { PresenceOp } from '../stores/port';

/** What brings the store to what this router knows of a user; nothing where it is there. Pure. @internal */
export function pendingOps(user: LocalUser, now: number): PresenceOp[] {
  const { userId, acknowledged, departure } = user;
  // A clock may give fractions; across the port go whole milliseconds.
  const ageMs = Math.ceil(Math.max(0, now - user.lastLife));
  const join: PresenceOp = { kind: 'join', userId, ageMs, reassert: acknowledged === 'doubted' };
  if (user.alive > 0) return acknowledged === 'held' ? [] : [join];

  const graceMs = Math.ceil(graceLeft(departure, now));
  const drop: PresenceOp = { kind: 'drop', userId, ageMs, graceMs };
  // Lost before the store has heard of it at all: it has its grace all the same.
  if (acknowledged === 'absent') return departure.ending === 'drop' && graceMs > 0 ? [join, drop] : [];
  if (departure.ending === 'drop' || graceMs > 0) return [drop];
  return [{ kind: 'leave', userId, ageMs, reason: departure.ending }];
}
