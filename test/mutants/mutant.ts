import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A fault that is planted in `src`, to check that a test notices it. */
export interface Mutant {
  readonly id: string;
  /** The consequence for a user, in one line. */
  readonly fault: string;
  /** The file with the code. If the code is not in it, all of `src` is searched, so that code may move. */
  readonly file: string;
  /** Code that is in the file exactly once, however it is formatted. */
  readonly find: string;
  readonly put: string;
  /** The test files that should notice. */
  readonly tests: readonly string[];
  /** Where the files are slow: only tests whose name contains this are run. */
  readonly named?: string;
}

/** Generated from the Lua files. */
const GENERATED = 'src/stores/redis/lua/scripts.generated.ts';

/** Matches white space and comments of both languages between two tokens. */
const GAP = '(?:\\s|//.*|--\\s.*)*';

/** A pattern for code that ignores line breaks, comments and trailing commas. */
export function patternOf(code: string): RegExp {
  const tokens = code.match(/\w+|[^\s\w]/g) ?? [];
  let pattern = '';
  for (const [index, token] of tokens.entries()) {
    const before = tokens[index - 1];
    const areWords = before !== undefined && /\w/.test(before) && /\w/.test(token);
    if (areWords) pattern += `\\s${GAP}`;
    else if (before !== undefined) pattern += /^[)\]}]$/.test(token) ? `${GAP},?${GAP}` : GAP;
    else if (/\w/.test(token)) pattern += '\\b';
    pattern += token.replace(/[^\w]/g, '\\$&');
  }
  return new RegExp(/\w$/.test(code.trim()) ? `${pattern}\\b` : pattern, 'g');
}

/** All files of `src` that are not generated. */
export function sourcesOf(root: string): string[] {
  return readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .map((name) => `src/${name}`)
    .filter((name) => /\.(ts|lua)$/.test(name) && name !== GENERATED)
    .sort();
}

/**
 * Returns the file of a mutant, and its text with the fault in it.
 *
 * @throws Error where the code is in no file, or is not there exactly once
 */
export function planted(root: string, { id, file, find, put }: Mutant): { file: string; text: string } {
  const pattern = patternOf(find);
  const read = (name: string): string => readFileSync(join(root, name), 'utf8');
  const sources = sourcesOf(root);
  const count = (name: string): number => read(name).match(pattern)?.length ?? 0;
  const places = sources.includes(file) && count(file) > 0 ? [file] : sources.filter((name) => count(name) > 0);
  const [place] = places;
  if (place === undefined) throw new Error(`${id} does not apply: its code is nowhere in src`);
  if (places.length > 1) throw new Error(`${id} does not apply: its code is in ${places.join(' and ')}`);
  if (count(place) > 1) throw new Error(`${id} does not apply: its code is in ${place} more than once`);
  return { file: place, text: read(place).replace(pattern, () => put) };
}

/** A third of the mutants, from all folders. Three days in a row cover all of them. */
export function thirdOf<T>(mutants: readonly T[], date: Date): T[] {
  const day = Math.floor(date.getTime() / 86_400_000);
  return mutants.filter((_, index) => index % 3 === day % 3);
}
