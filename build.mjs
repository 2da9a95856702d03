import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { buildSync } from 'esbuild';
import manifest from './package.json' with { type: 'json' };
import { embed } from './src/stores/redis/lua/embed.mjs';

// tsup makes the bundles and their types; what old resolvers and old compilers need besides is made from them here.

embed();
rmSync('dist', { recursive: true, force: true });
const { status } = spawnSync('tsup', ['--silent'], { stdio: 'inherit' });
if (status !== 0) process.exit(status ?? 1);

// What is to be found by the bundlers of others, and not by ours, which would write a `require` of its own.
for (const file of ['dist/redis.js', 'dist/redis.mjs']) {
  const code = readFileSync(file, 'utf8').split('bundlersRequire(');
  if (code.length !== 2) throw new Error(`${file} loads ioredis in ${code.length - 1} places; one is expected`);
  writeFileSync(file, code.join('require('));
}

// A plain page has no bundler, and loads one file.
buildSync({
  entryPoints: ['src/client/index.ts'],
  outfile: 'dist/client.browser.mjs',
  bundle: true,
  minify: true,
  sourcemap: true,
  format: 'esm',
  platform: 'browser',
  target: 'es2020',
});

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
