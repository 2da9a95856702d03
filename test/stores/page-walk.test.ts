import { describe, expect, it } from 'vitest';
import { fakeClock } from 'voiceping-presence/testing';
import { mapBounded } from '../../src/stores/redis/commands/bounded';
import { type From, PageWalk, type Part, type ReadPart } from '../../src/stores/redis/commands/page-walk';
import { random } from '../random';

const ROUND_TRIP_MS = 300;
/** As the script that lists: it looks at no more records in one call, but for the last bucket. */
const MOST_RECORDS = 2_000;

/** Buckets with users who are online, and records of others, behind a link that takes its time. */
class FarBuckets {
  readonly clock = fakeClock();
  readonly buckets: number[];
  calls = 0;
  underWay = 0;
  mostUnderWay = 0;
  /** By partition and bucket: the versions of those online. */
  private readonly online: number[][][];
  private version = 0;

  constructor(
    partitions: number,
    private readonly remembered = 0,
  ) {
    this.buckets = Array.from({ length: partitions }, () => 4_096 / partitions);
    this.online = this.buckets.map((count) => Array.from({ length: count }, () => []));
  }

  join(below: (limit: number) => number): string {
    const partition = below(this.buckets.length);
    const bucket = below(this.buckets[partition] as number);
    this.version += 1;
    this.online[partition]?.[bucket]?.push(this.version);
    return `${partition}.${bucket}.${this.version}`;
  }

  leave(name: string): void {
    const [partition, bucket, version] = name.split('.').map(Number) as From;
    const users = this.online[partition]?.[bucket] ?? [];
    users.splice(users.indexOf(version), 1);
  }

  readonly read: ReadPart<string> = async (partition, first, count, after, room) => {
    this.calls += 1;
    this.underWay += 1;
    this.mostUnderWay = Math.max(this.mostUnderWay, this.underWay);
    await new Promise<void>((resolve) => this.clock.setTimeout(resolve, ROUND_TRIP_MS / 2));
    const part = this.look(partition, first, count, after, room);
    await new Promise<void>((resolve) => this.clock.setTimeout(resolve, ROUND_TRIP_MS / 2));
    this.underWay -= 1;
    return part;
  };

  private look(partition: number, first: number, count: number, from: number, room: number): Part<string> {
    const users: Array<{ user: string; bucket: number; version: number }> = [];
    let after = from;
    let done = 0;
    let examined = 0;
    while (done < count && examined < MOST_RECORDS) {
      const bucket = first + done;
      const versions = (this.online[partition]?.[bucket] ?? []).filter((version) => version > after);
      examined += 1 + versions.length + this.remembered / 4_096;
      for (const version of versions) {
        if (users.length === room) return { users, done, after, examined };
        users.push({ user: `${partition}.${bucket}.${version}`, bucket, version });
        after = version;
      }
      done += 1;
      after = 0;
    }
    return { users, done, after, examined };
  }

  /** A page, and how many round trips it took. */
  async page(walk: PageWalk, from: From, limit: number) {
    const startedAt = this.clock.now();
    let page: { users: string[]; next: From | null } | undefined;
    walk.page(from, limit, this.read).then((read) => {
      page = read;
    });
    while (page === undefined) await this.clock.advance(ROUND_TRIP_MS / 2);
    return { ...page, roundTrips: (this.clock.now() - startedAt) / ROUND_TRIP_MS };
  }
}

const START: From = [0, 0, 0];

describe('pages of users who are spread over buckets', () => {
  it.each([1, 64])('show everybody who stays exactly once, while others come and go (%d partitions)', async (count) => {
    const { below, chance, seed } = random();
    for (let round = 0; round < 30; round += 1) {
      const buckets = new FarBuckets(count, [0, 10_000, 1_000_000][round % 3]);
      const stay = Array.from({ length: [0, 1, 7, 500, 5_000][round % 5] as number }, () => buckets.join(below));
      const walk = new PageWalk(buckets.buckets);
      const limit = [1, 7, 100, 1_000][below(4)] as number;
      // A user who leaves may be on a page or not, and does not displace another one.
      const leave = Array.from({ length: stay.length }, () => buckets.join(below));
      const seen: string[] = [];
      let from: From | null = START;
      for (let pages = 0; from !== null && pages < 100; pages += 1) {
        const { users, next } = await buckets.page(walk, from, limit);
        expect(users.length, `seed ${seed}`).toBeLessThanOrEqual(limit);
        if (next !== null) expect(users.length).toBe(limit);
        seen.push(...users);
        for (let change = 0; change < 20; change += 1) {
          const leaves = chance(0.5) ? leave.pop() : undefined;
          if (leaves !== undefined) buckets.leave(leaves);
          else leave.push(buckets.join(below));
        }
        from = next;
      }
      const stayed = new Set(stay);
      const counted = seen.filter((user) => stayed.has(user));
      expect(new Set(seen).size, `seed ${seed}`).toBe(seen.length);
      if (from === null) expect(counted.length, `seed ${seed}`).toBe(stay.length);
    }
  });

  it.each([
    // Before anything is known only a part is asked for at once.
    ['few', 1, 10, 0, 1, 1],
    ['few, on a Cluster', 64, 10, 0, 2, 1],
    ['none', 1, 0, 0, 1, 1],
    ['none, on a Cluster', 64, 0, 0, 2, 1],
    ['many', 1, 100_000, 0, 1, 1],
    ['many, on a Cluster', 64, 100_000, 0, 1, 1],
    // One after another it would be fifty, and five hundred.
    ['few, and a hundred thousand who have left', 1, 10, 100_000, 2, 1],
    ['few, and a million who have left', 1, 10, 1_000_000, 10, 9],
    ['few, and a million who have left, on a Cluster', 64, 10, 1_000_000, 10, 9],
  ])('(%s) take few round trips', async (_, partitions, online, remembered, first, later) => {
    const { below } = random();
    const buckets = new FarBuckets(partitions, remembered);
    for (let user = 0; user < online; user += 1) buckets.join(below);
    const walk = new PageWalk(buckets.buckets);
    const { users, roundTrips } = await buckets.page(walk, START, 1_000);
    expect(users.length).toBe(Math.min(online, 1_000));
    expect(roundTrips).toBeLessThanOrEqual(first);
    expect((await buckets.page(walk, START, 1_000)).roundTrips).toBeLessThanOrEqual(later);
    expect(buckets.mostUnderWay).toBeLessThanOrEqual(64);
  });

  it('ask for no more than a page needs, once it is known how many users there are', async () => {
    const { below } = random();
    const buckets = new FarBuckets(1);
    for (let user = 0; user < 100_000; user += 1) buckets.join(below);
    const walk = new PageWalk(buckets.buckets);
    let { next } = await buckets.page(walk, START, 1_000);
    expect(buckets.calls).toBeLessThanOrEqual(16);
    buckets.calls = 0;
    for (let pages = 0; pages < 10; pages += 1) ({ next } = await buckets.page(walk, next as From, 1_000));
    expect(buckets.calls).toBeLessThanOrEqual(20);
  });

  it('fail with the first call that fails, and ask nothing more', async () => {
    let calls = 0;
    const walk = new PageWalk([4_096]);
    const page = walk.page(START, 1_000, async () => {
      calls += 1;
      if (calls === 3) throw new Error('away');
      return { users: [], done: 1, after: 0, examined: 1 };
    });
    await expect(page).rejects.toThrow('away');
    const before = calls;
    await new Promise((resolve) => setImmediate(resolve));
    expect(calls).toBe(before);
  });
});

describe('what runs a few at a time', () => {
  it('gives the results in order, and never runs more', async () => {
    let running = 0;
    let most = 0;
    const results = await mapBounded([5, 1, 4, 2, 3], 2, async (item) => {
      running += 1;
      most = Math.max(most, running);
      for (let step = 0; step < item; step += 1) await Promise.resolve();
      running -= 1;
      return item * 10;
    });
    expect(results).toEqual([50, 10, 40, 20, 30]);
    expect(most).toBe(2);
    expect(await mapBounded([], 3, async () => 1)).toEqual([]);
  });

  it('begins nothing more after a failure', async () => {
    const begun: number[] = [];
    const run = async (item: number): Promise<void> => {
      begun.push(item);
      if (item === 2) throw new Error('no');
    };
    await expect(mapBounded([1, 2, 3, 4, 5, 6], 2, run)).rejects.toThrow('no');
    await new Promise((resolve) => setImmediate(resolve));
    expect(begun.length).toBeLessThan(6);
  });
});
