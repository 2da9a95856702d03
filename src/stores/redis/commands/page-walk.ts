import { WALK_BUCKETS, WALK_USERS } from '../keyspace';

/** The most calls of a page that are under way at once; `FIRST_CALLS` while the number of users is unknown. */
const MOST_CALLS = 64;
const FIRST_CALLS = 16;

/** The start of a page: a bucket of a partition, and its users with a version greater than `after`. @internal */
export type From = [partition: number, bucket: number, after: number];

/** A user of a page, with the bucket and the version of the user's record. @internal */
export interface Found<T> {
  readonly user: T;
  readonly bucket: number;
  readonly version: number;
}

/** The result of a call. @internal */
export interface Part<T> {
  /** By bucket, and in each bucket by version. */
  readonly users: ReadonlyArray<Found<T>>;
  /** How many of the buckets were read to the end. */
  readonly done: number;
  /** The version up to which the next bucket was read. */
  readonly after: number;
  /** How many records the call has examined. */
  readonly examined: number;
}

/** Reads buckets of a partition: at most `room` users, and of the first bucket only versions above `after`. @internal */
export type ReadPart<T> = (
  partition: number,
  first: number,
  count: number,
  after: number,
  room: number,
) => Promise<Part<T>>;

/** A run of buckets that one call reads. */
interface Run<T> {
  readonly partition: number;
  readonly first: number;
  readonly end: number;
  readonly after: number;
  state: 'waiting' | 'asked' | 'read';
  users: ReadonlyArray<Found<T>>;
}

/**
 * Reads pages of users who are spread over buckets, with as many calls at once as a page probably needs, by the results of
 * earlier calls. So a fleet with few users in many buckets needs few round trips in a row, as does one with many users in a few.
 * @internal
 */
export class PageWalk {
  /** The average number of online users in a bucket; undefined before the first result. */
  private usersPerBucket: number | undefined;
  /** The number of buckets that hold about as many records as one call may examine. */
  private bucketsPerCall = WALK_BUCKETS;

  /** @param buckets - the number of buckets of each partition */
  constructor(private readonly buckets: readonly number[]) {}

  /** Returns the users of a page, and the start of the next one. */
  page<T>(from: From, limit: number, read: ReadPart<T>): Promise<{ users: T[]; next: From | null }> {
    const runs = this.runsFrom<T>(from);
    const seen = { users: 0, buckets: 0, records: 0 };
    let underWay = 0;
    let isOver = false;
    return new Promise((resolve, reject) => {
      const fail = (error: unknown): void => {
        isOver = true;
        reject(error);
      };
      const ask = (run: Run<T>, room: number): void => {
        run.state = 'asked';
        underWay += 1;
        read(run.partition, run.first, run.end - run.first, run.after, room).then((part) => {
          underWay -= 1;
          if (isOver) return;
          seen.users += part.users.length;
          // A bucket that was read in part counts, too.
          seen.buckets += Math.max(1, part.done);
          seen.records += part.examined;
          this.learn(seen);
          runs.splice(runs.indexOf(run), 1, { ...run, state: 'read', users: part.users }, ...this.restOf(run, part));
          proceed();
        }, fail);
      };
      const proceed = (): void => {
        const page = pageOf(runs, limit);
        if (page !== undefined) {
          isOver = true;
          resolve(page);
          return;
        }
        let found = 0;
        for (const run of runs) {
          if (found >= limit || underWay >= this.callsFor(limit - found)) return;
          if (run.state === 'waiting') ask(run, limit - found);
          found += run.users.length;
        }
      };
      proceed();
    });
  }

  private runsFrom<T>([partition, bucket, after]: From): Array<Run<T>> {
    const runs: Array<Run<T>> = [];
    for (let index = partition; index < this.buckets.length; index += 1) {
      const first = index === partition ? bucket : 0;
      runs.push(...this.runsOf<T>(index, first, this.buckets[index] as number, index === partition ? after : 0));
    }
    return runs;
  }

  private runsOf<T>(partition: number, from: number, end: number, after: number): Array<Run<T>> {
    const runs: Array<Run<T>> = [];
    for (let first = from; first < end; first += this.bucketsPerCall) {
      const to = Math.min(end, first + this.bucketsPerCall);
      runs.push({ partition, first, end: to, after: first === from ? after : 0, state: 'waiting', users: [] });
    }
    return runs;
  }

  private restOf<T>({ partition, first, end }: Run<T>, { done, after }: Part<T>): Array<Run<T>> {
    return this.runsOf(partition, first + done, end, after);
  }

  private learn({ users, buckets, records }: { users: number; buckets: number; records: number }): void {
    this.usersPerBucket = users / buckets;
    const fitting = Math.floor(WALK_USERS / Math.max(1, records / buckets));
    this.bucketsPerCall = Math.max(1, Math.min(WALK_BUCKETS, fitting));
  }

  /** How many calls are probably needed to find this many users. */
  private callsFor(users: number): number {
    if (this.usersPerBucket === undefined) return FIRST_CALLS;
    const each = this.usersPerBucket * this.bucketsPerCall;
    return Math.max(1, Math.min(MOST_CALLS, Math.ceil(users / each)));
  }
}

/** The page, once enough runs were read without a gap from its start. */
function pageOf<T>(runs: ReadonlyArray<Run<T>>, limit: number): { users: T[]; next: From | null } | undefined {
  const users: T[] = [];
  let last: From | undefined;
  for (const { state, partition, users: found } of runs) {
    if (last !== undefined && users.length === limit && (state !== 'read' || found.length > 0)) {
      return { users, next: last };
    }
    if (state !== 'read') return undefined;
    for (const { user, bucket, version } of found) {
      if (users.length === limit) return { users, next: last as From };
      users.push(user);
      last = [partition, bucket, version];
    }
  }
  return { users, next: null };
}
