import { decode, encode } from '@msgpack/msgpack';
import { WebSocket } from 'ws';

const PRIVATE = 1;
const START = 1;
const START_ACK = 6;
const START_FAILED = 8;

/**
 * Private calls, as the existing router has them: frames are arrays `[channelType, messageType, fromId, toId, payload]`,
 * and reach every device of the one who is called with their bytes unchanged.
 */
export class Calls {
  private readonly sockets = new Map<string, Set<WebSocket>>();

  add(userId: string, socket: WebSocket): void {
    const sockets = this.sockets.get(userId) ?? new Set();
    this.sockets.set(userId, sockets.add(socket));
    socket.on('message', (data: Buffer) => this.forward(data, socket));
    socket.on('close', () => {
      sockets.delete(socket);
      if (sockets.size === 0) this.sockets.delete(userId);
    });
  }

  private forward(data: Buffer, sender: WebSocket): void {
    const frame = arrayOf(data);
    if (frame === undefined || frame[0] !== PRIVATE) return;
    const [, messageType, fromId, toId, payload] = frame;
    if (typeof toId !== 'string' && typeof toId !== 'number') return;
    const recipients = this.sockets.get(String(toId));
    for (const recipient of recipients ?? []) {
      if (recipient.readyState === WebSocket.OPEN) recipient.send(data, { binary: true });
    }
    if (messageType !== START) return;
    const answer = recipients === undefined ? START_FAILED : START_ACK;
    const text = recipients === undefined ? 'Offline' : (payload ?? 'Acknowledged');
    try {
      sender.send(encode([PRIVATE, answer, fromId, toId, text]));
    } catch {
      // What came deeply nested cannot be sent back.
    }
  }
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
