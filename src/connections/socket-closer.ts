import { callGuarded } from '../diagnostics/error-reporter';
import type { Clock } from '../public/clock';
import type { ErrorStage } from '../public/types';
import { type Channel, isClosed } from './channel';

/** The close codes that this library sends. Those from 4000 on are for private use. RFC 6455, section 7.4.2. @internal */
export const CloseCode = { NOT_ALLOWED: 1008, EXPIRED: 4001, TOO_SLOW: 4008, TOO_MANY_REQUESTS: 4029 } as const;

/** The time for the close frame to arrive. Where it does not, only `terminate` ends a connection that a phone takes for open. */
const CLOSE_MS = 5_000;

/** @internal */
export interface SocketCloserOptions {
  readonly clock: Clock;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
}

/** Closes connections on behalf of the library: a close frame with a code, then `terminate()` after five seconds. @internal */
export class SocketCloser {
  /** The timers of those that are closing. */
  private readonly pending = new Map<Channel, unknown>();

  constructor(private readonly options: SocketCloserOptions) {}

  close(channel: Channel, code: number, reason: string, userId?: string): void {
    if (this.pending.has(channel) || isClosed(channel)) return;
    this.pending.set(
      channel,
      this.options.clock.setTimeout(() => this.terminate(channel, userId), CLOSE_MS),
    );
    // One that can send no close frame is terminated at once.
    if (channel.close === undefined) this.terminate(channel, userId);
    else this.guard(() => channel.close?.(code, reason), userId);
    // The client may keep sending until then. Reading that would cost the router what the close is to save.
    if (code === CloseCode.TOO_MANY_REQUESTS) this.guard(() => channel.pause?.(), userId);
  }

  /** It is closed, so it need not be terminated. */
  closed(channel: Channel): void {
    this.options.clock.clearTimeout(this.pending.get(channel));
    this.pending.delete(channel);
  }

  /** Terminates all that are still closing. */
  stop(): void {
    for (const channel of Array.from(this.pending.keys())) this.terminate(channel, undefined);
  }

  private terminate(channel: Channel, userId: string | undefined): void {
    this.closed(channel);
    if (!isClosed(channel)) this.guard(() => channel.terminate?.(), userId);
  }

  private guard(end: () => unknown, userId: string | undefined): void {
    callGuarded(end, (error) => this.options.report('terminate', error, userId));
  }
}
