/**
 * For servers of `ws`.
 * @module voiceping-presence/ws
 */

import { checkFunctions, checkNoLookalike } from '../config/validation';
import { type EmitterLike, listenShared } from '../diagnostics/shared-listener';
import type { Presence, SocketLike } from '../public/types';
import { type AttachOptions, attachEach, type RequestLike } from './attach-each';
import { EarlyFrames } from './early-frames';

export type { AttachOptions, Identify, RequestLike } from './attach-each';

/** The part of a `ws` server, versions 5 to 8, that `attachPresence` uses. */
export interface ServerLike {
  /** Adds a listener. */
  // biome-ignore lint/suspicious/noExplicitAny: typed by the version of ws that the caller has
  on(event: 'connection', listener: (socket: any, request: any) => void): unknown;
  /** Removes a listener. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  removeListener(event: 'connection', listener: (socket: any, request: any) => void): unknown;
}

/**
 * Attaches every socket that connects to a `ws` server from now on.
 *
 * `identify` is called once for each connection, with the handshake request and the socket. Presence frames that arrive
 * before its answer are handled afterwards. Where it throws, rejects, gives an invalid identity or does not answer in time,
 * `onError` is called (stage `identify`), and the socket is left alone or closed with 1008, depending on `closeUnidentified`.
 *
 * @returns a function that stops attaching new sockets; those already attached stay
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
  const onConnection = attachEach<Request, Socket>(presence, options, (socket) => ({
    transport: socket,
    attach: (identity) => presence.attachToSocket(socket, identity),
    wait: (onGone) => {
      const early = new EarlyFrames(socket, onGone);
      return () => early.stop();
    },
  }));
  return listenShared(server as EmitterLike, 'connection', onConnection as (...values: unknown[]) => void);
}
