import { randomBytes } from 'node:crypto';
import { optionError, shown } from '../../public/errors';

/** The number of this layout, as in lua/meta.lua. @internal */
export const LAYOUT = 3;
/** On a Cluster users are spread over so many slots; elsewhere one is the unit of atomicity. */
const CLUSTER_PARTITIONS = 64;
/** Of all partitions together. With a million users a bucket still is a listpack, which is what makes a user cheap. */
const BUCKETS = 4_096;
/** Buckets that one call walks through at most, and users after which it stops sooner. @internal */
export const WALK_BUCKETS = 256;
/** @internal */
export const WALK_USERS = 2_000;

/** Of a seed; what follows them is the base, see lua/meta.lua. */
const SEED_DIGITS = 16;

/** Where a user is kept. @internal */
export interface Place {
  readonly partition: number;
  readonly bucket: number;
}

/** The names of the keys of one partition. All carry its hash tag, so that a script may touch them all. @internal */
export class Partition {
  /** What scripts that change something name first, see lua/shared.lua. */
  readonly keys: string[];
  /** What routers say of themselves, see lua/beat.lua. */
  readonly routers: string;
  readonly channel: string;
  readonly bucketPrefix: string;
  /** What the last beat has found here: in which data, and which routers. */
  beaten: { readonly epoch: string; readonly seq: number; readonly peers: string } | undefined;
  /** In which data the seed was found to be in use; empty: in none yet. */
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
    this.seeds = halves(this.hexSeed);
    // Channels are shared by all databases of a server.
    this.channel = db === 0 ? key('sync') : `${key('sync')}:${db}`;
    this.bucketPrefix = `${key('b')}:`;
    for (let bucket = 0; bucket < buckets; bucket += 1) this.bucketKeys.push(this.bucketPrefix + bucket);
  }

  /** What scripts compare before they believe a bucket, and from which data the caller knows it. */
  get seed(): string {
    return this.hexSeed;
  }

  get knownEpoch(): string {
    return this.epoch;
  }

  get meta(): string {
    return this.keys[2] as string;
  }

  /** The version from which records count. */
  get base(): number {
    return Number.parseInt(this.hexSeed.slice(SEED_DIGITS), 16) || 0;
  }

  /** A script has worked with the seed, or has said which one is in use. */
  learn(epoch: string, seed: string = this.hexSeed): void {
    this.epoch = epoch;
    if (seed === this.hexSeed) return;
    this.hexSeed = seed;
    this.seeds = halves(seed);
  }

  /** Which bucket a user is in: nobody can choose ids that meet without knowing the seed. */
  bucketOf(userId: string): number {
    const [start, end] = this.seeds;
    let hash = fnv(userId, start) ^ end;
    // All bits of it, and of the seed, count for each bit of what is left of it: the finalizer of MurmurHash3, A. Appleby.
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

/** Every key and channel of the store. All routers must agree on it. @internal */
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
      // Its low bits alone know little of the last characters, in which ids differ.
      partition = ((hash ^ (hash >>> 15)) >>> 0) % count;
    }
    return { partition, bucket: (this.partitions[partition] as Partition).bucketOf(userId) };
  }

  userKey(userId: string): string {
    return this.userPrefix + userId;
  }
}

/** FNV-1a over UTF-16 units; whatever it is, all routers must do the same. */
function fnv(text: string, start: number): number {
  let hash = start;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash;
}

function halves(seed: string): [number, number] {
  return [Number.parseInt(seed.slice(0, 8), 16) | 0, Number.parseInt(seed.slice(8, SEED_DIGITS), 16) | 0];
}

/** Adds what belongs to one partition to what belongs there already. @internal */
export function gather<T>(groups: Map<number, T[]>, partition: number, one: T): void {
  const group = groups.get(partition);
  if (group === undefined) groups.set(partition, [one]);
  else group.push(one);
}
