import type { Identity } from 'voiceping-presence';

/** Who is behind a socket or a request, as a checked token says. */
export interface User extends Identity {
  readonly userId: string;
  /** A dashboard is nobody's phone: `false`. */
  readonly track: boolean;
  /** Whose users it may see; without one only itself. */
  readonly company: string | undefined;
  /** Only where nobody is authenticated: everybody sees everybody. */
  readonly seesAll: boolean;
}

/** Ids are `<company>_<user>`, and a company has no underscore. `undefined` for any other id. */
export function companyOf(userId: string): string | undefined {
  const end = userId.indexOf('_');
  return end > 0 && end < userId.length - 1 ? userId.slice(0, end) : undefined;
}

/** May this user see, and call, that one? */
export function maySee(user: User, userId: string): boolean {
  if (user.seesAll || userId === user.userId) return true;
  return user.company !== undefined && companyOf(userId) === user.company;
}

/** May it watch them? A dashboard those whom it may see; a phone nobody. */
export function mayWatch(user: User, userIds: readonly string[] | true): boolean {
  if (user.track) return false;
  return userIds === true ? user.seesAll : userIds.every((userId) => maySee(user, userId));
}
