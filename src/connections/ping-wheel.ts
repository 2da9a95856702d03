import type { Clock } from '../public/clock';
import type { Connection } from './connection';

/** @internal */
export interface PingWheelOptions {
  readonly clock: Clock;
  readonly ttlMs: number;
  readonly pingIntervalMs: number | false;
  ping(connection: Connection): void;
  /** Time to look at a connection: once a turn of the wheel. */
  onVisit(connection: Connection): void;
  onTimeout(connection: Connection): void;
  /** Its socket is closed, and no event has said so. */
  onFoundClosed(connection: Connection): void;
}

const CLOSED = 3;

/** A tick catches up at most this many slots, so that a stall is not followed by a burst of pings. */
const MAX_SLOTS_A_TICK = 4;
/** A turn may take weeks: a slot a second would be thirty megabytes, whoever is connected. */
const MAX_SLOTS = 3_600;

/**
 * One timer for all pings and time-outs. Connections sit in the slots of a wheel that turns once a ping interval; each
 * tick visits one slot and pings what is in it, so pings are spread evenly however the connections arrived. Those that
 * will time out before the wheel comes round again are looked at on every tick.
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
  /** No time-outs until then: this process stood still, and could neither hear nor ping. */
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

  /** Takes out a connection that was added. The last one of its slot takes its place. */
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
    // Late by a tenth of the ttl: frames of that time lie unread in the kernel, and pings were not sent. Or the clock
    // was set forward. Either way silence says nothing about the phones; half a ttl is time to ping each and to hear.
    if (passed > this.tickMs + ttlMs / 10) this.holdUntil = now + ttlMs / 2;
    // The clock was set back: nothing can be held until a time that has become far.
    if (passed < 0) this.holdUntil = Math.min(this.holdUntil, now + ttlMs / 2);

    const due = Math.max(1, Math.min(MAX_SLOTS_A_TICK, Math.round(passed / this.tickMs)));
    for (let count = 0; count < due; count += 1) this.visitNextSlot(now);
    if (now >= this.holdUntil) this.timeOut(now);
  }

  private visitNextSlot(now: number): void {
    const slot = this.slots[this.position] as Connection[];
    this.position = (this.position + 1) % this.slots.length;
    // A copy, for a visit may take connections out.
    for (const connection of slot.slice()) {
      // Its listeners were stripped by somebody: it closed unheard.
      if (connection.socket.readyState === CLOSED) {
        this.options.onFoundClosed(connection);
        continue;
      }
      // Activity in the future: the clock was set back since. Without this the connection would never time out.
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
