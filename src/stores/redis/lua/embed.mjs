import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

// Generates scripts.generated.ts from the Lua files, so that bundles, tests and examples need not read files.

/** Scripts that start with meta.lua, record.lua, decide.lua and shared.lua. */
const CHANGING = ['apply', 'beat', 'reap', 'settle', 'stray', 'sweep'];
/** Scripts that start with meta.lua, record.lua, decide.lua and proof.lua. */
const QUERIES = ['count', 'list', 'read'];
/** Scripts that start with meta.lua and record.lua. */
const LOOKING = ['begin', 'held', 'seen'];
const ALONE = ['advance', 'claim', 'deliveries', 'leased', 'refresh', 'registered', 'release'];
const NAMES = [...CHANGING, ...QUERIES, ...LOOKING, ...ALONE].sort();
const before = (name) => {
  if (CHANGING.includes(name)) return ['meta', 'record', 'decide', 'shared'];
  if (QUERIES.includes(name)) return ['meta', 'record', 'decide', 'proof'];
  return LOOKING.includes(name) ? ['meta', 'record'] : [];
};

const source = (name) =>
  readFileSync(new URL(`${name}.lua`, import.meta.url), 'utf8')
    .replace(/^--\[\[[\s\S]*?\]\]\n/, '')
    .replace(/^\s*--.*\n/gm, '');

/** Returns the text of scripts.generated.ts. */
export function embedded() {
  const scripts = NAMES.map((name) => {
    const text = [...before(name), name].map(source).join('');
    return `export const ${name} = script('${name}', String.raw\`${text}\`);\n`;
  });
  return `// Generated from lua/*.lua by lua/embed.mjs, which \`npm run build\` and \`npm run embed\` call. Edit those.
import { script } from '../commands/script';

${scripts.join('\n')}`;
}

/** Writes scripts.generated.ts. */
export function embed() {
  writeFileSync(new URL('./scripts.generated.ts', import.meta.url), embedded());
}

if (process.argv[1] === fileURLToPath(import.meta.url)) embed();
