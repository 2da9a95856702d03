import { describe, expect, it } from 'vitest';
import {
  formatCursor,
  formatShortCursor,
  isOf,
  lostCursor,
  type Position,
  parseCursor,
  positionsIn,
} from '../../src/stores/log-cursor';
import { random } from '../random';

const MAX = Number.MAX_SAFE_INTEGER;
const positions = (versions: readonly number[], epoch = 'e'): Position[] =>
  versions.map((version, index) => ({ epoch: `${epoch}${index}`, version }));
const epochsOf = (all: readonly Position[]): string[] => all.map(({ epoch }) => epoch);

describe('a cursor of several partitions', () => {
  const dice = random();
  const near = Array.from({ length: 64 }, () => 1_000_000 + dice.below(16_000));
  it.each([
    ['that have no changes', Array.from({ length: 64 }, () => 0)],
    ['that are near each other', near],
    ['of which one is far ahead', [...near.slice(1), MAX]],
    ['with very high versions', Array.from({ length: 64 }, () => 2 ** 49 - 1)],
  ])('%s is read as it was written, in a frame and elsewhere', (_, versions) => {
    const all = positions(versions);
    const long = formatCursor(all);
    expect(long.length).toBeLessThanOrEqual(1_024);
    expect(parseCursor(long, 64).map(({ version }) => version)).toEqual(versions);
    const short = formatShortCursor(all) as string;
    expect(short.length).toBeLessThanOrEqual(256);
    expect(positionsIn(parseCursor(short, 64), epochsOf(all))).toEqual(all);
  });

  it('whose versions are too far apart is in no frame, since clients take 256 characters', () => {
    expect(formatShortCursor(positions(Array.from({ length: 64 }, (_, index) => index * 1e9)))).toBeUndefined();
  });

  it('in a frame is of these data as a whole, or of none of them', () => {
    const all = positions(near);
    const other = epochsOf(all).map((epoch, index) => (index === 7 ? 'new' : epoch));
    const found = positionsIn(parseCursor(formatShortCursor(all) as string, 64), other);
    expect(found.some((position, index) => isOf(position, other[index] as string))).toBe(false);
    // Elsewhere each partition counts for itself.
    const each = positionsIn(parseCursor(formatCursor(all), 64), other);
    expect(each.filter((position, index) => isOf(position, other[index] as string)).length).toBe(63);
  });

  it('that is none is refused, whatever it is', () => {
    const short = formatShortCursor(positions(near)) as string;
    const long = formatCursor(positions(near));
    for (const text of [
      '',
      'c',
      'v',
      'c0',
      short.slice(0, -3),
      `${short}AA`,
      long.slice(0, -3),
      `${long}AA`,
      `c${'_'.repeat(255)}`,
    ])
      expect(() => parseCursor(text, 64)).toThrow(/it is one that this store has given/);
    expect(() => parseCursor(short, 63)).toThrow();
    for (let round = 0; round < 2_000; round += 1) {
      const bytes = Buffer.from(Array.from({ length: dice.below(200) }, () => dice.below(256))).toString('base64url');
      try {
        const read = parseCursor(`${dice.pick(['c', 'v'])}${bytes}`, 64);
        expect(read.every(({ version }) => Number.isSafeInteger(version) && version >= 0)).toBe(true);
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_PRESENCE_OPTIONS' });
      }
    }
  });

  it('of a single partition is the same everywhere', () => {
    const [one] = [positions([5])];
    expect(formatShortCursor(one)).toBe(formatCursor(one));
    expect(lostCursor(1)).toBe('lost.0');
  });
});
