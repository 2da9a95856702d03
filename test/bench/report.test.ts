import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { exponent, median } from '../../bench/measure.mjs';
import {
  aheadIn,
  type Bound,
  check,
  markdownOf,
  missedIn,
  quotedIn,
  type Section,
  shown,
  svgOf,
} from '../../bench/report.mjs';

const section: Section = {
  id: 'sign',
  title: 'A sign <of> life',
  text: 'What is done.',
  columns: ['', 'Redis CPU, µs', 'reads'],
  rows: [
    ['ours', 2.3, 0.001],
    ['<b>them</b>', 23.456, undefined],
  ],
  chart: { column: 'Redis CPU, µs' },
  figures: { redis: 2.3, vsGuide: 10.2 },
};

describe('the report of the bench', () => {
  it('finds which bounds are met, missed, and not measured', () => {
    const bounds: Bound[] = [
      { figure: 'sign.redis', what: 'met', atMost: 3, unit: 'µs' },
      { figure: 'sign.redis', what: 'missed', atMost: 2, unit: 'µs' },
      { figure: 'sign.vsGuide', what: 'too little', atLeast: 11, unit: '×' },
      { figure: 'join.redis', what: 'not measured', atMost: 12, unit: 'µs' },
    ];
    const checked = check(bounds, [section]);
    expect(checked.map(({ what, measured, isMet }) => [what, measured, isMet])).toEqual([
      ['met', 2.3, true],
      ['missed', 2.3, false],
      ['too little', 10.2, false],
      ['not measured', undefined, false],
    ]);
  });

  it('names what is missed, and why; what is known to be missed is held to what it may be at worst', () => {
    const known = { heldTo: 2.5, why: 'the machine' };
    const missed: Bound[] = [
      { figure: 'sign.redis', what: 'held', atMost: 2, unit: 'µs', known },
      { figure: 'sign.redis', what: 'worse', atMost: 1, unit: 'µs', known: { ...known, heldTo: 2 } },
      { figure: 'sign.vsGuide', what: 'less', atLeast: 12, unit: '×', known: { ...known, heldTo: 11 } },
      { figure: 'sign.vsGuide', what: 'enough', atLeast: 12, unit: '×', known: { ...known, heldTo: 10 } },
      { figure: 'sign.redis', what: 'unknown', atMost: 2, unit: 'µs' },
    ];
    const met: Bound = { figure: 'sign.redis', what: 'met', atMost: 3, unit: 'µs', known };
    const absent: Bound = { figure: 'join.redis', what: 'not measured', atMost: 3, unit: 'µs', known };
    const checked = check([...missed, met, absent], [section]);
    expect(checked.map(({ isMet }) => isMet)).toEqual([false, false, false, false, false, true, false]);
    expect(checked.map(({ isHeld }) => isHeld)).toEqual([true, false, false, true, false, true, false]);
    expect(missedIn(checked)).toEqual([
      'held: the machine',
      'worse: the machine; and worse than the 2 that it is held to',
      'less: the machine; and worse than the 11 that it is held to',
      'enough: the machine',
      'unknown: no reason is known',
    ]);
    expect(markdownOf([], checked, '#', () => undefined)).toContain('Missed:\n\n- held: the machine\n');
  });

  it('a figure that is no number meets no bound', () => {
    const broken = { ...section, figures: { redis: Number.NaN } };
    expect(check([{ figure: 'sign.redis', what: '', atMost: 3, unit: '' }], [broken])[0]?.isMet).toBe(false);
  });

  it('names what was missed, and draws what there is', () => {
    const checked = check([{ figure: 'sign.redis', what: 'a sign', atMost: 2, unit: 'µs' }], [section]);
    const markdown = markdownOf([section], checked, '# Results', ({ id }) => `charts/${id}.svg`);
    expect(markdown).toContain('| a sign | at most 2 µs | 2.3 µs | **no** |');
    expect(markdown).toContain('| ours | 2.3 | 0.001 |');
    expect(markdown).toContain('![A sign <of> life](charts/sign.svg)');
    const svg = svgOf(section);
    expect(svg).toContain('&lt;b&gt;them&lt;/b&gt;');
    expect(svg).not.toContain('<b>');
  });

  it('quotes in README what the budget says, in place of what was there, and keeps the rest', () => {
    const bound = { figure: 'sign.redis', what: 'a sign', atMost: 3, unit: 'µs', quoted: true };
    const checked = check([bound, { ...bound, what: 'unquoted', quoted: false }], [section]);
    const readme = 'before\n<!-- measured -->\nold\n<!-- /measured -->\nafter\n';
    const quoted = quotedIn(readme, checked);
    expect(quoted).toBe(
      'before\n<!-- measured -->\n\n| what | measured |\n| --- | ---: |\n| a sign | 2.3 µs |\n\n<!-- /measured -->\nafter\n',
    );
    expect(quotedIn(quoted, checked)).toBe(quoted);
    expect(() => quotedIn('no place', checked)).toThrow('no place for what was measured');
  });

  it('says who is ahead, in what, and why; noise and floors do not count', () => {
    const rows: Section['rows'] = [
      ['ours', 10, 10],
      ['quick', 5, 20],
      ['alike', 9.9, 10],
      ['floor: nothing', 1, 1],
    ];
    const columns: Section['columns'] = ['', 'CPU', 'bytes'];
    const compared = { columns: ['CPU', 'bytes'], why: { quick: 'it keeps nothing' } };
    expect(aheadIn({ ...section, columns, rows, compared })).toEqual(['quick (CPU): it keeps nothing']);
    expect(aheadIn({ ...section, columns, rows, compared: { columns: ['CPU'] } })).toEqual([
      'quick (CPU): no reason is known',
    ]);
    expect(markdownOf([{ ...section, columns, rows, compared }], [], '#', () => undefined)).toContain(
      '- quick (CPU): it',
    );
  });

  it('draws bars of numbers, says what is none, and tells two of the same name apart', () => {
    const rows: Section['rows'] = [
      ['ours', 'lease 1 s, the least', 5],
      ['ours', 'lease 2 s; the default', 7],
      ['theirs', 'its defaults', 'never'],
      ['nobody', 'none', undefined],
    ];
    const columns: Section['columns'] = ['', 'settings', 'told, s'];
    const svg = String(svgOf({ ...section, rows, columns, chart: { column: 'told, s', besides: 'settings' } }));
    expect(svg).toContain('>ours, lease 1 s<');
    expect(svg).toContain('>ours, lease 2 s<');
    expect(svg).toContain('>theirs, its defaults<');
    expect(svg).toContain('>never<');
    expect(svg).not.toContain('nobody');
    // Both of the first name are ours.
    expect(svg.match(/<rect [^>]*#1a7f37/g)).toHaveLength(2);
  });

  it('draws curves only of numbers, on two axes that grow tenfold a step', () => {
    const rows: Section['rows'] = [
      ['1,000', 5, 50],
      ['100,000', 5, undefined],
    ];
    const svg = String(svgOf({ ...section, rows, chart: { curves: true } }));
    expect(svg.match(/<polyline points="([^"]*)"/g)).toHaveLength(2);
    expect(svg).not.toContain('NaN');
  });

  it('shows three digits that count', () => {
    expect([0.00123456, 12.345, 1234.5, undefined, 'never'].map(shown)).toEqual([
      '0.00123',
      '12.3',
      '1,235',
      '–',
      'never',
    ]);
  });

  it('the budget bounds each figure on one side, once', () => {
    const budget: Bound[] = JSON.parse(readFileSync(new URL('../../bench/budget.json', import.meta.url), 'utf8'));
    for (const bound of budget)
      expect([bound.atMost, bound.atLeast].filter(Number.isFinite), bound.figure).toHaveLength(1);
    expect(new Set(budget.map(({ figure }) => figure)).size).toBe(budget.length);
    for (const { atMost, atLeast, known } of budget) {
      if (known !== undefined)
        expect(known.heldTo).toSatisfy((it: number) => (atMost ? it > atMost : it < (atLeast ?? 0)));
    }
  });
});

describe('measuring', () => {
  it('the middle of some figures', () => {
    expect([median([3, 1, 2]), median([4, 1, 2, 3])]).toEqual([2, 2.5]);
  });

  it('the exponent of what is constant, linear and square', () => {
    const sizes = [10, 100, 1_000];
    for (const power of [0, 1, 2]) {
      expect(exponent(sizes.map((size) => [size, 7 * size ** power]))).toBeCloseTo(power, 9);
    }
  });
});
