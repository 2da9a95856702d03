import type { LocalUser } from '../connections/local-user';
import { withDeadline } from '../diagnostics/call-timeout';
import { type Clock, randomOf } from '../public/clock';
import { PresenceError } from '../public/errors';
import type { ErrorStage } from '../public/types';
import type { PresenceOp, PresenceStore, StoreNode } from '../stores/port';
import { ActivityBatch } from './activity-batch';
import { BatchSize } from './batch-size';
import { nextBatch, pendingOps } from './pending-ops';
import { RetryTimer } from './retry-timer';
import { SetAside } from './set-aside';

/** An error is reported where this many calls in a row find no lease, although the heartbeats between them find one. */
const REFUSALS = 3;

/** @internal */
export interface OutboxOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly node: StoreNode;
  /** How long one call may take. */
  readonly timeoutMs: number;
  /** How long activity is gathered before it is sent in one call. */
  readonly gatherMs: number;
  /** All users of this router. A user who has left is removed once the store has acknowledged that. */
  readonly users: Map<string, LocalUser>;
  /** Sends a heartbeat: to get a new lease, or to find out whether the store is available. */
  beat(): void;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
  /** An operation whose failure was reported works again. */
  worked(stage: ErrorStage): void;
}

/** Changes are sent while `leased` or `closing`. Only `enter` changes the state. */
type State =
  /** Changes wait for a heartbeat that gets a lease. */
  | { readonly kind: 'unleased' }
  | { readonly kind: 'leased' }
  /** The remaining changes are sent, but none after `until`. `over` is called at the end. */
  | { readonly kind: 'closing'; readonly until: number; over(): void }
  | { readonly kind: 'stopped' };

/** Whether all users have been registered under the present lease. */
type Registration =
  | 'complete'
  | 'pending'
  /** All users who were still missing are in the batch in flight. */
  | 'last-batch';

/**
 * Sends the changes of this router's users to the store, one batch at a time. Changes during a call go into the next batch. It
 * keeps users and not commands: an outage costs at most one entry for each user, and a user who connects and leaves during it
 * causes no event.
 * @internal
 */
export class Outbox {
  private readonly changed = new Set<LocalUser>();
  private readonly activity: ActivityBatch;
  private readonly batchSize = new BatchSize<LocalUser>();
  private readonly aside: SetAside<LocalUser>;
  private readonly retry: RetryTimer;
  private state: State = { kind: 'unleased' };
  private registration: Registration = 'complete';
  private isApplying = false;
  private isFlushDue = false;
  /** The number of calls in a row for which the store had no lease. */
  private refusals = 0;
  /** The number of calls that the store has not answered, including those that have timed out. */
  private unanswered = 0;
  private asideTimer: unknown;

  constructor(private readonly options: OutboxOptions) {
    this.aside = new SetAside(randomOf(options.clock));
    this.retry = new RetryTimer(options.clock);
    this.activity = new ActivityBatch({
      ...options,
      isLeased: () => this.state.kind === 'leased',
      onUnknown: () => this.lose(),
      onMissing: (userId) => this.reassert(userId),
    });
  }

  /** The first connection of this user was made, or the last one has ended. */
  change(user: LocalUser): void {
    if (user.inFlight === 'nothing' && pendingOps(user, this.options.clock.now()).length === 0) {
      // The user is back in the state that the store has acknowledged, so nothing has to be kept during an outage.
      this.settle(user);
      return;
    }
    this.changed.add(user);
    if (this.isFlushDue) return;
    this.isFlushDue = true;
    Promise.resolve().then(() => {
      this.isFlushDue = false;
      this.flush();
    });
  }

  /** Reports activity of a user to the store. */
  touch(user: LocalUser): void {
    this.activity.add(user);
  }

  /** Resolves once the store has acknowledged the state of the user, or the outbox has stopped. */
  settled(user: LocalUser): Promise<void> {
    return user.isSettled || this.state.kind === 'stopped' ? Promise.resolve() : user.woken();
  }

  /** Whether the store has acknowledged all changes. */
  get isIdle(): boolean {
    return this.changed.size === 0 && !this.isApplying;
  }

  /**
   * This router has a lease. `anew`: the lease is or may be a new one, so all users are registered again. `isLatest`: the
   * heartbeat was sent after the last request for one.
   */
  hold(anew: boolean, isLatest: boolean): void {
    if (anew) {
      for (const user of this.options.users.values()) this.doubt(user);
      // A batch in flight was assembled before, so it does not contain all of them.
      this.registration = 'pending';
      this.refusals = 0;
    }
    this.enter({ kind: 'leased' });
    if (isLatest) this.judge();
    this.flush();
  }

  /** A heartbeat has failed: a batch that failed too did so because the store is unavailable. */
  miss(): void {
    this.batchSize.clear();
  }

  /** Sends changes at once, so that a query that follows sees them. */
  flush(): void {
    const { state } = this;
    if (this.isApplying || state.kind === 'unleased' || state.kind === 'stopped') return;
    if (this.retry.isWaiting && state.kind === 'leased') return;
    const now = this.options.clock.now();
    if (state.kind === 'closing' && now >= state.until) {
      this.enter({ kind: 'stopped' });
      return;
    }
    const { ops, users, unchanged, isLast } = nextBatch(this.changed, this.aside, this.batchSize.most, now);
    for (const user of unchanged) this.settle(user);
    for (const user of users) {
      this.changed.delete(user);
      user.send();
    }
    if (this.registration !== 'complete') this.registration = isLast ? 'last-batch' : 'pending';
    if (ops.length > 0) {
      void this.apply(ops, users);
      return;
    }
    this.endRegistration();
    if (state.kind === 'closing') this.enter({ kind: 'stopped' });
  }

  /**
   * Sends the remaining changes for at most `ms`, and then stops. Resolves to whether the store has acknowledged all of them.
   */
  async finish(ms: number): Promise<boolean> {
    const { clock, users } = this.options;
    this.activity.stop();
    // Cancel the back-off: it may be waiting for a heartbeat, and closing has a deadline of its own.
    this.retry.cancel();
    if (this.state.kind === 'leased') {
      await new Promise<void>((over) => {
        this.enter({ kind: 'closing', until: clock.now() + ms, over });
        this.flush();
      });
    }
    this.enter({ kind: 'stopped' });
    this.retry.cancel();
    clock.clearTimeout(this.asideTimer);
    const told = this.changed.size === 0;
    for (const user of users.values()) user.wake();
    return told;
  }

  /** Closing cannot be undone: `closing` is followed only by `stopped`, and `stopped` by no state. */
  private enter(next: State): void {
    const { state } = this;
    if (state.kind === 'stopped' || (state.kind === 'closing' && next.kind !== 'stopped')) return;
    this.state = next;
    if (state.kind === 'closing') state.over();
  }

  private async apply(ops: readonly PresenceOp[], users: readonly LocalUser[]): Promise<void> {
    const { clock, timeoutMs, store, node } = this.options;
    this.isApplying = true;
    const startedAt = clock.now();
    const ms = this.state.kind === 'closing' ? Math.min(timeoutMs, this.state.until - startedAt) : timeoutMs;
    try {
      const { known } = await withDeadline(clock, ms, (onAnswer) => {
        const answer = store.apply(node, ops, () => {
          // While closing, a partial answer does not extend the deadline.
          if (this.state.kind === 'leased' || this.state.kind === 'unleased') onAnswer();
        });
        const answered = (): void => {
          this.unanswered -= 1;
        };
        this.unanswered += 1;
        answer.then(answered, answered);
        return answer;
      });
      this.isApplying = false;
      for (const user of users) this.acknowledge(user, known);
      this.batchSize.onAnswer();
      if (known) {
        this.retry.reset();
        this.refusals = 0;
        this.endRegistration();
      } else this.refused();
      if (known && this.aside.isEmpty) this.options.worked('apply');
      this.flush();
    } catch (error) {
      this.isApplying = false;
      for (const user of users) this.doubt(user);
      this.options.report('apply', error, users.length === 1 ? users[0]?.userId : undefined);
      this.retryLater(() => this.flush());
      if (clock.now() - startedAt >= timeoutMs) this.batchSize.onTimeout();
      // While an earlier call is still under way, the store may have refused this one for that reason.
      else if (this.unanswered === 0 && !this.aside.isFull) {
        this.batchSize.suspect(users);
        this.options.beat();
      }
    }
  }

  /** The store is available. A batch that it has refused all the same is halved, down to the one user whom it refuses. */
  private judge(): void {
    if (!this.batchSize.hasSuspects || this.state.kind === 'stopped') return;
    const { clock } = this.options;
    this.retry.cancel();
    this.retry.reset();
    const refused = this.batchSize.narrow();
    if (refused === undefined) return;
    clock.clearTimeout(this.asideTimer);
    this.asideTimer = clock.setTimeout(() => this.flush(), this.aside.put(refused, clock.now()));
  }

  private endRegistration(): void {
    if (this.registration !== 'last-batch') return;
    this.registration = 'complete';
    const { clock, timeoutMs, store, node, report } = this.options;
    if (store.registered === undefined) return;
    withDeadline(clock, timeoutMs, async () => store.registered?.(node)).catch((error: unknown) =>
      report('apply', error),
    );
  }

  private acknowledge(user: LocalUser, known: boolean): void {
    if (!known) {
      this.doubt(user);
      return;
    }
    this.aside.remove(user);
    user.acknowledge();
    if (user.isSettled) this.settle(user);
    else this.changed.add(user);
  }

  /** It is not known what the store holds of a user, so the state of the user is sent again. */
  private doubt(user: LocalUser): void {
    user.doubt();
    this.changed.add(user);
  }

  /**
   * Registers a user again whom the store does not hold, or may not. `isLost`: the store has lost data, perhaps including a join
   * that is in flight.
   */
  reassert(userId: string, isLost = false): void {
    const user = this.options.users.get(userId);
    if (user === undefined || user.alive === 0) return;
    if (isLost) user.doubtInFlight();
    // A call in flight already sends the state of the user.
    if (user.acknowledged !== 'held' || user.inFlight !== 'nothing') return;
    this.doubt(user);
    this.change(user);
  }

  /** The store had no lease for a call. A heartbeat normally gets a new one, which resets the count; otherwise it is reported. */
  private refused(): void {
    this.refusals += 1;
    if (this.refusals === REFUSALS) {
      const message = `the store has refused ${REFUSALS} calls in a row for want of a lease, although its heartbeats find the lease`;
      this.options.report('apply', new PresenceError('ERR_PRESENCE_STORE', message, undefined, 'other'));
    }
    this.lose();
  }

  /** The store has no lease of this router. The first heartbeat follows at once, and further ones after a back-off. */
  private lose(): void {
    const { kind } = this.state;
    if (kind === 'closing') this.enter({ kind: 'stopped' });
    if (kind !== 'leased') return;
    this.enter({ kind: 'unleased' });
    if (this.retry.fail() === 1) this.options.beat();
    else this.retryLater(() => this.options.beat());
  }

  private retryLater(run: () => void): void {
    const { state, retry } = this;
    if (state.kind === 'stopped') return;
    const ms = retry.nextMs();
    if (state.kind === 'closing' && this.options.clock.now() + ms > state.until) this.enter({ kind: 'stopped' });
    else retry.wait(ms, run);
  }

  private settle(user: LocalUser): void {
    this.changed.delete(user);
    this.aside.remove(user);
    // Activity of a user who has left must not be kept until there is a lease again.
    if (user.alive === 0) this.activity.remove(user);
    // The user may have come back meanwhile: the map then has a newer object under this id.
    if (user.alive === 0 && this.options.users.get(user.userId) === user) this.options.users.delete(user.userId);
    user.wake();
  }
}
