import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { internalsOf } from '../diagnostics/internals';
import type { Clock } from '../public/clock';
import type { Presence } from '../public/types';
import { BodyBuffer } from './body-buffer';
import { BODY_TIMEOUT_MS, leftBody, MAX_BODY_BYTES, MAX_DISCARDED_BYTES, type StatusBody } from './body-ids';
import type { ChangesRequest } from './changes-handler';
import { invalid } from './responses';
import type { StatusRequest } from './status-handler';

/** An object on which a parser may leave the body: a request of node:http, or that of a framework. */
interface Holder {
  readonly body?: unknown;
  readonly rawBody?: unknown;
}

/** The stream of a body: a request, or the stream by which a hook replaces it. */
type BodyStream = Readable & Partial<IncomingMessage>;

/**
 * Translates a request of node:http for the neutral core. Where something in front has read the body, the value that it left
 * is used. That value is read only when needed, since some hosts parse the body at that moment.
 *
 * @param holders - the objects on which a body parser may have left the body
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
      // These headers describe the body on the wire, and not the payload that replaces it.
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

/** Translates a request for changes. @internal */
export function changesRequestOf<Request>(
  incoming: IncomingMessage,
  original: Request,
  response?: ServerResponse,
): ChangesRequest<Request> {
  return {
    method: incoming.method ?? '',
    url: incoming.url ?? '',
    header(name) {
      const value = incoming.headers[name];
      return Array.isArray(value) ? value.join(', ') : value;
    },
    isGone: () => incoming.socket?.destroyed === true || response?.finished === true,
    original,
  };
}

/** Whether the body that a parser left is a stream. @internal */
export function isStream(left: unknown): left is BodyStream {
  const { on, pause, resume } = (left ?? {}) as { [name: string]: unknown };
  return typeof on === 'function' && typeof pause === 'function' && typeof resume === 'function';
}

/**
 * Whether the stream was read to its end. A parser that does not handle the content type leaves `{}` and an unread stream, so
 * the value alone proves nothing. Parsers that did read it, and hosts that never had a stream, set `_body`. A mock of a
 * request may not be a stream at all.
 */
function isConsumed(stream: BodyStream): boolean {
  const { _readableState: state, _body: isParsed } = stream as BodyStream & {
    _readableState?: { endEmitted?: boolean };
    _body?: unknown;
  };
  return !isStream(stream) || isParsed === true || (stream.readableEnded ?? state?.endEmitted ?? false);
}

/** The body that a parser has left, if any: the parsed value, or else the raw bytes that some parsers keep. */
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
 * Adapts the headers of a response to the connection of its request.
 *
 * @param vary - the Vary header that the response already has
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
  // HTTP/2 forbids this header. RFC 9113, section 8.2.2.
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

/** A body that has not arrived completely. It is read once, or discarded. */
class UnreadBody {
  private state: 'held' | 'reading' | 'discarding' | 'over' = 'held';
  private readonly kept = new BodyBuffer();
  /** The stream gives strings, since something called `setEncoding`. */
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
    // Another listener may have set the stream flowing. Paused, it keeps the body until `authorize` has answered.
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
   * Reads the rest and discards it: a connection that is closed with unread data is reset, and the client would never see the
   * answer (RFC 9112, section 9.6). A client that sends too much, or for too long, is disconnected.
   */
  discard(): void {
    if (this.state === 'held') this.start('discarding');
    else if (this.state === 'reading') this.state = 'discarding';
    else return;
    this.kept.take();
    // The whole body has arrived.
    if (this.isOver() || this.incoming.complete) return;
    this.timer = this.clock.setTimeout(() => cutOff(this.incoming), BODY_TIMEOUT_MS);
    // An HTTP/2 request gets its own event, and shares its connection with others.
    const { httpVersionMajor = 1, socket } = this.incoming;
    if (httpVersionMajor >= 2) return;
    // Once the response is written, Node emits no event on the request when its connection ends.
    this.socket = socket;
    socket?.on('close', this.onSocketClose);
  }

  private isOver(): boolean {
    return this.state === 'over';
  }

  private start(state: 'reading' | 'discarding'): void {
    const { incoming } = this;
    // `authorize`, for example, may have read the body.
    if (isConsumed(incoming)) {
      this.endWithLeft();
      return;
    }
    // The request ended before the listeners below are added, so they would never be called.
    if ((incoming as { aborted?: boolean }).aborted || incoming.destroyed) {
      this.end('ended');
      return;
    }
    this.state = state;
    incoming.on('data', (chunk: Buffer | string) => this.take(chunk));
    incoming.on('end', () => {
      // Something else has read the beginning.
      if (!this.isText && this.size < Number(incoming.headers?.['content-length'])) this.endWithLeft();
      else this.end({ bytes: this.isText ? this.kept.take().toString() : this.kept.take() });
    });
    for (const event of ['error', 'aborted', 'close']) incoming.on(event, () => this.end('ended'));
    // A stream with a `readable` listener does not flow; it has to be read explicitly.
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

/** Ends the connection or, in HTTP/2, only the stream, since other requests share the connection. */
function cutOff(incoming: BodyStream): void {
  const { stream, httpVersionMajor = 1 } = incoming as BodyStream & { stream?: { close(code: number): void } };
  const NO_ERROR = 0;
  if (httpVersionMajor < 2 || stream === undefined) incoming.destroy();
  else stream.close(NO_ERROR);
}
