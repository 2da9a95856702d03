import { listenShared } from '../diagnostics/shared-listener';
import type { SocketLike } from '../public/types';
import { bytesOf, isBlob } from '../wire/frame-bytes';
import { MessageType } from '../wire/message-type';
import { peekMessageType } from '../wire/peek';

const MAX_FRAMES = 16;
const MAX_BYTES = 65_536;
/** Of all sockets together: an identity service that hangs must not let strangers fill the memory. */
const MAX_TOTAL_BYTES = 33_554_432;

let totalBytes = 0;

/**
 * Keeps the frames of presence that a socket sends before it is known whose it is: a client asks once it is open, and would
 * wait for ever for the answer to a question that nobody has heard. Of more than some nothing is kept.
 * @internal
 */
export class EarlyFrames {
  private frames: unknown[] = [];
  private bytes = 0;
  private readonly unlisten: () => void;

  constructor(
    socket: SocketLike,
    /** The socket has closed meanwhile. */
    onGone: () => void,
  ) {
    const forget = [
      listenShared(socket, 'message', (data) => this.onMessage(data)),
      listenShared(socket, 'close', onGone),
    ];
    this.unlisten = () => {
      for (const end of forget) end();
    };
  }

  /** Gives what was kept, and keeps nothing more. */
  stop(): unknown[] {
    this.unlisten();
    const { frames } = this;
    this.frames = [];
    totalBytes -= this.bytes;
    this.bytes = 0;
    return frames;
  }

  private onMessage(data: unknown): void {
    // What is in it is not known yet.
    if (isBlob(data)) {
      this.keep(data, data.size);
      return;
    }
    const messageType = peekMessageType(data);
    if (messageType !== MessageType.PRESENCE_WATCH && messageType !== MessageType.HEARTBEAT) return;
    const bytes = bytesOf(data, MAX_BYTES + 1);
    // A copy: a small frame may be a part of all that was read from the network at once.
    if (bytes !== undefined) this.keep(Uint8Array.from(bytes), bytes.length);
  }

  private keep(frame: unknown, length: number): void {
    if (this.frames.length === MAX_FRAMES || this.bytes + length > MAX_BYTES) return;
    if (totalBytes + length > MAX_TOTAL_BYTES) return;
    this.bytes += length;
    totalBytes += length;
    this.frames.push(frame);
  }
}
