import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** README, and every page of `docs` that somebody writes by hand. */
export const PAGES: readonly string[] = [
  'README.md',
  ...readdirSync(`${root}docs`, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md') && !name.startsWith('api/'))
    .map((name) => `docs/${name}`)
    .sort(),
];

export const readPage = (name: string): string => readFileSync(`${root}${name}`, 'utf8');

/** All pages, by heading: what stands under each, up to the next one. */
export function sections(): Map<string, string> {
  const found = new Map<string, string>();
  for (const page of PAGES) {
    let title: string | undefined;
    let isCode = false;
    for (const line of readPage(page).split('\n')) {
      if (line.startsWith('```')) isCode = !isCode;
      const heading = isCode ? null : /^#{1,3} (.*)$/.exec(line);
      if (heading !== null) title = heading[1];
      else if (title !== undefined) found.set(title, `${found.get(title) ?? ''}${line}\n`);
    }
  }
  return found;
}
