import { defineConfig } from 'tsup';
import manifest from './package.json' with { type: 'json' };

/** One file a subpath of the package. */
const entry = {
  index: 'src/index.ts',
  redis: 'src/stores/redis/index.ts',
  ws: 'src/adapters/ws.ts',
  'socket.io': 'src/adapters/socket.io.ts',
  http: 'src/http/node.ts',
  express: 'src/http/express.ts',
  koa: 'src/http/koa.ts',
  fastify: 'src/http/fastify.ts',
  fetch: 'src/http/fetch.ts',
  webhook: 'src/webhook/index.ts',
  client: 'src/client/index.ts',
  react: 'src/client/react.ts',
  testing: 'src/testing/index.ts',
};

const names = Object.keys(entry);
const subpaths = names.map((name) => (name === 'index' ? '.' : `./${name}`)).sort();
const exported = Object.keys(manifest.exports)
  .filter((subpath) => subpath !== './package.json')
  .sort();
if (subpaths.join() !== exported.join()) {
  throw new Error(`package.json exports ${exported.join(', ')}; the build makes ${subpaths.join(', ')}`);
}

/** What browsers load: nothing of Node is in it. */
const { client, react, ...server } = entry;

const commonJs = { format: 'cjs', target: 'es2017', dts: true, sourcemap: true, removeNodeProtocol: true } as const;

export default defineConfig([
  {
    entry,
    format: 'esm',
    target: 'node20',
    dts: true,
    sourcemap: true,
    outExtension: () => ({ js: '.mjs' }),
  },
  {
    ...commonJs,
    entry: server,
    // The two are ESM-only or need newer syntax than Node 8 has; lowered and bundled they load there.
    noExternal: ['@msgpack/msgpack', 'eventemitter3', 'ipaddr.js'],
    inject: ['tsup.inject.ts'],
  },
  { ...commonJs, entry: { client, react } },
]);
