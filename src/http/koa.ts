import type { IncomingMessage } from 'node:http';
import type { Presence } from '../types';
import { fromIncoming, joinedVary } from './body';
import { createStatusCore, type StatusHandlerOptions } from './status';

export type { StatusHandlerOptions } from './status';

/** A context of Koa 2 or 3, as far as it matters here. */
export interface KoaContext {
  readonly req: IncomingMessage;
  readonly request: { body?: unknown };
  readonly response: { get(name: string): string | string[] };
  status: number;
  body: unknown;
  set(headers: { [name: string]: string }): void;
}

/**
 * `POST /api/presence/status` for Koa 2 and 3. A body that was parsed already is used.
 * Mount it for all methods of its path, so that preflights and wrong methods reach it too.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 *
 * @example
 * router.all('/api/presence/status', createStatusHandler(presence));
 */
export function createStatusHandler<Context extends KoaContext = KoaContext>(
  presence: Presence,
  options: StatusHandlerOptions<Context> = {},
): (context: Context) => Promise<void> {
  const handle = createStatusCore(presence, options);
  return async (context) => {
    const { status, headers, body } = await handle(fromIncoming(context.req, context.request.body, context));
    context.status = status;
    context.body = status === 204 ? null : body;
    const { vary, ...rest } = headers;
    context.set(rest);
    if (vary !== undefined) context.set({ vary: joinedVary(context.response.get('vary'), vary) });
  };
}
