import { toExpiry, toInterest } from '../config/arguments';
import { log } from '../diagnostics/log';
import type { Attachment, SocketLike, UserId } from '../public/types';
import { bytesOf, isBlob, MAX_FRAME_BYTES, readBlob } from '../wire/frame-bytes';
import { MessageType } from '../wire/message-type';
import { peekMessageType } from '../wire/peek';

/** The close code of a connection that ended without a close frame. RFC 6455, section 7.1.5. */
const ABNORMAL_CLOSURE = 1006;

/** A socket with more unsent bytes than this is slow: updates for it wait, and newer ones replace older ones. */
const SLOW_BYTES = 16_384;
const CONNECTING = 0;
const OPEN = 1;

/**
 * How a user lost a connection. It is kept while others are alive, since the grace of a drop continues when another device
 * closes cleanly.
 * @internal
 */
export interface Departure {
  readonly ending: 'disconnect' | 'timeout' | 'drop';
  readonly at: number;
  readonly graceMs: number;
}

/** Shared by all users who have lost no connection. */
const NO_DEPARTURE: Departure = { ending: 'disconnect', at: 0, graceMs: 0 };

/** The rest of a grace; never more than the whole, even where the clock was set back. @internal */
export function graceLeft({ at, graceMs }: Departure, now: number): number {
  return Math.max(0, graceMs - Math.max(0, now - at));
}

/** @internal A user of this router: how many connections are alive, and what the store has acknowledged. */
export class LocalUser {
  /** The number of connections that are alive. */
  alive = 0;
  /** The time of the last activity on any connection. */
  lastLife: number;
  /** The last activity that was reported to the store. */
  refreshedAt = 0;
  departure: Departure = NO_DEPARTURE;
  /** Whether the store holds the user for this router; `undefined` where a call failed and nobody knows. */
  stored: boolean | undefined = false;
  /** The state in the call that is in flight; `undefined` where none is. */
  sent: boolean | undefined = undefined;
  /** The store held the user before, so that the next join registers the user again and is not a connect. */
  reassert = false;
  /** Called once the store has acknowledged the state of the user. */
  waiting: Array<() => void> | undefined = undefined;

  constructor(
    readonly userId: string,
    now: number,
  ) {
    this.lastLife = now;
  }

  /** One more connection is alive; returns true for the first. A new connection ends a grace. */
  arrive(now: number): boolean {
    this.alive += 1;
    this.lastLife = now;
    this.departure = NO_DEPARTURE;
    return this.alive === 1;
  }

  /** One connection fewer is alive; returns true for the last. */
  depart(ending: Departure['ending'], now: number, graceMs: number): boolean {
    this.alive -= 1;
    const left = graceLeft(this.departure, now);
    if (ending === 'drop') this.departure = { ending, at: now, graceMs: Math.max(left, graceMs) };
    else if (this.alive === 0) this.departure = { ending, at: now, graceMs: left };
    return this.alive === 0;
  }
}

/** @internal The functions of the registry that a connection calls. */
export interface ConnectionOwner {
  readonly nodeId: string;
  now(): number;
  /** A frame came in on a connection that counts as alive. */
  onLife(connection: Connection, now: number): void;
  /** A frame came in on a connection that had timed out. */
  onRevival(connection: Connection): void;
  onClose(connection: Connection, clean: boolean): void;
  settled(user: LocalUser): Promise<void>;
  expireAt(connection: Connection, at: number): void;
  setWatch(connection: Connection, interest: 'all' | Set<string> | undefined): void;
  detach(connection: Connection): Promise<void>;
  /** A PRESENCE_WATCH frame came in. */
  onWatchRequest(connection: Connection, frame: Uint8Array): void;
}

/**
 * For each socket, the one connection that listens to it. If each of several presences listened, Node would warn of a leak at
 * the eleventh, and only the caller should raise that limit.
 */
const listening = new WeakMap<SocketLike, Connection>();

/**
 * One attached socket, and the caller's handle of it. It translates the events of the socket; its owner decides what follows.
 * A router has one for every socket, so it is kept small: a property that can be computed is not stored.
 * @internal
 */
export class Connection implements Attachment {
  /** `alive` until it times out (`silent`; activity brings it back) or is detached (`gone`). */
  state: 'alive' | 'silent' | 'gone' = 'alive';
  lastLife: number;
  /** The slow socket makes progress, so one more frame may be sent to it. */
  isTaking = false;
  /** Connections of other presences to the same socket, which get its events through this one. Never changed in place. */
  private others: readonly Connection[] | undefined = undefined;
  /** Its position in the ping wheel. */
  slot = 0;
  index = 0;

  constructor(
    readonly socket: SocketLike,
    readonly userId: string,
    /** `undefined` for a socket that is not tracked, such as a dashboard's. */
    public user: LocalUser | undefined,
    private readonly owner: ConnectionOwner,
    private readonly serial: number,
  ) {
    this.lastLife = owner.now();
    const first = listening.get(socket);
    if (first === undefined) this.listen();
    else first.others = (first.others ?? []).concat(this);
  }

  get connectionId(): string {
    return `${this.owner.nodeId}:${this.serial}`;
  }

  get ready(): Promise<void> {
    return this.user === undefined ? Promise.resolve() : this.owner.settled(this.user);
  }

  touch(): void {
    const now = this.owner.now();
    if (this.state === 'alive') {
      this.lastLife = now;
      this.owner.onLife(this, now);
    } else if (this.state === 'silent' && this.socket.readyState === OPEN) {
      this.lastLife = now;
      this.owner.onRevival(this);
    }
  }

  expireAt(at: Date | number): void {
    this.owner.expireAt(this, toExpiry(at, 'at'));
  }

  watch(ids: boolean | Iterable<UserId>): void {
    this.owner.setWatch(this, toInterest(ids));
  }

  detach(): Promise<void> {
    return this.owner.detach(this);
  }

  /** Removes exactly the listeners that were added. Where the socket has other connections, one of them takes over. */
  unlisten(): void {
    const { socket } = this;
    const first = listening.get(socket);
    if (first !== this) {
      if (first !== undefined) first.others = first.others?.filter((other) => other !== this);
      return;
    }
    listening.delete(socket);
    for (const [event, listener] of this.listeners()) socket.removeListener(event, listener);
    const [next, ...rest] = this.others ?? [];
    this.others = undefined;
    if (next === undefined) return;
    next.others = rest.length > 0 ? rest : undefined;
    next.listen();
  }

  private listen(): void {
    listening.set(this.socket, this);
    for (const [event, listener] of this.listeners()) this.socket.on(event, listener);
  }

  private listeners(): ReadonlyArray<readonly [event: string, listener: (value: unknown) => void]> {
    return [
      ['message', this.onMessage],
      ['ping', this.onPing],
      ['pong', this.onPong],
      ['close', this.onClose],
    ];
  }

  /** Handles a frame that came in on the socket, or one that came before the socket was attached. */
  received(data: unknown): void {
    this.touch();
    if (isBlob(data)) readBlob(this, data, (bytes) => this.take(bytes));
    else this.take(data);
  }

  private take(data: unknown): void {
    // A heartbeat is activity like any other frame. The id in it is ignored, since the socket determines the user.
    const messageType = peekMessageType(data);
    if (messageType === MessageType.HEARTBEAT && this.user !== undefined) log.heartbeat(this.userId);
    if (messageType !== MessageType.PRESENCE_WATCH) return;
    // One byte above the limit, so that the decoder recognizes a frame that is too long.
    const frame = bytesOf(data, MAX_FRAME_BYTES + 1);
    if (frame !== undefined) this.owner.onWatchRequest(this, frame);
  }

  /** The payload of a ping is opaque, and not a frame of presence. RFC 6455, section 5.5.2. */
  private readonly onPing = (): void => {
    const { others } = this;
    this.touch();
    if (others !== undefined) for (const other of others) other.touch();
  };

  private readonly onPong = (): void => {
    const { others } = this;
    this.ponged();
    if (others !== undefined) for (const other of others) other.ponged();
  };

  private readonly onClose = (code: unknown): void => {
    const { others, owner } = this;
    owner.onClose(this, code !== ABNORMAL_CLOSURE);
    if (others !== undefined) for (const other of others) other.owner.onClose(other, code !== ABNORMAL_CLOSURE);
  };

  private readonly onMessage = (data: unknown): void => {
    const { others } = this;
    this.received(data);
    if (others !== undefined) for (const other of others) other.received(data);
  };

  private ponged(): void {
    if (this.user !== undefined) log.pong(this.userId);
    this.touch();
  }
}

/** Whether nothing may be sent to a socket for now. @internal */
export function isSlow({ socket, isTaking }: Connection): boolean {
  return (socket.bufferedAmount > SLOW_BYTES && !isTaking) || socket.readyState === CONNECTING;
}
