import { backoffMs } from '../public/backoff';
import { type Clock, randomOf } from '../public/clock';

const RETRIES = { leastMs: 100, mostMs: 1_000 };

/** The back-off after calls that fail in a row: one wait at a time, and each longer than the one before. @internal */
export class RetryTimer {
  private failures = 0;
  private timer: unknown;

  constructor(private readonly clock: Clock) {}

  get isWaiting(): boolean {
    return this.timer !== undefined;
  }

  /** How long the next wait would be. */
  nextMs(): number {
    return backoffMs(this.failures, RETRIES, randomOf(this.clock));
  }

  /** Counts a failure; returns how many there have been in a row. */
  fail(): number {
    this.failures += 1;
    return this.failures;
  }

  /** Counts a failure, and calls `retry` after `ms`. Where a call waits already there is nothing to add. */
  wait(ms: number, retry: () => void): void {
    if (this.isWaiting) return;
    this.fail();
    this.timer = this.clock.setTimeout(() => {
      this.timer = undefined;
      retry();
    }, ms);
  }

  /** A call was successful: the next wait is a short one. */
  reset(): void {
    this.failures = 0;
  }

  cancel(): void {
    this.clock.clearTimeout(this.timer);
    this.timer = undefined;
  }
}
