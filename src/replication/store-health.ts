import type { Clock } from '../public/clock';

/** @internal */
export interface StoreHealthOptions {
  readonly clock: Clock;
  /** Sends any query to the store. */
  ask(): Promise<unknown>;
  /** Whether all changes that were missed have been read. */
  isSettled(): boolean;
  /** Changes may have been missed since then; `undefined`: all changes are received again. */
  onChange(since: number | undefined): void;
}

/**
 * Whether this router receives all changes. While it does not, its data are marked as stale, and no user is taken offline: an
 * unreachable store proves nothing about users.
 * @internal
 */
export class StoreHealth {
  private readonly startedAt: number;
  /** When the store last answered a heartbeat, by its own clock. */
  private heardAt: number | undefined;
  private isStale = false;
  /** The number of failed heartbeats: an answer to a query that was sent before the last of them does not end the outage. */
  private misses = 0;
  private missedAt = 0;

  constructor(private readonly options: StoreHealthOptions) {
    this.startedAt = options.clock.now();
  }

  /** A heartbeat was answered. `now`: the time by the clock of the store, where the store returns it. */
  heard(now: number = this.options.clock.now()): void {
    this.heardAt = now;
  }

  /** A heartbeat has failed. */
  missed(): void {
    if (!this.isStale) this.missedAt = this.options.clock.now();
    this.isStale = true;
    this.misses += 1;
    this.options.onChange(this.heardAt ?? this.startedAt);
  }

  /**
   * The store answers again. Changes that were missed are received before the answer to one more query, so that answer ends the
   * staleness, unless a heartbeat fails before it.
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

  /** When the store last answered a heartbeat, in ISO 8601; `null` before the first answer. */
  get asOf(): string | null {
    return this.heardAt === undefined ? null : new Date(this.heardAt).toISOString();
  }

  /** Since when changes may have been missed; `undefined` while none may. */
  get missedSince(): number | undefined {
    return this.isStale ? this.missedAt : undefined;
  }
}
