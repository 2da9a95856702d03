import { WALK_BUCKETS, WALK_USERS } from '../keyspace';

/** Calls of one page that are under way at once, at most; and before anything is known of how many users there are. */
const MOST_CALLS = 64;
const FIRST_CALLS = 16;

/** Where a page begins: in a bucket of a partition, at the users whose version is greater than `after`. @internal */
export type From = [partition: number, bucket: number, after: number];

/** A user who was found, and where. @internal */
export interface Found<T> {
  readonly user: T;
  readonly bucket: number;
  readonly version: number;
}

/** What one call has found. @internal */
export interface Part<T> {
  /** In the order of buckets, and in each of them by version. */
  readonly users: ReadonlyArray<Found<T>>;
  /** How many of the buckets are through. */
  readonly done: number;
  /** Up to which version the next one is. */
  readonly after: number;
  /** How many records the call has looked at. */
  readonly examined: number;
}

/** Reads some buckets of a partition, of the first one only versions above `after`, and not more than `room` users. @internal */
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
 * Reads pages of users who are spread over buckets: as many calls at once as a page is likely to need, by what the calls
 * before have found. So neither a fleet of few users, who are found here and there, nor one of many, of whom the first
 * buckets hold enough, takes a round trip after another.
 * @internal
 */
export class PageWalk {
  /** Of those online, as far as is known. */
  private usersPerBucket: number | undefined;
  /** So many hold about as many records as one call looks at. */
  private bucketsPerCall = WALK_BUCKETS;

  /** @param buckets - of each partition */
  constructor(private readonly buckets: readonly number[]) {}

  /** The users of a page, and where the next one begins. */
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
          // One that is full was looked at, too.
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

  /** How many calls it probably takes to find so many users. */
  private callsFor(users: number): number {
    if (this.usersPerBucket === undefined) return FIRST_CALLS;
    const each = this.usersPerBucket * this.bucketsPerCall;
    return Math.max(1, Math.min(MOST_CALLS, Math.ceil(users / each)));
  }
}

/** The page, once what was read is enough for it: without a gap from its beginning on. */
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
