import { describe, expect, it } from 'vitest';
import { DueQueue } from '../../src/stores/due-queue';
import { random } from '../random';

describe('DueQueue', () => {
  it('gives what is due, soonest first, and not a moment too soon', () => {
    const queue = new DueQueue();
    for (const due of [1, 5, 2, 9, 6, 3]) queue.put(due, String(due));
    expect(queue.take(0)).toBeUndefined();
    expect(queue.take(1)).toBe('1');
    expect(queue.take(1)).toBeUndefined();
    expect([9, 9, 9, 9, 9, 9].map((now) => queue.take(now))).toEqual(['2', '3', '5', '6', '9', undefined]);
  });

  it('agrees with a sorted list, whatever is put and taken', () => {
    const dice = random();
    console.log(`seed ${dice.seed}`);
    const queue = new DueQueue();
    const list: number[] = [];
    for (let round = 0; round < 20_000; round += 1) {
      const now = dice.below(1_000);
      if (dice.chance(0.55)) {
        queue.put(now, String(now));
        list.push(now);
        continue;
      }
      list.sort((a, b) => a - b);
      const expected = list[0] !== undefined && list[0] <= now ? String(list.shift()) : undefined;
      expect(queue.take(now)).toBe(expected);
    }
  });
});
