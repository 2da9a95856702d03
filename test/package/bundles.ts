import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { chromium } from 'playwright-core';

/** What bundlers, CDNs and debuggers see of the package; `folder` is a project that has it, with `react` and `ioredis`. */

/** Neither bundler brings modules of Node to a browser. @throws where one is asked for */
export function bundleForBrowsers(folder: string): void {
  for (const code of [
    `import * as client from 'voiceping-presence/client'; import * as react from 'voiceping-presence/react'; globalThis.it = [client, react];`,
    `globalThis.it = [require('voiceping-presence/client'), require('voiceping-presence/react')];`,
  ]) {
    const stdin = { contents: code, resolveDir: folder };
    buildSync({ stdin, bundle: true, write: false, platform: 'browser', external: ['react'], logLevel: 'silent' });
  }
}

/** A router in one file, in a folder without modules, with a store that connects by itself. @throws where it does not run */
export function bundleServer(folder: string, empty: string): void {
  const code = `import { createPresence } from 'voiceping-presence';
    import { redisStore } from 'voiceping-presence/redis';
    const presence = createPresence({ store: redisStore({ host: '127.0.0.1', port: 1 }), onError: () => undefined });
    presence.close().then(() => process.exit(0));`;
  for (const format of ['cjs', 'esm'] as const) {
    const outfile = join(empty, format === 'cjs' ? 'router.cjs' : 'router.mjs');
    const js = "import { createRequire } from 'module'; const require = createRequire(import.meta.url);";
    const stdin = { contents: code, resolveDir: folder };
    const banner = format === 'esm' ? { js } : {};
    buildSync({ stdin, bundle: true, outfile, platform: 'node', format, banner, logLevel: 'error' });
    execFileSync('node', [outfile], { cwd: empty, encoding: 'utf8', stdio: 'pipe', timeout: 20_000 });
  }
  // As it is, in a module of Node, which has no require.
  writeFileSync(join(folder, 'unbundled.mjs'), code);
  execFileSync('node', [join(folder, 'unbundled.mjs')], { encoding: 'utf8', stdio: 'pipe', timeout: 20_000 });
}

/** Each file of code leads to a map, which has the source in it. @throws where one does not */
export function checkMaps(packed: string, files: readonly string[]): void {
  for (const file of files.filter((path) => /^dist\/.*\.m?js$/.test(path))) {
    const [, name = ''] = /\/\/# sourceMappingURL=(\S+)\s*$/.exec(readFileSync(join(packed, file), 'utf8')) ?? [];
    if (!files.includes(join('dist', name))) throw new Error(`${file} has no source map`);
    const { sources, sourcesContent = [] } = JSON.parse(readFileSync(join(packed, 'dist', name), 'utf8'));
    if (sources.length !== sourcesContent.length) throw new Error(`${name} lacks its sources`);
    if (sources.some((source: string) => !source.startsWith('../'))) throw new Error(`${name} names ${sources}`);
  }
}

/** A plain page, as without a bundler, in real Chromium. @throws where it shows nobody */
export async function openPlainPage(packed: string, routerUrl: string): Promise<void> {
  const { unpkg, jsdelivr } = JSON.parse(readFileSync(join(packed, 'package.json'), 'utf8'));
  if (unpkg !== jsdelivr) throw new Error(`unpkg is ${unpkg}, and jsdelivr ${jsdelivr}`);
  const html = `<!doctype html><link rel="icon" href="data:,"><script type="module">
    import { createPresenceClient } from '/client.mjs';
    const client = createPresenceClient({ url: '${routerUrl}', token: 'dashboard' });
    client.onChange((changed) => { document.title = changed.map(({ userId, status }) => userId + ' ' + status).join(); });
  </script>`;
  const asked: unknown[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    const isScript = request.url === '/client.mjs';
    response.writeHead(200, { 'content-type': isScript ? 'text/javascript' : 'text/html' });
    response.end(isScript ? readFileSync(join(packed, unpkg)) : html);
  }).listen(0, '127.0.0.1');
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu'],
  });
  try {
    const page = await browser.newPage();
    const problems: string[] = [];
    page.on('pageerror', (error) => problems.push(error.message));
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    await page.waitForFunction(`document.title === 'phone online'`, undefined, { timeout: 30_000 });
    if (problems.length > 0) throw new Error(problems.join());
    if (asked.join() !== '/,/client.mjs') throw new Error(`asks for ${asked.join()}`);
  } finally {
    await browser.close();
    server.close();
  }
}
