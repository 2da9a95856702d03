import { Redis } from 'ioredis';
import type { PresenceUpdate } from 'voiceping-presence';

/** On it the parent says, in order with everything else, what it took from Redis. */
export const MARKS = 'chaos:marks';

/** What was taken: everything; or the versions; or what was known of some users. */
export interface Mark {
  readonly lost: 'everything' | 'versions' | 'users';
  readonly userIds: readonly string[];
}

/** More changes than Redis has on the way to anybody when it dies. */
const UNHEARD = 5_000;

type Fail = (message: string) => void;

/** What identifies a change whoever tells it. */
const keyOf = ({ userId, status, timestamp, reason }: PresenceUpdate): string =>
  `${status} ${reason} ${timestamp} ${userId}`;

/**
 * Hears the public channels on a connection of its own, which no fault but a restart of Redis touches.
 *
 * As long as nothing is lost, every version is the one before and one more, and each user's changes alternate. What was
 * lost allows this much, and only for whom it was lost:
 * - everything: all users start anew, offline
 * - a bucket: its users may next come or go
 * - the versions: they go on where the first router that calls has seen them, which may be a little less, and leap once a
 *   router that has seen more calls; so there are gaps until they have passed the highest one there ever was
 * - while Redis was away nobody could hear, so all users may next come or go
 */
export class ChannelObserver {
  readonly history: PresenceUpdate[] = [];
  /** Nobody could hear from, and until. */
  readonly deafSpans: Array<{ readonly from: number; to: number }> = [];
  heardAt = Date.now();
  private readonly client: Redis;
  private readonly online = new Map<string, boolean | undefined>();
  /** Of whom nothing was heard since the last loss: offline, or unknown. */
  private others: false | undefined = false;
  private version = 0;
  /** The highest version that any router may have seen. */
  private ceiling = 0;
  private statusText = '';
  private isLossExpected = false;
  private wasDeaf = false;

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

  /** Redis is about to go, and comes back without what it held. Until it goes it goes on as before. */
  expectLoss(): void {
    this.isLossExpected = true;
    // A router may have heard a little that did not come here any more.
    this.ceiling = Math.max(this.ceiling, this.version) + UNHEARD;
  }

  get isHearing(): boolean {
    return this.deafSpans.at(-1)?.to !== Number.POSITIVE_INFINITY;
  }

  /** The last thing heard of the user since something was lost. */
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
    if (this.isLossExpected) this.version = 0;
    this.isLossExpected = false;
    if (!this.isHearing) return;
    this.deafSpans.push({ from: Date.now(), to: Number.POSITIVE_INFINITY });
    this.online.clear();
    this.others = undefined;
    this.statusText = '';
    this.wasDeaf = true;
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
    // New data begin at a version that follows from the time.
    const isFirst = this.version === 0;
    if (!isFirst && version !== this.version + 1 && this.version >= this.ceiling && !this.wasDeaf) {
      this.fail(`version ${version} after ${this.version}, and nothing was lost: ${JSON.stringify(update)}`);
    }
    this.wasDeaf = false;
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
    this.ceiling = Math.max(this.ceiling, this.version);
    this.version = 0;
    if (lost === 'versions') return;
    this.online.clear();
    this.others = false;
  }
}

/** What `onUpdate` of one router told, from the start of its process to the end: alternating and growing, whatever happens. */
export class UpdateObserver {
  readonly history: PresenceUpdate[] = [];
  private readonly last = new Map<string, PresenceUpdate>();

  constructor(
    private readonly name: string,
    private readonly fail: Fail,
  ) {}

  hear(update: PresenceUpdate): void {
    const before = this.last.get(update.userId);
    if (before !== undefined && before.status === update.status) {
      this.fail(`${this.name} told ${JSON.stringify(before)}, then ${JSON.stringify(update)}`);
    }
    if (update.version <= (before?.version ?? 0)) {
      this.fail(`${this.name} told version ${before?.version ?? 0}, then ${JSON.stringify(update)}`);
    }
    this.last.set(update.userId, update);
    this.history.push(update);
  }

  lastOf(userId: string): PresenceUpdate | undefined {
    return this.last.get(userId);
  }
}

/** How a router's history differs from that of the channels; `compared` says how much was there to differ. */
export function compareHistories(
  heard: readonly PresenceUpdate[],
  told: readonly PresenceUpdate[],
  /** Whether the router must have told what happened then; and whether the channels must have. */
  must: { tell(at: number, userId: string): boolean; say(at: number): boolean },
): { readonly missing: PresenceUpdate[]; readonly invented: PresenceUpdate[]; readonly compared: number } {
  const open = new Map<string, number>();
  const found = new Set<string>();
  for (const update of told) {
    open.set(keyOf(update), (open.get(keyOf(update)) ?? 0) + 1);
    if (update.reason === 'resync') found.add(`${update.status} ${update.version} ${update.userId}`);
  }
  const missing: PresenceUpdate[] = [];
  let compared = 0;
  for (const update of heard) {
    const key = keyOf(update);
    const count = open.get(key) ?? 0;
    open.set(key, count - 1);
    // A router that found out by itself tells what it found, at a time of its own.
    if (update.reason === 'resync' || !must.tell(Date.parse(update.timestamp), update.userId)) continue;
    compared += 1;
    // What it read may have come before the message that says the same.
    const wasFound = found.has(`${update.status} ${update.version} ${update.userId}`);
    if (count <= 0 && !wasFound) missing.push(update);
  }
  const invented = told.filter((update) => {
    if (update.reason === 'resync' || !must.say(Date.parse(update.timestamp))) return false;
    return (open.get(keyOf(update)) ?? 0) > 0;
  });
  return { missing, invented, compared };
}
