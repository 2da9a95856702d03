import type { Presence } from '../types';
import {
  createStatusCore,
  MAX_BODY_BYTES,
  MAX_DISCARDED_BYTES,
  type StatusBody,
  type StatusHandlerOptions,
} from './status';

export type { StatusHandlerOptions } from './status';

/**
 * `POST /api/presence/status` as a function from `Request` to `Response`, for Hono, Next, Bun, Deno and whatever else
 * speaks the Fetch standard.
 *
 * @returns a handler that never rejects
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 *
 * @example
 * const status = createStatusHandler(presence);
 * app.all('/api/presence/status', (context) => status(context.req.raw));
 */
export function createStatusHandler(
  presence: Presence,
  options: StatusHandlerOptions<Request> = {},
): (request: Request) => Promise<Response> {
  const handle = createStatusCore(presence, options);
  return async (request) => {
    const { status, headers, body } = await handle({
      method: request.method,
      header: (name) => request.headers.get(name) ?? undefined,
      body: () =>
        readBytes(request).catch((error: unknown): StatusBody => {
          // The client is gone, which is nobody's failure.
          if (request.signal?.aborted) return 'ended';
          throw error;
        }),
      original: request,
    });
    return new Response(status === 204 ? null : body, { status, headers });
  };
}

async function readBytes(request: Request): Promise<StatusBody> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = request.body?.getReader();
  while (reader !== undefined) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size <= MAX_BODY_BYTES) chunks.push(value);
    else chunks.length = 0;
    // What is too large is read to its end all the same, or a sender that is still at it would never see the answer.
    if (size > MAX_DISCARDED_BYTES) {
      await reader.cancel();
      break;
    }
  }
  return size > MAX_BODY_BYTES ? 'tooLarge' : { bytes: Buffer.concat(chunks) };
}
