import { type Connection, isSlow } from '../connections/connection';
import { CloseCode } from '../connections/socket-closer';
import type { Clock } from '../public/clock';
import type { ErrorStage } from '../public/types';

/** How often a slow socket is looked at again. */
const CHECK_MS = 50;
/** A slow socket that has taken nothing between so many looks is closed: after half a minute, whatever a clock does. */
const STUCK_LOOKS = 600;
/**
 * What leaves is seen once all of it has that was handed over together, so where much is unsent it takes longer to see that a
 * socket takes something. 4 KiB a second: slower than any link that carries voice.
 */
const BYTES_A_LOOK = (4_096 * CHECK_MS) / 1_000;
const OPEN = 1;

/** @internal */
export interface SendQueueOptions {
  readonly clock: Clock;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
  close(connection: Connection, code: number, reason: string): void;
}

/** What a socket is owed that could not be sent yet. */
interface Owed {
  /** The latest refusal; of older ones nobody needs to know. */
  refusal: Uint8Array | undefined;
  /** Goes on with whatever else it is owed. */
  proceed: (() => void) | undefined;
  /** What was unsent at the last look, and looks in a row at which it was not less. */
  unsent: number;
  stuckLooks: number;
  /** At so many of these it is closed. */
  patience: number;
  /** A ping behind all that is unsent: when it has left, so has that, however much the router has sent since. */
  probe: 'none' | 'sent' | 'left';
}

/**
 * The one way to a socket. A socket that is slow is sent nothing: one refusal waits for it, and whoever owes it more is
 * called once it has taken what it was sent. One that takes nothing for half a minute is closed.
 *
 * A router sends more than presence over a socket, so what is unsent may never become less while all of it leaves in time.
 * Each time everything has left that was unsent at one moment, a slow socket is sent one more frame of ours.
 * @internal
 */
export class SendQueue {
  private readonly owed = new Map<Connection, Owed>();
  private timer: unknown;

  constructor(private readonly options: SendQueueOptions) {}

  /** Sends a frame, or an event in place of it, to a socket that is not slow; whoever calls has looked. */
  send(connection: Connection, frame: Uint8Array | (() => void)): void {
    const { socket, userId } = connection;
    connection.isTaking = false;
    if (socket.readyState !== OPEN) return;
    try {
      if (typeof frame === 'function') frame();
      else socket.send(frame);
    } catch (error) {
      this.options.report('send', error, userId);
    }
  }

  /** Sends a frame that anybody can ask for, now or when the socket takes something again; only the latest waits. */
  refuse(connection: Connection, frame: Uint8Array): void {
    if (isSlow(connection)) this.owedTo(connection).refusal = frame;
    else this.send(connection, frame);
  }

  /** Calls again after a while, once the socket is not slow. */
  later(connection: Connection, proceed: () => void): void {
    this.owedTo(connection).proceed = proceed;
  }

  /** It is owed nothing any more but a refusal that waits. */
  cancel(connection: Connection): void {
    const owed = this.owed.get(connection);
    if (owed !== undefined) owed.proceed = undefined;
  }

  /** It is owed nothing any more. */
  remove(connection: Connection): void {
    this.owed.delete(connection);
  }

  stop(): void {
    this.options.clock.clearTimeout(this.timer);
    this.timer = undefined;
    this.owed.clear();
  }

  private owedTo(connection: Connection): Owed {
    let owed = this.owed.get(connection);
    if (owed === undefined) {
      const unsent = Number.POSITIVE_INFINITY;
      owed = { refusal: undefined, proceed: undefined, unsent, stuckLooks: 0, patience: STUCK_LOOKS, probe: 'none' };
      this.owed.set(connection, owed);
    }
    this.timer = this.timer ?? this.options.clock.setTimeout(() => this.check(), CHECK_MS);
    return owed;
  }

  private check(): void {
    this.timer = undefined;
    for (const [connection, owed] of Array.from(this.owed)) {
      if (isSlow(connection) && owed.probe !== 'left') {
        this.watchProgress(connection, owed);
        continue;
      }
      connection.isTaking = owed.probe === 'left';
      this.owed.delete(connection);
      if (owed.refusal !== undefined) this.send(connection, owed.refusal);
      owed.proceed?.();
    }
    if (this.owed.size > 0 && this.timer === undefined) {
      this.timer = this.options.clock.setTimeout(() => this.check(), CHECK_MS);
    }
  }

  private watchProgress(connection: Connection, owed: Owed): void {
    const { bufferedAmount, readyState } = connection.socket;
    owed.stuckLooks = bufferedAmount < owed.unsent ? 0 : owed.stuckLooks + 1;
    owed.unsent = bufferedAmount;
    if (owed.stuckLooks >= owed.patience) this.disconnectSlow(connection);
    else if (owed.probe === 'none' && readyState === OPEN) this.probe(connection, owed);
  }

  private probe({ socket, userId }: Connection, owed: Owed): void {
    owed.probe = 'sent';
    owed.patience = Math.max(STUCK_LOOKS, Math.ceil(owed.unsent / BYTES_A_LOOK));
    try {
      socket.ping(() => {
        owed.probe = 'left';
      });
    } catch (error) {
      this.options.report('ping', error, userId);
    }
  }

  /** It may come back, and is then told what it missed. */
  private disconnectSlow(connection: Connection): void {
    this.owed.delete(connection);
    const { report, close } = this.options;
    report('send', new Error('a socket has taken nothing for too long, and is closed'), connection.userId);
    close(connection, CloseCode.TOO_SLOW, 'presence: too slow');
  }
}
