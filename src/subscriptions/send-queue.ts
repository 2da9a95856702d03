import { isOpen, unsentBytes } from '../connections/channel';
import { type Connection, isSlow } from '../connections/connection';
import { CloseCode } from '../connections/socket-closer';
import { callGuarded } from '../diagnostics/error-reporter';
import type { Clock } from '../public/clock';
import type { ErrorStage } from '../public/types';

/** How often a slow connection is checked. */
const CHECK_MS = 50;
/** The number of checks without progress after which it is closed: half a minute, whatever a clock does. */
const STUCK_CHECKS = 600;
/**
 * Bytes that were passed to the kernel together count as sent only once all of them have left, so progress takes longer to see where
 * much is unsent. This is 4 KiB a second, slower than any link that carries voice.
 */
const BYTES_A_CHECK = (4_096 * CHECK_MS) / 1_000;

/** @internal */
export interface SendQueueOptions {
  readonly clock: Clock;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
  close(connection: Connection, code: number, reason: string): void;
}

/** What waits for one slow connection. */
interface Waiting {
  /** The latest refusal, which replaces older ones. */
  refusal: Uint8Array | undefined;
  /** Sends everything else that is owed. */
  flush: (() => void) | undefined;
  /** The unsent bytes at the last check, and the number of checks in a row at which they were not fewer. */
  unsent: number;
  stuckChecks: number;
  /** The number of those at which it is closed. */
  patience: number;
  /** A ping behind all that is unsent. When it has left, so has that, however much the router has sent since. */
  probe: 'none' | 'sent' | 'left';
}

/**
 * The only way to a connection. A slow one is sent nothing: at most one refusal waits for it, and the function that sends the rest is
 * called once it has taken what it was sent. One that takes nothing for half a minute is closed.
 *
 * A router sends more than presence over a socket, so its unsent bytes may never become fewer while all of them leave in time.
 * Therefore a slow connection is sent one more frame each time that everything has left which was unsent at one moment.
 * @internal
 */
export class SendQueue {
  private readonly waiting = new Map<Connection, Waiting>();
  private timer: unknown;

  constructor(private readonly options: SendQueueOptions) {}

  /** Sends a frame, or calls a function in place of it. The caller has checked that the connection is not slow. */
  send(connection: Connection, frame: Uint8Array | (() => void)): void {
    const { channel, userId } = connection;
    connection.isTaking = false;
    if (!isOpen(channel)) return;
    try {
      const sent = (typeof frame === 'function' ? frame() : channel.send(frame)) as PromiseLike<unknown> | undefined;
      if (typeof sent?.then === 'function') sent.then(undefined, (error) => this.options.report('send', error, userId));
    } catch (error) {
      this.options.report('send', error, userId);
    }
  }

  /** Sends a frame that any client can provoke. Where the connection is slow, only the latest waits. */
  refuse(connection: Connection, frame: Uint8Array): void {
    if (isSlow(connection)) this.waitingOf(connection).refusal = frame;
    else this.send(connection, frame);
  }

  /** Calls `flush` after a while, once the connection is not slow. */
  later(connection: Connection, flush: () => void): void {
    this.waitingOf(connection).flush = flush;
  }

  /** Nothing but a refusal waits for the connection any more. */
  cancel(connection: Connection): void {
    const waiting = this.waiting.get(connection);
    if (waiting !== undefined) waiting.flush = undefined;
  }

  /** Nothing waits for the connection any more. */
  remove(connection: Connection): void {
    this.waiting.delete(connection);
  }

  stop(): void {
    this.options.clock.clearTimeout(this.timer);
    this.timer = undefined;
    this.waiting.clear();
  }

  private waitingOf(connection: Connection): Waiting {
    let waiting = this.waiting.get(connection);
    if (waiting === undefined) {
      const unsent = Number.POSITIVE_INFINITY;
      waiting = { refusal: undefined, flush: undefined, unsent, stuckChecks: 0, patience: STUCK_CHECKS, probe: 'none' };
      this.waiting.set(connection, waiting);
    }
    this.timer = this.timer ?? this.options.clock.setTimeout(() => this.check(), CHECK_MS);
    return waiting;
  }

  private check(): void {
    this.timer = undefined;
    for (const [connection, waiting] of Array.from(this.waiting)) {
      // A frame to another connection may have released this one.
      if (this.waiting.get(connection) !== waiting) continue;
      if (isSlow(connection) && waiting.probe !== 'left') {
        this.checkProgress(connection, waiting);
        continue;
      }
      connection.isTaking = waiting.probe === 'left';
      this.waiting.delete(connection);
      if (waiting.refusal !== undefined) this.send(connection, waiting.refusal);
      waiting.flush?.();
    }
    if (this.waiting.size > 0 && this.timer === undefined) {
      this.timer = this.options.clock.setTimeout(() => this.check(), CHECK_MS);
    }
  }

  private checkProgress(connection: Connection, waiting: Waiting): void {
    const bufferedAmount = unsentBytes(connection.channel);
    waiting.stuckChecks = bufferedAmount < waiting.unsent ? 0 : waiting.stuckChecks + 1;
    waiting.unsent = bufferedAmount;
    if (waiting.stuckChecks >= waiting.patience) this.disconnectSlow(connection);
    else if (waiting.probe === 'none' && isOpen(connection.channel)) this.probe(connection, waiting);
  }

  private probe({ channel, userId }: Connection, waiting: Waiting): void {
    waiting.probe = 'sent';
    waiting.patience = Math.max(STUCK_CHECKS, Math.ceil(waiting.unsent / BYTES_A_CHECK));
    const onSent = (): void => {
      waiting.probe = 'left';
    };
    callGuarded(
      () => channel.ping?.(onSent),
      (error) => this.options.report('ping', error, userId),
    );
  }

  /** Its client may reconnect, and is then sent what it missed. */
  private disconnectSlow(connection: Connection): void {
    this.waiting.delete(connection);
    const { report, close } = this.options;
    report('send', new Error('a socket has taken nothing for too long, and is closed'), connection.userId);
    close(connection, CloseCode.TOO_SLOW, 'presence: too slow');
  }
}
