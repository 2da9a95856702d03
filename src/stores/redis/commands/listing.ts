import { optionError, shown } from '../../../public/errors';
import { toUserId } from '../../../public/user-id';
import type { OnAnswer, Sequence, StoredPage, StoredStatus } from '../../port';
import { type Keyspace, type Partition, WALK_USERS } from '../keyspace';
import * as scripts from '../lua/scripts.generated';
import { type Doubt, decided, type Open } from './doubt';
import { type Found, type From, PageWalk } from './page-walk';
import type { QueriesOptions } from './queries';
import { askPlaced, tapped } from './script';

interface ListedPart {
  readonly now: number;
  readonly e: string;
  readonly seq: number;
  readonly done: number;
  readonly after: number;
  readonly examined: number;
  readonly users: Array<[userId: string, version: number, lastSeen: number, bucket: number, proof: 1 | 0 | -1]>;
  readonly awaited: 0 | 1;
  readonly unsure: 0 | 1;
  /** Buckets in which something is that is not ours. */
  readonly junk: number[];
}

/** Users with what is known elsewhere of when they were last seen. @internal */
export interface Seen {
  readonly users: StoredStatus[];
  /** Whether there is a presence key. */
  isKeyed(index: number): boolean;
}

type WithSeen = (users: StoredStatus[], now: number, onAnswer: OnAnswer) => Promise<Seen>;

/** Pages of users who are online. @internal */
export class Listing {
  private readonly keyspace: Keyspace;
  private readonly walk: PageWalk;

  constructor(
    private readonly options: Pick<QueriesOptions, 'keyspace' | 'ask' | 'receiverOf' | 'repair' | 'clear'> & {
      readonly doubt: Doubt;
    },
    private readonly withSeen: WithSeen,
  ) {
    this.keyspace = options.keyspace;
    this.walk = new PageWalk(options.keyspace.partitions.map(({ buckets }) => buckets));
  }

  async page(from: From, limit: number, onAnswer: OnAnswer): Promise<StoredPage> {
    const { partitions, isCluster } = this.keyspace;
    let now = 0;
    const coming: string[] = [];
    let sequence: Sequence | undefined;
    let isInDoubt = false;
    // Who was published as online, and is so no more, or only by a presence key.
    const unproven = new Map<string, Open>();
    const { users, next } = await this.walk.page(from, limit, async (index, first, count, after, room) => {
      const partition = partitions[index] as Partition;
      const judge = this.options.doubt.judge(partition);
      const part = await this.listPart(partition, first, count, after, room, onAnswer);
      isInDoubt = judge(part) || isInDoubt;
      for (const [userId, , , , proof] of part.users) {
        if (proof > 0) continue;
        unproven.set(userId, { proof: proof < 0 ? 'no' : 'key', isUnsure: part.unsure === 1, isInDoubt: false });
      }
      now = Math.max(now, part.now);
      const told = this.options.receiverOf(partition).learn(part.e, part.seq);
      for (const [userId, version] of part.users) if (version > told && version <= part.seq) coming.push(userId);
      // Of the beginning: what changes while the page is read is told, too. Partitions of a Cluster count each for itself.
      if (!isCluster) sequence = earlier(sequence, { epoch: part.e.replace('.', '-'), version: part.seq, told });
      return { users: this.foundIn(partition, part), done: part.done, after: part.after, examined: part.examined };
    });
    const seen = await this.withSeen(users, now, onAnswer);
    if (!isCluster) this.findKeyless(seen, unproven);
    let page: StoredPage = { now, users: seen.users, cursor: next === null ? null : next.join('.'), coming };
    if (sequence !== undefined) page = { ...page, sequence };
    if (unproven.size > 0) page = { ...page, ...divided(seen, unproven) };
    return isInDoubt ? { ...page, isUnsure: true } : page;
  }

  private async listPart(
    partition: Partition,
    first: number,
    count: number,
    after: number,
    room: number,
    onAnswer: OnAnswer,
  ): Promise<ListedPart> {
    const answer = await askPlaced(tapped(this.options.ask, onAnswer), partition, scripts.list, () => ({
      keys: [partition.meta, ...partition.keys.slice(0, 2), ...partition.slice(first, count)],
      args: [String(room), String(after), String(WALK_USERS), partition.seed, partition.knownEpoch, String(first)],
    }));
    return JSON.parse(answer);
  }

  private foundIn(partition: Partition, part: ListedPart): Array<Found<StoredStatus>> {
    for (const junk of part.junk) this.options.repair(partition, junk);
    const found: Array<Found<StoredStatus>> = [];
    const strays: Array<readonly [bucket: number, userId: string]> = [];
    for (const [userId, version, lastSeen, bucket] of part.users) {
      if (!isUserId(userId)) continue;
      const isAtHome = partition.bucketOf(userId) === bucket;
      if (isAtHome) found.push({ user: { userId, online: true, lastSeen, version }, bucket, version });
      else strays.push([bucket, userId]);
    }
    if (strays.length > 0) this.options.clear(partition, strays);
    return found;
  }

  /**
   * On a single server a record and its presence key are written in one step. Where the key is missing it was lost, or the user
   * has left since: that is looked at again. Of an extended lease the end tells, or the return of the router.
   */
  private findKeyless({ users, isKeyed }: Seen, unproven: ReadonlyMap<string, Open>): void {
    const [partition] = this.keyspace.partitions as [Partition];
    const keyless = users.filter(({ userId }, index) => !isKeyed(index) && !unproven.has(userId));
    if (keyless.length === 0) return;
    this.options.clear(
      partition,
      keyless.map(({ userId }) => [partition.bucketOf(userId), userId] as const),
    );
  }
}

/** Who is online, and who was told to be and is not proven to be. */
function divided({ users, isKeyed }: Seen, unproven: ReadonlyMap<string, Open>): Omit<StoredPage, 'now' | 'cursor'> {
  const online: StoredStatus[] = [];
  const offline: StoredStatus[] = [];
  for (const [index, user] of users.entries()) {
    const open = unproven.get(user.userId);
    const status = open === undefined ? user : decided(user, open, isKeyed(index));
    (status.online ? online : offline).push(status);
  }
  const divided = { users: online, unproven: offline };
  return offline.some(({ isUnsure }) => isUnsure) ? { ...divided, isUnsure: true } : divided;
}

/** Of two answers to one page: the one from which whoever has read it goes on. After a loss the two cannot be compared. */
function earlier(one: Sequence | undefined, other: Sequence): Sequence {
  if (one === undefined) return other;
  return other.epoch === one.epoch && other.version < one.version ? other : one;
}

/** What stands in a bucket anybody may have written, who may write there at all. */
function isUserId(id: string): boolean {
  try {
    return toUserId(id, 'id') === id;
  } catch {
    return false;
  }
}

/** @throws TypeError `ERR_PRESENCE_OPTIONS` for what no page gave. @internal */
export function cursorOf(cursor: string | null, keyspace: Keyspace): From {
  if (cursor === null) return [0, 0, 0];
  const match = /^(\d{1,2})\.(\d{1,4})\.(\d{1,16})$/.exec(cursor);
  const [, partition, bucket, after] = match ?? [];
  if (match === null || keyspace.partitions[Number(partition)]?.slice(Number(bucket), 1).length !== 1) {
    throw optionError(`cursor is ${shown(cursor)}; it is null or what the page before gave`);
  }
  return [Number(partition), Number(bucket), Number(after)];
}
