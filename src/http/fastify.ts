import type { IncomingMessage } from 'node:http';
import type { Presence } from '../public/types';
import { fromIncoming, headersFor, isStream } from './node-request';
import { createStatusCore, type StatusHandlerOptions } from './status-handler';

export type { StatusHandlerOptions } from './status-handler';

/** A request of Fastify, as far as it matters here. */
export interface FastifyRequestLike {
  /** The request of node:http. */
  readonly raw: IncomingMessage;
  /** What Fastify made of the body. */
  readonly body: unknown;
}

/** A reply of Fastify, as far as it matters here. */
export interface FastifyReplyLike {
  /** Sets the status code. */
  code(status: number): unknown;
  /** Sets headers. */
  headers(headers: { [name: string]: string }): unknown;
  /** Reads a header that is set already. */
  getHeader(name: string): number | string | string[] | undefined;
  /** Sends the answer. */
  send(body?: string): unknown;
}

/**
 * `POST /api/presence/status` for Fastify, as a route handler. Fastify parses the body before, and answers bad JSON and a
 * body over its `bodyLimit` by itself. Route all methods to it, so that preflights and wrong methods reach it too.
 *
 * Fastify keeps the body of a stranger, too, before `authorize` is called. Where the endpoint can be reached from
 * outside, refuse in an `onRequest` hook, or leave the body to the handler: in a scope of its own, with
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
    const { status, headers, body } = await handle(fromIncoming(presence, raw, [request], request, payload));
    reply.code(status);
    reply.headers(headersFor(request.raw, headers, reply.getHeader('vary')));
    await reply.send(status === 204 ? undefined : body);
  };
}
