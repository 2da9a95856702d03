import type { OnAnswer, StoredPage, StoredStatus, StoredStatuses } from '../../port';
import type { DataLoss } from '../changes/data-loss';
import { gather, type Keyspace, type Partition } from '../keyspace';
import * as scripts from '../lua/scripts.generated';
import { mapBounded } from './bounded';
import { Doubt, type DoubtOptions, decided } from './doubt';
import { cursorOf, Listing, type Seen } from './listing';
import type { From } from './page-walk';
import type { PresenceKeys } from './presence-keys';
import { type Ask, askPlaced, tap, tapped } from './script';

/** The most ids of one call. It takes some milliseconds, so that Redis can serve others in between. */
const READ_IDS = 1_000;
/** The size of a page where users are counted one by one. */
const COUNT_PAGE = 1_000;
/** The most calls of one query that are under way at once. */
const MOST_PIECES = 4;

/** @internal */
export interface QueriesOptions extends DoubtOptions {
  readonly keyspace: Keyspace;
  /** The data losses, by partition. */
  readonly losses: readonly DataLoss[];
  readonly ask: Ask;
  /** Reads keys, on a single server. */
  valuesOf(keys: readonly string[], onStep: OnAnswer): Promise<Array<string | null>>;
  /** The presence keys of a Cluster; undefined on a single server. */
  presenceKeys(): PresenceKeys | undefined;
  /** Settles the status of users who have a presence key and no record. */
  settle(partition: Partition, users: readonly StoredStatus[]): Promise<void>;
  /** A bucket contains foreign data. */
  repair(partition: Partition, bucket: number): void;
  /** Users are in wrong buckets, or are online without a presence key. */
  clear(partition: Partition, strays: ReadonlyArray<readonly [bucket: number, userId: string]>): void;
  /** The TTL of presence keys, as far as it is known. */
  ttlMs(): number;
}

type IsBelieved = (userId: string) => boolean;

/** The records of users of one partition, and the state of its data. */
interface ReadRecords {
  /** The places of these users in the query. */
  readonly group: readonly number[];
  /** See lua/read.lua. */
  readonly records: readonly string[];
  readonly now: number;
  /** That of the versions in the records. */
  readonly base: number;
  readonly isInDoubt: boolean;
  readonly isUnsure: boolean;
  /** A grace or a lease has ended unnoticed. */
  readonly isDue: boolean;
}

/**
 * Answers queries: who is online, and when users were last seen. Where only an extended lease holds a user, the presence key
 * decides, since it expires a TTL after the last activity.
 * @internal
 */
export class Queries {
  private readonly keyspace: Keyspace;
  private readonly listing: Listing;
  private readonly doubt: Doubt;

  constructor(private readonly options: QueriesOptions) {
    this.keyspace = options.keyspace;
    this.doubt = new Doubt(options);
    this.listing = new Listing({ ...options, doubt: this.doubt }, (users, now, onAnswer) =>
      this.withPresenceKeys(users, now, onAnswer),
    );
  }

  async read(userIds: readonly string[], onAnswer: OnAnswer, isBelieved?: IsBelieved): Promise<StoredStatuses> {
    const pieces: Array<readonly string[]> = [];
    for (let from = 0; from < userIds.length || from === 0; from += READ_IDS) {
      pieces.push(userIds.slice(from, from + READ_IDS));
    }
    const answers = await mapBounded(pieces, MOST_PIECES, (piece) => this.readPiece(piece, onAnswer, isBelieved));
    const users: StoredStatus[] = [];
    let now = 0;
    for (const answer of answers) {
      now = Math.max(now, answer.now);
      for (const user of answer.users) users.push(user);
    }
    return { now, users };
  }

  list(from: From, limit: number, onAnswer: OnAnswer): Promise<StoredPage> {
    return this.listing.page(from, limit, onAnswer);
  }

  /** Returns undefined while the data are in doubt. */
  async count(onAnswer: OnAnswer): Promise<number | undefined> {
    const ask = tapped(this.options.ask, onAnswer);
    const counts = await Promise.all(
      this.keyspace.partitions.map(async (partition) => {
        const [lease, nodes, meta, grace, count] = partition.keys as [string, string, string, string, string];
        const judge = this.doubt.judge(partition);
        const answer = await ask(
          partition,
          scripts.count,
          [count, meta, lease, nodes, grace],
          [String(partition.buckets)],
        );
        const [number, e, seq, awaited, isProven] = answer.split(' ') as [string, string, string, string, string];
        const isInDoubt = judge({ e, seq: Number(seq), awaited: awaited === '1' ? 1 : 0 });
        return { number: Number(number), isInDoubt, isProven: isProven === '1' };
      }),
    );
    if (counts.some(({ isInDoubt }) => isInDoubt)) return undefined;
    if (counts.some(({ isProven }) => !isProven)) return this.countKeys(onAnswer);
    return counts.reduce((sum, { number }) => sum + number, 0);
  }

  /** Counts users one by one, where leases were extended or have ended, and presence keys decide who is online. */
  private async countKeys(onAnswer: OnAnswer): Promise<number | undefined> {
    let sum = 0;
    for (let cursor: string | null = null; ; ) {
      const page: StoredPage = await this.list(cursorOf(cursor, this.keyspace), COUNT_PAGE, onAnswer);
      if (page.isUnsure) return undefined;
      sum += page.users.length;
      if (page.cursor === null) return sum;
      cursor = page.cursor;
    }
  }

  /**
   * On a single server a user with a presence key is online, since the key is deleted in the step in which its user goes
   * offline. The record decides for the others, and for all on a Cluster, after a loss of records, and where a grace or a
   * lease has ended and no heartbeat has noticed that yet. Keys and records are read in one round trip, but for the records of users
   * who are believed to be online: these are read only if they are needed.
   */
  private async readPiece(
    userIds: readonly string[],
    onAnswer: OnAnswer,
    isBelieved: IsBelieved | undefined,
  ): Promise<StoredStatuses> {
    const { isCluster } = this.keyspace;
    const groups = new Map<number, number[]>();
    const spared: number[] = [];
    for (let index = 0; index < userIds.length; index += 1) {
      const userId = userIds[index] as string;
      if (!isCluster && isBelieved?.(userId) === true) spared.push(index);
      else gather(groups, isCluster ? this.keyspace.place(userId).partition : 0, index);
    }
    // The time comes with the records.
    if (groups.size === 0) groups.set(0, []);
    const read = (partition: number, group: number[]) => this.readRecords(partition, group, userIds, onAnswer);
    const [keys, answers] = await Promise.all([
      isCluster ? this.presenceKeysOf(userIds, onAnswer) : tap(this.keysOf(userIds, onAnswer), onAnswer),
      Promise.all(Array.from(groups, ([partition, group]) => read(partition, group))),
    ]);
    let now = Math.max(...answers.map((answer) => answer.now));
    const wereLost = this.options.losses.some(({ isAny }) => isAny);
    const mayProve = !isCluster && !answers.some(({ isDue }) => isDue);
    // Judged once: by a second answer, a key may have become too old, or another loss known.
    const isProven = userIds.map(
      (userId, index) => mayProve && this.isOurs(keys[index], now) && !(wereLost && this.isSettled(userId)),
    );
    const open = spared.filter((index) => !isProven[index]);
    if (open.length > 0) {
      const answer = await read(0, open);
      now = Math.max(now, answer.now);
      answers.push(answer);
    }
    const users: StoredStatus[] = new Array(userIds.length);
    const asked: number[] = [];
    for (let index = 0; index < userIds.length; index += 1) {
      if (!isProven[index]) asked.push(index);
      else
        users[index] = { userId: userIds[index] as string, online: true, lastSeen: keys[index] as number, version: 0 };
    }
    for (const { group, records, base, isUnsure, isInDoubt } of answers) {
      for (let place = 0; place < group.length; place += 1) {
        const index = group[place] as number;
        if (users[index] !== undefined) continue;
        const userId = userIds[index] as string;
        const record = records[place] as string;
        if (record === '?') this.repair(userId);
        const lastSeen = keys[index];
        const isKeyed = this.isOurs(lastSeen, now);
        const stored = toStored(userId, record === '?' ? '' : record, base);
        const user = isKeyed ? withKey(stored, lastSeen) : stored;
        const proof = record.endsWith(' ?') ? 'key' : record.endsWith(' !') ? 'no' : 'yes';
        users[index] = proof === 'yes' && !isInDoubt ? user : decided(user, { proof, isUnsure, isInDoubt }, isKeyed);
      }
    }
    if (wereLost) await this.settle(users, asked, onAnswer);
    return { now, users };
  }

  /** Reads the records of users of one partition. */
  private async readRecords(
    index: number,
    group: number[],
    userIds: readonly string[],
    onAnswer: OnAnswer,
  ): Promise<ReadRecords> {
    const partition = this.keyspace.partitions[index] as Partition;
    const judge = this.doubt.judge(partition);
    const ids = group.map((place) => userIds[place] as string);
    const [head, ...records] = (await this.records(index, ids, onAnswer)).split(',') as [string, ...string[]];
    const [time, e, seq, awaited, unsure, due] = head.split(' ') as [string, string, string, string, string, string];
    return {
      group,
      records,
      now: Number(time),
      base: partition.base,
      isInDoubt: judge({ e, seq: Number(seq), awaited: awaited === '1' ? 1 : 0 }),
      isUnsure: unsure === '1',
      isDue: due === '1',
    };
  }

  /** Returns the time, and the records of users of one partition, joined by commas. */
  private records(index: number, userIds: string[], onAnswer: OnAnswer): Promise<string> {
    const partition = this.keyspace.partitions[index] as Partition;
    return askPlaced(tapped(this.options.ask, onAnswer), partition, scripts.read, () => ({
      keys: [partition.meta, ...partition.keys.slice(0, 2), partition.keys[3] as string].concat(
        userIds.map((id) => partition.bucketKey(partition.bucketOf(id))),
      ),
      args: [partition.seed, partition.knownEpoch, JSON.stringify(userIds)],
    }));
  }

  private repair(userId: string): void {
    const { partition, bucket } = this.keyspace.place(userId);
    this.options.repair(this.keyspace.partitions[partition] as Partition, bucket);
  }

  private isSettled(userId: string): boolean {
    const { partition, bucket } = this.keyspace.place(userId);
    return (this.options.losses[partition] as DataLoss).isSettled(bucket);
  }

  /** Returns the last seen in the presence keys of a single server; undefined where there is none, or foreign data. */
  private async keysOf(userIds: readonly string[], onStep: OnAnswer): Promise<Array<number | undefined>> {
    if (userIds.length === 0) return [];
    const keys = userIds.map((userId) => this.keyspace.userKey(userId));
    const values = await this.options.valuesOf(keys, onStep);
    return values.map((value) => (typeof value === 'string' && /^\d{12,16}$/.test(value) ? Number(value) : undefined));
  }

  private async withPresenceKeys(users: StoredStatus[], now: number, onAnswer: OnAnswer): Promise<Seen> {
    const ids = users.map(({ userId }) => userId);
    const isCluster = this.keyspace.isCluster;
    const seen = await (isCluster ? this.presenceKeysOf(ids, onAnswer) : tap(this.keysOf(ids, onAnswer), onAnswer));
    return { users: this.seenBy(seen, users, now), isKeyed: (index) => this.isOurs(seen[index], now) };
  }

  /** Returns the last seen in the presence keys of a Cluster; empty on a single server. */
  private async presenceKeysOf(userIds: readonly string[], onAnswer: OnAnswer): Promise<Array<number | undefined>> {
    const presenceKeys = this.options.presenceKeys();
    if (presenceKeys === undefined) return [];
    const pieces: Array<readonly string[]> = [];
    for (let from = 0; from < userIds.length; from += READ_IDS) pieces.push(userIds.slice(from, from + READ_IDS));
    const answers = await mapBounded(pieces, MOST_PIECES, (piece) => tap(presenceKeys.get(piece), onAnswer));
    return ([] as Array<number | undefined>).concat(...answers);
  }

  private seenBy(seen: ReadonlyArray<number | undefined>, users: StoredStatus[], now: number): StoredStatus[] {
    return users.map((user, index) => {
      const lastSeen = seen[index];
      return this.isOurs(lastSeen, now) ? withKey(user, lastSeen) : user;
    });
  }

  /** Whether a time can be that of a presence key: an older one than the TTL was written by another program. */
  private isOurs(at: number | undefined, now: number): at is number {
    return at !== undefined && at > now - this.options.ttlMs() - SLACK_MS && at <= now + SLACK_MS;
  }

  /** Settles the status of users who have a presence key, and whose record was lost. */
  private async settle(users: StoredStatus[], asked: readonly number[], onAnswer: OnAnswer): Promise<void> {
    const groups = new Map<number, number[]>();
    for (const index of asked) {
      const { userId, online, version } = users[index] as StoredStatus;
      if (online && version === 0 && this.isSettled(userId))
        gather(groups, this.keyspace.place(userId).partition, index);
    }
    await Promise.all(
      Array.from(groups, async ([at, group]) => {
        const partition = this.keyspace.partitions[at] as Partition;
        const lost = group.map((index) => users[index] as StoredStatus);
        const ids = lost.map(({ userId }) => userId);
        await tap(this.options.settle(partition, lost), onAnswer);
        // By now they have a record, either a new one or that of a router that has registered them again.
        const again = await this.readPiece(ids, onAnswer, undefined);
        for (const [place, index] of group.entries()) users[index] = again.users[place] as StoredStatus;
      }),
    );
  }
}

/** Adds the last seen of a presence key. A user with a key and without a record is online, and the record was lost. */
function withKey(user: StoredStatus, lastSeen: number): StoredStatus {
  if (user.lastSeen === null) return { ...user, online: true, lastSeen };
  return user.online && lastSeen > user.lastSeen ? { ...user, lastSeen } : user;
}

/** How far a time in a presence key may lie beyond its bounds, since clocks differ a little. */
const SLACK_MS = 60_000;

/** Times in records count from 2020, see lua/record.lua. */
const EPOCH_MS = 1_577_836_800_000;

function toStored(userId: string, record: string, base: number): StoredStatus {
  if (record === '') return { userId, online: false, lastSeen: null, version: 0 };
  const [, version, lastSeen] = /^(-?[\da-f]+)[jlnrt]([\da-f]+)/.exec(record) as unknown as [string, string, string];
  return {
    userId,
    online: !version.startsWith('-'),
    lastSeen: Number.parseInt(lastSeen, 16) + EPOCH_MS,
    version: base + Math.abs(Number.parseInt(version, 16)),
  };
}
