import { withDeadline } from '../diagnostics/call-timeout';
import type { Clock } from '../public/clock';
import type { Roster } from '../replication/roster';
import type { ChangeLog } from '../stores/port';

/** A cursor is sent to a client at most once in so long, since it may have a thousand characters. */
const LEAST_MS = 1_000;
/** Whoever has missed more is sent everybody. */
const MOST_CHANGES = 10_000;
/** Readings at once. Whoever comes back meanwhile is sent everybody, which costs the store less. */
const MOST_READINGS = 16;

/** What the log says of a cursor: being read; of no use; or who has changed since. @internal */
export type SinceCursor = 'reading' | 'useless' | { readonly userIds: ReadonlySet<string>; readonly cursor: string };

/** @internal */
export interface LogCursorsOptions {
  readonly clock: Clock;
  readonly roster: Roster;
  readonly log: ChangeLog | undefined;
  readonly commandTimeoutMs: number;
  /** Whether a change was received and not sent. */
  isHolding(): boolean;
}

/**
 * Cursors from the log of the store, where the roster cannot make them: on a store with several counters of versions, such as a
 * Cluster. A client resumes by what the log has after its cursor.
 * @internal
 */
export class LogCursors {
  private timer: unknown;
  /** For the next change: everything was sent before it that is up to this cursor. */
  private next: string | undefined;
  private readings = 0;

  constructor(private readonly options: LogCursorsOptions) {}

  /** The cursor of a client that is shown the roster as it is now. */
  current(): string | undefined {
    const { roster, log } = this.options;
    return roster.completeFrom === 'uncounted' ? log?.toldTo?.() : undefined;
  }

  /** The cursor for a client that is sent a change now, and was sent all earlier ones. Of two changes within a second one has it. */
  take(): string | undefined {
    const { clock, roster, log } = this.options;
    if (roster.completeFrom !== 'uncounted' || log?.toldTo === undefined) return undefined;
    // Between two turns of the event loop, in which no change of a batch is sent and another one is not.
    this.timer =
      this.timer ??
      clock.setTimeout(() => {
        this.timer = undefined;
        if (!this.options.isHolding()) this.next = this.current();
      }, LEAST_MS);
    const { next } = this;
    this.next = undefined;
    return next;
  }

  /** Whether a client may resume by the log. */
  get isUsable(): boolean {
    return this.options.roster.completeFrom === 'uncounted' && this.options.log?.hasTold !== undefined;
  }

  /**
   * Finds out who has changed since a cursor. Never rejects. A reading is not shared: what changes from its beginning on, the caller has to
   * remember.
   */
  async read(cursor: string): Promise<SinceCursor> {
    if (this.readings >= MOST_READINGS) return 'useless';
    const { clock, log, commandTimeoutMs } = this.options;
    this.readings += 1;
    try {
      const page = await withDeadline(clock, commandTimeoutMs, (onAnswer) =>
        (log as ChangeLog).read({ after: cursor, limit: MOST_CHANGES }, onAnswer),
      );
      if (page.isGap || page.hasMore) return 'useless';
      return { userIds: new Set(page.changes.map(({ userId }) => userId)), cursor: page.cursor };
    } catch {
      // Not a cursor of this store; or the store is away, which the snapshot of everybody will report.
      return 'useless';
    } finally {
      this.readings -= 1;
    }
  }

  /** Whether this router has received everything that the log had. The client may have seen all of it elsewhere. */
  hasReceived({ cursor }: { readonly cursor: string }): boolean {
    return this.options.log?.hasTold?.(cursor) === true;
  }

  stop(): void {
    this.options.clock.clearTimeout(this.timer);
    this.timer = undefined;
    this.next = undefined;
  }
}
