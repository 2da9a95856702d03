import { EventEmitter } from 'node:events';
import { decode } from '@msgpack/msgpack';
import type { SocketLike } from '../public/types';

const OPEN = 1;
const CLOSED = 3;

/** A server-side socket without a network. It keeps the frames that it is sent, and a test plays its client. */
export class FakeSocket extends EventEmitter implements SocketLike {
  readyState: number = OPEN;
  bufferedAmount = 0;
  /** The binary frames that were sent, as bytes. */
  readonly sent: Uint8Array[] = [];
  /** The texts that were sent, by the router itself: presence sends none. */
  readonly texts: string[] = [];
  /** How often it was pinged. */
  pings = 0;
  /** Whether it answers pings, like a phone that is alive. */
  answersPings = true;

  /** The binary frames that were sent, decoded. */
  get frames(): unknown[] {
    return this.sent.map((data) => decode(data));
  }

  /** Keeps a frame in `sent`, or a text in `texts`. */
  send(data: Uint8Array): void {
    const frame: unknown = data;
    if (typeof frame === 'string') this.texts.push(frame);
    else this.sent.push(data);
  }

  /** Counts the ping, and answers it where `answersPings` is true. */
  ping(): void {
    this.pings += 1;
    if (this.answersPings) this.emit('pong', Buffer.alloc(0));
  }

  /** Ends the connection, which is then lost, with 1006. */
  terminate(): void {
    this.drop();
  }

  /** The client sends a frame. */
  receive(data: Uint8Array): void {
    this.emit('message', data, true);
  }

  /** The client closes the connection, with a close frame. */
  close(code = 1000): void {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.emit('close', code, Buffer.alloc(0));
  }

  /** The connection is lost. */
  drop(): void {
    this.close(1006);
  }
}

/**
 * A socket for tests: pass it to `attachToSocket`.
 *
 * @example
 * const socket = fakeSocket();
 * presence.attachToSocket(socket, { userId: 'acme_u1' });
 * socket.drop();
 */
export function fakeSocket(): FakeSocket {
  return new FakeSocket();
}
