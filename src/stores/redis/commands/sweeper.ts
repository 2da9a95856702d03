import type { OnAnswer } from '../../port';
import type { ChangeStream } from '../changes/change-stream';
import { type Keyspace, type Partition, WALK_USERS } from '../keyspace';
import * as scripts from '../lua/scripts.generated';
import { walkBuckets } from './bucket-walk';
import type { InBucket } from './reaper';
import type { Changed } from './script';
import type { ScriptRunner } from './script-runner';

/** The most presence keys of one call. It takes some milliseconds, so that Redis can serve others in between. */
const READ_KEYS = 1_000;

/** Which buckets are to be swept, and how thoroughly. */
type Turn = readonly [first: number, count: number, turn: number];

interface Swept extends Changed {
  /** How many of the buckets were examined. */
  readonly done: number;
  /** Users whose record contradicts itself. */
  readonly odd: readonly InBucket[];
  /** Users who are offline by their record, on a single server. */
  readonly offline: ReadonlyArray<readonly [bucket: number, ...userIds: string[]]>;
}

/** @internal */
export interface SweeperOptions {
  readonly keyspace: Keyspace;
  readonly runner: ScriptRunner;
  readonly changeStream: Pick<ChangeStream, 'inBackground'>;
  /** How long "last seen" of a user who is offline is remembered. */
  readonly retentionMs: number;
  /** The lease of the router that beat last. */
  leaseMs(): number;
}

/** Finds and repairs damage without an event: keys that were evicted, or that other programs have deleted or written. @internal */
export class Sweeper {
  /** The buckets that are being repaired. */
  private readonly repairing = new Set<string>();

  constructor(private readonly options: SweeperOptions) {}

  /** Examines `count` buckets from `first` on, and continues with bucket 0 after the last one. `turn`: see lua/sweep.lua. */
  async sweep(partition: Partition, [first, count, turn]: Turn): Promise<void> {
    const end = Math.min(partition.buckets, first + count);
    await this.walk(partition, first, end, turn);
    await this.walk(partition, 0, first + count - end, turn < 0 ? turn : turn + 1);
  }

  /** Examines a bucket at once in which a query has found foreign data. */
  repair(partition: Partition, bucket: number): void {
    const name = partition.bucketKey(bucket);
    if (this.repairing.has(name)) return;
    this.repairing.add(name);
    const done = (): void => {
      this.repairing.delete(name);
    };
    const sweep = this.sweep(partition, [bucket, 1, -1]);
    sweep.then(done, done);
    this.options.changeStream.inBackground('sweep', sweep);
  }

  /** Settles users whose record and presence key contradict each other, as a query has found. */
  clear(partition: Partition, strays: readonly InBucket[]): void {
    this.options.changeStream.inBackground('sweep', this.settleStrays(partition, strays));
  }

  /** Ends graces that have run out, see lua/settle.lua. */
  async settle(
    partition: Partition,
    users: readonly InBucket[],
    found: 'grace' | 'record',
    onAnswer?: OnAnswer,
  ): Promise<void> {
    const { keyspace, runner } = this.options;
    const ids = users.map(([, userId]) => userId);
    const build = () => {
      const keys = users.map(([bucket]) => partition.bucketKey(bucket));
      const presenceKeys = keyspace.isCluster ? [] : ids.map((userId) => keyspace.userKey(userId));
      const args = [String(users.length), found];
      for (const [bucket, userId] of users) args.push(userId, partition.bucketOf(userId) === bucket ? '1' : '0');
      return { keys: keys.concat(presenceKeys), args };
    };
    await runner.change(scripts.settle, partition, build, onAnswer === undefined ? {} : { onAnswer });
  }

  /** Settles users whose record and presence key contradict each other. `seen`: the time in the key, see lua/stray.lua. */
  async settleStrays(
    partition: Partition,
    strays: ReadonlyArray<readonly [bucket: number, userId: string, seen?: number | undefined]>,
  ): Promise<void> {
    const { keyspace, runner, leaseMs } = this.options;
    await runner.change(scripts.stray, partition, () => {
      const keys = strays.map(([bucket]) => partition.bucketKey(bucket));
      const args = [String(strays.length), String(Math.ceil(leaseMs()))];
      for (const [bucket, userId, seen = ''] of strays) {
        args.push(userId, partition.bucketOf(userId) === bucket ? '1' : '0', String(seen));
      }
      const presenceKeys = keyspace.isCluster ? [] : strays.map(([, userId]) => keyspace.userKey(userId));
      return { keys: keys.concat(presenceKeys), args };
    });
  }

  private walk(partition: Partition, from: number, end: number, turn: number): Promise<void> {
    const { runner, retentionMs, leaseMs } = this.options;
    return walkBuckets(partition, from, end, async (first, buckets) => {
      if (runner.isClosed) return -1;
      const args = [first, retentionMs, Math.ceil(leaseMs()), WALK_USERS, turn].map(String);
      const { done, odd, offline } = await runner.change<Swept>(scripts.sweep, partition, () => ({
        keys: buckets,
        args,
      }));
      if (odd.length > 0) await this.settle(partition, odd, 'record');
      if (offline.length > 0) await this.findLeftOver(partition, offline);
      return done;
    });
  }

  /**
   * Settles users who are offline by their record and have a presence key. The key should have been deleted in the step in which
   * its user went offline; or the record is in a wrong bucket.
   */
  private async findLeftOver(partition: Partition, offline: Swept['offline']): Promise<void> {
    const { keyspace, runner } = this.options;
    const users: InBucket[] = [];
    for (const [bucket, ...ids] of offline) for (const userId of ids) users.push([bucket, userId]);
    for (let from = 0; from < users.length; from += READ_KEYS) {
      const some = users.slice(from, from + READ_KEYS);
      const keys = some.map(([, userId]) => keyspace.userKey(userId));
      const values = await runner.send('', (client) => client.mget(...keys));
      // Keys of other programs contain no time.
      const strays = some.filter((_, index) => /^\d{12,16}$/.test(values[index] ?? ''));
      if (strays.length > 0) await this.settleStrays(partition, strays);
    }
  }
}
