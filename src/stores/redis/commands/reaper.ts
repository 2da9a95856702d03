import type { Keyspace, Partition } from '../keyspace';
import { WALK_USERS } from '../keyspace';
import * as scripts from '../lua/scripts.generated';
import { walkBuckets } from './bucket-walk';
import { askPlaced, type Changed } from './script';
import type { ScriptRunner } from './script-runner';

/** The most dead routers that are reaped together. */
const REAPED = 64;
/** The most users of one call. It takes some milliseconds, so that Redis can serve others in between. */
const REAP_USERS = 1_000;

/** A user and the user's bucket. @internal */
export type InBucket = readonly [bucket: number, userId: string];

interface Held {
  /** How many of the buckets were examined. */
  readonly done: number;
  readonly users: readonly InBucket[];
}

/** Takes the users of dead routers offline. One call names the users, and the next one changes their records. @internal */
export class Reaper {
  private readonly reaping = new Set<string>();

  constructor(
    private readonly keyspace: Keyspace,
    private readonly runner: ScriptRunner,
  ) {}

  /** @param ttlMs - the silence after which a router gives up a connection */
  async reap(partition: Partition, dead: readonly string[], ttlMs: number): Promise<void> {
    const jobs = dead
      .map((tag) => ({ tag, name: `${partition.index} ${tag}` }))
      .filter(({ name }) => !this.reaping.has(name));
    for (const { name } of jobs) this.reaping.add(name);
    try {
      for (let from = 0; from < jobs.length; from += REAPED) {
        const tags = jobs.slice(from, from + REAPED).map(({ tag }) => tag);
        await this.reapSome(partition, tags, ttlMs);
      }
    } finally {
      for (const { name } of jobs) this.reaping.delete(name);
    }
  }

  private async reapSome(partition: Partition, tags: readonly string[], ttlMs: number): Promise<void> {
    let isAlive = false;
    await walkBuckets(partition, 0, partition.buckets, async (first, buckets) => {
      if (this.runner.isClosed) return -1;
      const { done, users } = await this.held(partition, first, buckets, tags);
      for (let from = 0; from < users.length && !isAlive; from += REAP_USERS) {
        isAlive = !(await this.take(partition, tags, users.slice(from, from + REAP_USERS), ttlMs));
      }
      return isAlive ? -1 : done;
    });
    // Last, to delete the leases: no user of the dead routers is left.
    if (!isAlive && !this.runner.isClosed) await this.take(partition, tags, [], ttlMs);
  }

  private async held(
    partition: Partition,
    first: number,
    buckets: readonly string[],
    tags: readonly string[],
  ): Promise<Held> {
    const answer = await askPlaced(this.runner.ask, partition, scripts.held, () => ({
      keys: [partition.meta, ...buckets],
      args: [partition.seed, partition.knownEpoch, String(first), String(WALK_USERS), ...tags],
    }));
    return JSON.parse(answer);
  }

  /** Removes dead routers from the records of users, or, without users, their leases. Returns false while their leases run. */
  private async take(
    partition: Partition,
    tags: readonly string[],
    users: readonly InBucket[],
    ttlMs: number,
  ): Promise<boolean> {
    const ids = users.map(([, userId]) => userId);
    // On a Cluster the presence keys are in other slots than the records.
    const seen = (await this.runner.presenceKeys?.get(ids)) ?? [];
    const { alive } = await this.runner.change<Changed & { alive: boolean }>(scripts.reap, partition, () => {
      const keys = [partition.routers].concat(users.map(([bucket]) => partition.bucketKey(bucket)));
      const args = [users.length, users.length === 0 ? 1 : 0, Math.ceil(ttlMs), tags.length].map(String).concat(tags);
      for (const [index, [bucket, userId]] of users.entries()) {
        args.push(userId, String(seen[index] ?? ''), partition.bucketOf(userId) === bucket ? '1' : '0');
      }
      const presenceKeys = this.keyspace.isCluster ? [] : ids.map((userId) => this.keyspace.userKey(userId));
      return { keys: keys.concat(presenceKeys), args };
    });
    return !alive;
  }
}
