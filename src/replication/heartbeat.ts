import { withDeadline } from '../diagnostics/call-timeout';
import { backoffMs } from '../public/backoff';
import { type Clock, randomOf } from '../public/clock';
import type { ErrorStage } from '../public/types';
import type { PresenceStore, StoreNode } from '../stores/port';

/** Of more times at which something falls due the next beat takes care, whichever comes first. */
const MAX_DUES = 4_096;
/** What falls due is gathered up to this long, so that a storm of drops is not one of beats. */
const DUE_GRID_MS = 50;
/** A timer may come a little early against the clock of the store; what is not quite due would wait for the next beat. */
const DUE_MARGIN_MS = 5;
/** After a beat that failed. A lost answer has cost two thirds of a lease by then, so a short lease allows less. */
const RETRY_MS = 1_000;
const RETRIES_A_LEASE = 12;

/** @internal */
export interface HeartbeatOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly node: StoreNode;
  /** How long one beat may take. */
  readonly timeoutMs: number;
  /**
   * After each beat that got through. `known` is false when the lease had to be made anew, and also when an answer was
   * lost before: that one may have said so. `isLatest` is false when another beat was wanted after this one was sent: it
   * says nothing of what that was wanted for. `now` is the time by the store's clock, where it says that.
   */
  onBeat(known: boolean, isLatest: boolean, now: number | undefined): void;
  /** A beat did not get through. */
  onMiss(): void;
  report(stage: ErrorStage, error: unknown): void;
}

/**
 * Proves to the store that this router is alive: beats every third of a lease, and when something falls due.
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

  /** Beats now, and from now on. */
  beat(): void {
    if (this.stopped) return;
    if (this.beating) this.again = true;
    else void this.beatOnce();
  }

  /** Something falls due in `inMs`. */
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
      // Not sooner for what has fallen due meanwhile: it stays due until a beat gets through.
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
