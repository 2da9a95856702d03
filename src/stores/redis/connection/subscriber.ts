import calculateSlot from 'cluster-key-slot';
import { type Clock, randomOf } from '../../../public/clock';
import type { RedisLike, ShardedClient } from './client';
import { isReady } from './command-gate';
import { connectForMessages, reasonOf } from './connect';

/** While it listens it says so again after so long: a link that is dead without a word tells nothing of that. */
const PROBE_MS = 10_000;
/** Half of the time in which the server has to answer. Counted twice: whoever stood still meanwhile finds the answer, too. */
const ANSWER_MS = 1_500;
/** Each time that a new connection gives no answer, either, it has twice as long, up to this often. */
const MAX_DOUBLED = 3;
/** After a refusal. */
const RETRY_MS = 5_000;
/** A connection that does not come about for so long is made anew, where that of its client works. */
const AWAY_MS = 10_000;

/** @internal */
export interface SubscriberOptions {
  readonly clock: Clock;
  /** Of the store. Messages come through a duplicate of it, since such a one can do nothing else. */
  readonly client: RedisLike;
  readonly channels: readonly string[];
  onMessage(channel: string, text: string): void;
  /** All channels are heard from now on; also after each reconnection, when it is not the first time. */
  onListening(isFirst: boolean): void;
  onError(error: unknown): void;
}

/**
 * Hears channels of a client's server, for as long as it is not closed: over a connection of its own, which it makes anew
 * where that one is dead, and the client's is not.
 * @internal
 */
export class Subscriber {
  private connection: RedisLike;
  private state: 'away' | 'asking' | 'refused' | 'listening' | 'probing' | 'closed' = 'away';
  private wasListening = false;
  /** Counts what was asked, so that an answer which comes late is known for one. */
  private asked = 0;
  /** Connections without an answer, since one listened. */
  private silences = 0;
  private timer: unknown;
  /** Since when no channel is heard, and why, where that is known. */
  private down: { readonly since: number; error?: unknown } | undefined;
  private isPlain: boolean;
  /** Channels that the Cluster knows of: it remembers each one as often as it is told. */
  private readonly remembered = new Set<string>();

  constructor(private readonly options: SubscriberOptions) {
    this.isPlain = options.client.isCluster !== true;
    this.down = { since: options.clock.now() };
    this.connection = this.connect();
  }

  get reason(): string | undefined {
    return reasonOf(this.connection);
  }

  /** Since when it hears nothing, and what a server has answered, where one has. */
  get deafness(): { readonly since: number; readonly error?: unknown } | undefined {
    return this.down;
  }

  /** Nothing came where something should have. */
  verify(): void {
    if (this.state === 'listening') this.ask();
  }

  /** Makes the connection anew: by now the name of the server may be that of another one. */
  replace(): void {
    if (this.state === 'closed') return;
    this.connection.disconnect();
    try {
      this.connection = this.connect();
    } catch (error) {
      // The client is the caller's, and so is what it does to duplicate itself.
      this.beAway();
      this.options.onError(error);
    }
  }

  close(): void {
    this.state = 'closed';
    this.asked += 1;
    this.options.clock.clearTimeout(this.timer);
    this.connection.disconnect();
  }

  private connect(): RedisLike {
    const { client, onMessage } = this.options;
    const connection = connectForMessages(client);
    const isCurrent = (): boolean => this.state !== 'closed' && connection === this.connection;
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
    this.state = 'away';
    this.beDeaf();
    this.asked += 1;
    this.after(AWAY_MS, () => {
      // Where the client has no connection, either, this one comes back like that.
      if (isReady(this.options.client)) this.replace();
      else this.beAway();
    });
  }

  private ask(connection = this.connection): void {
    this.state = this.state === 'listening' ? 'probing' : 'asking';
    this.asked += 1;
    const { asked } = this;
    const halfMs = ANSWER_MS * 2 ** Math.min(this.silences, MAX_DOUBLED);
    this.after(halfMs, () => this.after(halfMs, () => this.giveUp()));
    Promise.all(this.options.channels.map((channel) => this.subscribe(connection, channel))).then(
      () => {
        if (asked === this.asked) this.listen();
      },
      (error: unknown) => {
        if (asked !== this.asked) return;
        this.state = 'refused';
        this.beDeaf(error);
        this.after(RETRY_MS, () => this.ask());
        this.options.onError(error);
      },
    );
  }

  private giveUp(): void {
    this.silences += 1;
    this.options.onError(new Error('the connection for messages gives no answer, and is made anew'));
    this.replace();
  }

  private listen(): void {
    const isNews = this.state === 'asking';
    const isFirst = !this.wasListening;
    this.state = 'listening';
    this.down = undefined;
    this.wasListening = true;
    this.silences = 0;
    this.after(PROBE_MS, () => this.ask());
    if (isNews) this.options.onListening(isFirst);
  }

  private beDeaf(error?: unknown): void {
    const { since = this.options.clock.now() } = this.down ?? {};
    this.down = error === undefined ? { ...this.down, since } : { since, error };
  }

  private after(ms: number, run: () => void): void {
    const { clock } = this.options;
    clock.clearTimeout(this.timer);
    // Routers of a fleet do nothing in the same moment.
    this.timer = clock.setTimeout(run, Math.round(ms * (1 + randomOf(clock)() / 4)));
  }

  private async subscribe(connection: RedisLike, channel: string): Promise<void> {
    if (!this.isPlain) {
      try {
        await this.subscribeSharded(connection as RedisLike & ShardedClient, channel);
        return;
      } catch (error) {
        // A server before 7.0, where the scripts publish plainly too.
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
