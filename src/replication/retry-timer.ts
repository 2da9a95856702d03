import { backoffMs } from '../public/backoff';
import { type Clock, randomOf } from '../public/clock';

const RETRIES = { leastMs: 100, mostMs: 1_000 };

/** The back-off after calls that fail in a row. There is one wait at a time, and it grows with each failure. @internal */
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

  /** Counts a failure, and returns the number of failures in a row. */
  fail(): number {
    this.failures += 1;
    return this.failures;
  }

  /** Counts a failure, and calls `retry` after `ms`. It does nothing while another call waits. */
  wait(ms: number, retry: () => void): void {
    if (this.isWaiting) return;
    this.fail();
    this.timer = this.clock.setTimeout(() => {
      this.timer = undefined;
      retry();
    }, ms);
  }

  /** A call has succeeded, so the next wait is short. */
  reset(): void {
    this.failures = 0;
  }

  cancel(): void {
    this.clock.clearTimeout(this.timer);
    this.timer = undefined;
  }
}
