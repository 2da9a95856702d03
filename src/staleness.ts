import type { Clock } from './clock';
import type { Health } from './types';

/** @internal */
export interface StalenessOptions {
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
export class Staleness {
  private readonly startedAt: number;
  /** When the store was heard last. */
  private heardAt: number | undefined;
  private isStale = false;
  /** How often a beat has not got through: an answer to what was asked before the last time says nothing of it. */
  private misses = 0;

  constructor(private readonly options: StalenessOptions) {
    this.startedAt = options.clock.now();
  }

  /** A beat got through. */
  heard(): void {
    this.heardAt = this.options.clock.now();
  }

  /** A beat did not get through. */
  missed(): void {
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

  health(problems: Health['problems']): Health {
    const asOf = this.heardAt === undefined ? null : new Date(this.heardAt).toISOString();
    if (this.isStale || asOf === null) return { status: 'stale', asOf, problems };
    return { status: problems.length > 0 ? 'degraded' : 'ok', asOf, problems };
  }
}
