import type { LocalUser } from '../connections/local-user';
import { withDeadline } from '../diagnostics/call-timeout';
import type { Clock } from '../public/clock';
import type { ErrorStage } from '../public/types';
import type { PresenceStore, SignOfLife, StoreNode } from '../stores/port';

/** The most users in one call. */
const MOST = 1_000;

/** @internal */
export interface ActivityBatchOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly node: StoreNode;
  /** How long one call may take. */
  readonly timeoutMs: number;
  /** How long activity is gathered before it is sent in one call. */
  readonly gatherMs: number;
  /** Whether this router has a lease: without one, the store would ignore the call. */
  isLeased(): boolean;
  /** The store has no lease of this router. */
  onUnknown(): void;
  /** The store does not hold a user for this router. */
  onMissing(userId: string): void;
  report(stage: ErrorStage, error: unknown): void;
  /** An operation whose failure was reported works again. */
  worked(stage: ErrorStage): void;
}

/**
 * Reports the activity of users to the store in batches, one call at a time. So where the store hangs, activity accumulates in
 * one set, and calls do not.
 * @internal
 */
export class ActivityBatch {
  private readonly users = new Set<LocalUser>();
  private state: 'idle' | 'sending' | 'stopped' = 'idle';
  private timer: unknown;

  constructor(private readonly options: ActivityBatchOptions) {}

  /** Adds the activity of a user to the next batch. */
  add(user: LocalUser): void {
    this.users.add(user);
    if (this.timer !== undefined || this.state === 'stopped') return;
    this.timer = this.options.clock.setTimeout(() => {
      this.timer = undefined;
      void this.send();
    }, this.options.gatherMs);
  }

  remove(user: LocalUser): void {
    this.users.delete(user);
  }

  stop(): void {
    this.state = 'stopped';
    this.options.clock.clearTimeout(this.timer);
  }

  private async send(): Promise<void> {
    if (this.state !== 'idle' || !this.options.isLeased()) return;
    const { clock, timeoutMs, store, node, report } = this.options;
    const users = this.take();
    if (users.length === 0) return;
    const now = clock.now();
    const ageOf = ({ lastLife }: LocalUser): number => Math.ceil(Math.max(0, now - lastLife));
    const signs = users.map((user): SignOfLife => ({ userId: user.userId, ageMs: ageOf(user) }));
    this.state = 'sending';
    try {
      const { known, missing } = await withDeadline(clock, timeoutMs, (onAnswer) =>
        store.refresh(node, signs, onAnswer),
      );
      this.end();
      if (known) this.options.worked('refresh');
      else this.options.onUnknown();
      for (const userId of missing) this.options.onMissing(userId);
      void this.send();
    } catch (error) {
      this.end();
      // The next activity of the user, or the ping wheel, reports it again.
      for (const user of users) user.refreshedAt = 0;
      report('refresh', error);
    }
  }

  private end(): void {
    if (this.state === 'sending') this.state = 'idle';
  }

  /** Removes the next batch from the set. It skips users whom the store does not hold: their join reports activity, too. */
  private take(): LocalUser[] {
    const taken: LocalUser[] = [];
    for (const user of this.users) {
      this.users.delete(user);
      if (user.alive === 0 || user.acknowledged !== 'held') continue;
      user.refreshedAt = user.lastLife;
      taken.push(user);
      if (taken.length === MOST) break;
    }
    return taken;
  }
}
