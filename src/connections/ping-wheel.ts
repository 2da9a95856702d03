import type { Clock } from '../public/clock';
import { isClosed } from './channel';
import type { Connection } from './connection';

/** @internal */
export interface PingWheelOptions {
  readonly clock: Clock;
  readonly ttlMs: number;
  readonly pingIntervalMs: number | false;
  ping(connection: Connection): void;
  /** Called for each connection once a turn of the wheel. */
  onVisit(connection: Connection): void;
  onTimeout(connection: Connection): void;
  /** The socket is closed, and emitted no event. */
  onFoundClosed(connection: Connection): void;
}

/** A tick visits at most this many slots, so that a stall is not followed by a burst of pings. */
const MAX_SLOTS_A_TICK = 4;
/** A turn may take weeks, and one slot a second would take thirty megabytes without a single connection. */
const MAX_SLOTS = 3_600;

/**
 * One timer for all pings and time-outs. Connections are in the slots of a wheel that turns once a ping interval. Each tick
 * visits one slot and pings its connections, so that pings are spread evenly even where the connections arrived together.
 * Connections that may time out before their next visit are checked at every tick.
 * @internal
 */
export class PingWheel {
  private readonly slots: Connection[][] = [];
  private readonly suspects = new Set<Connection>();
  private readonly tickMs: number;
  private readonly turnMs: number;
  private size = 0;
  private nextSlot = 0;
  private position = 0;
  private tickedAt = 0;
  /** No connection times out before this: the process stood still, and could neither read nor ping. */
  private holdUntil = 0;
  private timer: unknown;

  constructor(private readonly options: PingWheelOptions) {
    const { ttlMs, pingIntervalMs } = options;
    this.turnMs = pingIntervalMs === false ? ttlMs / 3 : pingIntervalMs;
    this.tickMs = Math.max(10, this.turnMs / MAX_SLOTS, Math.min(1_000, this.turnMs / 10, ttlMs / 20));
    const count = Math.max(1, Math.round(this.turnMs / this.tickMs));
    for (let index = 0; index < count; index += 1) this.slots.push([]);
  }

  add(connection: Connection): void {
    const slot = this.slots[this.nextSlot] as Connection[];
    connection.slot = this.nextSlot;
    connection.index = slot.push(connection) - 1;
    this.nextSlot = (this.nextSlot + 1) % this.slots.length;
    this.size += 1;
    if (this.timer === undefined) {
      this.tickedAt = this.options.clock.now();
      this.schedule();
    }
  }

  /** Removes a connection that was added. The last one of its slot takes its position. */
  remove(connection: Connection): void {
    const slot = this.slots[connection.slot] as Connection[];
    const last = slot.pop() as Connection;
    if (last !== connection) {
      slot[connection.index] = last;
      last.index = connection.index;
    }
    this.suspects.delete(connection);
    this.size -= 1;
    if (this.size === 0) this.stop();
  }

  stop(): void {
    this.options.clock.clearTimeout(this.timer);
    this.timer = undefined;
  }

  private schedule(): void {
    this.timer = this.options.clock.setTimeout(() => {
      this.timer = undefined;
      this.tick();
      if (this.size > 0 && this.timer === undefined) this.schedule();
    }, this.tickMs);
  }

  private tick(): void {
    const { clock, ttlMs } = this.options;
    const now = clock.now();
    const passed = now - this.tickedAt;
    this.tickedAt = now;
    // The tick is late by a tenth of the TTL: frames may be unread in the kernel, and pings were not sent. Or the clock was
    // set forward. Either way silence proves nothing; half a TTL is enough to ping each phone and to receive its answer.
    if (passed > this.tickMs + ttlMs / 10) this.holdUntil = now + ttlMs / 2;
    // The clock was set back, so the end of the hold would be too far in the future.
    if (passed < 0) this.holdUntil = Math.min(this.holdUntil, now + ttlMs / 2);

    const due = Math.max(1, Math.min(MAX_SLOTS_A_TICK, Math.round(passed / this.tickMs)));
    for (let count = 0; count < due; count += 1) this.visitNextSlot(now);
    if (now >= this.holdUntil) this.timeOut(now);
  }

  private visitNextSlot(now: number): void {
    const slot = this.slots[this.position] as Connection[];
    this.position = (this.position + 1) % this.slots.length;
    // A copy, since a visit may remove connections.
    for (const connection of slot.slice()) {
      // Something removed the listeners of the socket, so its close event did not arrive.
      if (isClosed(connection.channel)) {
        this.options.onFoundClosed(connection);
        continue;
      }
      // The clock was set back since the last activity. Without this the connection would time out too late.
      if (connection.lastLife > now) connection.lastLife = now;
      this.options.onVisit(connection);
      if (connection.state === 'alive' && now - connection.lastLife + this.turnMs + this.tickMs >= this.options.ttlMs) {
        this.suspects.add(connection);
      }
      if (this.options.pingIntervalMs !== false) this.options.ping(connection);
    }
  }

  private timeOut(now: number): void {
    for (const connection of this.suspects) {
      const silence = now - connection.lastLife;
      if (connection.state === 'alive' && silence >= this.options.ttlMs) this.options.onTimeout(connection);
      if (connection.state !== 'alive' || silence + this.turnMs + this.tickMs < this.options.ttlMs) {
        this.suspects.delete(connection);
      }
    }
  }
}
