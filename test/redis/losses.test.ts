import { describe, expect, it } from 'vitest';
import { Losses } from '../../src/stores/redis/losses';

/** Of one partition, how often users were found to be missing: a message says each time, and each beat says how often. */
function watched(times = 4) {
  const losses = new Losses();
  expect(losses.isNews(times, 0)).toBe(false);
  return losses;
}

describe('losses', () => {
  // Taken for silence, each loss made every router wait for a whole sweep before it told who is offline.
  it('a beat that is ahead of the message about the same loss is no news, however many beats there are', () => {
    const losses = watched();
    expect([losses.isNews(5, 500), losses.isNews(5, 501), losses.isNews(5, 550)]).toEqual([false, false, false]);
    expect(losses.isGap(5)).toBe(false);
    losses.hear([7], 5);
    expect([losses.isNews(5, 1_000), losses.isNews(5, 2_000)]).toEqual([false, false]);
  });

  it('a message that is ahead of the answer of a beat is no news, and none after it a gap', () => {
    const losses = watched();
    losses.hear([7], 5);
    expect(losses.isNews(4, 500)).toBe(false);
    expect(losses.isGap(6)).toBe(false);
    expect([losses.isNews(5, 1_000), losses.isNews(5, 2_000)]).toEqual([false, false]);
  });

  it('a loss that no message tells is news once beats have said so for a while, once', () => {
    const losses = watched();
    expect([losses.isNews(5, 500), losses.isNews(5, 1_000)]).toEqual([false, true]);
    losses.hear([], 5);
    expect([losses.isNews(5, 1_500), losses.isNews(5, 2_000)]).toEqual([false, false]);
  });

  it('a message that skips a number says that another one did not come', () => {
    const losses = watched();
    expect(losses.isGap(6)).toBe(true);
    losses.hear([], 6);
    expect(losses.isNews(6, 500)).toBe(false);
    expect(losses.isGap(7)).toBe(false);
  });

  it('a count that begins anew is no news; from a message that goes back nobody can tell what was missed', () => {
    const losses = watched(10);
    expect([losses.isNews(0, 500), losses.isNews(0, 1_000)]).toEqual([false, false]);
    expect(losses.isGap(1)).toBe(false);
    losses.hear([7], 1);
    expect([losses.isNews(1, 1_500), losses.isNews(2, 2_000), losses.isNews(2, 2_500)]).toEqual([false, false, true]);
    expect(watched(10).isGap(1)).toBe(true);
    expect(watched(10).isGap(9)).toBe(true);
  });
});
