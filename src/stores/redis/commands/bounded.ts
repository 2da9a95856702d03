/**
 * Calls `run` for each item, at most `most` at the same time, and returns the results in the order of the items. Rejects with the
 * first failure, after which it starts no further call.
 * @internal
 */
export function mapBounded<T, R>(items: readonly T[], most: number, run: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = new Array(items.length);
  let next = 0;
  let hasFailed = false;
  const work = async (): Promise<void> => {
    while (next < items.length && !hasFailed) {
      const at = next;
      next += 1;
      try {
        results[at] = await run(items[at] as T);
      } catch (error) {
        hasFailed = true;
        throw error;
      }
    }
  };
  return Promise.all(Array.from({ length: Math.min(most, items.length) }, work)).then(() => results);
}
