import { checkNames, optionError, shown } from '../public/errors';
import type {
  ChangeHandler,
  DeliverOptions,
  Identity,
  ReadChanges,
  SocketLike,
  Transport,
  UserId,
} from '../public/types';
import { toUserId, toUserIds } from '../public/user-id';
import { checkedFlag, checkedMs, checkFunctions } from './validation';

const MAX_PAGE = 1_000;

const SOCKET_FUNCTIONS: ReadonlyArray<keyof SocketLike> = ['on', 'removeListener', 'send', 'ping', 'terminate'];

/** @internal */
export function checkSocket(socket: SocketLike): void {
  const rule = 'it is a server-side socket of ws, or one like it';
  checkFunctions('socket', socket, SOCKET_FUNCTIONS, rule, {
    'a server of ws': `${rule}: for a server there is attachPresence of voiceping-presence/ws`,
    'a server of socket.io': `${rule}: for a server there is attachPresence of voiceping-presence/socket.io`,
    'a socket of socket.io': `${rule}: for those there is attachPresence of voiceping-presence/socket.io`,
  });
}

/** @internal */
export function checkTransport(transport: Transport): void {
  checkFunctions('transport', transport, ['send', 'close'], 'it has the functions send and close');
  for (const part of ['terminate', 'ping'] as const) {
    const value: unknown = transport[part];
    if (value !== undefined && typeof value !== 'function') {
      throw optionError(`transport.${part} is ${shown(value)}; it is a function, or left out`);
    }
  }
}

/** @internal */
export interface CheckedIdentity {
  userId: string;
  track: boolean;
  interest: 'all' | Set<string> | undefined;
  /** Milliseconds since the epoch. */
  expiresAt: number | undefined;
}

/** In milliseconds, a time before WebSockets existed; in seconds, one in the far future. */
const LEAST_MS = 1e11;

/** When credentials expire, in milliseconds since the epoch. @throws TypeError `ERR_PRESENCE_OPTIONS` @internal */
export function toExpiry(at: Date | number, name: string): number {
  // instanceof fails for a Date of another realm.
  const ms: unknown = Object.prototype.toString.call(at) === '[object Date]' ? Number(at) : at;
  if (typeof ms !== 'number' || Number.isNaN(ms)) {
    throw optionError(`${name} is ${shown(at)}; it is a Date, or milliseconds since the epoch`);
  }
  if (ms < LEAST_MS) {
    throw optionError(`${name} is ${ms}; it is in milliseconds since the epoch: did you mean ${ms * 1000}?`);
  }
  return ms;
}

/** @internal */
export function checkIdentity(identity: Identity): CheckedIdentity {
  if (typeof identity !== 'object' || identity === null) {
    throw optionError(`identity is ${shown(identity)}; it is an object with a userId`);
  }
  const { deviceId, track = true, watch = false } = identity;
  if (typeof track !== 'boolean') throw optionError(`track is ${shown(track)}; it is true or false`);
  if (deviceId !== undefined && typeof deviceId !== 'string') {
    throw optionError(`deviceId is ${shown(deviceId)}; it is a string`);
  }
  const expiresAt = identity.expiresAt === undefined ? undefined : toExpiry(identity.expiresAt, 'expiresAt');
  return { userId: toUserId(identity.userId, 'userId'), track, interest: toInterest(watch), expiresAt };
}

/** The users whom a socket watches; `undefined` for none. @internal */
export function toInterest(watch: boolean | Iterable<UserId>): 'all' | Set<string> | undefined {
  if (watch === true) return 'all';
  return watch === false ? undefined : toUserIds(watch, 'watch');
}

/** @internal */
export function checkPage(page: { cursor?: string; limit?: number }): { cursor: string | null; limit: number } {
  checkNames(page, ['cursor', 'limit']);
  const { cursor, limit = 100 } = page;
  if (cursor !== undefined && typeof cursor !== 'string') {
    throw optionError(`cursor is ${shown(cursor)}; it is what the page before gave`);
  }
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PAGE) {
    throw optionError(`limit is ${shown(limit)}; it is an integer from 1 to ${MAX_PAGE}`);
  }
  return { cursor: cursor ?? null, limit };
}

const MAX_CHANGES = 10_000;
const MAX_BATCH = 1_000;

/** @internal */
export function checkRead(page: ReadChanges): {
  since: string | undefined;
  limit: number;
  ids: Set<string> | undefined;
} {
  checkNames(page, ['since', 'limit', 'ids']);
  const { since, ids } = page;
  if (since !== undefined && typeof since !== 'string') {
    throw optionError(`since is ${shown(since)}; it is a cursor that a batch or a frame has given`);
  }
  const limit = checkedCount('limit', page.limit, 500, MAX_CHANGES);
  return { since, limit, ids: ids === undefined ? undefined : toUserIds(ids, 'ids') };
}

/** @internal */
export function checkDeliver(name: string, handler: ChangeHandler, options: DeliverOptions) {
  if (typeof name !== 'string' || !/^[\w.:-]{1,64}$/.test(name)) {
    throw optionError(`the name of a delivery is ${shown(name)}; it has 1 to 64 of the characters A-Z a-z 0-9 _ . : -`);
  }
  if (typeof handler !== 'function') throw optionError(`handler is ${shown(handler)}; it is a function`);
  checkNames(options, ['batch', 'from', 'timeoutMs', 'resume']);
  const { from = 'now' } = options;
  if (from !== 'now' && from !== 'start' && from !== 'listing')
    throw optionError(`from is ${shown(from)}; it is 'now', 'start' or 'listing'`);
  return {
    name,
    handler,
    from,
    batch: checkedCount('batch', options.batch, 500, MAX_BATCH),
    timeoutMs: checkedMs('timeoutMs', options.timeoutMs, 1, 30_000),
    resume: checkedFlag('resume', options.resume, false),
  } as const;
}

function checkedCount(name: string, value: unknown, fallback: number, most: number): number {
  const count = value ?? fallback;
  if (typeof count === 'number' && Number.isInteger(count) && count >= 1 && count <= most) return count;
  throw optionError(`${name} is ${shown(value)}; it is an integer from 1 to ${most}`);
}

/** @internal */
export function checkListener(listener: unknown, options: { ids?: Iterable<UserId> }): Set<string> | undefined {
  if (typeof listener !== 'function') throw optionError(`listener is ${shown(listener)}; it is a function`);
  checkNames(options, ['ids']);
  const { ids } = options;
  return ids === undefined ? undefined : toUserIds(ids, 'ids');
}

/** @internal */
export function checkClose(options: { handoverMs?: number }): number {
  checkNames(options, ['handoverMs']);
  return checkedMs('handoverMs', options.handoverMs, 0, 0);
}
