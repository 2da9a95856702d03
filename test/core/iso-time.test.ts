import { expect, test } from 'vitest';
import { isoTime } from '../../src/wire/iso-time';
import { random } from '../random';

const native = (ms: number) => new Date(ms).toISOString();

test.each([
  ['the beginning', 0],
  ['the last of a day', 86_399_999],
  ['the first of the next', 86_400_000],
  ['a leap day', Date.UTC(2028, 1, 29, 23, 59, 59, 999)],
  ['the last with four digits for the year', 253_402_300_799_999],
  ['the first with more', 253_402_300_800_000],
  ['before 1970', -1],
  ['a fraction of a millisecond', 1_700_000_000_123.9],
])('%s is written as Date writes it', (_, ms) => {
  expect(isoTime(ms)).toBe(native(ms));
});

test('and so is any other time, in any order', () => {
  const { seed, chance, below } = random();
  for (let round = 0; round < 20_000; round += 1) {
    // Half of the times are within three days, so that the cached day applies to some and not to others.
    const ms = chance(0.5)
      ? 1_700_000_000_000 + below(3 * 86_400_000)
      : below(4_000_000) * 1_000_000 + below(1_000_000);
    if (isoTime(ms) !== native(ms)) expect(isoTime(ms), `${ms}, seed ${seed}`).toBe(native(ms));
  }
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])('%s is no time', (ms) => {
  expect(() => isoTime(ms)).toThrow(RangeError);
});
