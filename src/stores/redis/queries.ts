import { optionError, shown } from '../../errors';
import { toUserId } from '../../ids';
import type { Sequence, StoredPage, StoredStatus, StoredStatuses } from '../../store';
import type { Hearing } from './hearing';
import { gather, type Layout, type Partition, WALK_BUCKETS, WALK_USERS } from './layout';
import type { Losses } from './losses';
import type { Mirrors } from './mirrors';
import { type Ask, askPlaced } from './script';
import * as scripts from './scripts';

/** Ids that are read at once: some milliseconds, so that others are served in between. */
const READ_IDS = 1_000;

interface ListedPart {
  readonly now: number;
  readonly e: string;
  readonly seq: number;
  readonly done: number;
  readonly after: number;
  readonly users: Array<[userId: string, version: number, lastSeen: number, bucket: number, isKeyed: 0 | 1]>;
  /** Buckets in which something is that is not ours. */
  readonly junk: number[];
}

/** Where a page begins. @internal */
export type From = [partition: number, bucket: number, after: number];

/** @internal */
export interface QueriesOptions {
  readonly layout: Layout;
  /** By partition. */
  readonly losses: readonly Losses[];
  readonly ask: Ask;
  /** What was heard of a partition. */
  hearingOf(partition: Partition): Hearing;
  /** The values of keys, on a single server. */
  valuesOf(keys: readonly string[]): Promise<Array<string | null>>;
  /** On a Cluster. */
  mirrors(): Mirrors | undefined;
  /** Decides on users who have no record. */
  settle(partition: Partition, users: readonly StoredStatus[]): Promise<void>;
  /** Something in a bucket is not ours. */
  repair(partition: Partition, bucket: number): void;
  /** Users stand in buckets that are not theirs, or are online and have no key. */
  clear(partition: Partition, strays: ReadonlyArray<readonly [bucket: number, userId: string]>): void;
  /** How long a key of the contract lives without a sign of life, as far as that is known. */
  ttlMs(): number;
}

/**
 * Who is online, and when others were last seen: what was told last, which is what routers that listen believe.
 * @internal
 */
export class Queries {
  private readonly layout: Layout;

  constructor(private readonly options: QueriesOptions) {
    this.layout = options.layout;
  }

  async read(userIds: readonly string[]): Promise<StoredStatuses> {
    const users: StoredStatus[] = new Array(userIds.length);
    let now = 0;
    for (let from = 0; from < userIds.length || from === 0; from += READ_IDS) {
      const piece = userIds.slice(from, from + READ_IDS);
      const read = await this.readPiece(piece);
      now = read.now;
      for (const [index, user] of read.users.entries()) users[from + index] = user;
    }
    return { now, users };
  }

  async list([index, bucket, after]: From, limit: number): Promise<StoredPage> {
    const { layout } = this;
    const users: StoredStatus[] = [];
    let now = 0;
    let sequence: Sequence | undefined;
    const page = async (next: string | null): Promise<StoredPage> => {
      const whole = { now, users: await this.withMirrors(users, now), cursor: next };
      return sequence === undefined ? whole : { ...whole, sequence };
    };
    while (index < layout.partitions.length) {
      const partition = layout.partitions[index] as Partition;
      if (bucket === partition.buckets) {
        index += 1;
        bucket = 0;
        continue;
      }
      if (users.length === limit) return page(`${index}.${bucket}.${after}`);
      const hearing = this.options.hearingOf(partition);
      const answer = await askPlaced(this.options.ask, partition, scripts.list, () => ({
        keys: [partition.meta].concat(partition.slice(bucket, WALK_BUCKETS)),
        args: [
          layout.isCluster ? '' : layout.userPrefix,
          String(limit - users.length),
          String(after),
          String(WALK_USERS),
          partition.seed,
          partition.knownEpoch,
          String(bucket),
        ],
      }));
      const part: ListedPart = JSON.parse(answer);
      for (const junk of part.junk) this.options.repair(partition, junk);
      now = part.now;
      // Of the beginning: what changes while the page is read is told, too, as is what was not heard yet when it was read.
      // Partitions of a Cluster count each for itself.
      if (!layout.isCluster) {
        const told = hearing.learn(part.e, part.seq);
        sequence = sequence ?? { epoch: part.e.replace('.', '-'), version: part.seq, told };
      }
      bucket += part.done;
      after = part.after;
      const strays: Array<readonly [bucket: number, userId: string]> = [];
      for (const [userId, version, lastSeen, at, isKeyed] of part.users) {
        if (!isUserId(userId)) continue;
        const isAtHome = partition.bucketOf(userId) === at;
        if (isAtHome) users.push({ userId, online: true, lastSeen, version });
        // Nobody else writes a record without a key: whoever holds that user has to say so again.
        if (!isAtHome || isKeyed === 0) strays.push([at, userId]);
      }
      if (strays.length > 0) this.options.clear(partition, strays);
    }
    return page(null);
  }

  async count(): Promise<number> {
    const counts = await Promise.all(
      this.layout.partitions.map((partition) =>
        this.options.ask(partition, scripts.count, partition.keys.slice(4, 5), [String(partition.buckets)]),
      ),
    );
    return counts.reduce((sum, count) => sum + Number(count), 0);
  }

  /**
   * Whoever has a key of the contract is online: it is deleted in the same step in which its user goes offline. Of the
   * others, and on a Cluster of all, the record knows; as it does where records were lost.
   */
  private async readPiece(userIds: readonly string[]): Promise<StoredStatuses> {
    const { isCluster } = this.layout;
    // What time it is goes with the keys: where all have one, nothing else is asked.
    const [keys, time] = isCluster ? [[], 0] : await Promise.all([this.keysOf(userIds), this.records(0, [])]);
    let now = Number(time);
    const wereLost = this.options.losses.some(({ isAny }) => isAny);
    const users: StoredStatus[] = new Array(userIds.length);
    const groups = new Map<number, number[]>();
    for (const [index, userId] of userIds.entries()) {
      const lastSeen = keys[index];
      if (this.isOurs(lastSeen, now) && !(wereLost && this.isSettled(userId))) {
        users[index] = { userId, online: true, lastSeen, version: 0 };
      } else {
        gather(groups, this.layout.place(userId).partition, index);
      }
    }
    if (isCluster && groups.size === 0) groups.set(0, []);
    await Promise.all(
      Array.from(groups, async ([partition, group]) => {
        const ids = group.map((index) => userIds[index] as string);
        const [time, ...records] = (await this.records(partition, ids)).split(',');
        now = Math.max(now, Number(time));
        for (const [place, index] of group.entries()) {
          const userId = ids[place] as string;
          const record = records[place] as string;
          if (record === '?') this.repair(userId);
          const user = toStored(userId, record === '?' ? '' : record);
          const lastSeen = keys[index];
          users[index] = this.isOurs(lastSeen, now) ? withKey(user, lastSeen) : user;
        }
      }),
    );
    const whole = await this.withMirrors(users, now);
    if (wereLost) await this.settle(whole, ([] as number[]).concat(...groups.values()));
    return { now, users: whole };
  }

  /** What time it is, and the records of users of one partition, joined by commas. */
  private records(index: number, userIds: string[]): Promise<string> {
    const partition = this.layout.partitions[index] as Partition;
    return askPlaced(this.options.ask, partition, scripts.read, () => ({
      keys: [partition.meta].concat(userIds.map((id) => partition.bucketKey(partition.bucketOf(id)))),
      args: [partition.seed, partition.knownEpoch].concat(userIds),
    }));
  }

  private repair(userId: string): void {
    const { partition, bucket } = this.layout.place(userId);
    this.options.repair(this.layout.partitions[partition] as Partition, bucket);
  }

  private isSettled(userId: string): boolean {
    const { partition, bucket } = this.layout.place(userId);
    return (this.options.losses[partition] as Losses).isSettled(bucket);
  }

  /** What the keys of the contract say, on a single server: when each user was last seen. Ours hold a time. */
  private async keysOf(userIds: readonly string[]): Promise<Array<number | undefined>> {
    if (userIds.length === 0) return [];
    const keys = userIds.map((userId) => this.layout.userKey(userId));
    const values = await this.options.valuesOf(keys);
    return values.map((value) => (typeof value === 'string' && /^\d{12,16}$/.test(value) ? Number(value) : undefined));
  }

  /** On a Cluster the last sign of life stands elsewhere. */
  private async withMirrors(users: StoredStatus[], now: number): Promise<StoredStatus[]> {
    const mirrors = this.options.mirrors();
    if (mirrors === undefined) return users;
    const seen = await mirrors.get(users.map(({ userId }) => userId));
    return users.map((user, index) => {
      const lastSeen = seen[index];
      return this.isOurs(lastSeen, now) ? withKey(user, lastSeen) : user;
    });
  }

  /** A key that nobody has moved for longer than it would live was written by somebody else. */
  private isOurs(at: number | undefined, now: number): at is number {
    return at !== undefined && at > now - this.options.ttlMs() - SLACK_MS && at <= now + SLACK_MS;
  }

  /** Decides on those who have no record, though nobody took it away who may, and a key that outlived it. */
  private async settle(users: StoredStatus[], asked: readonly number[]): Promise<void> {
    const groups = new Map<number, number[]>();
    for (const index of asked) {
      const { userId, online, version } = users[index] as StoredStatus;
      if (online && version === 0 && this.isSettled(userId)) gather(groups, this.layout.place(userId).partition, index);
    }
    await Promise.all(
      Array.from(groups, async ([at, group]) => {
        const partition = this.layout.partitions[at] as Partition;
        const lost = group.map((index) => users[index] as StoredStatus);
        const ids = lost.map(({ userId }) => userId);
        await this.options.settle(partition, lost);
        // They have a record now: the one just made, or that of a router that came first.
        const again = await this.readPiece(ids);
        for (const [place, index] of group.entries()) users[index] = again.users[place] as StoredStatus;
      }),
    );
  }
}

/** What a key of the contract adds. Without a record it is the record that was lost: who has left has no key. */
function withKey(user: StoredStatus, lastSeen: number): StoredStatus {
  if (user.lastSeen === null) return { ...user, online: true, lastSeen };
  return user.online && lastSeen > user.lastSeen ? { ...user, lastSeen } : user;
}

/** Clocks of one server do not jump; what is later is not ours. */
const SLACK_MS = 60_000;

/** What stands in a bucket anybody may have written, who may write there at all. */
function isUserId(id: string): boolean {
  try {
    return toUserId(id, 'id') === id;
  } catch {
    return false;
  }
}

/** Times of records begin with 2020, see lua/shared.lua. */
const EPOCH_MS = 1_577_836_800_000;

function toStored(userId: string, record: string): StoredStatus {
  if (record === '') return { userId, online: false, lastSeen: null, version: 0 };
  const [version, lastSeen] = record.split(' ') as [string, string];
  return {
    userId,
    online: !version.startsWith('-'),
    lastSeen: Number.parseInt(lastSeen, 16) + EPOCH_MS,
    version: Math.abs(Number.parseInt(version, 16)),
  };
}

/** @throws TypeError `ERR_PRESENCE_OPTIONS` for what no page gave. @internal */
export function cursorOf(cursor: string | null, layout: Layout): From {
  if (cursor === null) return [0, 0, 0];
  const match = /^(\d{1,2})\.(\d{1,4})\.(\d{1,16})$/.exec(cursor);
  const [, partition, bucket, after] = match ?? [];
  if (match === null || layout.partitions[Number(partition)]?.slice(Number(bucket), 1).length !== 1) {
    throw optionError(`cursor is ${shown(cursor)}; it is null or what the page before gave`);
  }
  return [Number(partition), Number(bucket), Number(after)];
}
