/**
 * Keys by the time at which they fall due, soonest first: a binary heap.
 * A key that was put twice comes out twice; the taker checks whether it still means anything.
 * @internal
 */
export class DueQueue {
  private readonly heap: Array<{ due: number; key: string }> = [];

  put(due: number, key: string): void {
    const { heap } = this;
    const item = { due, key };
    let index = heap.length;
    while (index > 0) {
      const parent = heap[(index - 1) >> 1] as { due: number; key: string };
      if (parent.due <= due) break;
      heap[index] = parent;
      index = (index - 1) >> 1;
    }
    heap[index] = item;
  }

  /** The soonest key that is due at `now`, taken out; `undefined` when there is none. */
  take(now: number): string | undefined {
    const { heap } = this;
    const first = heap[0];
    if (first === undefined || first.due > now) return undefined;
    const last = heap.pop() as { due: number; key: string };
    if (heap.length > 0) this.sink(last);
    return first.key;
  }

  private sink(item: { due: number; key: string }): void {
    const { heap } = this;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      const right = heap[child + 1];
      if (right !== undefined && right.due < (heap[child] as { due: number }).due) child += 1;
      const smaller = heap[child];
      if (smaller === undefined || smaller.due >= item.due) break;
      heap[index] = smaller;
      index = child;
    }
    heap[index] = item;
  }
}
