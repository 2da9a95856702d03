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

/** A call that is refused is made again after a heartbeat; so many in a row are worth a word. */
const REFUSALS = 3;

/** @internal */
export interface OutboxOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly node: StoreNode;
  /** How long one call may take. */
  readonly timeoutMs: number;
  /** How long activity is gathered before it travels together. */
  readonly gatherMs: number;
  /** Every user of this router; who has left and is settled with the store is taken out. */
  readonly users: Map<string, LocalUser>;
  /** A beat is wanted: the lease is lost, or it is to be found out whether the store is there. */
  beat(): void;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
  /** What was reported as failed works again. */
  worked(stage: ErrorStage): void;
}

/** Whether anything may be sent: while it is `leased` or `closing`. Only `enter` changes it. */
type State =
  /** What changes waits for the heartbeat that brings a lease. */
  | { readonly kind: 'unleased' }
  | { readonly kind: 'leased' }
  /** What is left is sent, but nothing after `until`; `over` is called at the end. */
  | { readonly kind: 'closing'; readonly until: number; over(): void }
  | { readonly kind: 'stopped' };

/** Whether the store has been told of everybody since a heartbeat said that it knew of no lease. */
type Registration =
  | 'complete'
  | 'pending'
  /** Everybody who was still missing is in the batch under way. */
  | 'last-batch';

/**
 * Brings the store to what this router knows of its own users, in batches, one at a time: what changes while one is
 * under way is the next one. It holds users, not commands, so an outage of any length costs no more than one entry a
 * user, and who came and went meanwhile is no event.
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
  /** Calls in a row that the store has refused, though it knows the lease. */
  private refusals = 0;
  /** Calls that the store has not answered, given up or not. */
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

  /** The number of connections of this user went from or to none. */
  change(user: LocalUser): void {
    if (user.inFlight === 'nothing' && pendingOps(user, this.options.clock.now()).length === 0) {
      // Came and went, or left and came, before the store heard of it: nothing to keep, however long it is away.
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

  /** Activity of which the store should know. */
  touch(user: LocalUser): void {
    this.activity.add(user);
  }

  /** Resolves once the store agrees with this router on the user. */
  settled(user: LocalUser): Promise<void> {
    return user.isSettled || this.state.kind === 'stopped' ? Promise.resolve() : user.woken();
  }

  /** Whether the store is told of everybody. */
  get isIdle(): boolean {
    return this.changed.size === 0 && !this.isApplying;
  }

  /**
   * This node holds a lease. `anew`: what the store knows of its users is not certain any more. `isLatest`: the beat that
   * says so was sent after the last one was wanted here.
   */
  hold(anew: boolean, isLatest: boolean): void {
    if (anew) {
      for (const user of this.options.users.values()) this.doubt(user);
      // Whatever is under way was put together before.
      this.registration = 'pending';
      this.refusals = 0;
    }
    this.enter({ kind: 'leased' });
    if (isLatest) this.judge();
    this.flush();
  }

  /** A beat did not get through: what failed did so for want of a store. */
  miss(): void {
    this.batchSize.clear();
  }

  /** Sends what has changed at once, so that a query that follows sees it. */
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
   * Resolves once everything is told, or could not be within `ms`; to whether all of it was. Nothing is sent after it.
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

  /** Closing cannot be undone: only `stopped` follows `closing`, and nothing follows `stopped`. */
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
          // Whoever closes has so much time, and no more.
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
      // Refused because the store is still at one that was given up: that says nothing of those in it.
      else if (this.unanswered === 0 && !this.aside.isFull) {
        this.batchSize.suspect(users);
        this.options.beat();
      }
    }
  }

  /** The store is there. A batch that it has refused all the same is taken apart, down to the one user whom it refuses. */
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

  /** What the store holds of a user is not known: whatever it is, it is told anew. */
  private doubt(user: LocalUser): void {
    user.doubt();
    this.changed.add(user);
  }

  /**
   * The store does not hold a user, or may not. `isLost`: it has lost what it held, and what is on its way may have been part
   * of that.
   */
  reassert(userId: string, isLost = false): void {
    const user = this.options.users.get(userId);
    if (user === undefined || user.alive === 0) return;
    if (isLost) user.doubtInFlight();
    // Where something is in flight the store is being told already.
    if (user.acknowledged !== 'held' || user.inFlight !== 'nothing') return;
    this.doubt(user);
    this.change(user);
  }

  /** Where the heartbeat after it makes the lease anew, that is how routers find out. Else nobody would. */
  private refused(): void {
    this.refusals += 1;
    if (this.refusals === REFUSALS) {
      const message = `the store has refused ${REFUSALS} times what this router says of its users, and knows its lease all the same`;
      this.options.report('apply', new PresenceError('ERR_PRESENCE_STORE', message, undefined, 'other'));
    }
    this.lose();
  }

  /** The store knows of no lease of this node. At once the first time; a store that goes on saying so is not hammered. */
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
    // The activity of a user who has left is of no use, however long there is no lease.
    if (user.alive === 0) this.activity.remove(user);
    // By the object, not by the id: a newer one of the same user may stand there by now.
    if (user.alive === 0 && this.options.users.get(user.userId) === user) this.options.users.delete(user.userId);
    user.wake();
  }
}
