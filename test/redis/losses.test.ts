import { describe, expect, it } from 'vitest';
import { Losses } from '../../src/stores/redis/losses';

/** Of one partition, how often users were found to be missing: a message says each time, and each beat says how often. */
function watched() {
  const losses = new Losses();
  expect(losses.isNews(4)).toBe(false);
  return losses;
}

describe('losses', () => {
  // Taken for silence, each loss made every router wait for a whole sweep before it told who is offline.
  it('a beat that is ahead of the message about the same loss is no news', () => {
    const losses = watched();
    expect(losses.isNews(5)).toBe(false);
    expect(losses.isGap(5)).toBe(false);
    losses.hear([7], 5);
    expect(losses.isNews(5)).toBe(false);
    expect(losses.isNews(5)).toBe(false);
  });

  it('a loss that no message tells is news with the second beat that says so, once', () => {
    const losses = watched();
    expect(losses.isNews(5)).toBe(false);
    expect(losses.isNews(5)).toBe(true);
    losses.hear([], 5);
    expect(losses.isNews(5)).toBe(false);
  });

  it('a message that skips a number says that another one did not come', () => {
    const losses = watched();
    expect(losses.isGap(6)).toBe(true);
    losses.hear([], 6);
    expect(losses.isNews(6)).toBe(false);
    expect(losses.isGap(7)).toBe(false);
  });

  it('a count that begins anew is no news', () => {
    const losses = watched();
    expect(losses.isNews(0)).toBe(false);
    expect(losses.isGap(1)).toBe(false);
    losses.hear([7], 1);
    expect(losses.isNews(1)).toBe(false);
  });
});
