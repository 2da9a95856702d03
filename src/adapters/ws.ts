import { optionError, shown } from '../errors';
import { reportTo } from '../report';
import type { Identity, Presence, SocketLike } from '../types';

/** What `attachPresence` needs of a `ws` server, any version from 5 to 8. */
export interface ServerLike {
  /** As of an EventEmitter. */
  // biome-ignore lint/suspicious/noExplicitAny: typed by the version of ws that the caller has
  on(event: 'connection', listener: (socket: any, request: any) => void): unknown;
  /** As of an EventEmitter. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  removeListener(event: 'connection', listener: (socket: any, request: any) => void): unknown;
}

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
 * Attaches every socket that connects to a `ws` server from now on.
 *
 * `identify` is called once a connection, with the handshake request and the socket; where it throws, rejects or gives
 * an identity that is none, the socket is left alone and `onError` hears of it (stage `identify`).
 *
 * @returns the function that stops taking new sockets; those attached stay
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 *
 * @example
 * attachPresence(presence, wss, {
 *   identify: (request) => ({ userId: String(request.headers.token) }),
 * });
 */
export function attachPresence<Request = RequestLike, Socket extends SocketLike = SocketLike>(
  presence: Presence,
  server: ServerLike,
  options: { identify: Identify<Request, Socket> },
): () => void {
  const identify = options?.identify;
  if (typeof identify !== 'function') throw optionError(`identify is ${shown(identify)}; it is a function`);
  if (typeof presence?.attachToSocket !== 'function') {
    throw optionError(`presence is ${shown(presence)}; it is what createPresence() gave`);
  }
  if (typeof server?.on !== 'function' || typeof server.removeListener !== 'function') {
    throw optionError(`server is ${shown(server)}; it is a server of ws`);
  }

  const attach = (socket: Socket, identity: Identity | null): void => {
    if (identity !== null) presence.attachToSocket(socket, identity);
  };
  const onConnection = (socket: Socket, request: Request): void => {
    try {
      const identity = identify(request, socket);
      if (!isPromise(identity)) {
        attach(socket, identity);
        return;
      }
      identity
        .then((resolved) => attach(socket, resolved))
        .catch((error: unknown) => reportTo(presence, 'identify', error));
    } catch (error) {
      reportTo(presence, 'identify', error);
    }
  };
  server.on('connection', onConnection);
  return () => {
    server.removeListener('connection', onConnection);
  };
}

function isPromise(value: Identity | null | Promise<Identity | null>): value is Promise<Identity | null> {
  return typeof (value as Promise<Identity | null> | null)?.then === 'function';
}
