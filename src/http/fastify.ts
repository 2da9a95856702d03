/**
 * The endpoints for Fastify.
 * @module voiceping-presence/fastify
 */

import type { IncomingMessage } from 'node:http';
import type { Presence } from '../public/types';
import { type ChangesHandlerOptions, createChangesCore } from './changes-handler';
import { changesRequestOf, fromIncoming, headersFor, isStream } from './node-request';
import type { StatusResponse } from './responses';
import { createStatusCore, type StatusHandlerOptions } from './status-handler';

export type { ChangesHandlerOptions } from './changes-handler';
export type { StatusHandlerOptions } from './status-handler';

/** The part of a Fastify request that is used. */
export interface FastifyRequestLike {
  /** The request of node:http. */
  readonly raw: IncomingMessage;
  /** The body, as Fastify has parsed it. */
  readonly body: unknown;
}

/** The part of a Fastify reply that is used. */
export interface FastifyReplyLike {
  /** Sets the status code. */
  code(status: number): unknown;
  /** Sets headers. */
  headers(headers: { [name: string]: string }): unknown;
  /** Reads a header that was set before. */
  getHeader(name: string): number | string | string[] | undefined;
  /** Sends the answer. */
  send(body?: string): unknown;
}

/**
 * `POST /api/presence/status` for Fastify, as a route handler. Fastify parses the body first, and answers bad JSON and a
 * body over its `bodyLimit` itself. Route all methods to the handler, so that preflights and wrong methods reach it too.
 *
 * Fastify reads the whole body before `authorize` is called. Where the endpoint can be reached from outside, refuse
 * unauthorized requests in an `onRequest` hook, or let the handler read the body: in a scope of its own, with
 * `addContentTypeParser('*', (request, payload, done) => done(null))` after `removeAllContentTypeParsers()`.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 *
 * @example
 * app.all('/api/presence/status', createStatusHandler(presence, { authorize: (request) => request.raw.headers.authorization === KEY || 401 }));
 */
export function createStatusHandler<Request extends FastifyRequestLike = FastifyRequestLike>(
  presence: Presence,
  options: StatusHandlerOptions<Request> = {},
): (request: Request, reply: FastifyReplyLike) => Promise<void> {
  const handle = createStatusCore(presence, options);
  return async (request, reply) => {
    const { raw, body: left } = request;
    const payload = isStream(left) ? left : raw;
    await send(raw, reply, await handle(fromIncoming(presence, raw, [request], request, payload)));
  };
}

/**
 * `GET ?since=&limit=&wait=` for Fastify, as a route handler: the changes of all users after a cursor, as `presence.changes.read` gives
 * them. With `wait`, at most 30 seconds, the answer comes as soon as there are some.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS`, also without `authorize`
 *
 * @example
 * app.all('/api/presence/changes', createChangesHandler(presence, { authorize: (request) => request.raw.headers.authorization === KEY || 401 }));
 */
export function createChangesHandler<Request extends FastifyRequestLike = FastifyRequestLike>(
  presence: Presence,
  options: ChangesHandlerOptions<Request>,
): (request: Request, reply: FastifyReplyLike) => Promise<void> {
  const handle = createChangesCore(presence, options);
  return async (request, reply) => send(request.raw, reply, await handle(changesRequestOf(request.raw, request)));
}

async function send(
  raw: IncomingMessage,
  reply: FastifyReplyLike,
  { status, headers, body }: StatusResponse,
): Promise<void> {
  reply.code(status);
  reply.headers(headersFor(raw, headers, reply.getHeader('vary')));
  await reply.send(status === 204 ? undefined : body);
}
