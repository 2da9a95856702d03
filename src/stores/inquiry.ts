import { backoffMs } from '../public/backoff';
import { type Clock, randomOf } from '../public/clock';

/** The wait after a question that found nothing new, and the longest one after a failure. */
const PACE_MS = 2_000;

/** @internal */
export interface InquiryOptions {
  readonly clock: Clock;
  /** Asks once. Resolves to whether the answer contained something new. */
  ask(): Promise<boolean>;
  /** Reports a failure, which is tried again. It is called once, until a question succeeds. */
  onError(error: unknown): void;
}

/**
 * Asks the store a question in the background: one at a time, and rarely where the last one found nothing new. So forged
 * messages, which make a router ask, cannot make it ask often.
 * @internal
 */
export class Inquiry {
  private isWanted = false;
  private isUrgent = false;
  private isAsking = false;
  private isFailing = false;
  private isClosed = false;
  private notBefore = 0;
  private timer: unknown;

  constructor(private readonly options: InquiryOptions) {}

  /** Asks now or after the wait. While a question is under way, another one follows it. `isUrgent`: without the wait. */
  put(isUrgent = false): void {
    this.isWanted = true;
    if (isUrgent) this.isUrgent = true;
    if (this.timer === undefined || isUrgent) this.proceed();
  }

  close(): void {
    this.isClosed = true;
    this.options.clock.clearTimeout(this.timer);
  }

  private proceed(): void {
    const { clock } = this.options;
    clock.clearTimeout(this.timer);
    this.timer = undefined;
    if (!this.isWanted || this.isAsking || this.isClosed) return;
    const waitMs = this.isUrgent ? 0 : this.notBefore - clock.now();
    if (waitMs > 0) {
      // The wait must not become longer where the clock was set back.
      this.timer = clock.setTimeout(() => this.resume(), Math.min(waitMs, PACE_MS));
      return;
    }
    this.isWanted = false;
    this.isUrgent = false;
    this.isAsking = true;
    this.options.ask().then(
      (hasFound) => {
        this.isFailing = false;
        this.finish(hasFound ? 0 : PACE_MS);
      },
      (error: unknown) => {
        if (!this.isFailing && !this.isClosed) this.options.onError(error);
        this.isFailing = true;
        this.isWanted = true;
        this.isUrgent = false;
        this.finish(backoffMs(0, { leastMs: PACE_MS, mostMs: PACE_MS }, randomOf(clock)));
      },
    );
  }

  private resume(): void {
    this.notBefore = 0;
    this.proceed();
  }

  private finish(waitMs: number): void {
    this.isAsking = false;
    this.notBefore = waitMs === 0 ? 0 : this.options.clock.now() + waitMs;
    this.proceed();
  }
}
