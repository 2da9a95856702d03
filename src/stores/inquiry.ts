/** After a question that found nothing the next one waits this long, and so does one after a failure. */
const PACE_MS = 2_000;

/** @internal */
export interface InquiryOptions {
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
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly options: InquiryOptions) {}

  /** Asks now or later; what is put while the answer is on its way is asked once more. `isUrgent`: without the wait. */
  put(isUrgent = false): void {
    this.isWanted = true;
    if (isUrgent) this.isUrgent = true;
    if (this.timer === undefined || isUrgent) this.proceed();
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer as never);
  }

  private proceed(): void {
    clearTimeout(this.timer as never);
    this.timer = undefined;
    if (!this.isWanted || this.isAsking || this.isClosed) return;
    const waitMs = this.isUrgent ? 0 : this.notBefore - Date.now();
    if (waitMs > 0) {
      // A clock that was set back must not make it longer.
      this.timer = setTimeout(() => this.resume(), Math.min(waitMs, PACE_MS));
      this.timer.unref();
      return;
    }
    this.isWanted = false;
    this.isUrgent = false;
    this.isAsking = true;
    this.options.ask().then(
      (hasFound) => {
        this.isFailing = false;
        this.finish(hasFound);
      },
      (error: unknown) => {
        if (!this.isFailing && !this.isClosed) this.options.onError(error);
        this.isFailing = true;
        this.isWanted = true;
        this.isUrgent = false;
        this.finish(false);
      },
    );
  }

  private resume(): void {
    this.notBefore = 0;
    this.proceed();
  }

  private finish(hasFound: boolean): void {
    this.isAsking = false;
    this.notBefore = hasFound ? 0 : Date.now() + PACE_MS;
    this.proceed();
  }
}
