import { checkedMs } from '../config/validation';
import { internalsOf, isActive } from '../diagnostics/internals';
import { checkNames, optionError, shown } from '../public/errors';
import { named } from '../public/lookalikes';
import type { Attachment, Identity, Presence, SocketLike } from '../public/types';
import { EarlyFrames } from './early-frames';

/** What a handshake request has, in every version of Node. */
export interface RequestLike {
  /** By lower-case name. */
  readonly headers: { readonly [name: string]: string | string[] | undefined };
  /** Path and query. */
  readonly url?: string | undefined;
}

/** Who it is that connects; null to leave the socket alone. */
export type Identify<Request = RequestLike, Socket = SocketLike> = (
  request: Request,
  socket: Socket,
) => Identity | null | Promise<Identity | null>;

/** What `attachPresence` takes, whatever the sockets. */
export interface AttachOptions<Request = RequestLike, Socket = SocketLike> {
  /**
   * Says whose socket it is: an identity, or `null` to leave the socket alone, or a promise of either. It is called once a
   * connection.
   */
  identify: Identify<Request, Socket>;
  /** How long `identify` may take. At least 1. @default 10_000 // 10 seconds */
  identifyTimeoutMs?: number;
  /**
   * Sockets of nobody that are closed (1008), instead of being left alone: those for which `identify` gave `null`, those
   * for which it failed (`error`), and those for which it did not answer in time (`timeout`).
   * @default ['timeout'] // so that an identity service that fails does not cut every phone
   */
  closeUnidentified?: ReadonlyArray<'null' | 'error' | 'timeout'>;
}

const IDENTITY_RULE = 'it gives an identity, or null to leave the socket alone';

/** What is no identity. */
function typeName(value: unknown): string {
  return value === undefined ? 'undefined' : `a ${typeof value}`;
}

const KINDS: readonly unknown[] = ['null', 'error', 'timeout'];
const NOT_ALLOWED = 1008;
/** A client of ours comes back after those that end so: it was nobody's fault but ours. */
const REASONS = {
  null: 'presence: not identified',
  error: 'presence: could not identify, try again',
  timeout: 'presence: not identified in time, try again',
};

/**
 * What socket adapters have in common: each socket that comes is identified, now or later, and attached. A failure of
 * `identify` is reported.
 *
 * @param toSocketLike - how the core sees a socket
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 * @internal
 */
export function attachEach<Request, Socket>(
  presence: Presence,
  options: AttachOptions<Request, Socket>,
  toSocketLike: (socket: Socket) => SocketLike,
): (socket: Socket, request: Request) => void {
  const { identify, identifyTimeoutMs, closeUnidentified } = checkOptions(presence, options);
  const { clock, report, closeSocket, onClose } = internalsOf(presence);

  const leave = (socket: SocketLike, kind: 'null' | 'error' | 'timeout'): void => {
    if (closeUnidentified.includes(kind)) closeSocket(socket, NOT_ALLOWED, REASONS[kind]);
  };
  const attach = (socket: SocketLike, identity: Identity | null): Attachment | undefined => {
    try {
      if (identity === null) {
        leave(socket, 'null');
        return undefined;
      }
      // Never the value: it may be a token.
      if (typeof identity !== 'object') throw optionError(`identify gave ${typeName(identity)}; ${IDENTITY_RULE}`);
      return presence.attachToSocket(socket, identity);
    } catch (error) {
      report('identify', error);
      leave(socket, 'error');
    }
    return undefined;
  };
  const wait = (socket: SocketLike, promise: PromiseLike<Identity | null>): void => {
    let isOver = false;
    const early = new EarlyFrames(socket, () => end());
    /** Nobody waits for the identity any more. */
    const end = (): unknown[] => {
      isOver = true;
      clock.clearTimeout(timer);
      forget();
      return early.stop();
    };
    const timer = clock.setTimeout(() => {
      report('identify', new Error(`identify did not answer within ${identifyTimeoutMs} ms`));
      // It may still answer, where its socket is left alone.
      if (closeUnidentified.includes('timeout')) end();
      leave(socket, 'timeout');
    }, identifyTimeoutMs);
    const forget = onClose(end);
    // What gives no good promise is as good as one that fails.
    Promise.resolve(promise).then(
      (identity) => {
        if (isOver) return;
        const frames = end();
        const attachment = attach(socket, identity);
        if (attachment !== undefined) for (const frame of frames) receive(attachment, frame);
      },
      (error: unknown) => {
        if (isOver) return;
        end();
        report('identify', error);
        leave(socket, 'error');
      },
    );
  };

  return (socket, request) => {
    let identity: ReturnType<typeof identify>;
    try {
      identity = identify(request, socket);
    } catch (error) {
      report('identify', error);
      leave(toSocketLike(socket), 'error');
      return;
    }
    // At once where it can be, so that not even the first frame is missed.
    if (!isPromise(identity)) attach(toSocketLike(socket), identity);
    else if (isActive(presence)) wait(toSocketLike(socket), identity);
    else Promise.resolve(identity).catch(() => undefined);
  };
}

/** Hands over a frame that came too early; an attachment that does nothing takes none. */
function receive(attachment: Attachment & { received?(frame: unknown): void }, frame: unknown): void {
  attachment.received?.(frame);
}

function checkOptions<Request, Socket>(
  presence: Presence,
  options: AttachOptions<Request, Socket>,
): Required<AttachOptions<Request, Socket>> {
  if (typeof options === 'function') throw optionError('options is a function; it is an object: { identify }');
  const identify = options?.identify;
  if (typeof identify !== 'function') throw optionError(`identify is ${shown(identify)}; it is a function`);
  checkNames(options, ['identify', 'identifyTimeoutMs', 'closeUnidentified']);
  if (typeof presence?.attachToSocket !== 'function') {
    throw optionError(`presence is ${named(presence)}; it is what createPresence() gave`);
  }
  const { identifyTimeoutMs, closeUnidentified = ['timeout'] } = options;
  if (!Array.isArray(closeUnidentified)) {
    throw optionError(
      `closeUnidentified is ${shown(closeUnidentified)}; it is a list of 'null', 'error' and 'timeout'`,
    );
  }
  const unknown: unknown = closeUnidentified.find((kind: unknown) => !KINDS.includes(kind));
  if (unknown !== undefined) {
    throw optionError(`closeUnidentified has ${shown(unknown)}; it is a list of 'null', 'error' and 'timeout'`);
  }
  return {
    identify,
    identifyTimeoutMs: checkedMs('identifyTimeoutMs', identifyTimeoutMs, 1, 10_000),
    closeUnidentified,
  };
}

function isPromise(value: unknown): value is PromiseLike<Identity | null> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';
}
