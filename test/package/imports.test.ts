import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Each folder of `src`, and which of the others its files may import. What is not named here is forbidden. */
const MAY_IMPORT: { readonly [folder: string]: string } = {
  public: '',
  wire: 'public',
  diagnostics: 'public',
  config: 'public diagnostics',
  connections: 'public config diagnostics wire',
  replication: 'public connections config diagnostics wire',
  subscriptions: 'public replication connections config diagnostics wire',
  deliveries: 'public replication connections config diagnostics wire',
  'stores/memory': 'public',
  'stores/redis': 'public config diagnostics',
  'stores/fork-bridge': 'public config diagnostics stores/redis',
  adapters: 'public connections config diagnostics wire',
  http: 'public config diagnostics',
  webhook: 'public config',
  client: 'public wire',
  testing: 'public',
};
const FRAMEWORKS = ['ws', 'ioredis', 'express', 'koa', 'fastify', 'socket.io'];

/** The files at which the linter complains of an import. */
function complaints(files: ReadonlyMap<string, string>): Set<string> {
  const directory = mkdtempSync(join(tmpdir(), 'imports-test-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  cpSync(join(root, 'biome.json'), join(directory, 'biome.json'));
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'));
  for (const [name, text] of files) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), text);
  }
  const { stdout, stderr } = spawnSync(
    join(root, 'node_modules/.bin/biome'),
    [
      'lint',
      '--vcs-enabled=false',
      '--only=style/noRestrictedImports',
      '--reporter=json',
      '--max-diagnostics=none',
      'src',
    ],
    { cwd: directory, encoding: 'utf8' },
  );
  if (!stdout.startsWith('{')) throw new Error(`the linter says: ${stderr}`);
  const { diagnostics } = JSON.parse(stdout) as {
    diagnostics: Array<{ location: { path: string | { file: string } } }>;
  };
  return new Set(
    diagnostics.map(({ location: { path } }) => (typeof path === 'string' ? path : path.file).replace(/^\.\//, '')),
  );
}

it('a folder imports those below it, and nothing else', () => {
  const files = new Map<string, string>();
  const forbidden = new Set<string>();
  const folders = Object.keys(MAY_IMPORT);
  for (const [folder, allowed] of Object.entries(MAY_IMPORT)) {
    const up = folder.includes('/') ? '../..' : '..';
    const imports = folders.filter((other) => other !== folder).map((other) => [other, `${up}/${other}/any`] as const);
    for (const [other, path] of [...imports, ['presence', `${up}/presence`] as const]) {
      const name = `src/${folder}/of-${other.replace('/', '-')}.ts`;
      files.set(name, `import '${path}';\n`);
      if (!allowed.split(' ').includes(other)) forbidden.add(name);
    }
    for (const framework of FRAMEWORKS) {
      const name = `src/${folder}/of-${framework}.ts`;
      files.set(name, `import '${framework}';\n`);
      forbidden.add(name);
    }
  }
  expect(files.size).toBe(16 * 22);
  expect(complaints(files)).toEqual(forbidden);
});
