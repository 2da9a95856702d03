import type { SocketLike, TransportAttachment } from '../public/types';

/** The close code of a connection that ended without a close frame. RFC 6455, section 7.1.5. */
const NORMAL_CLOSURE = 1000;

/**
 * The listeners of one socket, which pass its events on to each of its attachments. If each of several presences listened, Node
 * would warn of a leak at the eleventh, and only the caller should raise that limit.
 */
class SocketListeners {
  /** Never changed in place, since an event may end an attachment. */
  private attachments: readonly TransportAttachment[] = [];

  constructor(private readonly socket: SocketLike) {}

  add(attachment: TransportAttachment): void {
    this.attachments = this.attachments.concat(attachment);
    if (this.attachments.length > 1) return;
    for (const [event, listener] of this.listeners()) this.socket.on(event, listener);
  }

  /** Removes exactly the listeners that were added, once they serve no attachment. Returns whether that is so. */
  remove(attachment: TransportAttachment): boolean {
    this.attachments = this.attachments.filter((other) => other !== attachment);
    if (this.attachments.length > 0) return false;
    for (const [event, listener] of this.listeners()) this.socket.removeListener(event, listener);
    return true;
  }

  private listeners(): ReadonlyArray<readonly [event: string, listener: (value: unknown) => void]> {
    return [
      ['message', this.onMessage],
      ['ping', this.onPing],
      ['pong', this.onPong],
      ['close', this.onClose],
    ];
  }

  private readonly onMessage = (data: unknown): void => {
    for (const attachment of this.attachments) attachment.received(data);
  };

  /** The payload of a ping is opaque, and not a frame of presence. RFC 6455, section 5.5.2. */
  private readonly onPing = (): void => {
    for (const attachment of this.attachments) attachment.touch();
  };

  private readonly onPong = (): void => {
    for (const attachment of this.attachments) attachment.pinged();
  };

  private readonly onClose = (code: unknown): void => {
    // Every version of ws gives a code: 1005 where the close frame had none, and 1006 where there was no close frame.
    const known = typeof code === 'number' ? code : NORMAL_CLOSURE;
    for (const attachment of this.attachments) attachment.closed(known);
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
