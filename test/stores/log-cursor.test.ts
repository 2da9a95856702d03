import { expect, it } from 'vitest';
import { formatCursor, isOf, MAX_CURSOR, type Position, parseCursor } from '../../src/stores/log-cursor';
import { random } from '../random';

it('a cursor of one partition is the epoch and the version, as frames have it', () => {
  expect(formatCursor([{ epoch: '1764000000-123456', version: 55 }])).toBe('1764000000-123456.55');
  expect(parseCursor('1764000000-123456.55', 1)).toEqual([{ epoch: '1764000000-123456', version: 55 }]);
  expect(parseCursor('1764000000-123456.55.60', 1)).toEqual([{ epoch: '1764000000-123456', version: 55 }]);
});

it('a vector of 64 partitions is read as it was written, and is short enough', () => {
  const dice = random();
  for (let turn = 0; turn < 200; turn += 1) {
    const positions: Position[] = Array.from({ length: 64 }, () => ({
      epoch: `${1_700_000_000 + dice.below(100_000_000)}-${dice.below(1_000_000)}`,
      version: dice.pick([0, 1, 127, 128, 16_383, dice.below(2 ** 31), 2 ** 52 - dice.below(1_000)]) as number,
    }));
    const cursor = formatCursor(positions);
    expect(cursor.length).toBeLessThanOrEqual(MAX_CURSOR);
    const read = parseCursor(cursor, 64);
    expect(read.map(({ version }) => version)).toEqual(positions.map(({ version }) => version));
    for (const [index, position] of read.entries()) {
      expect(isOf(position, (positions[index] as Position).epoch)).toBe(true);
      expect(isOf(position, '1-1')).toBe(false);
    }
    // A position that was read is written again as it was.
    expect(formatCursor(read)).toBe(cursor);
  }
});

it.each([
  ['', 1],
  ['abc', 1],
  ['a b.1', 1],
  ['e.1e3', 1],
  ['e.99999999999999999', 1],
  ['e.1.2.3', 1],
  [`${'e'.repeat(2_000)}.1`, 1],
  ['e.1', 64],
  ['v', 64],
  ['vAAAA', 64],
  [`v${'A'.repeat(2_000)}`, 64],
  [`v${Buffer.alloc(700, 255).toString('base64')}`, 64],
])('%j is no cursor of %i partitions', (text, count) => {
  expect(() => parseCursor(text, count)).toThrow(/the cursor is .*; it is one that this store has given/);
});
