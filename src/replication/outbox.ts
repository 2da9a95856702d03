import type { LocalUser } from '../connections/local-user';
import { withDeadline } from '../diagnostics/call-timeout';
import { backoffMs } from '../public/backoff';
import { type Clock, randomOf } from '../public/clock';
import { PresenceError } from '../public/errors';
import type { ErrorStage } from '../public/types';
import type { PresenceOp, PresenceStore, StoreNode } from '../stores/port';
import { ActivityBatch } from './activity-batch';
import { pendingOps } from './pending-ops';
import { SetAside } from './set-aside';

/** Changes of one call at most. */
const BATCH = 1_000;
/** How small a batch of changes becomes where the store does not keep up. */
const LEAST = 10;
/** A call that is refused is made again after a heartbeat; so many in a row are worth a word. */
const REFUSALS = 3;
const RETRIES = { leastMs: 100, mostMs: 1_000 };

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

/**
 * Brings the store to what this router knows of its own users, in batches, one at a time: what changes while one is
 * under way is the next one. It holds users, not commands, so an outage of any length costs no more than one entry a
 * user, and who came and went meanwhile is no event.
 * @internal
 */
export class Outbox {
  private readonly changed = new Set<LocalUser>();
  private readonly activity: ActivityBatch;
  private leased = false;
  private applying = false;
  private scheduled = false;
  private stopped = false;
  /**
   * How many changes travel together. Halved where the time ran out, and grown by and by where it did not: a batch that is
   * given up each time would never be acknowledged, however often the store has done it. What fails at once says nothing
   * about the size, unless the store takes a beat right after it: then somebody in the batch is refused, and halving finds
   * out who.
   */
  private batch = BATCH;
  /** Calls in a row that failed, or were refused for want of a lease. */
  private failures = 0;
  /** Calls in a row that the store has refused, though it knows the lease. */
  private refusals = 0;
  /** Calls that the store has not answered, given up or not. */
  private unanswered = 0;
  /** Who was in a batch that failed at once, until a beat says whether the store is there. */
  private failed: readonly LocalUser[] | undefined;
  private readonly aside: SetAside<LocalUser>;
  private retryTimer: unknown;
  private asideTimer: unknown;
  /** A beat knew of no lease, and not everybody was told since. */
  private isTelling = false;
  /** Whoever was to be told is in the batch under way. */
  private isWhole = false;
  /** While closing: until when, and whom to tell that it is over. */
  private closing: { readonly until: number; over(): void } | undefined;

  constructor(private readonly options: OutboxOptions) {
    this.aside = new SetAside(randomOf(options.clock));
    this.activity = new ActivityBatch({
      ...options,
      isLeased: () => this.leased,
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
    if (this.scheduled) return;
    this.scheduled = true;
    Promise.resolve().then(() => {
      this.scheduled = false;
      this.flush();
    });
  }

  /** Activity of which the store should know. */
  touch(user: LocalUser): void {
    this.activity.add(user);
  }

  /** Resolves once the store agrees with this router on the user. */
  settled(user: LocalUser): Promise<void> {
    return user.isSettled || this.stopped ? Promise.resolve() : user.woken();
  }

  /** Whether the store is told of everybody. */
  get isIdle(): boolean {
    return this.changed.size === 0 && !this.applying;
  }

  /**
   * This node holds a lease. `anew`: what the store knows of its users is not certain any more. `isLatest`: the beat that
   * says so was sent after the last one was wanted here.
   */
  hold(anew: boolean, isLatest: boolean): void {
    if (anew) {
      for (const user of this.options.users.values()) this.doubt(user);
      this.isTelling = true;
      this.refusals = 0;
      // Whatever is under way was put together before.
      this.isWhole = false;
    }
    this.leased = true;
    if (isLatest) this.judge();
    this.flush();
  }

  /** A beat did not get through: what failed did so for want of a store. */
  miss(): void {
    this.failed = undefined;
  }

  /** Sends what has changed at once, so that a query that follows sees it. */
  flush(): void {
    const isWaiting = this.retryTimer !== undefined && this.closing === undefined;
    if (this.applying || isWaiting || !this.leased || this.stopped) return;
    const now = this.options.clock.now();
    if (this.closing !== undefined && now >= this.closing.until) {
      this.closing.over();
      return;
    }
    const ops: PresenceOp[] = [];
    const users: LocalUser[] = [];
    const alone = this.aside.isEmpty ? undefined : this.aside.due(now);
    this.isWhole = alone === undefined;
    for (const user of alone !== undefined && this.changed.has(alone) ? [alone] : this.changed) {
      if (user !== alone && this.aside.has(user)) continue;
      const own = pendingOps(user, now);
      if (ops.length > 0 && ops.length + own.length > this.batch) {
        this.isWhole = false;
        break;
      }
      this.changed.delete(user);
      if (own.length === 0) {
        this.settle(user);
        continue;
      }
      ops.push(...own);
      users.push(user);
      user.send();
    }
    if (ops.length > 0) {
      void this.apply(ops, users);
      return;
    }
    this.endTelling();
    this.closing?.over();
  }

  /**
   * Resolves once everything is told, or could not be within `ms`; to whether all of it was. Nothing is sent after it.
   */
  async finish(ms: number): Promise<boolean> {
    const { clock, users } = this.options;
    this.activity.stop();
    // Cancel the back-off: it may be waiting for a heartbeat, and closing has a deadline of its own.
    clock.clearTimeout(this.retryTimer);
    this.retryTimer = undefined;
    if (this.leased) {
      await new Promise<void>((over) => {
        this.closing = { until: clock.now() + ms, over };
        this.flush();
      });
    }
    this.stopped = true;
    clock.clearTimeout(this.retryTimer);
    clock.clearTimeout(this.asideTimer);
    const told = this.changed.size === 0;
    for (const user of users.values()) user.wake();
    return told;
  }

  private async apply(ops: PresenceOp[], users: LocalUser[]): Promise<void> {
    const { clock, timeoutMs, store, node } = this.options;
    this.applying = true;
    const startedAt = clock.now();
    const ms = this.closing === undefined ? timeoutMs : Math.min(timeoutMs, this.closing.until - startedAt);
    try {
      const { known } = await withDeadline(clock, ms, (onAnswer) => {
        const answer = store.apply(node, ops, () => {
          // Whoever closes has so much time, and no more.
          if (this.closing === undefined) onAnswer();
        });
        const answered = (): void => {
          this.unanswered -= 1;
        };
        this.unanswered += 1;
        answer.then(answered, answered);
        return answer;
      });
      this.applying = false;
      for (const user of users) this.acknowledge(user, known);
      this.batch = Math.min(BATCH, this.batch + (this.batch >> 2) + 1);
      if (known) {
        this.failures = 0;
        this.refusals = 0;
        this.endTelling();
      } else this.refused();
      if (known && this.aside.isEmpty) this.options.worked('apply');
      this.flush();
    } catch (error) {
      this.applying = false;
      for (const user of users) this.doubt(user);
      this.options.report('apply', error, users.length === 1 ? users[0]?.userId : undefined);
      this.retryLater(() => this.flush());
      if (clock.now() - startedAt >= timeoutMs) this.batch = Math.max(LEAST, this.batch >> 1);
      // Refused because the store is still at one that was given up: that says nothing of those in it.
      else if (this.unanswered === 0 && !this.aside.isFull) {
        this.failed = users;
        this.options.beat();
      }
    }
  }

  /** The store is there. A batch that it has refused all the same is taken apart, down to the one user whom it refuses. */
  private judge(): void {
    const { failed } = this;
    if (failed === undefined || this.stopped) return;
    const { clock } = this.options;
    this.failed = undefined;
    clock.clearTimeout(this.retryTimer);
    this.retryTimer = undefined;
    this.failures = 0;
    const [only] = failed;
    if (failed.length > 1 || only === undefined) {
      this.batch = Math.max(1, failed.length >> 1);
      return;
    }
    clock.clearTimeout(this.asideTimer);
    this.asideTimer = clock.setTimeout(() => this.flush(), this.aside.put(only, clock.now()));
  }

  private endTelling(): void {
    if (!this.isTelling || !this.isWhole) return;
    this.isTelling = false;
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
    if (!this.leased) return;
    this.leased = false;
    if (this.closing !== undefined) {
      this.closing.over();
      return;
    }
    this.failures += 1;
    if (this.failures === 1) this.options.beat();
    else this.retryLater(() => this.options.beat());
  }

  private retryLater(retry: () => void): void {
    const { clock } = this.options;
    const ms = backoffMs(this.failures, RETRIES, randomOf(clock));
    if (this.closing !== undefined && clock.now() + ms > this.closing.until) {
      this.closing.over();
      return;
    }
    if (this.retryTimer !== undefined) return;
    this.failures += 1;
    this.retryTimer = clock.setTimeout(() => {
      this.retryTimer = undefined;
      retry();
    }, ms);
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
