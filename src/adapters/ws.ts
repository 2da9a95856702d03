import { checkFunctions, checkNoLookalike } from '../config/validation';
import { type EmitterLike, listenShared } from '../diagnostics/shared-listener';
import type { Presence, SocketLike } from '../public/types';
import { type AttachOptions, attachEach, type RequestLike } from './attach-each';

export type { AttachOptions, Identify, RequestLike } from './attach-each';

/** What `attachPresence` needs of a `ws` server, any version from 5 to 8. */
export interface ServerLike {
  /** As of an EventEmitter. */
  // biome-ignore lint/suspicious/noExplicitAny: typed by the version of ws that the caller has
  on(event: 'connection', listener: (socket: any, request: any) => void): unknown;
  /** As of an EventEmitter. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  removeListener(event: 'connection', listener: (socket: any, request: any) => void): unknown;
}

/**
 * Attaches every socket that connects to a `ws` server from now on.
 *
 * `identify` is called once a connection, with the handshake request and the socket. Frames of presence that come while
 * it decides are heard afterwards. Where it throws, rejects, gives an identity that is none or does not answer in time,
 * `onError` hears of it (stage `identify`), and the socket is left alone or closed with 1008, as `closeUnidentified` says.
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
  options: AttachOptions<Request, Socket>,
): () => void {
  const rule = 'it is a WebSocketServer of ws';
  checkNoLookalike('server', server, rule, {
    'an http server': 'hand over the one that was made with new WebSocketServer({ server })',
    'an app of a web framework': 'hand over the one that listens beside it',
    'a socket': 'hand over the server that it came from, or use presence.attachToSocket(socket, identity)',
    'a socket of socket.io': 'for socket.io there is attachPresence of voiceping-presence/socket.io',
    'a server of socket.io': 'for socket.io there is attachPresence of voiceping-presence/socket.io',
    'a server of engine.io': 'for socket.io there is attachPresence of voiceping-presence/socket.io',
    'a presence': 'attachPresence(presence, server, { identify })',
  });
  checkFunctions('server', server, ['on', 'removeListener'], rule);
  const onConnection = attachEach<Request, Socket>(presence, options, (socket) => socket);
  return listenShared(server as EmitterLike, 'connection', onConnection as (...values: unknown[]) => void);
}
