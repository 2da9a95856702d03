import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'eventemitter3';
import { checkClose, checkIdentity, checkListener, checkSocket, checkTransport } from './config/arguments';
import { type Settings, toSettings } from './config/options';
import { type Channel, isConnecting, isOpen } from './connections/channel';
import type { Connection } from './connections/connection';
import { disabledPresence } from './connections/disabled-presence';
import { inertAttachment } from './connections/inert-attachment';
import { Registry } from './connections/registry';
import { listenTo } from './connections/socket-listeners';
import { Changes } from './deliveries/changes';
import { Failures } from './diagnostics/error-reporter';
import { FailureLog } from './diagnostics/failure-log';
import { INTERNALS, type Internals, type WithInternals } from './diagnostics/internals';
import { Deferred } from './public/deferred';
import { closedError } from './public/errors';
import type {
  Attachment,
  Health,
  Identity,
  OnlinePage,
  Presence,
  PresenceOptions,
  PresenceStatus,
  PresenceUpdate,
  SocketLike,
  Transport,
  TransportAttachment,
  UserId,
} from './public/types';
import { toUserId } from './public/user-id';
import { Replication } from './replication/replication';
import { memoryStore } from './stores/memory/memory-store';
import { SubscribeRequests } from './subscriptions/subscribe-requests';
import { Subscriptions } from './subscriptions/subscriptions';
import { codecOf } from './wire/encode';

/**
 * Starts presence for one router: it sends heartbeats to the store, observes the attached sockets, and reports changes of
 * status. Nothing that it starts keeps the process alive.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS` that names the option, the value and the rule
 *
 * @example
 * const presence = createPresence({ ttlMs: 75_000 });
 * wss.on('connection', (socket) => presence.attachToSocket(socket, { userId: 'acme_u1' }));
 * presence.onUpdate(({ userId, status }) => router.tellDispatcher(userId, status));
 */
export function createPresence(options: PresenceOptions = {}): Presence {
  const settings = toSettings(options, (now) => memoryStore({ now }));
  // Short, since a store may keep it with every user; long enough to be unique in any fleet.
  const nodeId = randomBytes(6).toString('base64');
  if (settings.enabled) return new LocalPresence(nodeId, settings);
  const { clock, logger, router } = settings;
  if (logger !== undefined) new FailureLog(clock, logger, router.name).info('disabled');
  return disabledPresence(nodeId);
}

class LocalPresence implements Presence, WithInternals {
  readonly [INTERNALS]: Internals;
  readonly changes: Changes;
  private readonly registry: Registry;
  private readonly replication: Replication;
  private readonly subscriptions: Subscriptions;
  private readonly requests: SubscribeRequests;
  private readonly log: FailureLog | undefined;
  private readonly events = new EventEmitter<{ close: [] }>();
  private readonly becameReady = new Deferred();
  private closing: Promise<void> | undefined;

  constructor(
    readonly nodeId: string,
    settings: Settings,
  ) {
    const { clock, store, leaseMs, ttlMs, commandTimeoutMs, onError, logger, router, limits } = settings;
    this.log = logger && new FailureLog(clock, logger, router.name);
    const failures = new Failures({ clock, quietMs: leaseMs, ttlMs, onError, log: this.log });
    const { report } = failures;
    const registry = new Registry({
      nodeId,
      settings,
      report,
      onChange: (user) => this.replication.outbox.change(user),
      onActivity: (user) => this.replication.outbox.touch(user),
      onReleased: (connection) => this.subscriptions.remove(connection),
      onSubscribeRequest: (connection, frame) => this.requests.take(connection, frame),
      subscribe: (connection, interest) => this.subscriptions.watch(connection, interest),
      settled: (user) => this.replication.outbox.settled(user),
      flushed: (user) => this.replication.flushed(user),
    });
    this.registry = registry;
    this.replication = new Replication({
      nodeId,
      settings,
      failures,
      users: registry.users,
      isClosed: () => this.closing !== undefined,
      now: () => registry.now(),
      present: (userId) => registry.present(userId),
      onBeat: () => {
        this.subscriptions.sendOwed();
        this.becameReady.resolve();
      },
      onKnown: (again) => this.subscriptions.sendOwed(again),
      onStale: (since) => this.subscriptions.setStale(since),
    });
    this.changes = new Changes({
      clock,
      store,
      commandTimeoutMs,
      failuresOf: (delivery) => failures.deliveryOf(delivery),
      node: this.replication.node,
      isClosed: () => this.closing !== undefined,
      ready: () => this.ready(),
    });
    const close = (connection: Connection, code: number, reason: string): void =>
      registry.end(connection, code, reason);
    this.subscriptions = new Subscriptions({
      clock,
      store,
      commandTimeoutMs,
      report,
      close,
      feed: this.replication.feed,
      codec: codecOf(settings.wire),
      updatesPerUserPerSecond: limits.updatesPerUserPerSecond,
    });
    this.requests = new SubscribeRequests({ ...settings, subscriptions: this.subscriptions, report, close });
    this[INTERNALS] = {
      clock,
      callbackTimeoutMs: limits.callbackTimeoutMs,
      report,
      closeSocket: (socket, code, reason) => {
        // A closed presence leaves sockets that were not attached open.
        if (this.closing === undefined) registry.closer.close(socket, code, reason);
      },
      untilChange: (ms) => this.changes.untilChange(ms),
      onClose: (listener) => {
        this.events.on('close', listener);
        return () => this.events.off('close', listener);
      },
    };
    if (logger?.info !== undefined) this.log?.info(greetingOf(nodeId, settings));
    this.replication.start();
  }

  ready(): Promise<void> {
    return this.closing === undefined ? this.becameReady.promise : Promise.reject(closedError());
  }

  attachToSocket(socket: SocketLike, identity: Identity): Attachment {
    checkSocket(socket);
    return this.attachChannel(socket, identity, (attachment) => listenTo(socket, attachment));
  }

  attach(transport: Transport, identity: Identity): TransportAttachment {
    checkTransport(transport);
    return this.attachChannel(transport, identity);
  }

  getStatuses(ids: Iterable<UserId>): Promise<{ [userId: string]: PresenceStatus }> {
    return this.replication.queries.getStatuses(ids);
  }

  listOnline(page: { cursor?: string; limit?: number } = {}): Promise<OnlinePage> {
    return this.replication.queries.listOnline(page);
  }

  isOnline(id: UserId): boolean | undefined {
    return this.replication.isOnline(toUserId(id, 'id'));
  }

  countOnline(): Promise<number> {
    return this.replication.queries.countOnline();
  }

  health(): Health {
    return this.replication.health();
  }

  onUpdate(listener: (update: PresenceUpdate) => void, options: { ids?: Iterable<UserId> } = {}): () => void {
    const ids = checkListener(listener, options);
    if (this.closing !== undefined) return () => undefined;
    return this.replication.feed.listen((update) => listener(update), ids);
  }

  close(options: { handoverMs?: number } = {}): Promise<void> {
    const handoverMs = checkClose(options);
    if (this.closing === undefined) {
      // Set before the first event, since a listener may call close again.
      const closed = new Deferred();
      this.closing = closed.promise;
      this.shutDown(handoverMs).then(closed.resolve, closed.reject);
    }
    return this.closing;
  }

  private attachChannel(
    channel: Channel,
    identity: Identity,
    onMade?: (attachment: TransportAttachment) => void,
  ): TransportAttachment {
    const checked = checkIdentity(identity);
    if (this.closing !== undefined || !(isOpen(channel) || isConnecting(channel))) {
      return inertAttachment(checked.userId, `${this.nodeId}:${this.registry.nextSerial()}`);
    }
    const connection = this.registry.attach(channel, checked, (made) => {
      onMade?.(made);
      this.requests.introduce(made, identity);
    });
    if (checked.interest !== undefined) this.subscriptions.watch(connection, checked.interest);
    return connection;
  }

  private async shutDown(handoverMs: number): Promise<void> {
    this.becameReady.reject(closedError());
    this.subscriptions.close();
    this.registry.close(handoverMs);
    this.requests.close();
    this.events.emit('close');
    this.events.removeAllListeners();
    // With the lease of this router its claims end, too.
    await Promise.all([this.changes.close(), this.replication.close(handoverMs > 0)]);
    this.log?.stop();
  }
}

function greetingOf(nodeId: string, { store, ttlMs, router }: Settings): string {
  const where = router.address === null ? '' : ` at ${router.address}`;
  return `started${where}: node ${nodeId}, store ${store.describe?.() ?? 'of its own kind'}, ttl ${ttlMs / 1_000} s`;
}
