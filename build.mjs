import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import manifest from './package.json' with { type: 'json' };
import { embed } from './src/stores/redis/lua/embed.mjs';

// tsup makes the bundles and their types; what old resolvers and old compilers need besides is made from them here.

embed();
rmSync('dist', { recursive: true, force: true });
const { status } = spawnSync('tsup', ['--silent'], { stdio: 'inherit' });
if (status !== 0) process.exit(status ?? 1);

// Resolvers that know no "exports" look for voiceping-presence/ws in the package's root.
for (const subpath of Object.keys(manifest.exports).filter(
  (name) => name.startsWith('./') && !name.endsWith('.json'),
)) {
  const name = subpath.slice(2);
  writeFileSync(`${name}.js`, `module.exports = require('./dist/${name}.js');\n`);
  writeFileSync(`${name}.d.ts`, `export * from './dist/${name}';\n`);
}

// Compilers before 4.7 know no `type` modifiers in braces, those before 3.8 no type-only imports and exports, and old
// types of Node no `node:` names.
mkdirSync('dist/ts3.5');
for (const file of readdirSync('dist').filter((name) => name.endsWith('.d.ts'))) {
  const types = readFileSync(`dist/${file}`, 'utf8')
    .replace(/^(import|export) (type )?\{[^}]*\}/gm, (braces) => braces.replace(/\btype /g, ''))
    .replaceAll("from 'node:", "from '");
  writeFileSync(`dist/ts3.5/${file}`, types);
}
