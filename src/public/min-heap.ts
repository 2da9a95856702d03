/** An entry of a heap, by which it can be removed. @internal */
export interface HeapItem<T> {
  readonly due: number;
  readonly value: T;
  /** Its position in the heap; -1 once it was removed. */
  index: number;
}

/**
 * A binary heap of values by the time at which they fall due, soonest first. Any entry can be removed, so that one that was
 * postponed or cancelled does not occupy memory until its time.
 * @internal
 */
export class MinHeap<T> {
  private readonly items: Array<HeapItem<T>> = [];

  get size(): number {
    return this.items.length;
  }

  /** When the soonest entry is due; `undefined` where there is none. */
  get due(): number | undefined {
    return this.items[0]?.due;
  }

  put(due: number, value: T): HeapItem<T> {
    const item = { due, value, index: this.items.length };
    this.rise(item);
    return item;
  }

  /** Removes and returns the soonest value that is due at `now`; `undefined` where none is. */
  take(now: number): T | undefined {
    const first = this.items[0];
    if (first === undefined || first.due > now) return undefined;
    this.remove(first);
    return first.value;
  }

  /** Does nothing for an entry that was removed already. */
  remove(item: HeapItem<T>): void {
    if (item.index < 0) return;
    const last = this.items.pop() as HeapItem<T>;
    if (last !== item) {
      last.index = item.index;
      this.sink(last);
      this.rise(last);
    }
    item.index = -1;
  }

  private rise(item: HeapItem<T>): void {
    let { index } = item;
    while (index > 0) {
      const parent = this.items[(index - 1) >> 1] as HeapItem<T>;
      if (parent.due <= item.due) break;
      this.set(index, parent);
      index = (index - 1) >> 1;
    }
    this.set(index, item);
  }

  private sink(item: HeapItem<T>): void {
    let { index } = item;
    for (;;) {
      let child = 2 * index + 1;
      const right = this.items[child + 1];
      if (right !== undefined && right.due < (this.items[child] as HeapItem<T>).due) child += 1;
      const smaller = this.items[child];
      if (smaller === undefined || smaller.due >= item.due) break;
      this.set(index, smaller);
      index = child;
    }
    this.set(index, item);
  }

  private set(index: number, item: HeapItem<T>): void {
    this.items[index] = item;
    item.index = index;
  }
}
