import { checkFunctions, checkNoLookalike } from '../config/validation';
import { SOCKET_PORT, type SocketPort } from '../connections/socket-port';
import { internalsOf, reportTo } from '../diagnostics/internals';
import { type EmitterLike, listenShared } from '../diagnostics/shared-listener';
import type { Presence, SocketLike } from '../public/types';
import { type AttachOptions, attachEach } from './attach-each';

export type { AttachOptions, Identify, RequestLike } from './attach-each';

/** The part of a socket.io 4 server, or of one of its namespaces, that `attachPresence` uses. */
export interface NamespaceLike {
  /** Adds a listener. */
  // biome-ignore lint/suspicious/noExplicitAny: typed by the socket.io of the caller
  on(event: 'connection', listener: (socket: any) => void): unknown;
  /** Removes a listener. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  removeListener(event: 'connection', listener: (socket: any) => void): unknown;
}

/** The part of a server-side socket of socket.io 4 that is used. */
export interface SocketIoSocketLike {
  /** Whether it is connected. */
  readonly connected: boolean;
  /** The handshake request. */
  readonly request: unknown;
  /** The underlying connection of engine.io. */
  readonly conn: EngineConnectionLike;
  /** The client, with the number of its sockets in all namespaces. */
  readonly client?: { readonly sockets?: { readonly size: number } };
  /** Adds a listener. */
  // biome-ignore lint/suspicious/noExplicitAny: typed by the socket.io of the caller
  on(event: 'disconnect', listener: (reason: any) => void): unknown;
  /** Removes a listener. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  removeListener(event: 'disconnect', listener: (reason: any) => void): unknown;
  /** Sends an event. */
  emit(event: string, payload: unknown): unknown;
  /** Disconnects it from its namespace. */
  disconnect(): unknown;
}

/** The part of a connection of engine.io 6 that is used. */
export interface EngineConnectionLike {
  /** Packets that have not left yet. */
  readonly writeBuffer: { readonly length: number };
  /** Adds a listener. */
  on(event: 'packet' | 'flush', listener: () => void): unknown;
  /** Removes a listener. */
  removeListener(event: 'packet' | 'flush', listener: () => void): unknown;
  /** Ends the connection; `true` discards unsent packets. */
  close(discard?: boolean): unknown;
}

const OPEN = 1;
const CLOSED = 3;
/** The approximate size of a user in JSON, without the id. */
const USER_BYTES = 80;
const NORMAL_CLOSURE = 1000;
const ABNORMAL_CLOSURE = 1006;

/** The size at which a waiting packet is counted: engine.io tells the number of packets, and not their bytes. */
const PACKET_BYTES = 256;
/** The close code of a client that reads too slowly. It would not read a disconnect packet either. */
const TOO_SLOW = 4008;
/** The time for the disconnect packet to arrive. */
const CLOSE_MS = 5_000;

/** The reasons of a deliberate `disconnect`. Any other reason means that the connection was lost. */
const CHOSEN: readonly unknown[] = [
  'client namespace disconnect',
  'server namespace disconnect',
  'server shutting down',
];

/**
 * Attaches every socket that connects to a socket.io 4 server, or to one of its namespaces, from now on.
 *
 * Any packet is activity, including the pongs of engine.io's own heartbeat; the library adds no pings. Watching sockets get
 * the events `presence:update` (a `PresenceUpdate` with the `lastSeen` of a `PresenceStatus`), `presence:snapshot`
 * (`{ users: PresenceStatus[] }`) and, when the statuses that they show may be out of date and when they are current again,
 * `presence:stale` (`{ stale: boolean, asOf: string }`).
 * A `disconnect()` on either side is a clean close. A connection that is lost, for example because a browser tab was closed,
 * has `graceMs` to come back.
 *
 * `identify` is called once for each socket, with the handshake request and the socket. Where it throws, rejects, gives an
 * invalid identity or does not answer in time, `onError` is called (stage `identify`), and the socket is left alone or
 * disconnected, depending on `closeUnidentified`.
 *
 * @returns a function that stops attaching new sockets; those already attached stay
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 *
 * @example
 * attachPresence(presence, io, { identify: (request, socket) => ({ userId: socket.handshake.auth.userId }) });
 */
// biome-ignore lint/suspicious/noExplicitAny: the types of socket.io are the caller's
export function attachPresence<Request = any, Socket extends SocketIoSocketLike = any>(
  presence: Presence,
  io: NamespaceLike,
  options: AttachOptions<Request, Socket>,
): () => void {
  const rule = 'it is a server of socket.io, or a namespace';
  checkNoLookalike('io', io, rule, {
    'an http server': 'hand over what new Server(server) gave',
    'an app of a web framework': 'hand over what new Server() gave',
    'a socket': 'hand over its server',
    'a socket of socket.io': 'hand over its server',
    'a server of ws': 'for ws there is attachPresence of voiceping-presence/ws',
    'a server of engine.io': 'hand over the server of socket.io above it',
    'a presence': 'attachPresence(presence, io, { identify })',
  });
  checkFunctions('io', io, ['on', 'removeListener'], rule);
  const attach = attachEach(presence, options, (socket: Socket) => wrapped(socket, presence));
  const onConnection = (socket: Socket): void => attach(socket, socket.request as Request);
  return listenShared(io as EmitterLike, 'connection', onConnection as (...values: unknown[]) => void);
}

/** One wrapper for each socket, so that attaching it a second time replaces the first attachment. */
const wrappers = new WeakMap<SocketIoSocketLike, SocketLike>();

function wrapped(socket: SocketIoSocketLike, presence: Presence): SocketLike {
  let wrapper = wrappers.get(socket);
  if (wrapper === undefined) {
    wrapper = new SocketIoSocket(socket, presence);
    wrappers.set(socket, wrapper);
  }
  return wrapper;
}

/** A socket of socket.io, with the interface of the core. */
class SocketIoSocket implements SocketLike {
  /** For each listener, the function that removes it. */
  private readonly forget = new Map<(...args: unknown[]) => void, () => void>();
  /** Removes the listener that waits for a flush. */
  private forgetFlush: (() => void) | undefined;

  /** The approximate number of bytes of snapshots since the write buffer was last empty. */
  private emittedBytes = 0;

  constructor(
    private readonly socket: SocketIoSocketLike,
    private readonly presence: Presence,
  ) {}

  get readyState(): number {
    return this.socket.connected ? OPEN : CLOSED;
  }

  get bufferedAmount(): number {
    const packets = this.socket.conn.writeBuffer.length;
    if (packets === 0) this.emittedBytes = 0;
    return Math.max(packets * PACKET_BYTES, this.emittedBytes);
  }

  readonly [SOCKET_PORT]: SocketPort = {
    update: (update) => this.emit('presence:update', update),
    snapshot: (users) => {
      for (const { userId } of users) this.emittedBytes += USER_BYTES + userId.length;
      this.emit('presence:snapshot', { users });
    },
    stale: (stale, asOf) => this.emit('presence:stale', { stale, asOf }),
  };

  on(event: string, listener: (...args: unknown[]) => void): void {
    const { socket } = this;
    if (event === 'message') {
      // All namespaces of a client share one connection.
      this.forget.set(listener, listenShared(socket.conn as EmitterLike, 'packet', listener));
    } else if (event === 'close') {
      const onDisconnect = (reason: unknown) => listener(CHOSEN.includes(reason) ? NORMAL_CLOSURE : ABNORMAL_CLOSURE);
      this.forget.set(listener, listenShared(socket as EmitterLike, 'disconnect', onDisconnect));
    }
  }

  removeListener(_event: string, listener: (...args: unknown[]) => void): void {
    this.forget.get(listener)?.();
    this.forget.delete(listener);
    if (this.forget.size === 0) this.forgetFlush?.();
  }

  /** Never called: the socket takes events, by its port. */
  send(): void {}

  /** Sends nothing, since engine.io has its own heartbeat. It calls `sent` at the next flush of the write buffer. */
  ping(sent?: () => void): void {
    if (sent === undefined) return;
    this.forgetFlush?.();
    this.forgetFlush = listenShared(this.socket.conn as EmitterLike, 'flush', () => {
      this.forgetFlush?.();
      sent();
    });
  }

  terminate(): void {
    this.socket.conn.close(true);
  }

  /** Leaves the other namespaces of the connection alone. A connection without any namespace is ended five seconds later. */
  close(code?: number): void {
    if (code === TOO_SLOW) {
      this.terminate();
      return;
    }
    this.socket.disconnect();
    const { clock, onClose } = internalsOf(this.presence);
    const end = (): void => {
      clock.clearTimeout(timer);
      forget();
      if ((this.socket.client?.sockets?.size ?? 0) === 0) this.terminate();
    };
    const timer = clock.setTimeout(end, CLOSE_MS);
    const forget = onClose(end);
  }

  private emit(event: string, payload: unknown): void {
    try {
      this.socket.emit(event, payload);
    } catch (error) {
      reportTo(this.presence, 'send', error);
    }
  }
}
