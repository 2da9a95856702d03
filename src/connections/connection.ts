import { toExpiry, toInterest } from '../config/arguments';
import { log } from '../diagnostics/log';
import type { TransportAttachment, UserId } from '../public/types';
import { bytesOf, isBlob, MAX_FRAME_BYTES, readBlob } from '../wire/frame-bytes';
import { MessageType } from '../wire/message-type';
import { peekMessageType } from '../wire/peek';
import { type Channel, isConnecting, isOpen, unsentBytes } from './channel';
import type { LocalUser } from './local-user';

/** The close code of a connection that ended without a close frame. RFC 6455, section 7.1.5. */
const ABNORMAL_CLOSURE = 1006;

/** A socket with more unsent bytes than this is slow: updates for it wait, and newer ones replace older ones. */
const SLOW_BYTES = 16_384;

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
 * One attached transport, and the caller's handle of it. It says what happens to the transport; its owner decides what follows.
 * A router has one for every socket, so it is kept small: a property that can be computed is not stored.
 * @internal
 */
export class Connection implements TransportAttachment {
  /** `alive` until it times out (`silent`; activity brings it back) or is detached (`gone`). */
  state: 'alive' | 'silent' | 'gone' = 'alive';
  lastLife: number;
  /** The slow socket makes progress, so one more frame may be sent to it. */
  isTaking = false;
  /** Its position in the ping wheel. */
  slot = 0;
  index = 0;

  constructor(
    readonly channel: Channel,
    readonly userId: string,
    /** `undefined` for a socket that is not tracked, such as a dashboard's. */
    public user: LocalUser | undefined,
    private readonly owner: ConnectionOwner,
    private readonly serial: number,
  ) {
    this.lastLife = owner.now();
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
    } else if (this.state === 'silent' && isOpen(this.channel)) {
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

  received(frame: unknown): void {
    this.touch();
    if (isBlob(frame)) readBlob(this, frame, (bytes) => this.take(bytes));
    else this.take(frame);
  }

  pinged(): void {
    if (this.user !== undefined) log.pong(this.userId);
    this.touch();
  }

  closed(code?: number): void {
    this.owner.onClose(this, code !== undefined && code !== 0 && code !== ABNORMAL_CLOSURE);
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
}

/** Whether nothing may be sent to a connection for now. @internal */
export function isSlow({ channel, isTaking }: Connection): boolean {
  return (unsentBytes(channel) > SLOW_BYTES && !isTaking) || isConnecting(channel);
}
