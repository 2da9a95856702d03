import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import tsconfig from '../../tsconfig.json' with { type: 'json' };
import { PAGES, readPage, sections } from './pages';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (name: string) => readFileSync(`${root}${name}`, 'utf8');
const { options } = ts.convertCompilerOptionsFromJson(tsconfig.compilerOptions, root);

describe('the documentation', () => {
  it('covers every export, and every member of one', () => {
    const files = Object.values(tsconfig.compilerOptions.paths).map(([file]) => `${root}${String(file).slice(2)}`);
    const program = ts.createProgram(files, options);
    const checker = program.getTypeChecker();
    const missing = new Set<string>();
    let seen = 0;

    function look(symbol: ts.Symbol, path: string): void {
      seen += 1;
      if (symbol.getDocumentationComment(checker).length === 0) missing.add(path);
    }
    for (const file of files) {
      const module = checker.getSymbolAtLocation(program.getSourceFile(file) as ts.SourceFile) as ts.Symbol;
      for (const exported of checker.getExportsOfModule(module)) {
        const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
        look(symbol, symbol.name);
        const declaration = symbol.declarations?.[0];
        if (
          declaration === undefined ||
          !(ts.isInterfaceDeclaration(declaration) || ts.isClassDeclaration(declaration))
        )
          continue;
        for (const member of declaration.members) {
          const isPrivate = ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Private;
          if (isPrivate || member.name === undefined) continue;
          const inner = checker.getSymbolAtLocation(member.name) as ts.Symbol;
          look(inner, `${symbol.name}.${inner.name}`);
        }
      }
    }
    expect(seen).toBeGreaterThan(100);
    expect(Array.from(missing)).toEqual([]);
  });

  it('has only examples that compile', () => {
    const pages = PAGES.map(readPage).join('\n');
    // Those for other runtimes are compiled where their types are, and run by the check of the package.
    const blocks = Array.from(pages.matchAll(/```ts(?: crossws)?\n(.*?)```/gs), ([, code]) => String(code));
    expect(blocks.length).toBeGreaterThan(10);
    const sources = new Map(blocks.map((code, index) => [`${root}examples/readme-${index}.ts`, code]));
    const host = ts.createCompilerHost(options);
    const { fileExists, readFile, getSourceFile } = host;
    host.fileExists = (file) => sources.has(file) || fileExists(file);
    host.readFile = (file) => sources.get(file) ?? readFile(file);
    host.getSourceFile = (file, version, ...rest) => {
      const code = sources.get(file);
      return code === undefined
        ? getSourceFile(file, version, ...rest)
        : ts.createSourceFile(file, code, version, true);
    };
    const program = ts.createProgram(
      // What is not on npm has its types here.
      [...Array.from(sources.keys()), `${root}test/package/uwebsockets.d.ts`],
      { ...options, noUnusedLocals: false },
      host,
    );
    const problems = ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => ({
      in: file === undefined ? '' : sources.get(file.fileName),
      is: ts.flattenDiagnosticMessageText(messageText, '\n'),
    }));
    expect(problems).toEqual([]);
  });

  it('has an example of a unit test that passes', () => {
    const section = sections().get('Test your router') ?? '';
    const [, code = ''] = /```ts\n(.*?)```/s.exec(section) ?? [];
    expect(code).toContain("assert.equal((await presence.getStatuses(['acme_u1']))");
    const folder = mkdtempSync(join(tmpdir(), 'readme-'));
    try {
      writeFileSync(join(folder, 'example.mts'), code);
      const args = ['--import', 'tsx', join(folder, 'example.mts')];
      const env = { ...process.env, TSX_TSCONFIG_PATH: `${root}tsconfig.json` };
      const { status, stderr } = spawnSync(process.execPath, args, { cwd: root, env, encoding: 'utf8' });
      expect(stderr).toBe('');
      expect(status).toBe(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('names every command and every entry that there is', () => {
    for (const page of [...PAGES, 'CONTRIBUTING.md']) {
      for (const [, command] of readPage(page).matchAll(/npm run ([\w:-]+)/g)) {
        expect(Object.keys(manifest.scripts)).toContain(command);
      }
    }
    for (const entry of Object.keys(manifest.exports).filter(
      (name) => name.startsWith('./') && name !== './package.json',
    )) {
      expect(PAGES.map(readPage).join('\n')).toContain(`voiceping-presence${entry.slice(1)}`);
    }
  });

  it('leads to files that travel in the package, whatever repository it comes from', () => {
    const [packed] = JSON.parse(
      spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, encoding: 'utf8' }).stdout,
    );
    const files: string[] = packed.files.map(({ path }: { path: string }) => path);
    const pages = [...PAGES, 'SECURITY.md', 'bench/RESULTS.md', 'CHANGELOG.md'];
    let links = 0;
    for (const page of pages) {
      expect(files).toContain(page);
      for (const [, link] of read(page).matchAll(/\]\(([^)#]+)[^)]*\)/g)) {
        if (/^https?:/.test(String(link))) continue;
        const path = join(page, '..', String(link));
        expect(
          files.some((file) => file === path || file.startsWith(`${path}/`)),
          `${page}: ${link}`,
        ).toBe(true);
        links += 1;
      }
    }
    expect(links).toBeGreaterThan(20);
  });

  it('README is short, and leads to every other page', () => {
    const readme = readPage('README.md');
    expect(Buffer.byteLength(readme)).toBeLessThanOrEqual(10_000);
    for (const page of PAGES.slice(1)) expect(readme).toContain(`](${page})`);
  });

  it('names for each promise of docs/security.md a test that there is', () => {
    const page = read('docs/security.md');
    const tests = new Set(Array.from(page.matchAll(/`(test\/[\w./-]+)`/g), ([, path]) => String(path)));
    expect(tests.size).toBeGreaterThan(10);
    for (const path of tests) expect(existsSync(`${root}${path}`), path).toBe(true);
    // A row of a table of who may do what ends with one.
    const rows =
      page
        .split('## Limits')[0]
        ?.split('\n')
        .filter((line) => /^\| (?!it may|---)/.test(line)) ?? [];
    expect(rows.length).toBeGreaterThan(20);
    for (const row of rows) expect(row).toMatch(/`test\/[\w./-]+` \|$/);
  });
});
