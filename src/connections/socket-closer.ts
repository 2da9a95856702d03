import { listenShared } from '../diagnostics/shared-listener';
import type { Clock } from '../public/clock';
import type { ErrorStage, SocketLike } from '../public/types';

/** The close codes that this library sends. Those from 4000 on are for private use. RFC 6455, section 7.4.2. @internal */
export const CloseCode = { NOT_ALLOWED: 1008, EXPIRED: 4001, TOO_SLOW: 4008, TOO_MANY_REQUESTS: 4029 } as const;

/** The time for the close frame to arrive. Where it does not, only `terminate` ends a connection that a phone takes for open. */
const CLOSE_MS = 5_000;
const CLOSED = 3;

/** @internal */
export interface SocketCloserOptions {
  readonly clock: Clock;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
}

/** Closes sockets on behalf of the library: a close frame with a code, then `terminate()` after five seconds. @internal */
export class SocketCloser {
  /** For each socket that is closing, the function that cancels its termination. */
  private readonly pending = new Map<SocketLike, () => void>();

  constructor(private readonly options: SocketCloserOptions) {}

  close(socket: SocketLike, code: number, reason: string, userId?: string): void {
    if (this.pending.has(socket) || socket.readyState === CLOSED) return;
    const { clock } = this.options;
    const forget = (): void => {
      clock.clearTimeout(timer);
      this.pending.delete(socket);
      unlisten();
    };
    const timer = clock.setTimeout(() => this.terminate(socket, userId), CLOSE_MS);
    this.pending.set(socket, forget);
    const unlisten = listenShared(socket, 'close', forget);
    // A socket that can send no close frame is terminated at once.
    if (socket.close === undefined) this.terminate(socket, userId);
    else this.guard(() => socket.close?.(code, reason), userId);
    // The client may keep sending until then. Reading that would cost the router what the close is to save.
    if (code === CloseCode.TOO_MANY_REQUESTS) this.guard(() => socket.pause?.(), userId);
  }

  /** Terminates all sockets that are still closing. */
  stop(): void {
    for (const socket of Array.from(this.pending.keys())) this.terminate(socket, undefined);
  }

  private terminate(socket: SocketLike, userId: string | undefined): void {
    this.pending.get(socket)?.();
    this.guard(() => socket.terminate(), userId);
  }

  private guard(end: () => unknown, userId: string | undefined): void {
    try {
      end();
    } catch (error) {
      this.options.report('terminate', error, userId);
    }
  }
}
