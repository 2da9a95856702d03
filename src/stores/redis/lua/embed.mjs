import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

// Makes ../scripts.ts of the Lua files, so that bundles, tests and examples find them without reading files.

/** Before these stands shared.lua. */
const CHANGING = ['apply', 'beat', 'reap', 'settle', 'sweep'];
const ALONE = ['count', 'leased', 'list', 'read', 'refresh', 'release', 'seen'];
const NAMES = [...CHANGING, ...ALONE].sort();

const source = (name) =>
  readFileSync(new URL(`${name}.lua`, import.meta.url), 'utf8')
    .replace(/^--\[\[[\s\S]*?\]\]\n/, '')
    .replace(/^\s*--.*\n/gm, '');

/** The text of scripts.ts. */
export function embedded() {
  const scripts = NAMES.map((name) => {
    const text = CHANGING.includes(name) ? source('shared') + source(name) : source(name);
    return `export const ${name} = script('${name}', String.raw\`${text}\`);\n`;
  });
  return `// Made of lua/*.lua by lua/embed.mjs, which \`npm run build\` and \`npm run embed\` call. Edit those.
import { script } from './script';

${scripts.join('\n')}`;
}

/** Writes it. */
export function embed() {
  writeFileSync(new URL('../scripts.ts', import.meta.url), embedded());
}

if (process.argv[1] === fileURLToPath(import.meta.url)) embed();
