import calculateSlot from 'cluster-key-slot';
import { type Clock, randomOf } from '../../../public/clock';
import type { RedisLike, ShardedClient } from './client';
import { isReady } from './command-gate';
import { connectForMessages, reasonOf } from './connect';

/** How often a subscription is repeated as a probe, since a connection may be dead without an event. */
const PROBE_MS = 10_000;
/** Half of the time in which the server has to answer. It runs twice, so that a process which stood still can read the answer. */
const ANSWER_MS = 1_500;
/** How often that time is doubled while new connections give no answer either. */
const MAX_DOUBLED = 3;
/** The wait after a refusal. */
const RETRY_MS = 5_000;
/** A connection that is not ready after this time is replaced, if that of the client works. */
const AWAY_MS = 10_000;

/** @internal */
export interface SubscriberOptions {
  readonly clock: Clock;
  /** The client of the store. Messages need a duplicate of it, since a connection that subscribes cannot send commands. */
  readonly client: RedisLike;
  readonly channels: readonly string[];
  onMessage(channel: string, text: string): void;
  /** All channels are subscribed, for the first time or again after the connection was lost. */
  onListening(isFirst: boolean): void;
  onError(error: unknown): void;
}

/** When the channels were lost, and the answer of the server, if there was one. */
interface Disconnection {
  readonly since: number;
  readonly error?: unknown;
}

/** Each state has at most one timer; `enter` sets both. */
type State =
  /** The connection is not ready yet, or was lost. Once it is ready the subscriber asks for its channels. */
  | { readonly kind: 'away'; readonly disconnection: Disconnection }
  /** An answer to SUBSCRIBE is awaited. There is no disconnection where it was subscribed until then. */
  | { readonly kind: 'asking'; readonly disconnection: Disconnection | undefined }
  /** The server has answered with an error, and is asked again after a while. */
  | { readonly kind: 'refused'; readonly disconnection: Disconnection }
  | { readonly kind: 'listening' }
  /** It is subscribed, and has sent SUBSCRIBE once more, to find out whether the connection still works. */
  | { readonly kind: 'probing' }
  | { readonly kind: 'closed'; readonly disconnection: Disconnection | undefined };

/**
 * Subscribes to channels on the server of a client, over a connection of its own. It replaces that connection where it is dead and
 * the client's is not.
 * @internal
 */
export class Subscriber {
  private connection: RedisLike;
  private state: State;
  private wasListening = false;
  /** The number of connections that gave no answer since the last one that worked. */
  private silences = 0;
  private timer: unknown;
  private isPlain: boolean;
  /** Channels to which the Cluster has subscribed. A second `ssubscribe` through the Cluster would add another entry for one. */
  private readonly remembered = new Set<string>();

  constructor(private readonly options: SubscriberOptions) {
    this.isPlain = options.client.isCluster !== true;
    this.state = { kind: 'away', disconnection: { since: options.clock.now() } };
    this.connection = this.connect();
  }

  get reason(): string | undefined {
    return reasonOf(this.connection);
  }

  /** Undefined while it is subscribed. */
  get disconnection(): Disconnection | undefined {
    return 'disconnection' in this.state ? this.state.disconnection : undefined;
  }

  /** Checks the connection at once: a message is missing. */
  verify(): void {
    if (this.state.kind === 'listening') this.ask();
  }

  /** Replaces the connection: its host name may lead to another server by now. */
  replace(): void {
    if (this.state.kind === 'closed') return;
    this.connection.disconnect();
    try {
      this.connection = this.connect();
    } catch (error) {
      // The client is the caller's, so its `duplicate` may throw.
      this.beAway();
      this.options.onError(error);
    }
  }

  close(): void {
    this.enter({ kind: 'closed', disconnection: this.disconnection });
    this.connection.disconnect();
  }

  private connect(): RedisLike {
    const { client, onMessage } = this.options;
    const connection = connectForMessages(client);
    const isCurrent = (): boolean => this.state.kind !== 'closed' && connection === this.connection;
    const hear = (channel: string, text: string): void => {
      if (isCurrent()) onMessage(channel, text);
    };
    connection.on('message', hear);
    connection.on('smessage', hear);
    connection.on('ready', () => {
      if (isCurrent()) this.ask();
    });
    connection.on('close', () => {
      if (isCurrent()) this.beAway();
    });
    this.remembered.clear();
    this.beAway();
    if (isReady(connection)) this.ask(connection);
    return connection;
  }

  private beAway(): void {
    this.enter(
      { kind: 'away', disconnection: this.disconnection ?? { since: this.options.clock.now() } },
      AWAY_MS,
      () => {
        // Where the client is not connected either, ioredis connects both again.
        if (isReady(this.options.client)) this.replace();
        else this.beAway();
      },
    );
  }

  private ask(connection = this.connection): void {
    const asking: State =
      this.state.kind === 'listening' ? { kind: 'probing' } : { kind: 'asking', disconnection: this.disconnection };
    const halfMs = ANSWER_MS * 2 ** Math.min(this.silences, MAX_DOUBLED);
    this.enter(asking, halfMs, () => this.after(halfMs, () => this.giveUp()));
    // An answer that comes too late finds another state, and is ignored.
    Promise.all(this.options.channels.map((channel) => this.subscribe(connection, channel))).then(
      () => {
        if (this.state === asking) this.listen();
      },
      (error: unknown) => {
        if (this.state === asking) this.beRefused(error);
      },
    );
  }

  private beRefused(error: unknown): void {
    const { clock, onError } = this.options;
    const { since = clock.now() } = this.disconnection ?? {};
    this.enter({ kind: 'refused', disconnection: { since, error } }, RETRY_MS, () => this.ask());
    onError(error);
  }

  private giveUp(): void {
    this.silences += 1;
    this.options.onError(new Error('the connection for messages gives no answer, and is replaced'));
    this.replace();
  }

  private listen(): void {
    const isNews = this.state.kind === 'asking';
    const isFirst = !this.wasListening;
    this.wasListening = true;
    this.silences = 0;
    this.enter({ kind: 'listening' }, PROBE_MS, () => this.ask());
    if (isNews) this.options.onListening(isFirst);
  }

  /** `run` is called after `ms`, unless another state was entered before. */
  private enter(state: State, ms = 0, run?: () => void): void {
    this.state = state;
    if (run === undefined) this.options.clock.clearTimeout(this.timer);
    else this.after(ms, run);
  }

  private after(ms: number, run: () => void): void {
    const { clock } = this.options;
    clock.clearTimeout(this.timer);
    // Random, so that the routers of a fleet do not act at the same moment.
    this.timer = clock.setTimeout(run, Math.round(ms * (1 + randomOf(clock)() / 4)));
  }

  private async subscribe(connection: RedisLike, channel: string): Promise<void> {
    if (!this.isPlain) {
      try {
        await this.subscribeSharded(connection as RedisLike & ShardedClient, channel);
        return;
      } catch (error) {
        // Before Redis 7.0 there is no sharded pub/sub, and the scripts use PUBLISH.
        if (!/unknown command/i.test((error as Error).message)) throw error;
        this.isPlain = true;
      }
    }
    await connection.subscribe(channel);
  }

  private async subscribeSharded(cluster: ShardedClient, channel: string): Promise<void> {
    const { shardedSubscribers } = cluster;
    if (shardedSubscribers === undefined || !this.remembered.has(channel)) {
      this.remembered.add(channel);
      await cluster.ssubscribe(channel);
      return;
    }
    const master = shardedSubscribers.getResponsibleSubscriber(calculateSlot(channel))?.getInstance();
    if (master == null) throw new Error(`no connection for messages to the master of ${channel}`);
    await master.ssubscribe(channel);
  }
}
