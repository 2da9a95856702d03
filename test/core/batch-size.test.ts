import { describe, expect, it } from 'vitest';
import { BatchSize } from '../../src/replication/batch-size';

// Events, and the limit after each. `refuses 8`: a batch of 8 has failed at once, and the store accepts a heartbeat; `away 8`: it
// accepts none.
const TABLE = `
answer                                  1000
timeout timeout timeout                 500 250 125
timeout answer answer                   500 626 783
timeout answer answer answer answer     500 626 783 979 1000
refuses 8                               4
refuses 7                               3
refuses 3                               1
refuses 8, refuses 4, refuses 2         4 2 1
refuses 8, answer                       4 6
away 8                                  1000
refuses 2, timeout                      1 10
`;

const rows = TABLE.trim()
  .split('\n')
  .map((line) => line.split(/\s{3,}/) as [events: string, sizes: string]);

// A batch that timed out each time was never acknowledged, and one user whom the store refused kept out a thousand others.
describe('how many changes travel together', () => {
  it.each(rows)('%s: %s', (events, sizes) => {
    const size = new BatchSize<number>();
    const after = (events.match(/[a-z]+( \d+)?/g) ?? []).map((event) => {
      const [kind, count] = event.split(' ');
      if (kind === 'answer') size.onAnswer();
      if (kind === 'timeout') size.onTimeout();
      if (count !== undefined) size.suspect(Array.from({ length: Number(count) }, (_, user) => user));
      if (kind === 'away') size.clear();
      if (kind === 'refuses') expect(size.narrow()).toBeUndefined();
      expect(size.hasSuspects).toBe(false);
      return size.most;
    });
    expect(after.join(' ')).toBe(sizes);
  });

  it('is ten at least where the store is slow, however long', () => {
    const size = new BatchSize();
    for (let timeout = 0; timeout < 20; timeout += 1) size.onTimeout();
    expect(size.most).toBe(10);
  });

  it('stays as it is once it is known who is refused', () => {
    const size = new BatchSize<string>();
    size.suspect(['u']);
    expect(size.hasSuspects).toBe(true);
    expect(size.narrow()).toBe('u');
    expect([size.most, size.hasSuspects]).toEqual([1_000, false]);
  });
});
