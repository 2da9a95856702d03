import { toExpiry, toInterest } from '../config/arguments';
import { log } from '../diagnostics/log';
import type { Attachment, SocketLike, UserId } from '../public/types';
import { bytesOf, isBlob, MAX_FRAME_BYTES, readBlob } from '../wire/frame-bytes';
import { MessageType } from '../wire/message-type';
import { peekMessageType } from '../wire/peek';

/** ws and browsers say 1006 for a connection that ended without a close frame. RFC 6455, section 7.1.5. */
const ABNORMAL_CLOSURE = 1006;

/** A socket with more than this many bytes unsent is slow: what is to be sent to it waits, and collapses. */
const SLOW_BYTES = 16_384;
const CONNECTING = 0;
const OPEN = 1;

/**
 * How a user left, or lost one of several connections: the grace of a drop goes on when another device closes cleanly.
 * @internal
 */
export interface Departure {
  readonly ending: 'disconnect' | 'timeout' | 'drop';
  readonly at: number;
  readonly graceMs: number;
}

/** One for all who have lost nothing. */
const NO_DEPARTURE: Departure = { ending: 'disconnect', at: 0, graceMs: 0 };

/** What is left of a grace; not more than all of it, however the clock was set meanwhile. @internal */
export function graceLeft({ at, graceMs }: Departure, now: number): number {
  return Math.max(0, graceMs - Math.max(0, now - at));
}

/** @internal A user as this router knows it: how many connections are alive, and what the store has been told. */
export class LocalUser {
  /** Connections that are alive. */
  alive = 0;
  /** The last activity on any connection. */
  lastLife: number;
  /** The activity that the store was told of last. */
  refreshedAt = 0;
  departure: Departure = NO_DEPARTURE;
  /** Whether the store holds the user for this node: yes, no, or not known since something failed. */
  stored: boolean | undefined = false;
  /** What is on its way to the store. */
  sent: boolean | undefined = undefined;
  /** The store had the user once, so that the next join is no new connect. */
  reassert = false;
  /** Called once the store agrees with this router on the user. */
  waiting: Array<() => void> | undefined = undefined;

  constructor(
    readonly userId: string,
    now: number,
  ) {
    this.lastLife = now;
  }

  /** One more connection is alive; true for the first. Whoever was in grace is taken to be back. */
  arrive(now: number): boolean {
    this.alive += 1;
    this.lastLife = now;
    this.departure = NO_DEPARTURE;
    return this.alive === 1;
  }

  /** One connection less is alive; true for the last. */
  depart(ending: Departure['ending'], now: number, graceMs: number): boolean {
    this.alive -= 1;
    const left = graceLeft(this.departure, now);
    if (ending === 'drop') this.departure = { ending, at: now, graceMs: Math.max(left, graceMs) };
    else if (this.alive === 0) this.departure = { ending, at: now, graceMs: left };
    return this.alive === 0;
  }
}

/** @internal What a connection tells its presence, and asks of it. */
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
  /** The client wants to hear of others. */
  onWatchRequest(connection: Connection, frame: Uint8Array): void;
}

/**
 * By socket: who listens to it. Where several presences did, the eleventh would make Node warn of a leak, and that limit is
 * the caller's to set.
 */
const listening = new WeakMap<SocketLike, Connection>();

/**
 * One attached socket, and what the caller holds of it. Listens, and translates; what follows is decided by its owner.
 * There is one for every socket of a router, so it is small: what can be made when asked for is.
 * @internal
 */
export class Connection implements Attachment {
  /** `alive` until it times out (`silent`; activity brings it back) or is detached (`gone`). */
  state: 'alive' | 'silent' | 'gone' = 'alive';
  lastLife: number;
  /** It takes what it is sent, though much is unsent: it may be sent one frame. */
  isTaking = false;
  /** Who hears the socket through this one, where it is attached to several presences. Never changed in place. */
  private others: readonly Connection[] | undefined = undefined;
  /** Its place in the liveness wheel. */
  slot = 0;
  index = 0;

  constructor(
    readonly socket: SocketLike,
    readonly userId: string,
    /** Undefined for a socket that is not tracked: a dashboard. */
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

  /** Takes away exactly the listeners that were added; where others hear the socket, too, one of them listens from now on. */
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

  /** A frame that came in on the socket; also one that came before it was attached. */
  received(data: unknown): void {
    this.touch();
    if (isBlob(data)) readBlob(this, data, (bytes) => this.take(bytes));
    else this.take(data);
  }

  private take(data: unknown): void {
    // Any frame is activity, a heartbeat no more than others. The socket says whose it is, not the id inside.
    const messageType = peekMessageType(data);
    if (messageType === MessageType.HEARTBEAT && this.user !== undefined) log.heartbeat(this.userId);
    if (messageType !== MessageType.PRESENCE_WATCH) return;
    // One byte more than may be, so that too much is seen to be too much.
    const frame = bytesOf(data, MAX_FRAME_BYTES + 1);
    if (frame !== undefined) this.owner.onWatchRequest(this, frame);
  }

  /** What is in a ping is the client's, and no frame. RFC 6455, section 5.5.2. */
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

/** Whether a socket is sent nothing for now. @internal */
export function isSlow({ socket, isTaking }: Connection): boolean {
  return (socket.bufferedAmount > SLOW_BYTES && !isTaking) || socket.readyState === CONNECTING;
}
