/**
 * The endpoints for Koa.
 * @module voiceping-presence/koa
 */

import type { IncomingMessage } from 'node:http';
import type { Presence } from '../public/types';
import { type ChangesHandlerOptions, createChangesCore } from './changes-handler';
import { changesRequestOf, fromIncoming, headersFor } from './node-request';
import type { StatusResponse } from './responses';
import { createStatusCore, type StatusHandlerOptions } from './status-handler';

export type { ChangesHandlerOptions } from './changes-handler';
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
    send(context, await handle(fromIncoming(presence, req, [request, req], context)));
  };
}

/**
 * `GET ?since=&limit=&wait=` for Koa 2 and 3: the changes of all users after a cursor, as `presence.changes.read` gives them. With
 * `wait`, at most 30 seconds, the answer comes as soon as there are some.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS`, also without `authorize`
 *
 * @example
 * router.all('/api/presence/changes', createChangesHandler(presence, { authorize: (context) => context.req.headers.authorization === KEY || 401 }));
 */
export function createChangesHandler<Context extends KoaContext = KoaContext>(
  presence: Presence,
  options: ChangesHandlerOptions<Context>,
): (context: Context) => Promise<void> {
  const handle = createChangesCore(presence, options);
  return async (context) => send(context, await handle(changesRequestOf(context.req, context)));
}

function send(context: KoaContext, { status, headers, body }: StatusResponse): void {
  context.status = status;
  context.body = status === 204 ? null : body;
  context.set(headersFor(context.req, headers, context.response.get('vary')));
}
