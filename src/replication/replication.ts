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
  /** Those of this router. */
  readonly users: Map<string, LocalUser>;
  readonly failures: Failures;
  isClosed(): boolean;
  now(): number;
  /** A user of whom a connection is alive here. */
  present(userId: string): LocalUser | undefined;
  /** The store has answered: what waits for that can go on. */
  onBeat(): void;
  /** Who is online is known now: for the first time, or `again`. */
  onKnown(again: boolean): void;
  /** Changes may be missed since then; `undefined`: everything is received again. */
  onStale(since: number | undefined): void;
}

/**
 * This router and the store: brings the store to what this router knows of its own users (outbox), receives what others
 * change (feed), proves that this router is alive (heartbeat), and answers queries.
 * @internal
 */
export class Replication {
  readonly outbox: Outbox;
  readonly feed: ChangeFeed;
  readonly queries: StatusQueries;
  private readonly heartbeat: Heartbeat;
  private readonly storeHealth: StoreHealth;
  private readonly node: StoreNode;
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
    // What proves that this router is alive must not wait longer than the proof lasts.
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
    this.heartbeat.beat();
  }

  health(): Health {
    const { startedAt } = this;
    const { asOf, missedSince } = this.storeHealth;
    const { pendingSince } = this.feed;
    const told = this.storeProblems();
    const problems = told.concat(this.options.failures.list(told));
    return healthOf({ isClosed: this.options.isClosed(), asOf, startedAt, pendingSince, missedSince, problems });
  }

  /** Resolves once the store has been told what is to be told of a user, or has not answered in time. */
  async flushed(user: LocalUser): Promise<void> {
    this.outbox.flush();
    // The leave stays queued where the store is away; the caller does not wait for that.
    await this.queries.ask(() => this.outbox.settled(user)).catch(() => undefined);
  }

  /** Tells the store what is left to tell, and that this router leaves, for as long as one command may take in all. */
  async close(isHandover: boolean): Promise<void> {
    const { settings, failures } = this.options;
    const { clock, commandTimeoutMs, store } = settings;
    const until = clock.now() + commandTimeoutMs;
    const told = await this.outbox.finish(commandTimeoutMs);
    this.heartbeat.stop();
    const leftMs = Math.min(commandTimeoutMs, until - clock.now());
    // Released with users who could not be handed over, it would take them offline at once. Its lease lapses by itself.
    if (leftMs > 0 && (told || !isHandover)) {
      await withDeadline(clock, leftMs, () => store.release(this.node)).catch((error: PresenceError) => {
        // Where everything was told nobody is left to be taken away, and the lease lapses by itself: nothing is wrong with a
        // store that is only too far away to say so in the rest of the time.
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
