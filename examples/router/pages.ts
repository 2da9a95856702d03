import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { connectSources } from './origins';

const own = (name: string) => fileURLToPath(new URL(`../dashboard/${name}`, import.meta.url));

/** The client as a browser loads it; where you have a bundler of your own, it does this. */
function client(): string {
  const { outputFiles } = buildSync({
    stdin: {
      contents: "export { createPresenceClient } from 'voiceping-presence/client';",
      resolveDir: fileURLToPath(new URL('.', import.meta.url)),
    },
    bundle: true,
    format: 'esm',
    minify: true,
    write: false,
    tsconfig: fileURLToPath(new URL('../../tsconfig.json', import.meta.url)),
  });
  return outputFiles[0]?.text ?? '';
}

const JAVASCRIPT = 'text/javascript; charset=utf-8';
let bundled: string | undefined;

/** The dashboard: a few files as they lie there, by a list, so that no path from outside ever reaches the disk. */
const PAGES: ReadonlyMap<string, { type: string; content(): string | Promise<string> }> = new Map([
  ['/', { type: 'text/html; charset=utf-8', content: () => readFile(own('index.html'), 'utf8') }],
  ['/dashboard.js', { type: JAVASCRIPT, content: () => readFile(own('dashboard.js'), 'utf8') }],
  ['/dashboard.css', { type: 'text/css; charset=utf-8', content: () => readFile(own('dashboard.css'), 'utf8') }],
  [
    '/client.js',
    {
      type: JAVASCRIPT,
      content: () => {
        bundled = bundled ?? client();
        return bundled;
      },
    },
  ],
]);

export async function servePage(path: string, { headers }: IncomingMessage, response: ServerResponse): Promise<void> {
  const page = PAGES.get(path);
  if (page === undefined) {
    response.writeHead(404, { 'content-type': 'text/plain' }).end('Not found');
    return;
  }
  try {
    const content = await page.content();
    response.writeHead(200, {
      'content-type': page.type,
      'content-security-policy': `default-src 'self'; img-src data:; connect-src ${connectSources(headers)}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
    });
    response.end(content);
  } catch {
    response.writeHead(500, { 'content-type': 'text/plain' }).end('Not readable');
  }
}
