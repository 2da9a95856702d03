import { storeFailure } from '../../../diagnostics/store-failure';
import type { Clock } from '../../../public/clock';
import type { ErrorStage } from '../../../public/types';
import { type Batch, ChangeReceiver, type Head, MAX_VERSION } from '../../change-receiver';
import { Inquiry } from '../../inquiry';
import type { StoreFeed, StoreNode } from '../../port';
import type { ScriptRunner } from '../commands/script-runner';
import { lackingChannel, StandingProblems } from '../connection/standing-problems';
import { Subscriber } from '../connection/subscriber';
import type { Keyspace, Partition } from '../keyspace';
import { DataLoss } from './data-loss';
import { isCount, isEpoch, parseMessage, toBatch } from './message-codec';

/** A connection for messages that works is there by then, however busy this router is. */
const CONNECTS_MS = 3_000;

/**
 * What a store hears: messages of the routers, what the log says where one is missing, and what was lost; and the feeds
 * that are told.
 * @internal
 */
export class ChangeStream {
  /** By partition. */
  readonly losses: readonly DataLoss[];
  readonly problems: StandingProblems;
  private receivers: ChangeReceiver[];
  /** By partition: whether something was lost, as a message says. */
  private lossInquiries: Inquiry[];
  /** Each with the versions that had been seen when it subscribed. */
  private readonly feeds = new Map<StoreFeed, readonly number[]>();
  private subscriber: Subscriber | undefined;
  /** Since when the last heartbeat that got through has found it deaf, and what is said of that. */
  private deaf: { readonly since: number; message: string | undefined } | undefined;

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

  /** True for the last one: nobody is left to be told. */
  remove(feed: StoreFeed): boolean {
    return this.feeds.delete(feed) && this.feeds.size === 0;
  }

  close(): void {
    this.subscriber?.close();
    this.subscriber = undefined;
    this.problems.clear('subscribe');
    // What changes from now on is no news to whoever subscribes later.
    for (const receiver of this.receivers) receiver.close();
    for (const inquiry of this.lossInquiries) inquiry.close();
    this.receivers = this.keyspace.partitions.map((partition) => {
      const { highestVersion, knownVersion } = this.receiverOf(partition);
      return this.newReceiver(partition, Math.max(highestVersion, knownVersion));
    });
    this.lossInquiries = this.keyspace.partitions.map((partition) => this.newLossInquiry(partition));
  }

  /** Another one after the store was closed. */
  receiverOf(partition: Partition): ChangeReceiver {
    return this.receivers[partition.index] as ChangeReceiver;
  }

  /** Resolves once what answers have said so far was heard. */
  async caughtUp(): Promise<void> {
    await Promise.all(this.receivers.map((receiver) => receiver.caughtUp()));
  }

  /** What is wrong with the connection for messages. */
  get reason(): string | undefined {
    return this.subscriber?.reason;
  }

  /** The name of the server is that of another one by now. */
  listenElsewhere(): void {
    this.subscriber?.replace();
  }

  /** A beat has learned how often users were lost. */
  verifyLosses(partition: Partition, node: StoreNode, times: number): void {
    const losses = this.losses[partition.index] as DataLoss;
    // Told once, and perhaps to a deaf one.
    if (losses.isNews(times)) this.lose(partition, [], times);
    // Whoever was not asserted meanwhile is found by whoever believes that they are online.
    if (losses.isOver(node)) this.tellGap();
  }

  /**
   * A heartbeat of a router has got through. Where its next one does and messages do not it is not the server that is away:
   * something is wrong with their connection, which no call would tell.
   */
  watchSubscriber(node: StoreNode): void {
    const deafness = this.subscriber?.deafness;
    const before = this.deaf;
    if (deafness === undefined || before?.since !== deafness.since) {
      this.deaf = deafness && { since: deafness.since, message: undefined };
      return;
    }
    // Where graces end, or several routers share a store, heartbeats follow each other more closely than anybody connects.
    if (Date.now() - deafness.since < Math.max(CONNECTS_MS, node.leaseMs / 3)) return;
    const { reason = 'it does not connect' } = this;
    // What it says first; the reasons of later attempts are many.
    before.message = before.message ?? this.sayDeafness(deafness.error ?? new Error(reason));
    this.problems.set('subscribe', before.message, deafness.since);
  }

  tellDue(inMs: number): void {
    for (const feed of this.feeds.keys()) feed.onDue(inMs);
  }

  /** Work that no call waits for: what goes wrong with it is told. */
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
        // What changed before the ear was open nobody told; what did while it was closed stands in the log.
        if (isFirst) this.tellGap();
        this.inBackground('subscribe', this.resume());
      },
      onError: (error) => this.reportDeafness(error),
    });
  }

  private reportDeafness(error: unknown): void {
    if (/^NOPERM/.test((error as Error).message)) this.problems.set('subscribe', this.sayDeafness(error));
    else this.report('subscribe', error);
  }

  private sayDeafness(error: unknown): string {
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
    // It was lost once; of what, two messages do not agree.
    if (claim === 'doubt') this.lose(partition, [], message.times);
  }

  private loseAll(partition: Partition): void {
    (this.losses[partition.index] as DataLoss).begin();
    this.tellLost(partition, []);
  }

  /** Users were lost in some buckets; in no named ones: perhaps in all. */
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
