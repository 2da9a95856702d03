/**
 * The endpoints for frameworks of `Request` and `Response`: Hono, Next, Bun, Deno.
 * @module voiceping-presence/fetch
 */

import { internalsOf } from '../diagnostics/internals';
import type { Clock } from '../public/clock';
import type { Presence } from '../public/types';
import { BodyBuffer } from './body-buffer';
import {
  BODY_TIMEOUT_MS,
  isArrayBuffer,
  leftBody,
  MAX_BODY_BYTES,
  MAX_DISCARDED_BYTES,
  type StatusBody,
} from './body-ids';
import { type ChangesHandlerOptions, createChangesCore } from './changes-handler';
import { createStatusCore, type StatusHandlerOptions } from './status-handler';

export type { ChangesHandlerOptions } from './changes-handler';
export type { StatusHandlerOptions } from './status-handler';

/**
 * `POST /api/presence/status` as a function from `Request` to `Response`, for Hono, Next, Bun, Deno and other hosts of the
 * Fetch standard.
 *
 * Where middleware has read the body of the request, pass the text, the bytes or the parsed value as the second argument. It
 * is ignored where the body is unread, since many runtimes pass a second argument of their own to every handler.
 *
 * @returns a handler that never rejects
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 *
 * @example
 * const status = createStatusHandler(presence, { authorize: 'everybody' });
 * app.all('/api/presence/status', (context) => status(context.req.raw));
 *
 * @example
 * // after middleware that has called context.req.json()
 * app.post('/api/presence/status', async (context) => status(context.req.raw, await context.req.json()));
 */
export function createStatusHandler(
  presence: Presence,
  options: StatusHandlerOptions<Request> = {},
): (request: Request, parsed?: unknown) => Promise<Response> {
  const handle = createStatusCore(presence, options);
  const { clock } = internalsOf(presence);
  return async (request, parsed) => {
    const unread = new UnreadBody(request, clock);
    const isRead = request.bodyUsed;
    const { status, headers, body } = await handle({
      method: request.method,
      header: (name) => request.headers.get(name) ?? undefined,
      isRead,
      body: async () => {
        // `authorize`, for example, may have read the body since, or be reading it.
        const isTaken = request.bodyUsed || request.body?.locked === true;
        return isTaken ? leftBody(isData(parsed) ? parsed : undefined) : unread.read();
      },
      discard: () => unread.discard(),
      original: request,
    });
    return new Response(status === 204 ? null : body, { status, headers });
  };
}

/**
 * `GET ?since=&limit=&wait=` as a function from `Request` to `Response`: the changes of all users after a cursor, as
 * `presence.changes.read` gives them. With `wait`, at most 30 seconds, the answer comes as soon as there are some.
 *
 * @returns a handler that never rejects
 * @throws TypeError `ERR_PRESENCE_OPTIONS`, also without `authorize`
 *
 * @example
 * const changes = createChangesHandler(presence, { authorize: (request) => request.headers.get('authorization') === KEY || 401 });
 * app.all('/api/presence/changes', (context) => changes(context.req.raw));
 */
export function createChangesHandler(
  presence: Presence,
  options: ChangesHandlerOptions<Request>,
): (request: Request) => Promise<Response> {
  const handle = createChangesCore(presence, options);
  return async (request) => {
    const { status, headers, body } = await handle({
      method: request.method,
      url: request.url,
      header: (name) => request.headers.get(name) ?? undefined,
      isGone: () => request.signal?.aborted === true,
      original: request,
    });
    return new Response(status === 204 ? null : body, { status, headers });
  };
}

/**
 * Whether a value can be a body, and is not the environment, context or server that a runtime passes besides the request.
 * Those have methods or promises at their first level.
 */
function isData(value: unknown, levels = 1): boolean {
  if (typeof value !== 'object' || value === null) return typeof value !== 'function';
  if (Array.isArray(value) || ArrayBuffer.isView(value) || isArrayBuffer(value)) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  // The prototype of a plain object has no prototype itself. That is also true of objects of another realm.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) return false;
  return levels === 0 || Object.keys(value).every((name) => isData((value as { [name: string]: unknown })[name], 0));
}

/** A body that is read at most once. Where it is never read, the runtime disposes of it. */
class UnreadBody {
  private reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  private state: 'held' | 'reading' | 'discarding' | 'over' = 'held';
  private readonly kept = new BodyBuffer();
  private timer: unknown;

  constructor(
    private readonly request: Request,
    private readonly clock: Clock,
  ) {}

  read(): Promise<StatusBody> {
    return new Promise((resolve, reject) => {
      this.state = 'reading';
      this.pump(resolve)
        // A client that disconnects is no failure of the server.
        .catch((error: unknown) => (this.request.signal?.aborted ? resolve('ended') : reject(error)))
        .finally(() => {
          this.state = 'over';
          this.clock.clearTimeout(this.timer);
        });
    });
  }

  /**
   * Reads the rest and discards it, since a client that is still sending might never see the answer. A client that sends too
   * much, or for too long, is disconnected.
   */
  discard(): void {
    if (this.state !== 'reading') return;
    this.state = 'discarding';
    this.kept.take();
    this.timer = this.clock.setTimeout(() => this.cancel(), BODY_TIMEOUT_MS);
  }

  private async pump(settle: (body: StatusBody) => void): Promise<void> {
    let size = 0;
    this.reader = this.request.body?.getReader();
    while (this.reader !== undefined) {
      const { done, value } = await this.reader.read();
      if (done) break;
      size += value.length;
      if (this.state === 'reading') {
        if (size <= MAX_BODY_BYTES) {
          this.kept.push(value);
          continue;
        }
        settle('tooLarge');
        this.discard();
      }
      if (size > MAX_DISCARDED_BYTES) this.cancel();
    }
    settle({ bytes: this.kept.take() });
  }

  private cancel(): void {
    this.reader?.cancel().catch(() => undefined);
  }
}
