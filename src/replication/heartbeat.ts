import { withDeadline } from '../diagnostics/call-timeout';
import { backoffMs } from '../public/backoff';
import { type Clock, randomOf } from '../public/clock';
import type { ErrorStage } from '../public/types';
import type { PresenceStore, StoreNode } from '../stores/port';

/** The most deadlines that are remembered. The next regular heartbeat handles the others. */
const MAX_DUES = 4_096;
/** Deadlines are rounded up to this grid, so that thousands of drops do not cause thousands of heartbeats. */
const DUE_GRID_MS = 50;
/** A timer may run slightly early by the clock of the store, and the deadline would then wait for the next heartbeat. */
const DUE_MARGIN_MS = 5;
/** The longest wait after a failed heartbeat. A lost answer has cost two thirds of a lease, so it is less for a short lease. */
const RETRY_MS = 1_000;
const RETRIES_A_LEASE = 12;

/** @internal */
export interface HeartbeatOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly node: StoreNode;
  /** How long one heartbeat may take. */
  readonly timeoutMs: number;
  /**
   * Called after each heartbeat that was answered. `known` is false where the store made a new lease; also after a heartbeat
   * that failed, since its lost answer may have reported a new one. `isLatest` is false where another heartbeat was requested
   * after this one was sent, so that its answer may be older than the reason for that request. `now` is the time by the store's
   * clock, where the store returns it.
   */
  onBeat(known: boolean, isLatest: boolean, now: number | undefined): void;
  /** A heartbeat has failed. */
  onMiss(): void;
  report(stage: ErrorStage, error: unknown): void;
}

/**
 * Proves to the store that this router is alive, by a heartbeat every third of a lease. It also sends one at each deadline, such
 * as the end of a grace, at which the store has to act.
 * @internal
 */
export class Heartbeat {
  private readonly dues = new Set<number>();
  private readonly beatMs: number;
  private timer: unknown;
  private timerAt = Number.POSITIVE_INFINITY;
  private beating = false;
  private again = false;
  private missed = false;
  private stopped = false;

  constructor(private readonly options: HeartbeatOptions) {
    this.beatMs = options.node.leaseMs / 3;
  }

  /** Sends a heartbeat now, and regularly from now on. */
  beat(): void {
    if (this.stopped) return;
    if (this.beating) this.again = true;
    else void this.beatOnce();
  }

  /** Sends a heartbeat in `inMs`, when a deadline in the store will be over. */
  due(inMs: number): void {
    const at = Math.ceil((this.options.clock.now() + inMs + DUE_MARGIN_MS) / DUE_GRID_MS) * DUE_GRID_MS;
    if (this.dues.size < MAX_DUES) this.dues.add(at);
    if (at < this.timerAt && !this.beating) this.schedule(at);
  }

  stop(): void {
    this.stopped = true;
    this.options.clock.clearTimeout(this.timer);
  }

  private async beatOnce(): Promise<void> {
    const { clock, timeoutMs, store, node, onBeat, report } = this.options;
    const startedAt = clock.now();
    this.beating = true;
    this.again = false;
    try {
      const { known, now } = await withDeadline(clock, timeoutMs, (onAnswer) => store.beat(node, onAnswer));
      this.beating = false;
      if (this.stopped) return;
      for (const due of this.dues) if (due <= startedAt) this.dues.delete(due);
      const isLatest = !this.again;
      this.scheduleNext(isLatest ? this.beatMs : 0);
      const certain = known && !this.missed;
      this.missed = false;
      onBeat(certain, isLatest, now);
    } catch (error) {
      this.beating = false;
      this.missed = true;
      if (this.stopped) return;
      // A deadline does not shorten this wait: it is kept until a heartbeat is answered.
      const mostMs = Math.min(RETRY_MS, node.leaseMs / RETRIES_A_LEASE);
      this.schedule(clock.now() + backoffMs(0, { leastMs: mostMs, mostMs }, randomOf(clock)));
      this.options.onMiss();
      report('beat', error);
    }
  }

  private scheduleNext(inMs: number): void {
    let at = this.options.clock.now() + inMs;
    for (const due of this.dues) at = Math.min(at, due);
    this.schedule(at);
  }

  private schedule(at: number): void {
    const { clock } = this.options;
    clock.clearTimeout(this.timer);
    this.timerAt = at;
    this.timer = clock.setTimeout(
      () => {
        this.timerAt = Number.POSITIVE_INFINITY;
        this.beat();
      },
      Math.max(0, at - clock.now()),
    );
  }
}
