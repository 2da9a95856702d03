import { type Partition, WALK_BUCKETS } from '../keyspace';
import { mapBounded } from './bounded';

/** The most calls of a walk that are under way at once. */
const WALK_CALLS = 16;

/** Processes buckets from `first` on. Returns how many of them are done, or a negative number to end the walk. @internal */
export type Look = (first: number, buckets: readonly string[]) => Promise<number>;

/** Walks through the buckets of a partition from `from` up to `end`, several parts at once. @internal */
export async function walkBuckets(partition: Partition, from: number, end: number, look: Look): Promise<void> {
  let isOver = false;
  const firsts: number[] = [];
  for (let first = from; first < end; first += WALK_BUCKETS) firsts.push(first);
  await mapBounded(firsts, WALK_CALLS, async (first) => {
    const last = Math.min(end, first + WALK_BUCKETS);
    for (let at = first; at < last && !isOver; ) {
      const done = await look(at, partition.slice(at, last - at));
      if (done < 0) isOver = true;
      at += done;
    }
  });
}
