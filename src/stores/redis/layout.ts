import { optionError, shown } from '../../errors';

/** On a Cluster users are spread over so many slots; elsewhere one is the unit of atomicity. */
const CLUSTER_PARTITIONS = 64;
/** Of all partitions together. With a million users a bucket still is a listpack, which is what makes a user cheap. */
const BUCKETS = 4_096;
/** Buckets that one call walks through at most, and users after which it stops sooner. @internal */
export const WALK_BUCKETS = 256;
/** @internal */
export const WALK_USERS = 2_000;

/** Where a user is kept. @internal */
export interface Place {
  readonly partition: number;
  readonly bucket: number;
}

/** The names of the keys of one partition. All carry its hash tag, so that a script may touch them all. @internal */
export class Partition {
  /** What scripts that change something name first, see lua/shared.lua. */
  readonly keys: string[];
  readonly channel: string;
  readonly bucketPrefix: string;
  private readonly bucketKeys: string[] = [];

  constructor(
    readonly index: number,
    prefix: string,
    readonly buckets: number,
    db: number,
  ) {
    const key = (name: string) => `${prefix}${name}:{${index}}`;
    this.keys = ['lease', 'nodes', 'meta', 'limbo', 'count', 'log'].map(key);
    // Channels are shared by all databases of a server.
    this.channel = db === 0 ? key('sync') : `${key('sync')}:${db}`;
    this.bucketPrefix = `${key('b')}:`;
    for (let bucket = 0; bucket < buckets; bucket += 1) this.bucketKeys.push(this.bucketPrefix + bucket);
  }

  bucketKey(bucket: number): string {
    return this.bucketKeys[bucket] as string;
  }

  /** The keys of `count` buckets from `first` on; fewer at the end. */
  slice(first: number, count: number): string[] {
    return this.bucketKeys.slice(first, first + count);
  }
}

/** Every key and channel of the store. All routers must agree on it. @internal */
export class Layout {
  readonly partitions: Partition[] = [];
  readonly userPrefix: string;

  constructor(
    readonly prefix: string,
    readonly isCluster: boolean,
    db = 0,
  ) {
    if (typeof prefix !== 'string' || prefix === '' || /[{}\s]/.test(prefix)) {
      throw optionError(`prefix is ${shown(prefix)}; it is a string without braces and spaces, such as "presence:"`);
    }
    this.userPrefix = `${prefix}user:`;
    const count = isCluster ? CLUSTER_PARTITIONS : 1;
    for (let index = 0; index < count; index += 1)
      this.partitions.push(new Partition(index, prefix, BUCKETS / count, db));
  }

  place(userId: string): Place {
    // FNV-1a over UTF-16 units; whatever it is, all routers must do the same.
    let hash = 0x811c9dc5;
    for (let at = 0; at < userId.length; at += 1) hash = Math.imul(hash ^ userId.charCodeAt(at), 0x01000193);
    // Its low bits alone know little of the last characters, in which ids differ.
    hash = (hash ^ (hash >>> 15)) >>> 0;
    const count = this.partitions.length;
    return { partition: hash % count, bucket: Math.floor(hash / count) % (BUCKETS / count) };
  }

  userKey(userId: string): string {
    return this.userPrefix + userId;
  }
}

/** Adds what belongs to one partition to what belongs there already. @internal */
export function gather<T>(groups: Map<number, T[]>, partition: number, one: T): void {
  const group = groups.get(partition);
  if (group === undefined) groups.set(partition, [one]);
  else group.push(one);
}
