import { decode, encode } from '@msgpack/msgpack';
import { WebSocket } from 'ws';
import { maySee, type User } from './access';

const PRIVATE = 1;
const START = 1;
const START_ACK = 6;
const START_FAILED = 8;

/** Bytes that may wait for a socket that reads too slowly. Voice that comes later than this is of no use. */
const MAX_WAITING_BYTES = 1_048_576;

/**
 * Private calls, as the existing router has them: frames are arrays `[channelType, messageType, fromId, toId, payload]`,
 * and reach every device of the one who is called with their bytes unchanged.
 */
export class Calls {
  private readonly sockets = new Map<string, Set<WebSocket>>();

  add(user: User, socket: WebSocket): void {
    const { userId } = user;
    const sockets = this.sockets.get(userId) ?? new Set();
    this.sockets.set(userId, sockets.add(socket));
    socket.on('message', (data: Buffer) => this.forward(data, user, socket));
    socket.on('close', () => {
      sockets.delete(socket);
      if (sockets.size === 0) this.sockets.delete(userId);
    });
  }

  private forward(data: Buffer, sender: User, socket: WebSocket): void {
    // One that is being closed, its token having ended, may go on sending for some seconds.
    if (socket.readyState !== WebSocket.OPEN) return;
    const frame = arrayOf(data);
    if (frame === undefined || frame[0] !== PRIVATE) return;
    const [, messageType, fromId, toId, payload] = frame;
    if (typeof toId !== 'string' && typeof toId !== 'number') return;
    // Somebody of another company is answered for like somebody who is not there.
    const recipients = maySee(sender, String(toId)) ? this.sockets.get(String(toId)) : undefined;
    try {
      // Who calls is whose socket it is, whatever the frame says.
      const isTrue = (typeof fromId === 'number' ? String(fromId) : fromId) === sender.userId;
      const forwarded = isTrue ? data : encode([PRIVATE, messageType, sender.userId, toId, payload]);
      for (const recipient of recipients ?? []) deliver(recipient, forwarded);
      if (messageType !== START) return;
      const answer = recipients === undefined ? START_FAILED : START_ACK;
      const text = recipients === undefined ? 'Offline' : (payload ?? 'Acknowledged');
      deliver(socket, encode([PRIVATE, answer, sender.userId, toId, text]));
    } catch {
      // What came deeply nested cannot be encoded.
    }
  }
}

function deliver(socket: WebSocket, frame: Uint8Array): void {
  if (socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > MAX_WAITING_BYTES) return;
  socket.send(frame, { binary: true });
}

/** Audio comes fifty times a second; what is no array of the router is not decoded. */
function arrayOf(data: Buffer): unknown[] | undefined {
  const first = data[0] ?? 0;
  if (first < 0x94 || first > 0x9f) return undefined;
  try {
    // A header of a few bytes may promise millions of elements, for which a decoder would make room.
    const frame: unknown = decode(data, { maxArrayLength: 16, maxMapLength: 64 });
    return Array.isArray(frame) ? frame : undefined;
  } catch {
    return undefined;
  }
}
