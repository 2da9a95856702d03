import type { SocketLike, TransportAttachment } from '../public/types';

/** The close code of a connection that ended without a close frame. RFC 6455, section 7.1.5. */
const NORMAL_CLOSURE = 1000;

const NO_OTHERS: readonly TransportAttachment[] = [];

/**
 * The listeners of one socket, which pass its events on to each of its attachments. If each of several presences listened, Node
 * would warn of a leak at the eleventh, and only the caller should raise that limit.
 */
class SocketListeners {
  /** Nearly every socket has one attachment, and a list of one would take 56 bytes. */
  private attachment: TransportAttachment | undefined;
  /** Never changed in place, since an event may end an attachment. */
  private others: readonly TransportAttachment[] = NO_OTHERS;

  constructor(private readonly socket: SocketLike) {}

  add(attachment: TransportAttachment): void {
    if (this.attachment !== undefined) {
      this.others = this.others.concat(attachment);
      return;
    }
    this.attachment = attachment;
    const { socket } = this;
    socket.on('message', this.onMessage);
    socket.on('ping', this.onPing);
    socket.on('pong', this.onPong);
    socket.on('close', this.onClose);
  }

  /** Removes exactly the listeners that were added, once they serve no attachment. Returns whether that is so. */
  remove(attachment: TransportAttachment): boolean {
    if (this.attachment === attachment) [this.attachment, ...this.others] = this.others;
    else this.others = this.others.filter((other) => other !== attachment);
    if (this.attachment !== undefined) return false;
    const { socket } = this;
    socket.removeListener('message', this.onMessage);
    socket.removeListener('ping', this.onPing);
    socket.removeListener('pong', this.onPong);
    socket.removeListener('close', this.onClose);
    return true;
  }

  private readonly onMessage = (data: unknown): void => {
    const { attachment, others } = this;
    attachment?.received(data);
    for (const other of others) other.received(data);
  };

  /** The payload of a ping is opaque, and not a frame of presence. RFC 6455, section 5.5.2. */
  private readonly onPing = (): void => {
    const { attachment, others } = this;
    attachment?.touch();
    for (const other of others) other.touch();
  };

  private readonly onPong = (): void => {
    const { attachment, others } = this;
    attachment?.pinged();
    for (const other of others) other.pinged();
  };

  private readonly onClose = (code: unknown): void => {
    // Every version of ws gives a code: 1005 where the close frame had none, and 1006 where there was no close frame.
    const known = typeof code === 'number' ? code : NORMAL_CLOSURE;
    const { attachment, others } = this;
    attachment?.closed(known);
    for (const other of others) other.closed(known);
  };
}

const listening = new WeakMap<SocketLike, SocketListeners>();

/** Passes the events of a socket on to an attachment. @internal */
export function listenTo(socket: SocketLike, attachment: TransportAttachment): void {
  let listeners = listening.get(socket);
  if (listeners === undefined) {
    listeners = new SocketListeners(socket);
    listening.set(socket, listeners);
  }
  listeners.add(attachment);
}

/** Ends that. It does nothing for a transport that is not listened to. @internal */
export function stopListening(transport: object, attachment: TransportAttachment): void {
  const socket = transport as SocketLike;
  if (listening.get(socket)?.remove(attachment) === true) listening.delete(socket);
}
