import type { LocalUser } from '../connections/local-user';
import { withDeadline } from '../diagnostics/call-timeout';
import type { Clock } from '../public/clock';
import type { ErrorStage } from '../public/types';
import type { PresenceStore, SignOfLife, StoreNode } from '../stores/port';

/** Users of whom one call tells at most. */
const MOST = 1_000;

/** @internal */
export interface ActivityBatchOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly node: StoreNode;
  /** How long one call may take. */
  readonly timeoutMs: number;
  /** How long activity is gathered before it travels together. */
  readonly gatherMs: number;
  /** Whether the store may be told: this router has a lease. */
  isLeased(): boolean;
  /** The store knows of no lease of this router. */
  onUnknown(): void;
  /** The store does not hold a user. */
  onMissing(userId: string): void;
  report(stage: ErrorStage, error: unknown): void;
  /** What was reported as failed works again. */
  worked(stage: ErrorStage): void;
}

/**
 * Tells the store of activity of its users, gathered, and one call at a time: where the store hangs, activity gathers, not calls.
 * @internal
 */
export class ActivityBatch {
  private readonly users = new Set<LocalUser>();
  private state: 'idle' | 'sending' | 'stopped' = 'idle';
  private timer: unknown;

  constructor(private readonly options: ActivityBatchOptions) {}

  /** Activity of which the store should know. */
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
      // Not told after all: the next activity, or the ping wheel, tells it again.
      for (const user of users) user.refreshedAt = 0;
      report('refresh', error);
    }
  }

  private end(): void {
    if (this.state === 'sending') this.state = 'idle';
  }

  /** Those who are told next. Who is not stored yet is told with the join. */
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
