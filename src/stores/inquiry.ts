import { backoffMs } from '../public/backoff';
import { type Clock, randomOf } from '../public/clock';

/** After a question that found nothing the next one waits this long, and one after a failure no longer. */
const PACE_MS = 2_000;

/** @internal */
export interface InquiryOptions {
  readonly clock: Clock;
  /** Asks once. Resolves to whether anything was found that was not known. */
  ask(): Promise<boolean>;
  /** It failed, and will be tried again; told once until it works again. */
  onError(error: unknown): void;
}

/**
 * A question to the store in the background: one at a time, and seldom where the last one found nothing. So whoever
 * makes a router ask, by what anybody may send, cannot make it ask much.
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

  /** Asks now or later; what is put while the answer is on its way is asked once more. `isUrgent`: without the wait. */
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
      // A clock that was set back must not make it longer.
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
