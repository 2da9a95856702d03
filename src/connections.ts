import { log } from './log';
import type { SocketLike } from './types';
import { MessageType } from './wire/message-type';
import { peekMessageType } from './wire/peek';

/** ws and browsers say 1006 for a connection that ended without a close frame. RFC 6455, section 7.1.5. */
const ABNORMAL_CLOSURE = 1006;

const OPEN = 1;

/** @internal A user as this router knows it: how many connections are alive, and what the store has been told. */
export class LocalUser {
  /** Connections that are alive. */
  alive = 0;
  /** The last sign of life on any connection. */
  lastLife: number;
  /** The sign of life of which the store was told last. */
  refreshedAt = 0;
  /** An unclean drop of one connection while others live: until then the user counts as in grace. */
  graceUntil = 0;
  /** How the last connection ended. */
  ending: 'disconnect' | 'timeout' | 'drop' = 'disconnect';
  /** Whether the store holds the user for this node: yes, no, or not known after a failure. */
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
}

/** @internal What a connection tells its presence. */
export interface ConnectionEvents {
  now(): number;
  /** A frame came in on a connection that counts as alive. */
  onLife(connection: Connection, now: number): void;
  /** A frame came in on a connection that had timed out. */
  onRevival(connection: Connection): void;
  onClose(connection: Connection, clean: boolean): void;
}

/** @internal `alive` until it times out (`silent`, and back on a sign of life) or is let go of (`gone`). */
export type ConnectionState = 'alive' | 'silent' | 'gone';

/**
 * One attached socket. Listens, and translates; what follows is decided by the presence.
 * @internal
 */
export class Connection {
  state: ConnectionState = 'alive';
  lastLife: number;
  /** Its slot in the liveness wheel. */
  slot = -1;

  constructor(
    readonly socket: SocketLike,
    /** Undefined for a socket that is not tracked: a dashboard. */
    public user: LocalUser | undefined,
    readonly userId: string,
    private readonly events: ConnectionEvents,
  ) {
    this.lastLife = events.now();
    socket.on('message', this.onMessage);
    socket.on('ping', this.onPing);
    socket.on('pong', this.onPong);
    socket.on('close', this.onClose);
  }

  /** Takes away exactly the listeners that were added. */
  unlisten(): void {
    this.socket.removeListener('message', this.onMessage);
    this.socket.removeListener('ping', this.onPing);
    this.socket.removeListener('pong', this.onPong);
    this.socket.removeListener('close', this.onClose);
  }

  signOfLife(): void {
    const now = this.events.now();
    if (this.state === 'alive') {
      this.lastLife = now;
      this.events.onLife(this, now);
    } else if (this.state === 'silent' && this.socket.readyState === OPEN) {
      this.lastLife = now;
      this.events.onRevival(this);
    }
  }

  private readonly onMessage = (data: unknown): void => {
    this.signOfLife();
    // Any frame is a sign of life, a heartbeat no more than others: whose it is says the socket, not the id inside.
    if (peekMessageType(data) === MessageType.HEARTBEAT) log.heartbeat(this.userId);
  };

  private readonly onPing = (): void => {
    this.signOfLife();
  };

  private readonly onPong = (): void => {
    log.pong(this.userId);
    this.signOfLife();
  };

  private readonly onClose = (code: unknown): void => {
    this.events.onClose(this, code !== ABNORMAL_CLOSURE);
  };
}
