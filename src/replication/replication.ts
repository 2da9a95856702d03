import type { Settings } from '../config/options';
import type { LocalUser } from '../connections/local-user';
import { withDeadline } from '../diagnostics/call-timeout';
import type { Failures } from '../diagnostics/error-reporter';
import { healthOf } from '../diagnostics/health';
import type { PresenceError } from '../public/errors';
import type { Health, HealthProblem } from '../public/types';
import { VERSION } from '../public/version';
import type { StoreNode } from '../stores/port';
import { ChangeFeed } from './change-feed';
import { Heartbeat } from './heartbeat';
import { Outbox } from './outbox';
import { StatusQueries } from './status-queries';
import { StoreHealth } from './store-health';

/** @internal */
export interface ReplicationOptions {
  readonly nodeId: string;
  readonly settings: Settings;
  /** The users of this router. */
  readonly users: Map<string, LocalUser>;
  readonly failures: Failures;
  isClosed(): boolean;
  now(): number;
  /** Returns a user who has a connection to this router that is alive. */
  present(userId: string): LocalUser | undefined;
  /** The store has answered a heartbeat. */
  onBeat(): void;
  /** The roster is complete: for the first time, or `again`, after changes may have been missed. */
  onKnown(again: boolean): void;
  /** Changes may have been missed since then; `undefined`: all changes are received again. */
  onStale(since: number | undefined): void;
}

/**
 * Connects this router with the store. It sends the changes of this router's users (outbox), receives those of all routers
 * (feed), proves that this router is alive (heartbeat), and answers queries.
 * @internal
 */
export class Replication {
  readonly outbox: Outbox;
  readonly feed: ChangeFeed;
  readonly queries: StatusQueries;
  private readonly heartbeat: Heartbeat;
  private readonly storeHealth: StoreHealth;
  readonly node: StoreNode;
  private readonly startedAt: number;

  constructor(private readonly options: ReplicationOptions) {
    const { nodeId, settings, users, failures } = options;
    const { clock, store, leaseMs, ttlMs, commandTimeoutMs, router } = settings;
    const { report, worked } = failures;
    const startedAt = clock.now();
    this.startedAt = startedAt;
    const described = {
      ...router,
      version: VERSION,
      get upMs() {
        return Math.max(0, Math.round(clock.now() - startedAt));
      },
    };
    this.node = { nodeId, leaseMs: Math.ceil(leaseMs), ttlMs: Math.ceil(ttlMs), router: described };
    // A call must time out early enough for another heartbeat within the same lease.
    const timeoutMs = Math.min(commandTimeoutMs, leaseMs / 3);
    const shared = { clock, store, node: this.node, report, commandTimeoutMs };
    this.heartbeat = new Heartbeat({
      ...shared,
      timeoutMs,
      onBeat: (known, isLatest, now) => this.onBeat(known, isLatest, now),
      onMiss: () => {
        this.storeHealth.missed();
        this.outbox.miss();
      },
    });
    this.outbox = new Outbox({
      ...shared,
      timeoutMs,
      gatherMs: Math.min(1_000, ttlMs / 20),
      users,
      worked,
      beat: () => this.heartbeat.beat(),
    });
    this.feed = new ChangeFeed({
      ...shared,
      leaseMs,
      onDue: (inMs) => this.heartbeat.due(inMs),
      onKnown: (again) => {
        worked('resync');
        options.onKnown(again);
        this.storeHealth.end();
      },
      reassert: (userId) => this.outbox.reassert(userId),
      onLost: (isLost) => {
        for (const userId of users.keys()) if (isLost(userId)) this.outbox.reassert(userId, true);
      },
    });
    this.queries = new StatusQueries({
      ...shared,
      isClosed: options.isClosed,
      now: options.now,
      present: options.present,
      believed: (userId) => this.feed.roster.isOnline(userId) || users.has(userId),
      flush: () => this.outbox.flush(),
      onAnswered: () => worked('query'),
    });
    this.storeHealth = new StoreHealth({
      clock,
      ask: () => this.queries.ask((onAnswer) => store.read([], onAnswer).then(() => store.caughtUp?.())),
      isSettled: () => this.feed.isSettled,
      onChange: options.onStale,
    });
  }

  start(): void {
    if (this.options.settings.roster) this.feed.keep();
    this.heartbeat.beat();
  }

  /** From the roster, which the first call begins; undefined while it may not be what the store says. */
  isOnline(userId: string): boolean | undefined {
    const { feed, storeHealth, options } = this;
    if (options.isClosed()) return undefined;
    feed.keep();
    if (!feed.isKnown || !feed.isSettled || storeHealth.missedSince !== undefined) return undefined;
    return feed.roster.isOnline(userId) || options.present(userId) !== undefined;
  }

  health(): Health {
    const { startedAt } = this;
    const { asOf, missedSince } = this.storeHealth;
    const { pendingSince } = this.feed;
    const told = this.storeProblems();
    const problems = told.concat(this.options.failures.list(told));
    return healthOf({ isClosed: this.options.isClosed(), asOf, startedAt, pendingSince, missedSince, problems });
  }

  /** Resolves once the store has acknowledged the state of a user, or has not answered in time. */
  async flushed(user: LocalUser): Promise<void> {
    this.outbox.flush();
    // While the store is unavailable the leave stays queued, and the caller does not wait for it.
    await this.queries.ask(() => this.outbox.settled(user)).catch(() => undefined);
  }

  /** Sends the remaining changes to the store, and then releases the lease. Both together may take as long as one command. */
  async close(isHandover: boolean): Promise<void> {
    const { settings, failures } = this.options;
    const { clock, commandTimeoutMs, store } = settings;
    const until = clock.now() + commandTimeoutMs;
    const told = await this.outbox.finish(commandTimeoutMs);
    this.heartbeat.stop();
    const leftMs = Math.min(commandTimeoutMs, until - clock.now());
    // A release would take users who could not be handed over offline at once. Without one, the lease lapses.
    if (leftMs > 0 && (told || !isHandover)) {
      await withDeadline(clock, leftMs, () => store.release(this.node)).catch((error: PresenceError) => {
        // Where all changes were acknowledged, the lease holds no users and may lapse. So it is not an error if the store is too
        // far away to answer in the rest of the time.
        if (!told || error.kind !== 'slow') failures.report('release', error);
      });
    }
    this.feed.close();
  }

  private onBeat(known: boolean, isLatest: boolean, now: number | undefined): void {
    const { failures, onBeat } = this.options;
    this.storeHealth.heard(now);
    failures.heard((stage) => this.storeProblems().some((problem) => problem.stage === stage));
    if (this.feed.isSettled) failures.worked('resync');
    if (this.outbox.isIdle) failures.worked('apply');
    this.outbox.hold(!known, isLatest);
    this.feed.onBeat();
    onBeat();
    this.storeHealth.end();
  }

  private storeProblems(): HealthProblem[] {
    return (this.options.settings.store.problems?.() ?? []).map(({ stage, message, since }) => {
      return { stage, code: 'ERR_PRESENCE_STORE', message, since: new Date(since).toISOString() };
    });
  }
}
