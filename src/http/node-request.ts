import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { internalsOf } from '../diagnostics/internals';
import type { Clock } from '../public/clock';
import type { Presence } from '../public/types';
import { BodyBuffer } from './body-buffer';
import { BODY_TIMEOUT_MS, leftBody, MAX_BODY_BYTES, MAX_DISCARDED_BYTES, type StatusBody } from './body-ids';
import { invalid } from './responses';
import type { StatusRequest } from './status-handler';

/** Something that has a body: a request of node:http, or that of a framework. */
interface Holder {
  readonly body?: unknown;
  readonly rawBody?: unknown;
}

/** A stream of a body: a request, or what a hook has made of it. */
type BodyStream = Readable & Partial<IncomingMessage>;

/**
 * A request of node:http as the neutral core takes it. Where something in front has read the body, what it left is used; it is
 * not looked at before, for some hosts parse a body when it is asked for.
 *
 * @param holders - where a body parser may have left something
 * @param payload - a stream to read instead of the request, such as one that inflates it
 * @internal
 */
export function fromIncoming<Request>(
  presence: Presence,
  incoming: IncomingMessage,
  holders: readonly object[],
  original: Request,
  payload: BodyStream = incoming,
): StatusRequest<Request> {
  const left = (): unknown => leftOn(holders);
  const unread = isConsumed(payload) ? undefined : new UnreadBody(payload, left, internalsOf(presence).clock);
  return {
    method: incoming.method ?? '',
    header(name) {
      // Of what came over the wire, and not of the payload.
      if (payload !== incoming && name.startsWith('content-')) return undefined;
      const value = incoming.headers[name];
      return Array.isArray(value) ? value.join(', ') : value;
    },
    isRead: unread === undefined,
    body: async () => (unread === undefined ? leftBody(left()) : unread.read()),
    discard: () => unread?.discard(),
    original,
  };
}

/** Whether a body that was left is a stream of its own. @internal */
export function isStream(left: unknown): left is BodyStream {
  const { on, pause, resume } = (left ?? {}) as { [name: string]: unknown };
  return typeof on === 'function' && typeof pause === 'function' && typeof resume === 'function';
}

/**
 * Whether the stream was read to its end. A parser that does not care for the content type leaves `{}` and an unread
 * stream, so what it left says nothing by itself; those that did read it, and hosts that never had a stream, say so by
 * `_body`. A stand-in for a request may be no stream at all.
 */
function isConsumed(stream: BodyStream): boolean {
  const { _readableState: state, _body: isParsed } = stream as BodyStream & {
    _readableState?: { endEmitted?: boolean };
    _body?: unknown;
  };
  return !isStream(stream) || isParsed === true || (stream.readableEnded ?? state?.endEmitted ?? false);
}

/** What a body parser has left, if there was one: what it made of the body, or else the bytes that some keep beside it. */
function leftOn(holders: readonly object[]): unknown {
  try {
    for (const { body } of holders as readonly Holder[]) if (body !== undefined) return body;
    for (const { rawBody } of holders as readonly Holder[]) if (rawBody !== undefined) return rawBody;
  } catch (error) {
    const { statusCode } = error as { statusCode?: unknown };
    if (statusCode === 400 || error instanceof SyntaxError) throw invalid('the body is not valid JSON');
    throw error;
  }
  return undefined;
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
  private fail: (error: unknown) => void = () => undefined;
  private timer: unknown;
  private socket: IncomingMessage['socket'] | undefined;
  private readonly onSocketClose = () => this.end('ended');

  constructor(
    private readonly incoming: BodyStream,
    private readonly left: () => unknown,
    private readonly clock: Clock,
  ) {
    // It must not run dry while `authorize` thinks, where a listener of somebody else has set it flowing.
    incoming.pause();
  }

  read(): Promise<StatusBody> {
    return new Promise((resolve, reject) => {
      this.settle = resolve;
      this.fail = reject;
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
    const { httpVersionMajor = 1, socket } = this.incoming;
    if (httpVersionMajor >= 2) return;
    // Once the answer is written, Node does not tell the request that its connection has ended.
    this.socket = socket;
    socket?.on('close', this.onSocketClose);
  }

  private isOver(): boolean {
    return this.state === 'over';
  }

  private start(state: 'reading' | 'discarding'): void {
    const { incoming } = this;
    // By `authorize`, for one.
    if (isConsumed(incoming)) {
      this.endWithLeft();
      return;
    }
    // Gone before we came: no event will ever say so.
    if ((incoming as { aborted?: boolean }).aborted || incoming.destroyed) {
      this.end('ended');
      return;
    }
    this.state = state;
    incoming.on('data', (chunk: Buffer | string) => this.take(chunk));
    incoming.on('end', () => {
      // Somebody has read the beginning.
      if (!this.isText && this.size < Number(incoming.headers?.['content-length'])) this.endWithLeft();
      else this.end({ bytes: this.isText ? this.kept.take().toString() : this.kept.take() });
    });
    for (const event of ['error', 'aborted', 'close']) incoming.on(event, () => this.end('ended'));
    // Where somebody waits for it to be readable, nothing flows until it is read.
    const drain = (): void => {
      while (incoming.read() !== null);
    };
    if (incoming.listenerCount('readable') > 0) incoming.on('readable', drain);
    incoming.resume();
    if (incoming.listenerCount('readable') > 0) drain();
  }

  private endWithLeft(): void {
    let body: StatusBody | undefined;
    try {
      body = leftBody(this.left());
    } catch (error) {
      this.fail(error);
    }
    this.end(body ?? 'consumed');
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
function cutOff(incoming: BodyStream): void {
  const { stream, httpVersionMajor = 1 } = incoming as BodyStream & { stream?: { close(code: number): void } };
  const NO_ERROR = 0;
  if (httpVersionMajor < 2 || stream === undefined) incoming.destroy();
  else stream.close(NO_ERROR);
}
