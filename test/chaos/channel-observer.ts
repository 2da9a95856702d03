import { Redis } from 'ioredis';
import type { PresenceUpdate } from 'voiceping-presence';

/** On it the parent says, in order with everything else, what it took from Redis. */
export const MARKS = 'chaos:marks';

/** What was taken: everything; or the versions; or what was known of some users. */
export interface Mark {
  readonly lost: 'everything' | 'versions' | 'users';
  readonly userIds: readonly string[];
}

/** New data begin at a version that follows from the time, see meta.lua. */
const EPOCH = 1_577_836_800_000;
const FLOOR_PER_MS = 256;
/** A mark may come a little later than the first change after it was made. */
const EARLY_MS = 1_000;
const floorNow = (): number => (Date.now() - EARLY_MS - EPOCH) * FLOOR_PER_MS;

type Fail = (message: string) => void;

/**
 * Subscribes to the public channels on a connection of its own, which only faults of Redis itself affect.
 *
 * Versions only grow, whatever happens. As long as nothing is lost each is the one before and one more, and each user's
 * changes alternate. A loss allows these exceptions, only for the users concerned:
 * - everything: all users start again as offline, and versions above the one that is calculated from the time
 * - some users: their next change may be to either status
 * - the versions: they continue above the one that is calculated from the time
 * - messages, while Redis was away: the next change of all users may be to either status
 */
export class ChannelObserver {
  readonly history: PresenceUpdate[] = [];
  /** The time in which no message could arrive. */
  readonly deafSpans: Array<{ readonly from: number; to: number }> = [];
  heardAt = Date.now();
  private readonly client: Redis;
  private readonly online = new Map<string, boolean | undefined>();
  /** The status of users without a change since the last loss: offline, or unknown. */
  private others: false | undefined = false;
  private version = floorNow();
  /** The next version may be any that is higher, and until then each may. */
  private mayLeap = true;
  private mayLeapUntil = 0;
  private statusText = '';
  private isLossExpected = false;

  constructor(
    port: number,
    private readonly fail: Fail,
    private readonly onChange: (update: PresenceUpdate) => void,
  ) {
    this.client = new Redis({
      port,
      host: '127.0.0.1',
      connectionName: 'chaos-observer',
      autoResubscribe: false,
      lazyConnect: true,
      // Sooner than any router is back.
      retryStrategy: () => 5,
    });
    this.client.on('error', () => undefined);
    this.client.on('close', () => this.goDeaf());
    this.client.on('ready', () => void this.listen());
    this.client.on('message', (channel: string, text: string) => this.hear(channel, text));
  }

  async start(): Promise<void> {
    await this.client.connect();
    await this.listen();
  }

  /** Redis is about to stop, and comes back without its data. Until then it works as before. */
  expectLoss(): void {
    this.isLossExpected = true;
  }

  /** Versions of forged messages are not used again. */
  expectLeaps(ms: number): void {
    this.mayLeapUntil = Date.now() + ms;
  }

  get isHearing(): boolean {
    return this.deafSpans.at(-1)?.to !== Number.POSITIVE_INFINITY;
  }

  /** The last status of the user that was received since a loss. */
  lastOf(userId: string): boolean | undefined {
    return this.online.get(userId);
  }

  close(): void {
    this.client.removeAllListeners('close');
    this.client.disconnect();
  }

  private async listen(): Promise<void> {
    await this.client
      .subscribe('presence:online', 'presence:offline', 'presence:updates', MARKS)
      .catch(() => undefined);
    const span = this.deafSpans.at(-1);
    if (span !== undefined && span.to === Number.POSITIVE_INFINITY) span.to = Date.now();
  }

  private goDeaf(): void {
    if (this.isLossExpected) this.startAnew();
    this.isLossExpected = false;
    if (!this.isHearing) return;
    this.deafSpans.push({ from: Date.now(), to: Number.POSITIVE_INFINITY });
    this.online.clear();
    this.others = undefined;
    this.statusText = '';
    this.mayLeap = true;
  }

  private hear(channel: string, text: string): void {
    if (channel === MARKS) {
      this.mark(JSON.parse(text) as Mark);
      return;
    }
    if (channel !== 'presence:updates') {
      if (this.statusText !== '') this.fail(`on a channel of one status, and not on updates: ${this.statusText}`);
      this.statusText = text;
      if (!channel.endsWith((JSON.parse(text) as PresenceUpdate).status)) this.fail(`on ${channel}: ${text}`);
      return;
    }
    // Deaf until just now, it may have missed the first of the two.
    if (this.statusText !== text && this.history.length > 0 && this.statusText !== '') {
      this.fail(`on updates: ${text}, and on the channel of its status: ${this.statusText}`);
    }
    this.statusText = '';
    this.take(JSON.parse(text) as PresenceUpdate);
  }

  private take(update: PresenceUpdate): void {
    const { userId, status, version } = update;
    this.heardAt = Date.now();
    this.history.push(update);
    this.onChange(update);
    if (version <= this.version) this.fail(`version ${version} after ${this.version}: ${JSON.stringify(update)}`);
    if (version !== this.version + 1 && !this.mayLeap && Date.now() > this.mayLeapUntil) {
      this.fail(`version ${version} after ${this.version}, and nothing was lost: ${JSON.stringify(update)}`);
    }
    this.mayLeap = false;
    this.version = version;
    const isOnline = status === 'online';
    const before = this.online.has(userId) ? this.online.get(userId) : this.others;
    if (before === isOnline) this.fail(`on the channels ${status} twice: ${JSON.stringify(update)}`);
    this.online.set(userId, isOnline);
  }

  private mark({ lost, userIds }: Mark): void {
    if (lost === 'users') {
      for (const userId of Object.values(userIds)) this.online.set(userId, undefined);
      return;
    }
    this.startAnew();
    if (lost === 'versions') return;
    this.online.clear();
    this.others = false;
  }

  private startAnew(): void {
    this.version = Math.max(this.version, floorNow());
    this.mayLeap = true;
  }
}
