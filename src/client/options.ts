import type { UserId } from '../public/types';
import { globals } from './globals';
import type { PresenceClientOptions } from './types';

/** Checks the options that have a wrong type or form by mistake. @throws TypeError @internal */
export function checkOptions({ url, token, logger, WebSocket = globals().WebSocket }: PresenceClientOptions): void {
  if (!/^wss?:\/\//.test(url)) throw new TypeError(`url is ${url}; it is ws:// or wss://`);
  if (WebSocket !== undefined && WebSocket !== false && typeof WebSocket !== 'function')
    throw new TypeError(`WebSocket is ${WebSocket}; it is that of ws`);
  if (!/^(string|function|undefined)$/.test(typeof (token ?? undefined)))
    throw new TypeError(`token is a ${typeof token}; it is a string, or a function that gives one`);
  if (logger && typeof logger.warn !== 'function') throw new TypeError('logger has no warn(); it is { warn(message) }');
}

/** The users to watch, each once. @throws TypeError for anything but a list @internal */
export function toIds(ids: true | Iterable<UserId>): string[] | true {
  if (ids === true) return ids;
  // A string would be taken for a list of letters.
  if (typeof ids !== 'object') throw new TypeError(`ids is ${ids}; it is a list`);
  return Array.from(new Set(Array.from(ids, String)));
}
