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
  /** Buckets that contain foreign data. */
  readonly junk: number[];
}

/** Users with the last seen of their presence keys. @internal */
export interface Seen {
  readonly users: StoredStatus[];
  /** Whether the user at an index has a presence key. */
  isKeyed(index: number): boolean;
}

type WithSeen = (users: StoredStatus[], now: number, onAnswer: OnAnswer) => Promise<Seen>;

/** Reads pages of users who are online. @internal */
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
    // Users who were published as online and no longer are, or are only by a presence key.
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
      // The earliest one, since feeds receive the changes while the page is read. Each partition of a Cluster has its own counter.
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
   * Finds users without a presence key. A single server writes record and key in one step, so a missing key was lost, or the user
   * has left since: a script examines them again. Users of extended leases are left out, since the key may have expired.
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

/** Divides the users who were published as online into those who are online and those for whom nothing proves it. */
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

/** The earlier of two states, from which a reader of the page can resume. States of different epochs cannot be compared. */
function earlier(one: Sequence | undefined, other: Sequence): Sequence {
  if (one === undefined) return other;
  return other.epoch === one.epoch && other.version < one.version ? other : one;
}

/** Whether an id of a bucket is valid: other programs may have written into the bucket. */
function isUserId(id: string): boolean {
  try {
    return toUserId(id, 'id') === id;
  } catch {
    return false;
  }
}

/** @throws TypeError `ERR_PRESENCE_OPTIONS` for a cursor that no page has returned. @internal */
export function cursorOf(cursor: string | null, keyspace: Keyspace): From {
  if (cursor === null) return [0, 0, 0];
  const match = /^(\d{1,2})\.(\d{1,4})\.(\d{1,16})$/.exec(cursor);
  const [, partition, bucket, after] = match ?? [];
  if (match === null || keyspace.partitions[Number(partition)]?.slice(Number(bucket), 1).length !== 1) {
    throw optionError(`cursor is ${shown(cursor)}; it is null or what the page before gave`);
  }
  return [Number(partition), Number(bucket), Number(after)];
}
