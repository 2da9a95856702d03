import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ESLint } from 'eslint';
import es from 'eslint-plugin-es-x';
import node from 'eslint-plugin-n';

/**
 * What Node 8.16 lacks, looked for in every file of `dist` that is to run there, with what is bundled into it: the
 * compiler lowers syntax, and no call of a library. That a path is loaded, or run, says nothing of the others.
 */

const dist = fileURLToPath(new URL('../../dist', import.meta.url));
/** Entries that ask for a later Node by what they are for. */
const NEWER = ['fastify.js', 'fetch.js', 'react.js', 'testing.js'];

/** Lines that name what is not there, and do not reach for it. */
const GUARDED = [
  // Asked before.
  'if (typeof globalThis === "object") return globalThis;',
  // In CommonJS, which old versions load, there is a `require`, and what that throws is thrown.
  'return (0, import_node_module.createRequire)(here)("ioredis");',
  // The client has a decoder of its own; here it is for whoever gives none.
  'this.decoder = (_a = this.decoder) != null ? _a : new TextDecoder("utf-8", UTF8);',
  // Where `fetch` gives a stream.
  'const decoder = new TextDecoder();',
  // It rejects there, as where nobody answers.
  'const response = await fetch(url, {',
  // Of @msgpack/msgpack, with an option that nobody sets here.
  'if (object >= BigInt(0)) {',
];

const { rules } = es.configs['flat/restrict-to-es2017'];
/** By the name of a method alone, iterators cannot be told from arrays, nor `at()` from a field of that name. */
const isVague = (rule: string): boolean => /no-iterator-prototype-|-prototype-at$/.test(rule);

const eslint = new ESLint({
  overrideConfigFile: true,
  allowInlineConfig: false,
  baseConfig: {
    plugins: { 'es-x': es as never, n: node as never },
    languageOptions: {
      ecmaVersion: 'latest',
      sourceType: 'commonjs',
      globals: node.configs['flat/recommended-script'].languageOptions?.globals ?? {},
    },
    // A method is forbidden on whatever it is called.
    settings: { 'es-x': { aggressive: true }, n: { version: '8.16.0' } },
    rules: {
      ...(Object.fromEntries(Object.entries(rules ?? {}).filter(([rule]) => !isVague(rule))) as object),
      // Any text in a tagged template: Node has it since 8.10.
      'es-x/no-malformed-template-literals': 'off',
      'n/no-unsupported-features/es-builtins': 'error',
      'n/no-unsupported-features/node-builtins': 'error',
      'no-restricted-syntax': ['error', "CallExpression[callee.property.name='at']"],
    },
  },
});

/** What is wrong in a text, with the line that it is in. */
async function problemsOf(text: string): Promise<Array<{ line: string; message: string }>> {
  const [result] = await eslint.lintText(text);
  const lines = text.split('\n');
  return (result?.messages ?? []).map(({ line, message }) => ({ line: (lines[line - 1] ?? '').trim(), message }));
}

/** Each was in a file of ours once, or might be. A linter that finds none of them proves nothing. */
const PLANTED = [
  'pages.flat();',
  'pages.flatMap(Boolean);',
  'list.at(-1);',
  'list.findLast(Boolean);',
  'text.replaceAll("a", "b");',
  'text.matchAll(/a/g);',
  'text.trimEnd();',
  'promise.finally(end);',
  'Promise.allSettled([]);',
  'Promise.any([]);',
  'Object.fromEntries([]);',
  'Object.hasOwn({}, "a");',
  'globalThis.process;',
  'queueMicrotask(end);',
  'structuredClone({});',
  'new AbortController();',
  'performance.now();',
  'new URLSearchParams();',
  'require("crypto").randomUUID();',
  'require("util").inspect.custom; require("timers/promises");',
  'class A { #x = 1; }',
  'a?.b;',
  'a ?? b;',
  '({ ...a });',
  'async function* f() {}',
];

let failed = false;
for (const text of PLANTED) {
  if ((await problemsOf(text)).length > 0) continue;
  console.error(`NOT OK  this would be passed by: ${text}`);
  failed = true;
}

const seen = new Set<string>();
const files = readdirSync(dist).filter((name) => name.endsWith('.js') && !NEWER.includes(name));
for (const name of files) {
  const [result] = await eslint.lintFiles([`${dist}/${name}`]);
  const lines = (result?.source ?? '').split('\n');
  for (const { line, message } of result?.messages ?? []) {
    const text = (lines[line - 1] ?? '').trim();
    seen.add(text);
    if (GUARDED.includes(text)) continue;
    console.error(`NOT OK  dist/${name}:${line}: ${message}\n    ${text}`);
    failed = true;
  }
}
for (const text of GUARDED.filter((line) => !seen.has(line))) {
  console.error(`NOT OK  no file has this line any more: ${text}`);
  failed = true;
}
if (failed) process.exitCode = 1;
else console.log(`ok  ${files.join(', ')} ask for nothing that Node 8.16 lacks`);
