/**
 * The endpoints for Express.
 * @module voiceping-presence/express
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Presence } from '../public/types';
import type { ChangesHandlerOptions } from './changes-handler';
import { createChangesHandler as createNodeChangesHandler, createStatusHandler as createNodeHandler } from './node';
import type { StatusHandlerOptions } from './status-handler';

export type { ChangesHandlerOptions } from './changes-handler';
export type { StatusHandlerOptions } from './status-handler';

/** The part of a request of Express 4 or 5 that is used. */
export interface ExpressRequest extends IncomingMessage {
  /** The body, where a body parser has read it. */
  body?: unknown;
}

/**
 * `POST /api/presence/status` for Express 4 and 5. It also takes a body that a parser has already read.
 * Mount it with `app.all` or `app.use`, so that preflights and wrong methods reach it too.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 *
 * @example
 * app.all('/api/presence/status', createStatusHandler(presence, { authorize: (request) => request.headers.authorization === KEY || 401 }));
 */
export function createStatusHandler<Request extends IncomingMessage = ExpressRequest>(
  presence: Presence,
  options: StatusHandlerOptions<Request> = {},
): (request: Request, response: ServerResponse) => Promise<void> {
  // An Express request extends the request of node:http.
  return createNodeHandler(presence, options as unknown as StatusHandlerOptions<IncomingMessage>);
}

/**
 * `GET ?since=&limit=&wait=` for Express 4 and 5: the changes of all users after a cursor, as `presence.changes.read` gives them. With
 * `wait`, at most 30 seconds, the answer comes as soon as there are some.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS`, also without `authorize`
 *
 * @example
 * app.all('/api/presence/changes', createChangesHandler(presence, { authorize: (request) => request.headers.authorization === KEY || 401 }));
 */
export function createChangesHandler<Request extends IncomingMessage = ExpressRequest>(
  presence: Presence,
  options: ChangesHandlerOptions<Request>,
): (request: Request, response: ServerResponse) => Promise<void> {
  return createNodeChangesHandler(presence, options as unknown as ChangesHandlerOptions<IncomingMessage>);
}
