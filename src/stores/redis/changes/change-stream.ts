import { storeFailure } from '../../../diagnostics/store-failure';
import type { Clock } from '../../../public/clock';
import type { ErrorStage } from '../../../public/types';
import { type Batch, type Head, MAX_VERSION } from '../../batch';
import { ChangeReceiver } from '../../change-receiver';
import { Inquiry } from '../../inquiry';
import type { StoreFeed, StoreNode } from '../../port';
import type { ScriptRunner } from '../commands/script-runner';
import { lackingChannel, StandingProblems } from '../connection/standing-problems';
import { Subscriber } from '../connection/subscriber';
import type { Keyspace, Partition } from '../keyspace';
import { DataLoss } from './data-loss';
import { isCount, isEpoch, parseMessage, toBatch } from './message-codec';

/** The time in which a connection for messages that works is ready, even on a busy router. */
const CONNECTS_MS = 3_000;

/**
 * Receives changes and data losses, from the messages of routers and from the log where a message is missing, and passes
 * them to the feeds.
 * @internal
 */
export class ChangeStream {
  /** The data losses, by partition. */
  readonly losses: readonly DataLoss[];
  readonly problems: StandingProblems;
  private receivers: ChangeReceiver[];
  /** By partition: asks Redis whether data were lost, as a message claims. */
  private lossInquiries: Inquiry[];
  /** Each feed with the versions, by partition, that were known when it subscribed. */
  private readonly feeds = new Map<StoreFeed, readonly number[]>();
  private subscriber: Subscriber | undefined;
  /** When the subscriber was disconnected, as the last successful heartbeat found it, and the message of that problem. */
  private disconnected: { readonly since: number; message: string | undefined } | undefined;

  constructor(
    private readonly keyspace: Keyspace,
    private readonly runner: ScriptRunner,
    private readonly clock: Clock,
  ) {
    this.receivers = keyspace.partitions.map((partition) => this.newReceiver(partition, 0));
    this.losses = keyspace.partitions.map(() => new DataLoss(clock));
    this.problems = new StandingProblems((stage, error) => this.report(stage, error), clock);
    this.lossInquiries = keyspace.partitions.map((partition) => this.newLossInquiry(partition));
  }

  add(feed: StoreFeed): void {
    this.feeds.set(
      feed,
      this.receivers.map((receiver) => receiver.knownVersion),
    );
    this.subscriber = this.subscriber ?? this.startSubscriber();
  }

  /** Returns true for the last feed. */
  remove(feed: StoreFeed): boolean {
    return this.feeds.delete(feed) && this.feeds.size === 0;
  }

  close(): void {
    this.subscriber?.close();
    this.subscriber = undefined;
    this.problems.clear('subscribe');
    // New receivers, so that a feed that subscribes later does not get the changes until then.
    for (const receiver of this.receivers) receiver.close();
    for (const inquiry of this.lossInquiries) inquiry.close();
    this.receivers = this.keyspace.partitions.map((partition) => {
      const { highestVersion, knownVersion } = this.receiverOf(partition);
      return this.newReceiver(partition, Math.max(highestVersion, knownVersion));
    });
    this.lossInquiries = this.keyspace.partitions.map((partition) => this.newLossInquiry(partition));
  }

  /** The receiver of a partition. After the store was closed it is another one. */
  receiverOf(partition: Partition): ChangeReceiver {
    return this.receivers[partition.index] as ChangeReceiver;
  }

  /** Resolves once the feeds have received all changes that earlier answers include. */
  async caughtUp(): Promise<void> {
    await Promise.all(this.receivers.map((receiver) => receiver.caughtUp()));
  }

  /** The last error of the connection for messages. */
  get reason(): string | undefined {
    return this.subscriber?.reason;
  }

  /** Replaces the connection for messages: its host name leads to another server by now. */
  listenElsewhere(): void {
    this.subscriber?.replace();
  }

  /** Compares how often users were lost, by the answer to a beat, with the messages of losses. */
  verifyLosses(partition: Partition, node: StoreNode, times: number): void {
    const losses = this.losses[partition.index] as DataLoss;
    // The message is published once, and may not have arrived.
    if (losses.isNews(times)) this.lose(partition, [], times);
    // Routers that still show a user online who was not registered again find that by reading the store.
    if (losses.isOver(node)) this.tellGap();
  }

  /**
   * A heartbeat of a router has succeeded. Where the next one does too, and messages are still not received, the server is not
   * away: the connection for messages has a problem, which no call would report.
   */
  watchSubscriber(node: StoreNode): void {
    const disconnection = this.subscriber?.disconnection;
    const before = this.disconnected;
    if (disconnection === undefined || before?.since !== disconnection.since) {
      this.disconnected = disconnection && { since: disconnection.since, message: undefined };
      return;
    }
    // Heartbeats may follow each other faster than a connection is opened, where graces end or several routers share a store.
    if (this.clock.now() - disconnection.since < Math.max(CONNECTS_MS, node.leaseMs / 3)) return;
    const { reason = 'it does not connect' } = this;
    // The first message stays, since later attempts may fail for many reasons.
    before.message = before.message ?? this.disconnectedMessage(disconnection.error ?? new Error(reason));
    this.problems.set('subscribe', before.message, disconnection.since);
  }

  tellDue(inMs: number): void {
    for (const feed of this.feeds.keys()) feed.onDue(inMs);
  }

  /** Reports failures of work that no call waits for. */
  inBackground(stage: ErrorStage, work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (!this.runner.isClosed) this.report(stage, error);
    });
  }

  private newReceiver(partition: Partition, highest: number): ChangeReceiver {
    const log = partition.keys[5] as string;
    return new ChangeReceiver(
      {
        readHead: () => this.readHead(partition),
        readLog: async (from, most) => {
          const entries = await this.runner.send(partition.channel, (client) =>
            client.xrange(log, `${from}-0`, '+', 'COUNT', most),
          );
          return entries.map(([, fields]) => toBatch(fields[1] ?? ''));
        },
        tell: (batch) => this.tell(partition, batch),
        onGap: () => this.tellGap(),
        onAnew: () => this.loseAll(partition),
        onDeaf: () => this.subscriber?.verify(),
        onError: (error) => this.report('subscribe', error),
      },
      highest,
      this.clock,
    );
  }

  private newLossInquiry(partition: Partition): Inquiry {
    const losses = this.losses[partition.index] as DataLoss;
    const ask = async (): Promise<boolean> => {
      const before = losses.allClaims();
      const [lost] = await this.readMeta(partition, 'lost');
      const times = Number(lost ?? 0);
      const buckets = losses.confirm(times, before);
      if (buckets === undefined) return false;
      this.lose(partition, buckets, times);
      return true;
    };
    return new Inquiry({ clock: this.clock, ask, onError: (error) => this.report('subscribe', error) });
  }

  private async readHead(partition: Partition): Promise<Head | undefined> {
    const [epoch, seq] = await this.readMeta(partition, 'epoch', 'seq');
    const version = Number(seq ?? 0);
    return isEpoch(epoch) && isCount(version, MAX_VERSION) ? { epoch, version } : undefined;
  }

  private readMeta(partition: Partition, ...fields: string[]): Promise<Array<string | null>> {
    const meta = partition.meta;
    return this.runner.send(partition.channel, (client) => client.hmget(meta, ...fields));
  }

  private startSubscriber(): Subscriber {
    const byChannel = new Map(this.keyspace.partitions.map((partition) => [partition.channel, partition] as const));
    return new Subscriber({
      clock: this.clock,
      client: this.runner.client,
      channels: Array.from(byChannel.keys()),
      onMessage: (channel, text) => {
        const partition = byChannel.get(channel);
        if (partition !== undefined) this.onMessage(partition, text);
      },
      onListening: (isFirst) => {
        this.problems.clear('subscribe');
        // Changes before the first subscription have to be read; those during a reconnection are in the log.
        if (isFirst) this.tellGap();
        this.inBackground('subscribe', this.resume());
      },
      onError: (error) => this.reportDisconnected(error),
    });
  }

  private reportDisconnected(error: unknown): void {
    if (/^NOPERM/.test((error as Error).message)) this.problems.set('subscribe', this.disconnectedMessage(error));
    else this.report('subscribe', error);
  }

  private disconnectedMessage(error: unknown): string {
    const { channel } = this.keyspace.partitions[0] as Partition;
    const consequence = 'changes on other routers are learned from heartbeats only, up to a third of a lease late';
    const { message } = error as Error;
    if (/^NOPERM/.test(message)) return lackingChannel('subscribe to', channel, consequence);
    return `the connection for messages is down: ${storeFailure(error).words}; ${consequence}`;
  }

  private async resume(): Promise<void> {
    await Promise.all(
      this.keyspace.partitions.map(async (partition) => {
        const receiver = this.receiverOf(partition);
        const head = await this.readHead(partition);
        if (head !== undefined) receiver.learn(head.epoch, head.version);
        receiver.verify();
      }),
    );
  }

  private onMessage(partition: Partition, text: string): void {
    const message = parseMessage(text);
    if (message === undefined) return;
    if ('first' in message) {
      this.receiverOf(partition).hear(message);
      return;
    }
    const claim = (this.losses[partition.index] as DataLoss).claims(message);
    if (claim === 'ask') (this.lossInquiries[partition.index] as Inquiry).put();
    // Two messages about one loss name different buckets, so all users are registered again.
    if (claim === 'doubt') this.lose(partition, [], message.times);
  }

  private loseAll(partition: Partition): void {
    (this.losses[partition.index] as DataLoss).begin();
    this.tellLost(partition, []);
  }

  /** Users were lost in some buckets; without names, perhaps in all. */
  private lose(partition: Partition, buckets: readonly number[], times: number): void {
    (this.losses[partition.index] as DataLoss).hear(buckets, times);
    this.tellLost(partition, buckets);
  }

  private tellLost(partition: Partition, buckets: readonly number[]): void {
    const lost = new Set(buckets);
    const isLostUser = (userId: string): boolean => {
      const place = this.keyspace.place(userId);
      return place.partition === partition.index && (lost.size === 0 || lost.has(place.bucket));
    };
    for (const feed of this.feeds.keys()) feed.onLost(isLostUser);
  }

  private tell(partition: Partition, batch: Batch): void {
    for (const [feed, since] of this.feeds) {
      for (const { update, lastSeen } of batch.changes) {
        if (update.version > (since[partition.index] as number)) feed.onTransition(update, lastSeen);
      }
    }
  }

  private tellGap(): void {
    for (const feed of this.feeds.keys()) feed.onGap();
  }

  private report(stage: ErrorStage, error: unknown): void {
    for (const feed of this.feeds.keys()) feed.onError(stage, error);
  }
}
