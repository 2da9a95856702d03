import { listenShared } from '../../../diagnostics/shared-listener';
import { isElsewhere } from '../../../diagnostics/store-failure';
import { backoffMs } from '../../../public/backoff';
import { type Clock, randomOf, systemClock } from '../../../public/clock';
import { catchAsking } from './asking';
import type { RedisLike } from './client';

/** Before another server is looked for: routers of a fleet, which all learn of a failover at once, come to the next one spread. */
const PAUSES = { leastMs: 500, mostMs: 10_000 };
/** After so long without such an answer the pauses begin anew. */
const FORGET_MS = 30_000;
/** An answer that was not heard for so long has passed. */
const PASSED_MS = 5_000;
/** As a rule it passes, as when a replica starts again; an old master that was cut off from its replicas says it for good. */
const PERHAPS = /\bNOREPLICAS\b/;
const PATIENCE_MS = 10_000;

/** What a store hears of its client. @internal */
export interface ClientUser {
  /** Its connection is made anew. */
  onReconnect(): void;
  /** Its server is the wrong one, and it would not come back from a disconnection. */
  onTrapped(answer: string): void;
}

type Retry = ((times: number) => unknown) | null;

interface Strategies {
  readonly retryStrategy?: Retry;
  readonly clusterRetryStrategy?: Retry;
}

const byClient = new WeakMap<RedisLike, SharedClient>();

/** What the stores on one client share: whether its server is the right one, and one way to have it connect anew. @internal */
export class SharedClient {
  private readonly users = new Set<ClientUser>();
  private ends: Array<() => void> = [];
  private timer: unknown;
  private wrongSince = 0;
  private wrongLast = 0;
  private tries = 0;

  private constructor(
    private readonly client: RedisLike,
    private readonly clock: Clock,
  ) {}

  /** By the clock of the first store on it. */
  static of(client: RedisLike, clock: Clock = systemClock): SharedClient {
    const shared = byClient.get(client) ?? new SharedClient(client, clock);
    byClient.set(client, shared);
    return shared;
  }

  join(user: ClientUser): void {
    this.users.add(user);
    if (this.users.size > 1) return;
    this.ends = [listenShared(this.client, 'ready', () => this.onReady())];
    if (this.client.isCluster === true) this.ends.push(catchAsking(this.client));
  }

  leave(user: ClientUser): void {
    if (!this.users.delete(user) || this.users.size > 0) return;
    for (const end of this.ends) end();
    this.cancel();
  }

  /** An answer may say that nothing will ever be written at its server, however often it is asked. */
  judge(error: unknown): void {
    if (!isElsewhere(error)) return;
    const now = this.clock.now();
    if (now - this.wrongLast > PASSED_MS) this.wrongSince = now;
    if (now - this.wrongLast > FORGET_MS) this.tries = 0;
    this.wrongLast = now;
    const answer = String((error as Error).message);
    const patienceMs = PERHAPS.test(answer) ? PATIENCE_MS : 0;
    if (now - this.wrongSince < patienceMs || this.timer !== undefined) return;
    this.timer = this.clock.setTimeout(
      () => {
        this.timer = undefined;
        this.reconnect(answer);
      },
      backoffMs(this.tries, PAUSES, randomOf(this.clock)),
    );
    this.tries += 1;
  }

  /** Makes the connection anew, where there is one. What is under way the client sends again. */
  reconnect(why: string): void {
    // One that is on its way may end for good by that: as where Sentinels are being asked.
    if (this.client.status !== 'ready') return;
    const comesBack = this.comesBack();
    if (comesBack) this.client.disconnect(true);
    for (const user of Array.from(this.users)) {
      if (comesBack) user.onReconnect();
      else user.onTrapped(why);
    }
  }

  /** Whether the client would connect again by itself: it is asked what it asks itself then. */
  private comesBack(): boolean {
    const { isCluster, options = {} } = this.client;
    const { retryStrategy, clusterRetryStrategy } = options as Strategies;
    const strategy = isCluster === true ? clusterRetryStrategy : retryStrategy;
    try {
      return typeof strategy?.call(options, 1) === 'number';
    } catch {
      return false;
    }
  }

  private onReady(): void {
    // What was said of the connection before says nothing of this one.
    this.cancel();
    this.wrongSince = this.clock.now();
  }

  private cancel(): void {
    this.clock.clearTimeout(this.timer);
    this.timer = undefined;
  }
}
