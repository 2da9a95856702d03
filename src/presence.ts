import { randomBytes } from 'node:crypto';
import { checkClose, checkIdentity, checkListener, checkPage, checkSocket } from './config/arguments';
import { type Settings, toSettings } from './config/options';
import { Connection, type ConnectionOwner, type Departure, LocalUser } from './connections/connection';
import { disabledPresence } from './connections/disabled-presence';
import { Expiry } from './connections/expiry';
import { inertAttachment } from './connections/inert-attachment';
import { Liveness } from './connections/ping-wheel';
import { CloseCode, SocketCloser } from './connections/socket-closer';
import { Failures } from './diagnostics/error-reporter';
import { FailureLog } from './diagnostics/failure-log';
import { INTERNALS, type Internals, type WithInternals } from './diagnostics/internals';
import { PresenceError } from './public/errors';
import type {
  Attachment,
  ErrorStage,
  Health,
  HealthProblem,
  Identity,
  OnlinePage,
  Presence,
  PresenceOptions,
  PresenceStatus,
  PresenceUpdate,
  SocketLike,
  UserId,
} from './public/types';
import { toUserIds } from './public/user-id';
import { withDeadline } from './replication/call-timeout';
import { Feed } from './replication/feed';
import { Heartbeat } from './replication/heartbeat';
import { Outbox } from './replication/outbox';
import { StoreHealth } from './replication/store-health';
import { untilSure } from './replication/until-sure';
import type { OnAnswer, PresenceStore, StoredStatus, StoredStatuses, StoreNode } from './stores/port';
import { isSlow } from './subscriptions/send-queue';
import { SubscribeRequests } from './subscriptions/subscribe-requests';
import { Subscriptions } from './subscriptions/subscriptions';
import { framesOf } from './wire/encode';
import { toStatus } from './wire/to-status';

const OPEN = 1;
const CONNECTING = 0;

/**
 * Starts presence for one router: beats to the store, watches over the sockets that are attached, and tells changes.
 * Nothing it starts keeps the process alive.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS` that names the option, the value and the rule
 *
 * @example
 * const presence = createPresence({ ttlMs: 75_000 });
 * wss.on('connection', (socket) => presence.attachToSocket(socket, { userId: 'acme_u1' }));
 * presence.onUpdate(({ userId, status }) => router.tellDispatcher(userId, status));
 */
export function createPresence(options: PresenceOptions = {}): Presence {
  const settings = toSettings(options);
  // Short, since a store may keep it with every user; and unique among the routers of any fleet.
  const nodeId = randomBytes(6).toString('base64');
  if (settings.enabled) return new LocalPresence(nodeId, settings);
  const { clock, logger, router } = settings;
  if (logger !== undefined) new FailureLog(clock, logger, router.name).info('disabled');
  return disabledPresence(nodeId);
}

class LocalPresence implements Presence, WithInternals, ConnectionOwner {
  private readonly users = new Map<string, LocalUser>();
  private readonly connections = new Map<SocketLike, Connection>();
  private readonly liveness: Liveness;
  private readonly expiry: Expiry;
  private readonly closer: SocketCloser;
  private readonly closeListeners = new Set<() => void>();
  private readonly outbox: Outbox;
  private readonly lease: Heartbeat;
  private readonly feed: Feed;
  private readonly watchers: Subscriptions;
  private readonly requests: SubscribeRequests;
  private readonly staleness: StoreHealth;
  readonly [INTERNALS]: Internals;
  private readonly report: Internals['report'];
  private readonly log: FailureLog | undefined;
  private readonly failures: Failures;
  private readonly startedAt: number;
  private readonly node: StoreNode;
  private readonly refreshAfterMs: number;
  private readonly pingAfterMs: number;
  private readonly becameReady: Promise<void>;
  private settleReady: { resolve(): void; reject(error: Error): void } | undefined;
  private serial = 0;
  private closing: Promise<void> | undefined;

  constructor(
    readonly nodeId: string,
    private readonly settings: Settings,
  ) {
    const { clock, store, ttlMs, pingIntervalMs, commandTimeoutMs } = settings;
    const { onError, logger, router } = settings;
    this.startedAt = clock.now();
    this.log = logger && new FailureLog(clock, logger, router.name);
    this.failures = new Failures({ clock, quietMs: settings.leaseMs, ttlMs, onError, log: this.log });
    const { report, worked } = this.failures;
    this.report = report;
    this.closer = new SocketCloser({ clock, report });
    this.expiry = new Expiry(clock, (connection) => this.end(connection, CloseCode.EXPIRED, 'credentials have ended'));
    this[INTERNALS] = {
      clock,
      callbackTimeoutMs: settings.limits.callbackTimeoutMs,
      report,
      closeSocket: (socket, code, reason) => {
        // Sockets that were not attached stay open.
        if (this.closing === undefined) this.closer.close(socket, code, reason);
      },
      onClose: (listener) => {
        this.closeListeners.add(listener);
        return () => this.closeListeners.delete(listener);
      },
    };
    this.node = { nodeId, leaseMs: settings.leaseMs, ttlMs };
    this.pingAfterMs = pingIntervalMs === false ? 0 : pingIntervalMs;
    // The store hears of a user at most twice a ping interval, however much the phone talks.
    this.refreshAfterMs = (pingIntervalMs === false ? ttlMs / 3 : pingIntervalMs) / 2;

    this.becameReady = new Promise((resolve, reject) => {
      this.settleReady = { resolve, reject };
    });
    // Whoever asked with ready() hears of it; nobody having asked is no unhandled rejection.
    this.becameReady.catch(() => undefined);

    // What proves that this router is alive must not wait longer than the proof lasts.
    const timeoutMs = Math.min(commandTimeoutMs, settings.leaseMs / 3);
    const shared = { clock, store, node: this.node, report };
    this.lease = new Heartbeat({
      ...shared,
      timeoutMs,
      onBeat: (known, isLatest, now) => this.onBeat(known, isLatest, now),
      onMiss: () => {
        this.staleness.missed();
        this.outbox.miss();
      },
    });
    this.outbox = new Outbox({
      ...shared,
      timeoutMs,
      gatherMs: Math.min(1_000, ttlMs / 20),
      users: this.users,
      worked,
      beat: () => this.lease.beat(),
    });
    this.feed = new Feed({
      ...shared,
      commandTimeoutMs,
      leaseMs: settings.leaseMs,
      onDue: (inMs) => this.lease.due(inMs),
      onKnown: (again) => {
        worked('resync');
        this.watchers.sendOwed(again);
        this.staleness.end();
      },
      reassert: (userId) => this.outbox.reassert(userId),
      onLost: (isLost) => {
        for (const userId of this.users.keys()) if (isLost(userId)) this.outbox.reassert(userId, true);
      },
    });
    const close = (connection: Connection, code: number, reason: string): void => this.end(connection, code, reason);
    this.watchers = new Subscriptions({
      ...shared,
      commandTimeoutMs,
      feed: this.feed,
      frames: framesOf(settings.wire),
      updatesPerUserPerSecond: settings.limits.updatesPerUserPerSecond,
      close,
    });
    const { watchers } = this;
    this.requests = new SubscribeRequests({ ...settings, watchers, report, close });
    this.staleness = new StoreHealth({
      clock,
      ask: () => this.ask((onAnswer) => store.read([], onAnswer).then(() => store.caughtUp?.())),
      isSettled: () => this.feed.isSettled,
      onChange: (since) => watchers.setStale(since),
    });
    this.liveness = new Liveness({
      clock,
      ttlMs,
      pingIntervalMs,
      ping: (connection) => this.ping(connection),
      onVisit: (connection) => this.onVisit(connection),
      onTimeout: (connection) => this.onTimeout(connection),
      onFoundClosed: (connection) => this.release(connection, 'drop'),
    });

    if (logger?.info !== undefined) this.log?.info(this.greeting());
    this.lease.beat();
  }

  ready(): Promise<void> {
    return this.closing === undefined ? this.becameReady : Promise.reject(closedError());
  }

  attachToSocket(socket: SocketLike, identity: Identity): Attachment {
    checkSocket(socket);
    const { userId, track, interest, expiresAt } = checkIdentity(identity);
    this.serial += 1;
    if (this.closing !== undefined || !isOpening(socket)) {
      return inertAttachment(userId, `${this.nodeId}:${this.serial}`);
    }

    const before = this.connections.get(socket);
    const user = track ? this.localUser(userId) : undefined;
    const connection = new Connection(socket, userId, user, this, this.serial);
    // The new one counts before the old one goes, so that the same user is not gone in between.
    this.connections.set(socket, connection);
    this.requests.introduce(connection, identity);
    this.liveness.add(connection);
    if (user !== undefined) this.arrive(user);
    if (before !== undefined) this.release(before, 'disconnect');
    if (interest !== undefined) this.watchers.watch(connection, interest);
    if (expiresAt !== undefined) this.expiry.set(connection, expiresAt);
    return connection;
  }

  getStatuses(ids: Iterable<UserId>): Promise<{ [userId: string]: PresenceStatus }> {
    const userIds = Array.from(toUserIds(ids, 'ids'));
    const read = (store: PresenceStore, onAnswer: OnAnswer) => store.read(userIds, onAnswer);
    // It answers for its own.
    const isSure = ({ users }: StoredStatuses) =>
      users.every((user) => user.isUnsure !== true || this.isHere(user.userId));
    return this.query(read, isSure).then(({ users, now }) => {
      const statuses: { [userId: string]: PresenceStatus } = Object.create(null);
      for (const user of users) statuses[user.userId] = toStatus(this.corrected(user, now));
      return statuses;
    });
  }

  listOnline(page: { cursor?: string; limit?: number } = {}): Promise<OnlinePage> {
    const wanted = checkPage(page);
    const list = (store: PresenceStore, onAnswer: OnAnswer) => store.list(wanted, onAnswer);
    return this.query(list, ({ isUnsure }) => isUnsure !== true).then(({ users, now, cursor }) => {
      return { users: users.map((user) => toStatus(this.corrected(user, now))), cursor };
    });
  }

  countOnline(): Promise<number> {
    const count = (store: PresenceStore, onAnswer: OnAnswer) => store.count(onAnswer);
    return this.query(count, (online) => online !== undefined).then((online) => online as number);
  }

  health(): Health {
    const { staleness, failures } = this;
    const { asOf } = staleness;
    const told = this.storeProblems();
    const problems = told.concat(failures.list(told));
    const has = (stage: ErrorStage): boolean => problems.some((problem) => problem.stage === stage);
    const pending = (stage: ErrorStage, message: string, since: number | undefined): void => {
      if (since === undefined || has('beat') || has(stage)) return;
      problems.push({ stage, code: 'ERR_PRESENCE_STORE', message, since: new Date(since).toISOString() });
    };
    pending('beat', 'the store has not answered yet', asOf === null ? this.startedAt : undefined);
    pending('resync', 'who is online is being read for the first time', this.feed.pendingSince);
    pending('resync', 'what was missed is being read', staleness.missedSince);
    if (this.closing !== undefined) return { status: 'closed', asOf, problems };
    if (has('beat') || has('resync')) return { status: 'stale', asOf, problems };
    return { status: problems.length > 0 ? 'degraded' : 'ok', asOf, problems };
  }

  onUpdate(listener: (update: PresenceUpdate) => void, options: { ids?: Iterable<UserId> } = {}): () => void {
    const ids = checkListener(listener, options);
    if (this.closing !== undefined) return () => undefined;
    return this.feed.listen((update) => listener(update), ids);
  }

  close(options: { handoverMs?: number } = {}): Promise<void> {
    const handoverMs = checkClose(options);
    if (this.closing === undefined) {
      // Known before anything is told: who hears of it may close once more.
      let follow: ((closed: Promise<void>) => void) | undefined;
      this.closing = new Promise((resolve) => {
        follow = resolve;
      });
      follow?.(this.shutDown(handoverMs));
    }
    return this.closing;
  }

  // What connections tell. @internal

  now(): number {
    return this.settings.clock.now();
  }

  onLife({ user }: Connection, now: number): void {
    if (user === undefined) return;
    user.lastLife = now;
    const since = now - user.refreshedAt;
    // Before zero: the clock was set back.
    if (since >= this.refreshAfterMs || since < 0) this.outbox.touch(user);
  }

  onRevival(connection: Connection): void {
    connection.state = 'alive';
    if (connection.user === undefined) return;
    // Settled and taken out meanwhile, perhaps; another connection may have brought the user back.
    connection.user = this.localUser(connection.userId);
    this.arrive(connection.user);
  }

  onClose(connection: Connection, clean: boolean): void {
    // A close frame is a frame from the client.
    if (clean && connection.user !== undefined) connection.user.lastLife = this.now();
    this.release(connection, clean ? 'disconnect' : 'drop');
  }

  onWatchRequest(connection: Connection, frame: Uint8Array): void {
    this.requests.take(connection, frame);
  }

  // What attachments ask. @internal

  expireAt(connection: Connection, at: number): void {
    if (connection.state !== 'gone') this.expiry.set(connection, at);
  }

  setWatch(connection: Connection, interest: 'all' | Set<string> | undefined): void {
    if (connection.state !== 'gone') this.watchers.watch(connection, interest);
  }

  settled(user: LocalUser): Promise<void> {
    return this.outbox.settled(user);
  }

  async letGo(connection: Connection): Promise<void> {
    this.release(connection, 'disconnect');
    const { user } = connection;
    if (user === undefined || user.alive > 0) return;
    this.outbox.flush();
    // The leave stays queued where the store is away; the caller does not wait for that.
    await this.ask(() => this.outbox.settled(user)).catch(() => undefined);
  }

  // Inside.

  private localUser(userId: string): LocalUser {
    let user = this.users.get(userId);
    if (user === undefined) {
      user = new LocalUser(userId, this.now());
      this.users.set(userId, user);
    }
    return user;
  }

  private arrive(user: LocalUser): void {
    if (user.arrive(this.now())) this.outbox.change(user);
  }

  private depart(user: LocalUser, ending: Departure['ending'], graceMs: number): void {
    if (user.depart(ending, this.now(), graceMs)) this.outbox.change(user);
  }

  private release(connection: Connection, ending: Departure['ending'], graceMs = this.settings.graceMs): void {
    const { state, socket, user } = connection;
    if (state === 'gone') return;
    connection.state = 'gone';
    connection.unlisten();
    if (this.connections.get(socket) === connection) this.connections.delete(socket);
    this.liveness.remove(connection);
    this.expiry.remove(connection);
    this.watchers.remove(connection);
    if (state === 'alive' && user !== undefined) this.depart(user, ending, graceMs);
  }

  /** Closes a socket: a drop with grace, for its client may come back. */
  private end(connection: Connection, code: number, reason: string): void {
    this.release(connection, 'drop');
    this.closer.close(connection.socket, code, reason, connection.userId);
  }

  /** Tells the store of a sign of life that came too soon after the one before to be told at once. */
  private onVisit({ user, state }: Connection): void {
    if (user === undefined || state !== 'alive') return;
    const now = this.now();
    // The clock was set back: nothing is to be waited for until it has caught up.
    if (user.lastLife > now) user.lastLife = now;
    if (user.refreshedAt > now) user.refreshedAt = 0;
    if (user.lastLife > user.refreshedAt) this.outbox.touch(user);
  }

  private onTimeout(connection: Connection): void {
    connection.state = 'silent';
    if (connection.user !== undefined) this.depart(connection.user, 'timeout', 0);
    if (!this.settings.terminateDeadSockets) return;
    try {
      connection.socket.terminate();
    } catch (error) {
      this.report('terminate', error, connection.userId);
    }
  }

  private ping(connection: Connection): void {
    if (connection.socket.readyState !== OPEN) return;
    // The ping before this one is still unsent, or unanswered: another one behind it would tell nothing.
    if (isSlow(connection) && this.now() - connection.lastLife >= this.pingAfterMs) return;
    try {
      connection.socket.ping();
    } catch (error) {
      this.report('ping', error, connection.userId);
    }
  }

  private greeting(): string {
    const { store, ttlMs, router } = this.settings;
    const where = router.address === null ? '' : ` at ${router.address}`;
    return `started${where}: node ${this.nodeId}, store ${store.describe?.() ?? 'of its own kind'}, ttl ${ttlMs / 1_000} s`;
  }

  private storeProblems(): HealthProblem[] {
    return (this.settings.store.problems?.() ?? []).map(({ stage, message, since }) => {
      return { stage, code: 'ERR_PRESENCE_STORE', message, since: new Date(since).toISOString() };
    });
  }

  private onBeat(known: boolean, isLatest: boolean, now: number | undefined): void {
    const { failures } = this;
    this.staleness.heard(now);
    failures.heard((stage) => this.storeProblems().some((problem) => problem.stage === stage));
    if (this.feed.isSettled) failures.worked('resync');
    if (this.outbox.isIdle) failures.worked('apply');
    this.outbox.hold(!known, isLatest);
    this.feed.onBeat();
    this.watchers.sendOwed();
    this.settleReady?.resolve();
    this.staleness.end();
  }

  private isHere(userId: string): boolean {
    const user = this.users.get(userId);
    return user !== undefined && user.alive > 0;
  }

  /** A connection that this router holds makes its user online, and seen when it was heard, whatever the store remembers. */
  private corrected(stored: StoredStatus, storeNow: number): StoredStatus {
    const user = this.users.get(stored.userId);
    if (user === undefined || user.alive === 0) return stored;
    if (stored.online && user.lastLife <= user.refreshedAt) return stored;
    // By the age, so that a wrong clock of this machine moves nothing.
    const heard = storeNow - Math.max(0, this.now() - user.lastLife);
    return { ...stored, online: true, lastSeen: Math.max(stored.lastSeen ?? 0, heard) };
  }

  /** Sees what has changed here, too. */
  private query<T>(
    run: (store: PresenceStore, onAnswer: OnAnswer) => Promise<T>,
    isSure: (answer: T) => boolean,
  ): Promise<T> {
    if (this.closing !== undefined) return Promise.reject(closedError());
    const { store, clock, commandTimeoutMs } = this.settings;
    this.outbox.flush();
    const ask = () => {
      // Asked once more, a store that was closed would connect again.
      if (this.closing !== undefined) return Promise.reject(closedError());
      return this.ask((onAnswer) => run(store, onAnswer));
    };
    return untilSure(clock, commandTimeoutMs, ask, isSure).then((answer) => {
      this.failures.worked('query');
      return answer;
    });
  }

  private ask<T>(run: (onAnswer: OnAnswer) => Promise<T>): Promise<T> {
    return withDeadline(this.settings.clock, this.settings.commandTimeoutMs, run);
  }

  private async shutDown(handoverMs: number): Promise<void> {
    const { clock, commandTimeoutMs, store } = this.settings;
    const until = clock.now() + commandTimeoutMs;
    this.settleReady?.reject(closedError());
    this.watchers.close();
    for (const connection of Array.from(this.connections.values())) {
      this.release(connection, handoverMs > 0 ? 'drop' : 'disconnect', handoverMs);
    }
    this.liveness.stop();
    this.closer.stop();
    this.requests.close();
    for (const listener of Array.from(this.closeListeners)) listener();
    const told = await this.outbox.finish(commandTimeoutMs);
    this.lease.stop();
    const leftMs = Math.min(commandTimeoutMs, until - clock.now());
    // Released with users who could not be handed over, it would take them offline at once. Its lease lapses by itself.
    if (leftMs > 0 && (told || handoverMs === 0)) {
      await withDeadline(clock, leftMs, () => store.release(this.node)).catch((error: PresenceError) => {
        // Where everything was told nobody is left to be taken away, and the lease lapses by itself: nothing is wrong with a
        // store that is only too far away to say so in the rest of the time.
        if (!told || error.kind !== 'slow') this.report('release', error);
      });
    }
    this.feed.close();
    this.log?.stop();
  }
}

function closedError(): PresenceError {
  return new PresenceError('ERR_PRESENCE_CLOSED', 'presence is closed');
}

function isOpening(socket: SocketLike): boolean {
  return socket.readyState === OPEN || socket.readyState === CONNECTING;
}
