import type { IncomingMessage } from 'node:http';
import type { Clock } from '../clock';
import { internalsOf } from '../diagnostics/internals';
import type { Presence } from '../types';
import { BodyBuffer } from './body-buffer';
import { BODY_TIMEOUT_MS, leftBody, MAX_BODY_BYTES, MAX_DISCARDED_BYTES, type StatusBody } from './body-ids';
import type { StatusRequest } from './status';

/**
 * A request of node:http as the neutral core takes it. Where something in front has read the body, what it left is used.
 *
 * @param left - what a body parser left, if there was one
 * @internal
 */
export function fromIncoming<Request>(
  presence: Presence,
  incoming: IncomingMessage,
  left: unknown,
  original: Request,
): StatusRequest<Request> {
  const unread = isConsumed(incoming) ? undefined : new UnreadBody(incoming, left, internalsOf(presence).clock);
  return {
    method: incoming.method ?? '',
    header(name) {
      const value = incoming.headers[name];
      return Array.isArray(value) ? value.join(', ') : value;
    },
    isRead: unread === undefined,
    body: async () => (unread === undefined ? leftBody(left) : unread.read()),
    discard: () => unread?.discard(),
    original,
  };
}

/**
 * Whether the stream was read to its end. A parser that does not care for the content type leaves `{}` and an unread
 * stream, so what it left says nothing by itself.
 */
function isConsumed(incoming: IncomingMessage): boolean {
  const state = (incoming as { _readableState?: { endEmitted?: boolean } })._readableState;
  return incoming.readableEnded ?? state?.endEmitted ?? false;
}

/**
 * The headers of an answer, as the connection of its request can carry them.
 *
 * @param vary - what the answer varies by already
 * @internal
 */
export function headersFor(
  incoming: IncomingMessage,
  headers: { readonly [name: string]: string },
  vary: number | string | readonly string[] | undefined,
): { [name: string]: string } {
  const { vary: added, connection, ...rest } = headers;
  const result: { [name: string]: string } = rest;
  if (added !== undefined) result['vary'] = joinedVary(vary, added);
  // HTTP/2 knows no such header. RFC 9113, section 8.2.2.
  if (connection !== undefined && incoming.httpVersionMajor < 2) result['connection'] = connection;
  return result;
}

function joinedVary(present: number | string | readonly string[] | undefined, added: string): string {
  const names = String(present ?? '') // a list becomes one with commas
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name.toLowerCase() !== added.toLowerCase());
  return names.concat(added).join(', ');
}

/** A body that is still to come, or is coming: read once, or let go of. */
class UnreadBody {
  private state: 'held' | 'reading' | 'discarding' | 'over' = 'held';
  private readonly kept = new BodyBuffer();
  /** Somebody has called `setEncoding`. */
  private isText = false;
  private size = 0;
  private settle: (body: StatusBody) => void = () => undefined;
  private timer: unknown;
  private socket: IncomingMessage['socket'] | undefined;
  private readonly onSocketClose = () => this.end('ended');

  constructor(
    private readonly incoming: IncomingMessage,
    private readonly left: unknown,
    private readonly clock: Clock,
  ) {
    // It must not run dry while `authorize` thinks, where a listener of somebody else has set it flowing.
    incoming.pause();
  }

  read(): Promise<StatusBody> {
    return new Promise((resolve) => {
      this.settle = resolve;
      this.start('reading');
    });
  }

  /**
   * What nobody wants is still read, for one reason: a connection closed on unread data is reset, and the sender would
   * never see the answer (RFC 9112, section 9.6). A sender that does not stop, in bytes or in time, is cut off.
   */
  discard(): void {
    if (this.state === 'held') this.start('discarding');
    else if (this.state === 'reading') this.state = 'discarding';
    else return;
    this.kept.take();
    // All of it is here: nobody is waited for.
    if (this.isOver() || this.incoming.complete) return;
    this.timer = this.clock.setTimeout(() => cutOff(this.incoming), BODY_TIMEOUT_MS);
    // HTTP/2 tells the request itself, and its connection has many.
    if (this.incoming.httpVersionMajor >= 2) return;
    // Once the answer is written, Node does not tell the request that its connection has ended.
    this.socket = this.incoming.socket;
    this.socket.on('close', this.onSocketClose);
  }

  private isOver(): boolean {
    return this.state === 'over';
  }

  private start(state: 'reading' | 'discarding'): void {
    const { incoming } = this;
    // By `authorize`, for one.
    if (isConsumed(incoming)) {
      this.end(leftBody(this.left));
      return;
    }
    // Gone before we came: no event will ever say so.
    if ((incoming as { aborted?: boolean }).aborted || incoming.destroyed) {
      this.end('ended');
      return;
    }
    this.state = state;
    incoming.on('data', (chunk: Buffer | string) => this.take(chunk));
    incoming.on('end', () => this.end({ bytes: this.isText ? this.kept.take().toString() : this.kept.take() }));
    for (const event of ['error', 'aborted', 'close']) incoming.on(event, () => this.end('ended'));
    incoming.resume();
  }

  private take(chunk: Buffer | string): void {
    this.size += Buffer.byteLength(chunk);
    if (this.state === 'reading') {
      if (this.size <= MAX_BODY_BYTES) {
        this.isText = typeof chunk === 'string';
        this.kept.push(typeof chunk === 'string' ? Buffer.from(chunk) : chunk);
        return;
      }
      this.settle('tooLarge');
      this.discard();
    }
    if (this.size > MAX_DISCARDED_BYTES) cutOff(this.incoming);
  }

  private end(body: StatusBody): void {
    if (this.state === 'over') return;
    this.state = 'over';
    this.clock.clearTimeout(this.timer);
    if (this.socket !== undefined) this.socket.removeListener('close', this.onSocketClose);
    this.kept.take();
    this.settle(body);
  }
}

/** Ends the connection, or, in HTTP/2, the one stream of a connection that others share. */
function cutOff(incoming: IncomingMessage): void {
  const { stream } = incoming as { stream?: { close(code: number): void } };
  const NO_ERROR = 0;
  if (incoming.httpVersionMajor < 2 || stream === undefined) incoming.destroy();
  else stream.close(NO_ERROR);
}
