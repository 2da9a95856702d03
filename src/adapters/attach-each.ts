import { checkedMs } from '../config/validation';
import { internalsOf, isActive } from '../diagnostics/internals';
import { checkNames, optionError, shown } from '../public/errors';
import { named } from '../public/lookalikes';
import type { Attachment, Identity, Presence, SocketLike, Transport } from '../public/types';

/** The part of a handshake request that every version of Node has. */
export interface RequestLike {
  /** The headers, by lower-case name. */
  readonly headers: { readonly [name: string]: string | string[] | undefined };
  /** The path and the query. */
  readonly url?: string | undefined;
}

/** Identifies the user who connects; `null` leaves the socket alone. */
export type Identify<Request = RequestLike, Socket = SocketLike> = (
  request: Request,
  socket: Socket,
) => Identity | null | Promise<Identity | null>;

/** The options of `attachPresence`, for any kind of socket. */
export interface AttachOptions<Request = RequestLike, Socket = SocketLike> {
  /**
   * Identifies the user of a socket. It returns an identity, or `null` to leave the socket alone, or a promise of either. It
   * is called once for each connection.
   */
  identify: Identify<Request, Socket>;
  /** How long `identify` may take. At least 1. @default 10_000 // 10 seconds */
  identifyTimeoutMs?: number;
  /**
   * Which sockets without an identity are closed (1008) instead of being left alone: those for which `identify` gave `null`,
   * failed (`error`), or did not answer in time (`timeout`).
   * @default ['timeout'] // so that an identity service that fails does not disconnect every phone
   */
  closeUnidentified?: ReadonlyArray<'null' | 'error' | 'timeout'>;
}

const IDENTITY_RULE = 'it gives an identity, or null to leave the socket alone';

/** The type of a value that is not an identity. */
function typeName(value: unknown): string {
  return value === undefined ? 'undefined' : `a ${typeof value}`;
}

const KINDS: readonly unknown[] = ['null', 'error', 'timeout'];
const NOT_ALLOWED = 1008;
/** The client of this library reconnects after a reason that ends in "try again", since the failure was the router's. */
const REASONS = {
  null: 'presence: not identified',
  error: 'presence: could not identify, try again',
  timeout: 'presence: not identified in time, try again',
};

/** A socket that has connected. @internal */
export interface NewSocket {
  readonly transport: SocketLike | Transport;
  attach(identity: Identity): Attachment;
  /** Waits for the identity: calls `onGone` if the socket ends meanwhile, and returns a function that gives the frames that came. */
  wait(onGone: () => void): () => unknown[];
}

/**
 * The common part of the socket adapters: identifies each new socket, at once or later, and attaches it. A failure of
 * `identify` is reported.
 *
 * @param open - adapts a socket to the interface of the core
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 * @internal
 */
export function attachEach<Request, Socket>(
  presence: Presence,
  options: AttachOptions<Request, Socket>,
  open: (socket: Socket) => NewSocket,
): (socket: Socket, request: Request) => void {
  const { identify, identifyTimeoutMs, closeUnidentified } = checkOptions(presence, options);
  const { clock, report, closeSocket, onClose } = internalsOf(presence);

  const leave = ({ transport }: NewSocket, kind: 'null' | 'error' | 'timeout'): void => {
    if (closeUnidentified.includes(kind)) closeSocket(transport, NOT_ALLOWED, REASONS[kind]);
  };
  const attach = (socket: NewSocket, identity: Identity | null): Attachment | undefined => {
    try {
      if (identity === null) {
        leave(socket, 'null');
        return undefined;
      }
      // The error does not quote the value, which may be a token.
      if (typeof identity !== 'object') throw optionError(`identify gave ${typeName(identity)}; ${IDENTITY_RULE}`);
      return socket.attach(identity);
    } catch (error) {
      report('identify', error);
      leave(socket, 'error');
    }
    return undefined;
  };
  const wait = (socket: NewSocket, promise: PromiseLike<Identity | null>): void => {
    let isOver = false;
    const stop = socket.wait(() => end());
    /** Ends the wait for the identity, and returns the frames that came meanwhile. */
    const end = (): unknown[] => {
      isOver = true;
      clock.clearTimeout(timer);
      forget();
      return stop();
    };
    const timer = clock.setTimeout(() => {
      report('identify', new Error(`identify did not answer within ${identifyTimeoutMs} ms`));
      // Where the socket is left alone, `identify` may still answer.
      if (closeUnidentified.includes('timeout')) end();
      leave(socket, 'timeout');
    }, identifyTimeoutMs);
    const forget = onClose(end);
    // Promise.resolve also turns a broken thenable into a rejection.
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
      leave(open(socket), 'error');
      return;
    }
    // Attached at once where possible, so that not even the first frame is missed.
    if (!isPromise(identity)) attach(open(socket), identity);
    else if (isActive(presence)) wait(open(socket), identity);
    else Promise.resolve(identity).catch(() => undefined);
  };
}

/** Passes on a frame that came before the identity. An inert attachment takes none. */
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
