import type { Clock } from './clock';
import type { LocalUser } from './connections';
import { withDeadline } from './deadline';
import type { PresenceOp, PresenceStore, SignOfLife, StoreNode } from './store';

const BATCH = 1_000;
const RETRY_MS = 100;
const MAX_RETRY_MS = 1_000;

/** @internal */
export interface OutboxOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly node: StoreNode;
  readonly commandTimeoutMs: number;
  /** How long signs of life are gathered before they travel together. */
  readonly gatherMs: number;
  /** Every user of this router; who has left and is settled with the store is taken out. */
  readonly users: Map<string, LocalUser>;
  onLeaseLost(): void;
  report(stage: string, error: unknown): void;
}

/**
 * Brings the store to what this router knows of its own users, in batches, one at a time: what changes while one is
 * under way is the next one. It holds users, not commands, so an outage of any length costs no more than one entry a
 * user, and who came and went meanwhile is no event.
 * @internal
 */
export class Outbox {
  private readonly changed = new Set<LocalUser>();
  private readonly touched = new Set<LocalUser>();
  private leased = false;
  private applying = false;
  private scheduled = false;
  private stopped = false;
  private failures = 0;
  private retryTimer: unknown;
  private gatherTimer: unknown;
  private onIdle: (() => void) | undefined;

  constructor(private readonly options: OutboxOptions) {}

  /** The number of connections of this user went from or to none. */
  change(user: LocalUser): void {
    this.changed.add(user);
    if (this.scheduled) return;
    this.scheduled = true;
    Promise.resolve().then(() => {
      this.scheduled = false;
      this.flush();
    });
  }

  /** A sign of life of which the store should know. */
  touch(user: LocalUser): void {
    this.touched.add(user);
    if (this.gatherTimer === undefined && !this.stopped) {
      this.gatherTimer = this.options.clock.setTimeout(() => {
        this.gatherTimer = undefined;
        this.flushSigns();
      }, this.options.gatherMs);
    }
  }

  /** Resolves once the store agrees with this router on the user. */
  settled(user: LocalUser): Promise<void> {
    const agreed = user.alive > 0 === user.stored && user.sent === undefined;
    if (agreed || this.stopped) return Promise.resolve();
    return new Promise((resolve) => {
      user.waiting = user.waiting ?? [];
      user.waiting.push(resolve);
    });
  }

  /** This node holds a lease. `anew`: the store knows of no user of it. */
  hold(anew: boolean): void {
    if (anew) {
      for (const user of this.options.users.values()) this.forgotten(user);
      this.touched.clear();
    }
    this.leased = true;
    this.flush();
  }

  /** Sends what has changed at once, so that a query that follows sees it. */
  flush(): void {
    if (this.applying || !this.leased || this.stopped) return;
    const { clock, commandTimeoutMs, store, node } = this.options;
    const now = clock.now();
    const ops: PresenceOp[] = [];
    const users: LocalUser[] = [];
    for (const user of this.changed) {
      this.changed.delete(user);
      const online = user.alive > 0;
      if (online === user.stored) {
        this.settle(user);
        continue;
      }
      ops.push(opOf(user, now));
      users.push(user);
      user.sent = online;
      if (online) user.refreshedAt = user.lastLife;
      if (ops.length === BATCH) break;
    }
    if (ops.length === 0) {
      this.onIdle?.();
      return;
    }
    this.applying = true;
    withDeadline(clock, commandTimeoutMs, () => store.apply(node, ops)).then(
      ({ known }) => {
        this.applying = false;
        this.failures = 0;
        for (const user of users) this.acknowledge(user, known);
        if (!known) this.lose();
        this.flush();
      },
      (error: unknown) => {
        this.applying = false;
        for (const user of users) this.unknown(user);
        this.options.report('apply', error);
        this.retryLater();
      },
    );
  }

  /** Sends the signs of life gathered so far. */
  flushSigns(): void {
    if (!this.leased || this.stopped) return;
    const { clock, commandTimeoutMs, store, node } = this.options;
    const now = clock.now();
    while (this.touched.size > 0) {
      const signs: SignOfLife[] = [];
      const users: LocalUser[] = [];
      for (const user of this.touched) {
        this.touched.delete(user);
        if (user.alive === 0 || user.stored !== true) continue;
        user.refreshedAt = user.lastLife;
        signs.push({ userId: user.userId, ageMs: Math.max(0, now - user.lastLife) });
        users.push(user);
        if (signs.length === BATCH) break;
      }
      if (signs.length === 0) return;
      withDeadline(clock, commandTimeoutMs, () => store.refresh(node, signs)).then(
        ({ known, missing }) => {
          if (!known) this.lose();
          for (const userId of missing) this.reassert(userId);
        },
        (error: unknown) => {
          // Not told after all: the next visit of the wheel, or sign of life, tells it again.
          for (const user of users) user.refreshedAt = 0;
          this.options.report('refresh', error);
        },
      );
    }
  }

  /** Resolves once everything is told, or the store has failed to take it. Nothing is sent after it. */
  async finish(): Promise<void> {
    this.options.clock.clearTimeout(this.gatherTimer);
    if (this.leased) {
      await new Promise<void>((resolve) => {
        this.onIdle = resolve;
        this.flush();
      });
    }
    this.stopped = true;
    this.options.clock.clearTimeout(this.retryTimer);
    for (const user of this.options.users.values()) this.wake(user);
  }

  private acknowledge(user: LocalUser, known: boolean): void {
    if (known) {
      user.stored = user.sent;
      user.reassert = false;
    } else {
      user.stored = false;
    }
    user.sent = undefined;
    if (user.alive > 0 === user.stored) this.settle(user);
    else this.changed.add(user);
  }

  private unknown(user: LocalUser): void {
    user.stored = undefined;
    user.sent = undefined;
    this.changed.add(user);
  }

  private forgotten(user: LocalUser): void {
    if (user.stored !== false) user.reassert = true;
    user.stored = false;
    this.changed.add(user);
  }

  private reassert(userId: string): void {
    const user = this.options.users.get(userId);
    // Meanwhile left, or on its way: then the store is being told already.
    if (user === undefined || user.alive === 0 || user.stored !== true) return;
    this.forgotten(user);
    this.flush();
  }

  private lose(): void {
    if (!this.leased) return;
    this.leased = false;
    if (this.onIdle === undefined) this.options.onLeaseLost();
    else this.onIdle();
  }

  private retryLater(): void {
    if (this.onIdle !== undefined) {
      // Closing: the lease will lapse, and another router tells what this one could not.
      this.onIdle();
      return;
    }
    if (this.retryTimer !== undefined) return;
    const ms = Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** this.failures);
    this.failures += 1;
    this.retryTimer = this.options.clock.setTimeout(() => {
      this.retryTimer = undefined;
      this.flush();
    }, ms);
  }

  private settle(user: LocalUser): void {
    if (user.alive === 0) this.options.users.delete(user.userId);
    this.wake(user);
  }

  private wake(user: LocalUser): void {
    const { waiting } = user;
    user.waiting = undefined;
    if (waiting !== undefined) for (const resolve of waiting) resolve();
  }
}

function opOf(user: LocalUser, now: number): PresenceOp {
  const { userId } = user;
  const ageMs = Math.max(0, now - user.lastLife);
  if (user.alive > 0) return { kind: 'join', userId, ageMs, reassert: user.reassert };
  const graceMs = Math.max(0, user.graceUntil - now);
  if (user.ending === 'drop' || graceMs > 0) return { kind: 'drop', userId, ageMs, graceMs };
  return { kind: 'leave', userId, ageMs, reason: user.ending };
}
