import type { Clock } from '../public/clock';

/** @internal */
export interface StoreHealthOptions {
  readonly clock: Clock;
  /** Asks the store anything. */
  ask(): Promise<unknown>;
  /** Whether nothing that was missed has to be read any more. */
  isSettled(): boolean;
  /** Changes may be missed since then; `undefined`: everything is heard again. */
  onChange(since: number | undefined): void;
}

/**
 * Whether this router hears what changes. Silence is never news: while it does not, its view is marked stale, and nobody
 * is turned offline.
 * @internal
 */
export class StoreHealth {
  private readonly startedAt: number;
  /** When the store was heard last, by its own clock. */
  private heardAt: number | undefined;
  private isStale = false;
  /** How often a beat has not got through: an answer to what was asked before the last time says nothing of it. */
  private misses = 0;
  private missedAt = 0;

  constructor(private readonly options: StoreHealthOptions) {
    this.startedAt = options.clock.now();
  }

  /** A beat got through. `now`: by the clock of the store, where it says so. */
  heard(now: number = this.options.clock.now()): void {
    this.heardAt = now;
  }

  /** A beat did not get through. */
  missed(): void {
    if (!this.isStale) this.missedAt = this.options.clock.now();
    this.isStale = true;
    this.misses += 1;
    this.options.onChange(this.heardAt ?? this.startedAt);
  }

  /**
   * The store answers. What was missed meanwhile stands before the answer to one more question, if no beat is missed
   * between the two.
   */
  end(): void {
    if (!this.isStale) return;
    const { misses } = this;
    this.options.ask().then(
      () => {
        if (!this.isStale || misses !== this.misses || !this.options.isSettled()) return;
        this.isStale = false;
        this.options.onChange(undefined);
      },
      () => undefined,
    );
  }

  /** When the store was heard last; `null` where it never was. */
  get asOf(): string | null {
    return this.heardAt === undefined ? null : new Date(this.heardAt).toISOString();
  }

  /** Since when changes may have been missed that are not known yet. */
  get missedSince(): number | undefined {
    return this.isStale ? this.missedAt : undefined;
  }
}
