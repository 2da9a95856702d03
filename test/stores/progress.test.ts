import { describe, expect, it } from 'vitest';
import type { Batch } from '../../src/stores/batch';
import { Progress } from '../../src/stores/progress';

// What happens; then epoch, heard/expected, and the highest version that was given. `says`: an
// answer of the store; `forged`: what was heard was never given, so that versions go on above it.
const TABLE = `
nothing                              -  0/0    0
begin a 5                            a  5/5    5
begin a 5, says 8                    a  5/8    8
begin a 5, says 8, hear 7            a  7/8    8
begin a 5, says 8, says 6            a  5/8    8
begin a 5, hear 9                    a  9/5    5
begin a 5, hear 9, says 9            a  9/9    9
begin a 5, begin b 2                 b  5/5    5
begin a 5, begin b 7                 b  7/7    7
begin a 5, hear 9, begin b 2         b  9/9    9
begin a 5, says 8, begin b 2         b  8/8    8
begin a 5, hear 6, forged, restart a 5  a  5/5    7
begin a 5, says ${2 ** 51}           a  5/${2 ** 51}  5
begin a ${2 ** 51}                   a  0/0    0
`;

const rows = TABLE.trim()
  .split('\n')
  .map((line) => line.split(/\s{2,}/) as [events: string, epoch: string, versions: string, highest: string]);

function progressAfter(events: string): Progress {
  const progress = new Progress(0);
  for (const event of events.split(', ')) {
    const [kind, ...rest] = event.split(' ');
    const [first = ''] = rest;
    const head = { epoch: first, version: Number(rest[1]) };
    if (kind === 'begin') progress.begin(head);
    if (kind === 'restart') progress.restart(head);
    if (kind === 'hear') progress.hear(Number(first));
    if (kind === 'says') progress.expect(Number(first));
    if (kind === 'forged') progress.see(progress.heard + 1);
  }
  return progress;
}

const batch = (epoch: string, first: number): Batch => ({ epoch, first, at: 1, changes: [], digest: '' });

// New data began below what routers had been told, which ignored what changed after that.
describe('how far a partition was heard', () => {
  it.each(rows)('%s: %s %s %s', (events, epoch, versions, highest) => {
    const progress = progressAfter(events);
    expect([progress.epoch ?? '-', `${progress.heard}/${progress.expected}`]).toEqual([epoch, versions]);
    expect(progress.highestVersion).toBe(Number(highest));
  });

  it.each([
    ['nothing', 0, false],
    ['begin a 5', 5, false],
    ['begin a 5, says 8', 8, true],
    ['begin a 5, hear 9', 9, false],
  ])('%s: versions are known up to %s, and behind that: %s', (events, known, isBehind) => {
    expect(progressAfter(events)).toMatchObject({ knownVersion: known, isBehind });
  });

  it.each([
    ['nothing', 'a', 1, false],
    ['begin a 5', 'a', 6, true],
    ['begin a 5', 'a', 5, false],
    ['begin a 5', 'a', 7, false],
    ['begin a 5', 'b', 6, false],
  ])('%s: a batch of %s that begins with %s follows: %s', (events, epoch, first, follows) => {
    expect(progressAfter(events).follows(batch(epoch, first))).toBe(follows);
  });

  // A message often arrives before the answer that knows of it; a forged one stays ahead of every answer.
  it('says for how long it has been ahead of the answers', () => {
    const progress = progressAfter('begin a 5, hear 7');
    expect(progress.aheadMs(6, 1_000)).toBe(0);
    expect(progress.aheadMs(6, 1_100)).toBe(100);
    progress.hear(9);
    // It knows of everything that had been heard at first: what is ahead now has not been for long.
    expect(progress.aheadMs(7, 1_200)).toBe(0);
    expect(progress.aheadMs(8, 1_250)).toBe(50);
    expect(progress.aheadMs(9, 1_300)).toBe(0);
    progress.hear(10);
    expect([progress.aheadMs(9, 1_400), progress.aheadMs(9, 1_500)]).toEqual([0, 100]);
    progress.confirm();
    expect(progress.aheadMs(9, 1_600)).toBe(0);
  });
});
