import { describe, expect, it } from 'vitest';
import type { PresenceUpdate } from '../../src/public/types';
import type { Batch } from '../../src/stores/batch';
import { BelievedBatches, isRefuted } from '../../src/stores/believed-batches';
import { HeldBatches, leadingUpTo } from '../../src/stores/held-batches';

/** `4-6`: changes 4 to 6 of the data `a`; `4`: one change; `4-6 b`: of others; `4x`: with another content. */
function batchOf(text: string): Batch {
  const [, first = '', mark = '', last = first, epoch = 'a'] = /^(\d+)(x?)(?:-(\d+))?(?: (\w))?$/.exec(text) ?? [];
  const changes = Array.from({ length: Number(last) - Number(first) + 1 }, () => {
    return { update: {} as PresenceUpdate, lastSeen: 0 };
  });
  return { epoch, first: Number(first), at: 1, changes, digest: `${first}${mark}` };
}

const batchesOf = (text: string): Batch[] => (text === 'none' ? [] : text.split(', ').map(batchOf));

// Those that came before the first answer, how far that says; from where on they lead up to it, and whether all of them do.
// What came before a gap had been passed by, and nobody was told.
describe('what came before the first answer', () => {
  it.each([
    ['none', 9, 9, true],
    ['8, 9', 9, 7, true],
    ['9, 8', 9, 7, true],
    ['6-7, 8-9', 9, 5, true],
    ['6, 8-9', 9, 7, false],
    ['7-8', 9, 9, false],
    ['9-10', 9, 9, true],
    ['10, 11', 9, 9, true],
    ['8 b, 9 b', 9, 9, true],
    ['9, 8 b', 9, 8, true],
    ['1-500, 501-1000', 1_000, 0, true],
    ['1-1, 2-501, 502-1001', 1_001, 1, false],
  ])('%s up to %s: from %s, whole: %s', (batches, version, from, isWhole) => {
    expect(leadingUpTo(batchesOf(batches), { epoch: 'a', version })).toEqual({ from, isWhole });
  });
});

describe('batches that wait for what the store says', () => {
  const firsts = (batches: readonly Batch[]): number[] => batches.map(({ first }) => first);

  it('are those of the question, and those that come while it is asked', () => {
    const held = new HeldBatches();
    for (const text of ['3', '5']) held.add(batchOf(text));
    held.ask();
    held.add(batchOf('7'));
    expect([firsts(held.inQuestion), firsts(held.all)]).toEqual([
      [3, 5],
      [3, 5, 7],
    ]);
    expect(firsts(held.settle())).toEqual([7]);
    expect(held.all).toEqual([]);
  });

  // A question that failed took with it what it was about, and a forged number was never refuted.
  it('are all there again where the store could not be asked, in order', () => {
    const held = new HeldBatches();
    held.add(batchOf('3'));
    held.ask();
    held.add(batchOf('5'));
    held.putBack();
    expect([firsts(held.inQuestion), firsts(held.take())]).toEqual([[], [3, 5]]);
  });

  // Whoever may publish could fill the memory of a router.
  it('are not more than ten thousand changes: the older ones stand in the log', () => {
    const held = new HeldBatches();
    for (const text of ['1-6000', '6001-10000', '10001', '10002']) held.add(batchOf(text));
    expect(firsts(held.take())).toEqual([10_001, 10_002]);
    held.add(batchOf('1-10000'));
    expect(firsts(held.take())).toEqual([1]);
  });
});

describe('batches that were believed', () => {
  function believe(...texts: string[]): BelievedBatches {
    const believed = new BelievedBatches();
    for (const text of texts) believed.add(batchOf(text));
    return believed;
  }

  it('are known again by number and content', () => {
    const believed = believe('3', '4-6');
    expect(['3', '3x', '4-6', '5', '7'].map((text) => believed.has(batchOf(text)))).toEqual([
      true,
      false,
      true,
      false,
      false,
    ]);
  });

  it('are the latest ones, 64 at most', () => {
    const believed = believe(...Array.from({ length: 65 }, (_, index) => String(index + 1)));
    expect([believed.has(batchOf('1')), believed.has(batchOf('2'))]).toEqual([false, true]);
  });

  it.each([
    ['4x', [4]],
    ['6', [4]],
    ['1-4', [3, 4]],
    ['7', []],
  ])('%s disputes %j', (rival, firsts) => {
    const believed = believe('3', '4-6');
    const disputed = believed.disputedBy([batchOf(rival)]);
    expect(disputed.map(({ first }) => first)).toEqual(firsts);
    believed.forget(disputed);
    expect([believed.has(batchOf('3')), believed.has(batchOf('4-6'))]).toEqual([
      !firsts.includes(3),
      !firsts.includes(4),
    ]);
  });

  it('are forgotten where their versions were never given, or with their data', () => {
    const believed = believe('3', '4-6');
    believed.forgetAfter(5);
    expect([believed.has(batchOf('3')), believed.has(batchOf('4-6'))]).toEqual([true, false]);
    believed.clear();
    expect(believed.has(batchOf('3'))).toBe(false);
  });

  // Whoever may write to the log could have made a router take the true one for forged, by a second entry.
  it.each([
    ['4', false],
    ['4x', true],
    ['none', false],
    ['5, 6', false],
    ['4x b', false],
    ['4, 4x', false],
    ['4x, 4', true],
  ])('with %s in the log: refuted, %s', (entries, refuted) => {
    const disputed = believe('4').disputedBy([batchOf('4x')]);
    expect(isRefuted(disputed, [undefined, ...batchesOf(entries)], 'a')).toBe(refuted);
  });
});
