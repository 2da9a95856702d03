import type { CheckedIdentity } from '../config/arguments';
import type { Settings } from '../config/options';
import { callGuarded } from '../diagnostics/error-reporter';
import type { ErrorStage } from '../public/types';
import { CHANNEL_PORT, type Channel, isOpen } from './channel';
import { Connection, type ConnectionOwner, isSlow } from './connection';
import { Expiry } from './expiry';
import { type Departure, LocalUser } from './local-user';
import { PingWheel } from './ping-wheel';
import { CloseCode, SocketCloser } from './socket-closer';
import { stopListening } from './socket-listeners';

/** @internal */
export interface RegistryOptions {
  readonly nodeId: string;
  readonly settings: Settings;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
  /** A user has gained the first connection, or lost the last one. */
  onChange(user: LocalUser): void;
  /** A user was active, and the last report to the store is some time ago. */
  onActivity(user: LocalUser): void;
  onReleased(connection: Connection): void;
  onSubscribeRequest(connection: Connection, frame: Uint8Array): void;
  /** Sets the users whose changes are sent to a socket; `undefined` for none. */
  subscribe(connection: Connection, interest: 'all' | Set<string> | undefined): void;
  /** Resolves once the store has acknowledged the state of a user. */
  settled(user: LocalUser): Promise<void>;
  /** The same for a user who was detached: it sends the batch at once, and waits for a bounded time. */
  flushed(user: LocalUser): Promise<void>;
}

/**
 * The connections and the users of this router. It decides when a connection times out, is closed, or is alive again. A user
 * is present while at least one connection is alive.
 * @internal
 */
export class Registry implements ConnectionOwner {
  readonly nodeId: string;
  /** By id. A user who has left stays until the store has acknowledged it. */
  readonly users = new Map<string, LocalUser>();
  readonly closer: SocketCloser;
  private readonly connections = new Map<Channel, Connection>();
  private readonly pingWheel: PingWheel;
  private readonly expiry: Expiry;
  private readonly pingAfterMs: number;
  private readonly refreshAfterMs: number;
  private serial = 0;

  constructor(private readonly options: RegistryOptions) {
    const { nodeId, settings, report } = options;
    const { clock, ttlMs, pingIntervalMs } = settings;
    this.nodeId = nodeId;
    this.pingAfterMs = pingIntervalMs === false ? 0 : pingIntervalMs;
    // Activity of a user is reported at most twice a ping interval, even where a phone sends many frames.
    this.refreshAfterMs = (pingIntervalMs === false ? ttlMs / 3 : pingIntervalMs) / 2;
    this.closer = new SocketCloser({ clock, report });
    this.expiry = new Expiry(clock, (connection) => this.end(connection, CloseCode.EXPIRED, 'credentials have ended'));
    this.pingWheel = new PingWheel({
      clock,
      ttlMs,
      pingIntervalMs,
      ping: (connection) => this.ping(connection),
      onVisit: (connection) => this.onVisit(connection),
      onTimeout: (connection) => this.onTimeout(connection),
      onFoundClosed: (connection) => this.release(connection, 'drop'),
    });
  }

  /** The number of the next connection or inert attachment. */
  nextSerial(): number {
    this.serial += 1;
    return this.serial;
  }

  attach(
    channel: Channel,
    { userId, track, expiresAt }: CheckedIdentity,
    onMade: (made: Connection) => void,
  ): Connection {
    const before = this.connections.get(channel);
    const user = track ? this.localUser(userId) : undefined;
    const connection = new Connection(channel, userId, user, this, this.nextSerial());
    try {
      channel[CHANNEL_PORT]?.attached?.(connection);
      onMade(connection);
    } catch (error) {
      this.stopListening(connection);
      throw error;
    }
    // The new connection counts before the old one is released, so that the user does not go offline in between.
    this.connections.set(channel, connection);
    this.pingWheel.add(connection);
    if (user !== undefined) this.arrive(user);
    if (before !== undefined) this.release(before, 'disconnect');
    if (expiresAt !== undefined) this.expiry.set(connection, expiresAt);
    return connection;
  }

  /** The user, where at least one connection to this router is alive. */
  present(userId: string): LocalUser | undefined {
    const user = this.users.get(userId);
    return user !== undefined && user.alive > 0 ? user : undefined;
  }

  /** Closes a socket. It counts as a drop with grace, since its client may reconnect. */
  end(connection: Connection, code: number, reason: string): void {
    this.release(connection, 'drop');
    this.closer.close(connection.channel, code, reason, connection.userId);
  }

  /** Detaches all sockets, which stay open. */
  close(handoverMs: number): void {
    for (const connection of Array.from(this.connections.values())) {
      this.release(connection, handoverMs > 0 ? 'drop' : 'disconnect', handoverMs);
    }
    this.pingWheel.stop();
    this.closer.stop();
  }

  // Called by connections, for their events. @internal

  now(): number {
    return this.options.settings.clock.now();
  }

  onLife({ user }: Connection, now: number): void {
    if (user === undefined) return;
    user.lastLife = now;
    const since = now - user.refreshedAt;
    // A negative time means that the clock was set back.
    if (since >= this.refreshAfterMs || since < 0) this.options.onActivity(user);
  }

  onRevival(connection: Connection): void {
    connection.state = 'alive';
    if (connection.user === undefined) return;
    // The user may have been removed since, and created again by another connection.
    connection.user = this.localUser(connection.userId);
    this.arrive(connection.user);
  }

  onClose(connection: Connection, clean: boolean): void {
    this.closer.closed(connection.channel);
    if (connection.state === 'gone') return;
    // A close frame is activity, like any frame of the client.
    if (clean && connection.user !== undefined) connection.user.lastLife = this.now();
    this.release(connection, clean ? 'disconnect' : 'drop');
  }

  onWatchRequest(connection: Connection, frame: Uint8Array): void {
    this.options.onSubscribeRequest(connection, frame);
  }

  // Called by attachments, for the caller. @internal

  expireAt(connection: Connection, at: number): void {
    if (connection.state !== 'gone') this.expiry.set(connection, at);
  }

  setWatch(connection: Connection, interest: 'all' | Set<string> | undefined): void {
    if (connection.state !== 'gone') this.options.subscribe(connection, interest);
  }

  settled(user: LocalUser): Promise<void> {
    return this.options.settled(user);
  }

  async detach(connection: Connection): Promise<void> {
    this.release(connection, 'disconnect');
    const { user } = connection;
    if (user !== undefined && user.alive === 0) await this.options.flushed(user);
  }

  private localUser(userId: string): LocalUser {
    let user = this.users.get(userId);
    if (user === undefined) {
      user = new LocalUser(userId, this.now());
      this.users.set(userId, user);
    }
    return user;
  }

  private arrive(user: LocalUser): void {
    if (user.arrive(this.now())) this.options.onChange(user);
  }

  private depart(user: LocalUser, ending: Departure['ending'], graceMs: number): void {
    if (user.depart(ending, this.now(), graceMs)) this.options.onChange(user);
  }

  private release(
    connection: Connection,
    ending: Departure['ending'],
    graceMs: number = this.options.settings.graceMs,
  ): void {
    const { state, channel, user } = connection;
    if (state === 'gone') return;
    connection.state = 'gone';
    this.stopListening(connection);
    if (this.connections.get(channel) === connection) this.connections.delete(channel);
    this.pingWheel.remove(connection);
    this.expiry.remove(connection);
    this.options.onReleased(connection);
    if (state === 'alive' && user !== undefined) this.depart(user, ending, graceMs);
  }

  private stopListening(connection: Connection): void {
    const { channel, userId } = connection;
    callGuarded(
      () => {
        stopListening(channel, connection);
        channel[CHANNEL_PORT]?.released?.(connection);
      },
      (error) => this.options.report('terminate', error, userId),
    );
  }

  /** Reports activity that came too soon after the last report to be reported at once. */
  private onVisit({ user, state }: Connection): void {
    if (user === undefined || state !== 'alive') return;
    const now = this.now();
    // The clock was set back: times in the future would delay reports until it has caught up.
    if (user.lastLife > now) user.lastLife = now;
    if (user.refreshedAt > now) user.refreshedAt = 0;
    if (user.lastLife > user.refreshedAt) this.options.onActivity(user);
  }

  private onTimeout(connection: Connection): void {
    connection.state = 'silent';
    if (connection.user !== undefined) this.depart(connection.user, 'timeout', 0);
    const { settings, report } = this.options;
    if (!settings.terminateDeadSockets) return;
    const { channel, userId } = connection;
    callGuarded(
      () => (channel.terminate !== undefined ? channel.terminate() : channel.close?.()),
      (error) => report('terminate', error, userId),
    );
  }

  private ping(connection: Connection): void {
    const { channel, state, userId } = connection;
    // A ping of another connection may have released this one.
    if (state === 'gone' || channel.ping === undefined || !isOpen(channel)) return;
    // The last ping is still unsent or unanswered, so another one behind it would prove nothing.
    if (isSlow(connection) && this.now() - connection.lastLife >= this.pingAfterMs) return;
    callGuarded(
      () => channel.ping?.(),
      (error) => this.options.report('ping', error, userId),
    );
  }
}
