import type { Clock } from '../public/clock';

/** How long snapshots may be worked on before everything else in the process has its turn. */
const TURN_MS = 4;

/**
 * Divides work into turns of the event loop, so that sockets and timers are served in between. Workers call `pause` before each piece
 * of their work, and take turns.
 * @internal
 */
export class Turns {
  /** When the work of this turn began; undefined before any. */
  private startedAt: number | undefined;
  private timer: unknown;
  private readonly waiting = new Set<() => void>();

  constructor(private readonly clock: Clock) {}

  /** Returns a promise where the worker has to wait: once it resolves, the worker may do some work at once. */
  pause(): Promise<void> | undefined {
    if (this.startedAt === undefined) this.begin();
    if (!this.isOver() && this.waiting.size === 0) return undefined;
    return new Promise((resolve) => this.waiting.add(resolve));
  }

  stop(): void {
    this.clock.clearTimeout(this.timer);
    this.startedAt = undefined;
    this.waiting.clear();
  }

  private begin(): void {
    this.startedAt = this.clock.now();
    this.timer = this.clock.setTimeout(() => {
      this.startedAt = undefined;
      if (this.waiting.size === 0) return;
      this.begin();
      this.wakeNext();
    }, 0);
  }

  private isOver(): boolean {
    const ms = this.clock.now() - (this.startedAt ?? 0);
    // A clock that was set back does not make a turn longer.
    return ms < 0 || ms >= TURN_MS;
  }

  /** One after the other, each once the one before has done its piece. */
  private wakeNext(): void {
    if (this.startedAt === undefined || this.isOver()) return;
    for (const wake of this.waiting) {
      this.waiting.delete(wake);
      wake();
      void Promise.resolve().then(() => this.wakeNext());
      return;
    }
  }
}
