import type { Clock } from '../public/clock';
import { Deferred } from '../public/deferred';

/** The waits of a delivery: changes end some of them, and a stop ends all. @internal */
export class Pause {
  private state: 'quiet' | 'woken' | 'stopped' = 'quiet';
  private onWake = (): void => undefined;
  private readonly stopped = new Deferred();

  constructor(private readonly clock: Clock) {}

  get isStopped(): boolean {
    return this.state === 'stopped';
  }

  /** There may be changes. */
  wake(): void {
    if (this.state === 'quiet') this.state = 'woken';
    this.onWake();
  }

  stop(): void {
    this.state = 'stopped';
    this.stopped.resolve();
    this.onWake();
  }

  /** Waits for something that may never be; it may also reject. */
  async until(something: Promise<unknown>): Promise<void> {
    await Promise.race([something.catch(() => undefined), this.stopped.promise]);
  }

  /** Waits, whatever changes. */
  async sleep(ms: number): Promise<void> {
    await this.wait(ms, () => this.isStopped);
  }

  /** Waits for `leastMs`, and then until there are changes, but no longer than `ms`. */
  async sleepUntilChange(leastMs: number, ms: number): Promise<void> {
    await this.wait(leastMs, () => this.isStopped);
    if (ms > leastMs) await this.wait(ms - leastMs, () => this.state !== 'quiet');
    this.forget();
  }

  private forget(): void {
    if (this.state === 'woken') this.state = 'quiet';
  }

  private wait(ms: number, isOver: () => boolean): Promise<void> {
    const { clock } = this;
    return new Promise((resolve) => {
      const end = (): void => {
        clock.clearTimeout(timer);
        this.onWake = () => undefined;
        resolve();
      };
      const timer = clock.setTimeout(end, ms);
      this.onWake = () => {
        if (isOver()) end();
      };
      this.onWake();
    });
  }
}
