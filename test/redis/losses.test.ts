import { describe, expect, it } from 'vitest';
import { DataLoss } from '../../src/stores/redis/changes/data-loss';

/** Of one partition, how often users were found to be missing: a message says each time, and each beat says how often. */
function watched(times = 4) {
  const losses = new DataLoss();
  expect(losses.isNews(times, 0)).toBe(false);
  return losses;
}

/** A message comes, Redis is asked, and says how often it was: which buckets are believed to be lost. */
function heard(losses: DataLoss, buckets: number[], times: number, says: unknown, now = 0) {
  const claim = losses.claims({ buckets, times }, now);
  if (claim !== 'ask') return claim;
  const lost = losses.confirm(says, losses.allClaims());
  if (lost !== undefined) losses.hear(lost, Number(says), now);
  return lost;
}

describe('losses', () => {
  // A loss that was taken for silence made every router wait for a whole sweep before it published users as offline.
  it('a beat that is ahead of the message about the same loss causes no other loss, however many beats there are', () => {
    const losses = watched();
    expect([losses.isNews(5, 500), losses.isNews(5, 501), losses.isNews(5, 550)]).toEqual([false, false, false]);
    expect(heard(losses, [7], 5, 5)).toEqual([7]);
    expect([losses.isNews(5, 1_000), losses.isNews(5, 2_000)]).toEqual([false, false]);
  });

  it('a message that is ahead of the answer of a beat causes no other loss, and no gap after it', () => {
    const losses = watched();
    expect(heard(losses, [7], 5, 5)).toEqual([7]);
    expect(losses.isNews(4, 500)).toBe(false);
    expect(heard(losses, [8], 6, 6)).toEqual([8]);
    expect([losses.isNews(6, 1_000), losses.isNews(6, 2_000)]).toEqual([false, false]);
  });

  it('a loss without a message is noticed once, after beats have reported it for a while', () => {
    const losses = watched();
    expect([losses.isNews(5, 500), losses.isNews(5, 1_000)]).toEqual([false, true]);
    losses.hear([], 5);
    expect([losses.isNews(5, 1_500), losses.isNews(5, 2_000)]).toEqual([false, false]);
  });

  it('a message that skips a number says that another one did not come', () => {
    const losses = watched();
    expect(heard(losses, [7], 6, 6)).toEqual([]);
    expect(losses.isNews(6, 500)).toBe(false);
    expect(heard(losses, [8], 7, 7)).toEqual([8]);
  });

  it('a count that was set back says no more what was lost', () => {
    const losses = watched(10);
    expect([losses.isNews(9, 500), losses.isNews(9, 1_000), losses.isNews(9, 2_000)]).toEqual([false, true, false]);
    expect(heard(watched(10), [7], 1, 1)).toEqual([]);
    expect(heard(watched(10), [7], 1, 0)).toBeUndefined();
  });

  // The number was the same as before, so a loss together with the count went unnoticed, and users who left then stayed online.
  it('in new data losses are counted from 0, and all earlier data are lost', () => {
    const losses = watched(1);
    losses.begin(0);
    expect(losses.isAny).toBe(true);
    expect([losses.isNews(0, 100), losses.isNews(1, 500), losses.isNews(1, 1_000)]).toEqual([false, false, true]);
    const named = watched(1);
    named.begin(0);
    expect(heard(named, [7], 1, 1)).toEqual([7]);
  });

  describe('is over once every router has had the time to assert whom it holds', () => {
    const node = { leaseMs: 1_000, ttlMs: 60_000 };
    const overAt = (losses: DataLoss, times: number[]) => times.filter((now) => losses.isOver(node, now));

    it.each([
      ['some buckets', (losses: DataLoss) => losses.hear([7], 5, 0), 2_100],
      ['other data', (losses: DataLoss) => losses.begin(0), 2_100],
      ['nobody knows which', (losses: DataLoss) => losses.hear([], 5, 0), 2_100],
    ] as const)('%s', (_, lose, at) => {
      const losses = watched();
      lose(losses);
      expect(overAt(losses, [1_000, 1_900, 2_100, 5_900, 6_100, 7_500, 9_000])).toEqual([at]);
    });

    // Under eviction there is a loss every second, and users who had left were never published as offline.
    it('also where something else is lost all the time; once a lease', () => {
      const losses = watched();
      const times: number[] = [];
      for (let now = 0; now < 10_000; now += 100) {
        losses.hear([now / 100], 5 + now / 100, now);
        if (losses.isOver(node, now)) times.push(now);
      }
      expect(times[0]).toBeLessThan(2_500);
      expect(times.length).toBeGreaterThan(5);
      for (const [index, at] of times.entries())
        expect(at - (times[index - 1] ?? -1_000)).toBeGreaterThanOrEqual(1_000);
    });

    it('also where the clock was set back meanwhile', () => {
      const losses = watched();
      losses.hear([7], 5, 100_000);
      expect(overAt(losses, [1_000, 2_000, 3_100, 9_000])).toEqual([3_100]);
    });
  });

  it.each([1, 3, 4, 5, 6, 1_000, 2 ** 52])(
    'a message that Redis does not confirm is none, whatever its number: %s',
    (times) => {
      const losses = watched();
      expect(heard(losses, [7], times, 4)).toBeUndefined();
      expect(losses.isAny).toBe(false);
      // What it named is forgotten by the time of a true loss.
      expect(heard(losses, [8], 5, 5)).toEqual([8]);
    },
  );

  it.each([Number.NaN, -1, 1.5, 2 ** 53, Number.POSITIVE_INFINITY])(
    'a count in Redis that is none changes nothing: %s',
    (junk) => {
      const losses = watched();
      expect(heard(losses, [7], 5, junk)).toBeUndefined();
      expect([losses.isNews(junk, 500), losses.isNews(junk, 1_000)]).toEqual([false, false]);
      expect(heard(losses, [7], 5, 5)).toEqual([7]);
    },
  );

  it('several losses that follow each other are those that were named', () => {
    const losses = watched();
    for (const times of [5, 6, 7]) expect(losses.claims({ buckets: [times], times })).toBe('ask');
    expect(losses.confirm(7, losses.allClaims())).toEqual([5, 6, 7]);
  });

  it('what is claimed while Redis is asked is claimed for the next question', () => {
    const losses = watched();
    losses.claims({ buckets: [7], times: 5 });
    const before = losses.allClaims();
    losses.claims({ buckets: [8], times: 6 });
    expect(losses.confirm(5, before)).toEqual([7]);
    losses.hear([7], 5);
    expect(losses.confirm(6, losses.allClaims())).toEqual([8]);
  });

  it('two messages that name other buckets under one number: it may be all', () => {
    const before = watched();
    before.claims({ buckets: [9], times: 5 });
    expect(heard(before, [7], 5, 5)).toEqual([]);

    const after = watched();
    expect(heard(after, [9], 5, 5, 1_000)).toEqual([9]);
    expect(after.claims({ buckets: [9], times: 5 }, 1_100)).toBeUndefined();
    expect(after.claims({ buckets: [7], times: 5 }, 1_100)).toBe('doubt');
    after.hear([], 5, 1_100);
    // Once: nothing is more than all, and a message is not on its way for long.
    expect(after.claims({ buckets: [8], times: 5 }, 1_150)).toBeUndefined();
    const late = watched();
    expect(heard(late, [9], 5, 5, 1_000)).toEqual([9]);
    expect(late.claims({ buckets: [7], times: 5 }, 1_300)).toBeUndefined();
  });
});
