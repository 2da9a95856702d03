import { listenShared } from '../diagnostics/shared-listener';
import type { SocketLike } from '../public/types';
import { bytesOf, isBlob } from '../wire/frame-bytes';
import { MessageType } from '../wire/message-type';
import { peekMessageType } from '../wire/peek';

const MAX_FRAMES = 16;
const MAX_BYTES = 65_536;
/** For all sockets together: while an identity service hangs, unidentified clients must not fill the memory. */
const MAX_TOTAL_BYTES = 33_554_432;

let totalBytes = 0;

/**
 * Keeps the presence frames that a socket sends before its user is identified: a client sends its request as soon as it is
 * open, and would wait for an answer in vain. Frames above a limit are not kept.
 * @internal
 */
export class EarlyFrames {
  private frames: unknown[] = [];
  private bytes = 0;
  private readonly unlisten: () => void;

  constructor(
    socket: SocketLike,
    /** Called when the socket closes meanwhile. */
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

  /** Stops, and returns the frames that were kept. */
  stop(): unknown[] {
    this.unlisten();
    const { frames } = this;
    this.frames = [];
    totalBytes -= this.bytes;
    this.bytes = 0;
    return frames;
  }

  private onMessage(data: unknown): void {
    // The content of a Blob is not known yet, so any is kept.
    if (isBlob(data)) {
      this.keep(data, data.size);
      return;
    }
    const messageType = peekMessageType(data);
    if (messageType !== MessageType.PRESENCE_WATCH && messageType !== MessageType.HEARTBEAT) return;
    const bytes = bytesOf(data, MAX_BYTES + 1);
    // A copy, since a small frame may be a view of a large buffer, which it would keep in memory.
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
