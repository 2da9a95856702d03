import { randomBytes } from 'node:crypto';
import { optionError, shown } from '../../public/errors';

/** The number of this layout of the data, as in lua/meta.lua. @internal */
export const LAYOUT = 3;
/** On a Cluster, users are spread over this many slots. A single server has one partition, which a script changes as a whole. */
const CLUSTER_PARTITIONS = 64;
/** The buckets of all partitions together. With a million users a bucket is still a listpack, which needs little memory. */
const BUCKETS = 4_096;
/** The most buckets that one call walks through, and the number of users after which it stops sooner. @internal */
export const WALK_BUCKETS = 256;
/** @internal */
export const WALK_USERS = 2_000;

/** The length of a seed in digits. The base follows it, see lua/meta.lua. */
const SEED_DIGITS = 16;

/** Where a user is kept. @internal */
export interface Place {
  readonly partition: number;
  readonly bucket: number;
}

/** The keys of one partition. All have its hash tag, so that a script may access all of them. @internal */
export class Partition {
  /** The first keys of every script that changes something, see lua/shared.lua. */
  readonly keys: string[];
  /** The descriptions of the routers, see lua/beat.lua. */
  readonly routers: string;
  /** The named positions in the log, see lua/claim.lua. */
  readonly deliveries: string;
  readonly channel: string;
  readonly bucketPrefix: string;
  /** The data and the routers that the last beat found. */
  beaten: { readonly epoch: string; readonly seq: number; readonly peers: string } | undefined;
  /** The epoch of the data that are known to use the seed; empty before any are. */
  private epoch = '';
  private hexSeed = randomBytes(8).toString('hex');
  private seeds: readonly [number, number];
  private readonly bucketKeys: string[] = [];

  constructor(
    readonly index: number,
    prefix: string,
    readonly buckets: number,
    db: number,
  ) {
    const key = (name: string) => `${prefix}${name}:{${index}}`;
    this.keys = ['lease', 'nodes', 'meta', 'grace', 'count', 'log'].map(key);
    this.routers = key('routers');
    this.deliveries = key('deliveries');
    this.seeds = halves(this.hexSeed);
    // Channels are shared by all databases of a server.
    this.channel = db === 0 ? key('sync') : `${key('sync')}:${db}`;
    this.bucketPrefix = `${key('b')}:`;
    for (let bucket = 0; bucket < buckets; bucket += 1) this.bucketKeys.push(this.bucketPrefix + bucket);
  }

  /** Scripts compare it with the seed of the data before they use a bucket. */
  get seed(): string {
    return this.hexSeed;
  }

  /** The epoch of the data that are known to use the seed. */
  get knownEpoch(): string {
    return this.epoch;
  }

  get meta(): string {
    return this.keys[2] as string;
  }

  /** Versions in records are relative to it. */
  get base(): number {
    return Number.parseInt(this.hexSeed.slice(SEED_DIGITS), 16) || 0;
  }

  /** A script has accepted the seed, or has answered which one is in use. */
  learn(epoch: string, seed: string = this.hexSeed): void {
    this.epoch = epoch;
    if (seed === this.hexSeed) return;
    this.hexSeed = seed;
    this.seeds = halves(seed);
  }

  /** The bucket of a user. Ids that share a bucket cannot be chosen without knowing the seed. */
  bucketOf(userId: string): number {
    const [start, end] = this.seeds;
    let hash = fnv(userId, start) ^ end;
    // The finalizer of MurmurHash3 (A. Appleby), so that every bit of the hash and the seed affects the bits that are used.
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return ((hash ^ (hash >>> 16)) >>> 0) % this.buckets;
  }

  bucketKey(bucket: number): string {
    return this.bucketKeys[bucket] as string;
  }

  /** The keys of `count` buckets from `first` on; fewer at the end. */
  slice(first: number, count: number): string[] {
    return this.bucketKeys.slice(first, first + count);
  }
}

/** The keys and channels of the store, which must be the same in all routers. @internal */
export class Keyspace {
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
    const count = this.partitions.length;
    let partition = 0;
    if (count > 1) {
      const hash = fnv(userId, 0x811c9dc5);
      // The low bits alone depend little on the last characters, in which ids differ.
      partition = ((hash ^ (hash >>> 15)) >>> 0) % count;
    }
    return { partition, bucket: (this.partitions[partition] as Partition).bucketOf(userId) };
  }

  userKey(userId: string): string {
    return this.userPrefix + userId;
  }
}

/** FNV-1a over UTF-16 code units. All routers must use the same hash. */
function fnv(text: string, start: number): number {
  let hash = start;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash;
}

function halves(seed: string): [number, number] {
  return [Number.parseInt(seed.slice(0, 8), 16) | 0, Number.parseInt(seed.slice(8, SEED_DIGITS), 16) | 0];
}

/** Adds an item to the group of its partition. @internal */
export function gather<T>(groups: Map<number, T[]>, partition: number, one: T): void {
  const group = groups.get(partition);
  if (group === undefined) groups.set(partition, [one]);
  else group.push(one);
}
