import { describe, expect, it } from 'vitest';
import { type HeapItem, MinHeap } from '../../src/public/min-heap';
import { random } from '../random';

describe('MinHeap', () => {
  it('gives what is due, soonest first, and not a moment too soon', () => {
    const heap = new MinHeap<string>();
    for (const due of [1, 5, 2, 9, 6, 3]) heap.put(due, String(due));
    expect(heap.take(0)).toBeUndefined();
    expect(heap.take(1)).toBe('1');
    expect(heap.take(1)).toBeUndefined();
    expect([9, 9, 9, 9, 9, 9].map((now) => heap.take(now))).toEqual(['2', '3', '5', '6', '9', undefined]);
  });

  it('agrees with a sorted list, whatever is put, taken and taken out', () => {
    const dice = random();
    console.log(`seed ${dice.seed}`);
    const heap = new MinHeap<number>();
    let list: Array<HeapItem<number>> = [];
    let removed = 0;
    for (let round = 0; round < 20_000; round += 1) {
      const now = dice.below(1_000);
      if (dice.chance(0.55)) {
        list.push(heap.put(now, now));
      } else if (dice.chance(0.4) && list.length > 0) {
        const item = list[dice.below(list.length)] as HeapItem<number>;
        heap.remove(item);
        heap.remove(item);
        list = list.filter((other) => other !== item);
        removed += 1;
      } else {
        const soonest = Math.min(...list.map(({ due }) => due));
        expect(heap.due).toBe(list.length === 0 ? undefined : soonest);
        const taken = heap.take(now);
        expect(taken).toBe(soonest <= now ? soonest : undefined);
        list = list.filter(({ index }) => index >= 0);
      }
      expect(heap.size).toBe(list.length);
    }
    expect(removed).toBeGreaterThan(2_000);
  });
});
