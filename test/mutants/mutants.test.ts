import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { PLANTED, plant } from '../chaos/planted';
import { MUTANTS } from './all';
import { listOf } from './list';
import { type Mutant, planted, thirdOf } from './mutant';

const root = fileURLToPath(new URL('../..', import.meta.url));
const all = Object.values(MUTANTS).flat();

/** Creates a temporary tree with these files in `src`, and returns its path. */
function tree(onEnd: (end: () => void) => void, files: { [name: string]: string }): string {
  const directory = mkdtempSync(join(tmpdir(), 'mutants-test-'));
  onEnd(() => rmSync(directory, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, 'src', name)), { recursive: true });
    writeFileSync(join(directory, 'src', name), text);
  }
  return directory;
}
const mutant = (find: string, put = 'gone();'): Mutant => {
  return { id: 'm', fault: '', file: 'src/a.ts', find, put, tests: [] };
};

describe('a mutant', () => {
  it('is planted where its code stands, and nowhere else', () => {
    const root = tree(onTestFinished, { 'a.ts': 'one();\ntwo();\n', 'b.ts': 'one();\n' });
    expect(planted(root, mutant('one();'))).toEqual({ file: 'src/a.ts', text: 'gone();\ntwo();\n' });
  });

  it('goes with its code into another file', () => {
    const root = tree(onTestFinished, { 'a.ts': 'two();\n', 'deep/b.lua': 'one();\n' });
    expect(planted(root, mutant('one();'))).toMatchObject({ file: 'src/deep/b.lua' });
  });

  it.each([
    'call(one, two); if (three) { four(); }',
    'call(\n  one,\n  two,\n);\nif (three) {\n  // And why.\n  four();\n}',
    'call(one,two) ; if(three){four();}',
  ])('is found however its code is written: %j', (text) => {
    const find = 'call(one, two); if (three) { four(); }';
    expect(planted(tree(onTestFinished, { 'a.ts': text }), mutant(find)).text).toBe('gone();');
  });

  it.each([
    ['is nowhere', 'one();', /nowhere in src/],
    ['is there twice', 'two();', /more than once/],
    ['is a part of other words', 'wo();', /nowhere in src/],
  ])('does not apply where its code %s', (_, find, error) => {
    const root = tree(onTestFinished, { 'a.ts': 'two(); two();' });
    expect(() => planted(root, mutant(find))).toThrow(error);
  });

  it('of a code that has moved into two files applies to none', () => {
    const root = tree(onTestFinished, { 'a.ts': '', 'b.ts': 'one();', 'c.ts': 'one();' });
    expect(() => planted(root, mutant('one();'))).toThrow('src/b.ts and src/c.ts');
  });
});

describe('the mutants', () => {
  it.each(all.map((each) => [each.id, each] as const))('%s applies, and its tests are there', (_, each) => {
    const { file, text } = planted(root, each);
    expect(text).not.toBe(readFileSync(join(root, file), 'utf8'));
    for (const test of each.tests) expect(existsSync(join(root, test)), test).toBe(true);
    expect(each.tests.length).toBeGreaterThan(0);
  });

  it('have names of their own, and are five or more of each folder', () => {
    expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
    for (const mutants of Object.values(MUTANTS)) expect(mutants.length).toBeGreaterThanOrEqual(5);
  });

  it('are listed in MUTANTS.md: npm run -s mutants -- --list > test/mutants/MUTANTS.md', () => {
    expect(readFileSync(new URL('MUTANTS.md', import.meta.url), 'utf8')).toBe(listOf(MUTANTS));
  });

  it('are all drawn within three days', () => {
    const days = [0, 1, 2].map((day) => thirdOf(all, new Date(Date.UTC(2026, 10, 27 + day))));
    expect(days.flat().length).toBe(all.length);
    expect(new Set(days.flat())).toEqual(new Set(all));
  });
});

describe('the mistakes that chaos has to notice', () => {
  it.each(PLANTED)('$name: applies', (mistake) => {
    expect(plant(mistake).length).toBeGreaterThan(0);
  });
});
