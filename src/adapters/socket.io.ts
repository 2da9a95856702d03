/**
 * For servers of socket.io.
 * @module voiceping-presence/socket.io
 */

import { checkFunctions, checkNoLookalike } from '../config/validation';
import { CHANNEL_PORT, type ChannelPort } from '../connections/channel';
import { internalsOf } from '../diagnostics/internals';
import { type EmitterLike, listenShared } from '../diagnostics/shared-listener';
import type { Presence, PresenceStatus, Transport, TransportAttachment } from '../public/types';
import type { Message } from '../wire/encode';
import { toIso } from '../wire/to-status';
import { type AttachOptions, attachEach } from './attach-each';
import { emitShared } from './shared-packets';

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
  const attach = attachEach(presence, options, (socket: Socket) => {
    const transport = transportOf(socket, presence);
    // Its packets are not presence frames, so before it is attached nothing matters but its end.
    const wait = (onGone: () => void) => {
      const forget = transport.onEnd(onGone);
      return () => {
        forget();
        return [];
      };
    };
    return { transport, attach: (identity) => presence.attach(transport, identity), wait };
  });
  const onConnection = (socket: Socket): void => attach(socket, socket.request as Request);
  return listenShared(io as EmitterLike, 'connection', onConnection as (...values: unknown[]) => void);
}

/** One transport for each socket, so that attaching it a second time replaces the first attachment. */
const transports = new WeakMap<SocketIoSocketLike, SocketIoTransport>();

function transportOf(socket: SocketIoSocketLike, presence: Presence): SocketIoTransport {
  let transport = transports.get(socket);
  if (transport === undefined) {
    transport = new SocketIoTransport(socket, presence);
    transports.set(socket, transport);
  }
  return transport;
}

/** The event that carries a message, and its payload. A client of socket.io sends no request that could be refused. */
function toEvent(message: Message): [event: string, payload: unknown] | undefined {
  switch (message.kind) {
    case 'update':
      return ['presence:update', { ...message.update, lastSeen: toIso(message.lastSeen) }];
    case 'snapshot':
      return ['presence:snapshot', { users: message.users }];
    case 'stale':
      return ['presence:stale', { stale: message.stale, asOf: new Date(message.asOf).toISOString() }];
    case 'refusal':
      return undefined;
  }
}

/** What is the same object in the messages to all sockets; undefined for a message to one. */
function sharedOf(message: Message): object | undefined {
  if (message.kind === 'update') return message.update;
  return message.kind === 'snapshot' && message.isShared ? message.users : undefined;
}

const sizes = new WeakMap<readonly PresenceStatus[], number>();

/** About the size of users in JSON. */
function bytesOf(users: readonly PresenceStatus[]): number {
  let bytes = sizes.get(users);
  if (bytes === undefined) {
    bytes = users.reduce((sum, { userId }) => sum + USER_BYTES + userId.length, 0);
    sizes.set(users, bytes);
  }
  return bytes;
}

/** A socket of socket.io as a transport, which takes events in place of frames. */
class SocketIoTransport implements Transport {
  readonly [CHANNEL_PORT]: ChannelPort = {
    deliver: (message) => this.deliver(message),
    attached: (attachment) => this.listenFor(attachment),
    released: (attachment) => {
      this.listening.get(attachment)?.();
      this.listening.delete(attachment);
      if (this.listening.size > 0) return;
      this.forgetFlush?.();
      this.awaitingFlush.clear();
    },
  };
  /** For each attachment, the function that removes its listeners. */
  private readonly listening = new Map<TransportAttachment, () => void>();
  /** The functions that are called at the next flush: one for each presence that waits for progress. */
  private readonly awaitingFlush = new Set<() => void>();
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

  /** Never called: the socket takes events, by its port. */
  send(): void {}

  /** Sends nothing, since engine.io has its own heartbeat. It calls `sent` at the next flush of the write buffer. */
  ping(sent?: () => void): void {
    if (sent === undefined) return;
    this.awaitingFlush.add(sent);
    if (this.awaitingFlush.size > 1) return;
    this.forgetFlush = listenShared(this.socket.conn as EmitterLike, 'flush', () => {
      this.forgetFlush?.();
      const waiting = Array.from(this.awaitingFlush);
      this.awaitingFlush.clear();
      for (const each of waiting) each();
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

  /** Calls `listener` with the close code that the end of the socket amounts to. */
  onEnd(listener: (code: number) => void): () => void {
    const onDisconnect = (reason: unknown) => listener(CHOSEN.includes(reason) ? NORMAL_CLOSURE : ABNORMAL_CLOSURE);
    return listenShared(this.socket as EmitterLike, 'disconnect', onDisconnect);
  }

  private listenFor(attachment: TransportAttachment): void {
    // All namespaces of a client share one connection.
    const forgetPackets = listenShared(this.socket.conn as EmitterLike, 'packet', () => attachment.touch());
    const forgetEnd = this.onEnd((code) => attachment.closed(code));
    this.listening.set(attachment, () => {
      forgetPackets();
      forgetEnd();
    });
  }

  private deliver(message: Message): void {
    const event = toEvent(message);
    if (event === undefined) return;
    if (message.kind === 'snapshot') this.emittedBytes += bytesOf(message.users);
    // What it throws is reported by the presence that sends.
    if (!emitShared(this.socket, sharedOf(message), event)) this.socket.emit(...event);
  }
}
