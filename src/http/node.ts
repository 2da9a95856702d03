/**
 * The endpoints for plain `node:http`.
 * @module voiceping-presence/http
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Presence } from '../public/types';
import { type ChangesHandlerOptions, createChangesCore } from './changes-handler';
import { changesRequestOf, fromIncoming, headersFor } from './node-request';
import type { StatusResponse } from './responses';
import { createStatusCore, type StatusHandlerOptions } from './status-handler';

export { BODY_TIMEOUT_MS, MAX_BODY_BYTES, type StatusBody } from './body-ids';
export { type ChangesHandlerOptions, type ChangesRequest, createChangesCore } from './changes-handler';
export type { StatusResponse } from './responses';
export { createStatusCore, type StatusHandlerOptions, type StatusRequest } from './status-handler';

/**
 * `POST /api/presence/status` for node:http. It ignores the path, so it can be called for any.
 *
 * @returns a handler that resolves once the answer is written, and never rejects
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 *
 * @example
 * const status = createStatusHandler(presence, { authorize: (request) => request.headers.authorization === KEY || 401 });
 * http.createServer((request, response) => {
 *   if (request.url === '/api/presence/status') return status(request, response);
 *   response.writeHead(404).end();
 * });
 */
export function createStatusHandler(
  presence: Presence,
  options: StatusHandlerOptions<IncomingMessage> = {},
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  const handle = createStatusCore(presence, options);
  return async (request, response) =>
    send(request, response, await handle(fromIncoming(presence, request, [request], request)));
}

/**
 * `GET ?since=&limit=&wait=` for node:http: the changes of all users after a cursor, as `presence.changes.read` gives them. With
 * `wait`, at most 30 seconds, the answer comes as soon as there are some. It ignores the path.
 *
 * @returns a handler that resolves once the answer is written, and never rejects
 * @throws TypeError `ERR_PRESENCE_OPTIONS`, also without `authorize`
 *
 * @example
 * const changes = createChangesHandler(presence, { authorize: (request) => request.headers.authorization === KEY || 401 });
 * http.createServer((request, response) => changes(request, response));
 */
export function createChangesHandler(
  presence: Presence,
  options: ChangesHandlerOptions<IncomingMessage>,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  const handle = createChangesCore(presence, options);
  return async (request, response) =>
    send(request, response, await handle(changesRequestOf(request, request, response)));
}

function send(request: IncomingMessage, response: ServerResponse, { status, headers, body }: StatusResponse): void {
  // Something in front of the handler, such as a time-out, has answered meanwhile, or the client is gone.
  if (response.headersSent || response.finished) return;
  // A response without content has no Content-Length. RFC 9110, section 8.6.
  const length = status === 204 ? {} : { 'content-length': String(Buffer.byteLength(body)) };
  response.writeHead(status, { ...headersFor(request, headers, response.getHeader('vary')), ...length });
  response.end(body);
}
