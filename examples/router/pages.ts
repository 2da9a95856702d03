import { readFile } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const own = (name: string) => fileURLToPath(new URL(`../dashboard/${name}`, import.meta.url));
const require = createRequire(import.meta.url);

/** The dashboard: a few files as they lie there, by a list, so that no path from outside ever reaches the disk. */
const PAGES: ReadonlyMap<string, { file: string; type: string }> = new Map([
  ['/', { file: own('index.html'), type: 'text/html; charset=utf-8' }],
  ['/dashboard.js', { file: own('dashboard.js'), type: 'text/javascript; charset=utf-8' }],
  ['/dashboard.css', { file: own('dashboard.css'), type: 'text/css; charset=utf-8' }],
  [
    '/msgpack.js',
    {
      file: require.resolve('@msgpack/msgpack').replace(/dist.*$/, 'dist.umd/msgpack.min.js'),
      type: 'text/javascript; charset=utf-8',
    },
  ],
]);

export function servePage(path: string, response: ServerResponse): void {
  const page = PAGES.get(path);
  if (page === undefined) {
    response.writeHead(404, { 'content-type': 'text/plain' }).end('Not found');
    return;
  }
  readFile(page.file, (error, content) => {
    if (error) {
      response.writeHead(500, { 'content-type': 'text/plain' }).end('Not readable');
      return;
    }
    response.writeHead(200, {
      'content-type': page.type,
      'content-security-policy':
        "default-src 'self'; img-src data:; connect-src 'self' ws: wss:; frame-ancestors 'none'",
      'x-content-type-options': 'nosniff',
    });
    response.end(content);
  });
}
