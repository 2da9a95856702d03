import { listenShared } from '../../../diagnostics/shared-listener';
import { isElsewhere } from '../../../diagnostics/store-failure';
import { backoffMs } from '../../../public/backoff';
import { type Clock, randomOf, systemClock } from '../../../public/clock';
import { catchAsking } from './asking';
import type { RedisLike } from './client';

/** The wait before another server is looked for. It spreads the routers of a fleet, which all notice a failover at once. */
const PAUSES = { leastMs: 500, mostMs: 10_000 };
/** After so long without such an answer, the waits start over. */
const FORGET_MS = 30_000;
/** After so long without such an answer, the problem is over. */
const PASSED_MS = 5_000;
/** An answer that is usually temporary, as when a replica restarts; an old master without replicas gives it for ever. */
const PERHAPS = /\bNOREPLICAS\b/;
const PATIENCE_MS = 10_000;

/** The events of its client that a store handles. @internal */
export interface ClientUser {
  /** The client is connecting again. */
  onReconnect(): void;
  /** The client is connected to the wrong server, and would not connect again after a disconnection. */
  onTrapped(answer: string): void;
}

type Retry = ((times: number) => unknown) | null;

interface Strategies {
  readonly retryStrategy?: Retry;
  readonly clusterRetryStrategy?: Retry;
}

const byClient = new WeakMap<RedisLike, SharedClient>();

/** Shared by the stores on one client: detects that its server is the wrong one, and makes the client connect again. @internal */
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

  /** Uses the clock of the first store on the client. */
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

  /** Checks an error for an answer which means that this server will not accept writes again. */
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

  /** Makes the client connect again, where it is connected. The client repeats the commands that are under way. */
  reconnect(why: string): void {
    // A client that is still connecting might end for good, for example while it asks Sentinels.
    if (this.client.status !== 'ready') return;
    const comesBack = this.comesBack();
    if (comesBack) this.client.disconnect(true);
    for (const user of Array.from(this.users)) {
      if (comesBack) user.onReconnect();
      else user.onTrapped(why);
    }
  }

  /** Whether the client would connect again, by its own retry strategy. */
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
    // Answers on the previous connection do not apply to this one.
    this.cancel();
    this.wrongSince = this.clock.now();
  }

  private cancel(): void {
    this.clock.clearTimeout(this.timer);
    this.timer = undefined;
  }
}
