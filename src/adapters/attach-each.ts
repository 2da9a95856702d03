import { reportTo } from '../diagnostics/internals';
import { checkNames, optionError, shown } from '../errors';
import type { Identity, Presence, SocketLike } from '../types';

/** What a handshake request has, in every version of Node. */
export interface RequestLike {
  /** By lower-case name. */
  readonly headers: { readonly [name: string]: string | string[] | undefined };
  /** Path and query. */
  readonly url?: string | undefined;
}

/** Who it is that connects; null to leave the socket alone. */
export type Identify<Request = RequestLike, Socket = SocketLike> = (
  request: Request,
  socket: Socket,
) => Identity | null | Promise<Identity | null>;

/**
 * What socket adapters have in common: each socket that comes is identified, now or later, and attached. A failure of
 * `identify` leaves the socket alone, and is reported.
 *
 * @param toSocketLike - how the core sees a socket
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 * @internal
 */
export function attachEach<Request, Socket>(
  presence: Presence,
  options: { identify: Identify<Request, Socket> },
  toSocketLike: (socket: Socket) => SocketLike,
): (socket: Socket, request: Request) => void {
  const identify = options?.identify;
  if (typeof identify !== 'function') throw optionError(`identify is ${shown(identify)}; it is a function`);
  checkNames(options, ['identify']);
  if (typeof presence?.attachToSocket !== 'function') {
    throw optionError(`presence is ${shown(presence)}; it is what createPresence() gave`);
  }
  const report = (error: unknown) => reportTo(presence, 'identify', error);
  const attach = (socket: Socket, identity: Identity | null): void => {
    if (identity !== null) presence.attachToSocket(toSocketLike(socket), identity);
  };
  return (socket, request) => {
    try {
      const identity = identify(request, socket);
      // At once where it can be, so that not even the first frame is missed.
      if (isPromise(identity)) identity.then((resolved) => attach(socket, resolved)).catch(report);
      else attach(socket, identity);
    } catch (error) {
      report(error);
    }
  };
}

function isPromise(value: Identity | null | Promise<Identity | null>): value is Promise<Identity | null> {
  return typeof (value as Promise<Identity | null> | null)?.then === 'function';
}
