/**
 * The status endpoint for Koa.
 * @module voiceping-presence/koa
 */

import type { IncomingMessage } from 'node:http';
import type { Presence } from '../public/types';
import { fromIncoming, headersFor } from './node-request';
import { createStatusCore, type StatusHandlerOptions } from './status-handler';

export type { StatusHandlerOptions } from './status-handler';

/** The part of a context of Koa 2 or 3 that is used. */
export interface KoaContext {
  /** The request of node:http. */
  readonly req: IncomingMessage;
  /** Koa's request, with a `body` where a parser has set one. */
  readonly request: object;
  /** Koa's response, from which headers that were set before are read. */
  readonly response: { get(name: string): string | string[] };
  /** Set to the status of the answer. */
  status: number;
  /** Set to the answer. */
  body: unknown;
  /** Sets headers of the answer. */
  set(headers: { [name: string]: string }): void;
}

/**
 * `POST /api/presence/status` for Koa 2 and 3. It also takes a body that a parser has already read.
 * Mount it for all methods of its path, so that preflights and wrong methods reach it too.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 *
 * @example
 * router.all('/api/presence/status', createStatusHandler(presence, { authorize: (context) => context.req.headers.authorization === KEY || 401 }));
 */
export function createStatusHandler<Context extends KoaContext = KoaContext>(
  presence: Presence,
  options: StatusHandlerOptions<Context> = {},
): (context: Context) => Promise<void> {
  const handle = createStatusCore(presence, options);
  return async (context) => {
    const { req, request } = context;
    const { status, headers, body } = await handle(fromIncoming(presence, req, [request, req], context));
    context.status = status;
    context.body = status === 204 ? null : body;
    context.set(headersFor(context.req, headers, context.response.get('vary')));
  };
}
