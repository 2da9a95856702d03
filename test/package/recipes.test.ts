import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decode, encode } from '@msgpack/msgpack';
import { Redis } from 'ioredis';
import jwt from 'jsonwebtoken';
import { io } from 'socket.io-client';
import { afterAll, beforeAll, expect } from 'vitest';
import { WebSocket } from 'ws';
import { parse } from 'yaml';
import { freePort, RedisServer } from '../redis/server';
import { sleep, until } from '../redis/wait';
import { describe, it } from '../side-by-side';
import { sections } from './pages';

// Each recipe of README and docs, run as it stands by a router's author, and used as its users would.

const root = fileURLToPath(new URL('../..', import.meta.url));
const HOST = new URL('recipe-host.mjs', import.meta.url).href;
const SECRET = 'a secret for tests';

/** What stands under each heading, of one language. */
function recipes(language: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [title, section] of sections()) {
    const blocks = Array.from(
      section.matchAll(new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 'gs')),
      ([, code]) => code,
    );
    for (const [index, code] of blocks.entries())
      found.set(index === 0 ? title : `${title} (${index + 1})`, String(code));
  }
  return found;
}

class Running {
  readonly said: string[] = [];
  readonly devices: unknown[] = [];
  port = 0;
  /** Where it finds the packages that it imports. */
  private readonly folder = mkdtempSync(`${root}.recipes/`);

  private readonly child: ChildProcess;

  private constructor(code: string, redisPort: number, environment: Record<string, string>, name: string) {
    const file = join(this.folder, name);
    writeFileSync(file, code);
    this.child = fork(file, [], {
      cwd: root,
      execArgv: ['--import', HOST, '--import', 'tsx'],
      silent: true,
      env: {
        ...process.env,
        TSX_TSCONFIG_PATH: `${root}tsconfig.json`,
        SECRET_KEY: SECRET,
        REDIS_HOST: '127.0.0.1',
        REDIS_PORT: '6379',
        RECIPE_REDIS_PORT: String(redisPort),
        ...environment,
      },
    });
    this.child.stderr?.on('data', (data) => this.said.push(String(data)));
    this.child.on('message', (message: { port: number; device?: unknown }) => {
      this.port = message.port;
      if ('device' in message) this.devices.push(message.device);
    });
  }

  static start(
    code: string,
    redisPort: number,
    environment: Record<string, string> = {},
    name = 'recipe.mts',
  ): Running {
    return new Running(code, redisPort, environment, name);
  }

  async listening(): Promise<number> {
    await until('the recipe listens', () => this.port > 0 || this.said.length > 0, 15_000);
    expect(this.said).toEqual([]);
    return this.port;
  }

  /** It has run to its end, or lives on, and has complained of nothing. */
  async isWell(): Promise<void> {
    const { child } = this;
    await Promise.race([once(child, 'exit'), sleep(3_000)]);
    expect(this.said).toEqual([]);
    if (child.exitCode !== null) expect(child.exitCode).toBe(0);
  }

  /** Ends by itself when it is told to. */
  async stops(withinMs: number): Promise<void> {
    this.child.kill('SIGTERM');
    const [code] = await Promise.race([once(this.child, 'exit'), sleep(withinMs).then(() => ['not yet'])]);
    expect([code, this.said]).toEqual([0, []]);
  }

  async end(): Promise<void> {
    const { child } = this;
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    }
    rmSync(this.folder, { recursive: true });
  }
}

async function ask(port: number, userIds: string[]): Promise<Record<string, { status: string }>> {
  const response = await fetch(`http://127.0.0.1:${port}/api/presence/status`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ userIds }),
  });
  expect(response.status).toBe(200);
  return (await response.json()) as Record<string, { status: string }>;
}

const answersStatus = async (port: number): Promise<void> => {
  expect(await ask(port, ['123'])).toEqual({ '123': { userId: '123', status: 'offline', lastSeen: null } });
};

async function connected(url: string, options: { headers?: Record<string, string>; protocols?: string[] } = {}) {
  const { headers = {}, protocols = [] } = options;
  const socket = new WebSocket(url, protocols, { headers });
  const frames: unknown[] = [];
  socket.on('message', (data: Buffer) => frames.push(decode(data)));
  await once(socket, 'open');
  return { socket, frames };
}

const phoneIsOnline = async (port: number): Promise<void> => {
  const { socket } = await connected(`ws://127.0.0.1:${port}`, { headers: { token: 'acme_u1', device_id: 'phone' } });
  await until('the phone is online', async () => (await ask(port, ['acme_u1']))['acme_u1']?.status === 'online');
  socket.terminate();
};

/** The listener that the router had before. */
const stillAnswers = async (port: number): Promise<void> => {
  const response = await fetch(`http://127.0.0.1:${port}/`);
  expect([response.status, await response.text()]).toEqual([404, 'what your router answers today']);
};

/** How each recipe is used; those that listen to nothing need only run. */
const USES: { readonly [title: string]: (port: number) => Promise<void> } = {
  'Ten lines in your router': async (port) => {
    await stillAnswers(port);
    await phoneIsOnline(port);
  },
  'A dashboard that receives changes': async (port) => {
    const dashboard = await connected(`ws://127.0.0.1:${port}`, { protocols: ['dashboard', 'browser'] });
    await until('it has its snapshot', () => dashboard.frames.length === 1);
    const phone = await connected(`ws://127.0.0.1:${port}`, { protocols: ['acme_u1', 'phone'] });
    await until('it is told', () => dashboard.frames.length === 2);
    expect(dashboard.frames[1]).toMatchObject({ messageType: 31, fromId: 'acme_u1', status: 'online' });
    expect(phone.frames).toEqual([]);
    for (const { socket } of [dashboard, phone]) socket.terminate();
  },
  'A dashboard in fifteen lines': async (port) => {
    const dashboard = await connected(`ws://127.0.0.1:${port}`, { protocols: ['dashboard_1', 'web'] });
    dashboard.socket.send(encode({ messageType: 33, ids: true }));
    await until('it has its snapshot', () => dashboard.frames.length === 1);
    const phone = await connected(`ws://127.0.0.1:${port}`, { protocols: ['acme_u1', 'phone'] });
    await until('it is sent the change', () => dashboard.frames.length === 2);
    expect(dashboard.frames[1]).toMatchObject({ messageType: 31, fromId: 'acme_u1', status: 'online' });
    for (const { socket } of [dashboard, phone]) socket.terminate();
  },
  JWT: async (port) => {
    const url = `ws://127.0.0.1:${port}`;
    const token = (claims: object) => ({ token: jwt.sign(claims, SECRET) });
    const dashboard = await connected(url, { headers: token({ sub: 'd', role: 'dashboard' }) });
    await until('it has its snapshot', () => dashboard.frames.length === 1);
    const phone = await connected(url, { headers: token({ sub: 'acme_u1' }) });
    await until('it is told', () => dashboard.frames.length === 2);
    expect(dashboard.frames[1]).toMatchObject({ fromId: 'acme_u1', status: 'online' });
    const forged = new WebSocket(url, { headers: { token: jwt.sign({ sub: 'acme_u2' }, 'another secret') } });
    const [error] = await once(forged, 'error').catch((thrown) => [thrown]);
    expect(String(error)).toContain('401');
    for (const { socket } of [dashboard, phone]) socket.terminate();
  },
  'Identify later, or not at all': async (port) => {
    const url = `ws://127.0.0.1:${port}`;
    const { socket } = await connected(url, { headers: { token: 'a token' } });
    const nobody = new WebSocket(url, { headers: { token: 'another token' } });
    const [code] = await once(nobody, 'close');
    expect([code, socket.readyState]).toEqual([1008, WebSocket.OPEN]);
    socket.terminate();
  },
  'socket.io': async (port) => {
    const url = `http://127.0.0.1:${port}`;
    const heard: unknown[] = [];
    const dispatcher = io(url, { auth: { token: 'dispatcher' }, forceNew: true });
    dispatcher.on('presence:update', (update) => heard.push(update));
    await once(dispatcher as never, 'presence:snapshot');
    const phone = io(url, { auth: { token: 'acme_u1' }, forceNew: true });
    await until('it is told', () => heard.length === 1);
    expect(heard[0]).toMatchObject({ userId: 'acme_u1', status: 'online' });
    for (const socket of [dispatcher, phone]) socket.disconnect();
  },
  'The status endpoint in plain Node': answersStatus,
  'The status endpoint in Express': answersStatus,
  'The status endpoint in Koa': answersStatus,
  'The status endpoint in Fastify': answersStatus,
  'The status endpoint in Hono, Next, Bun, Deno': answersStatus,
  'A socket by hand': async (port) => {
    const { socket } = await connected(`ws://127.0.0.1:${port}`, { headers: { token: 'acme_u1' } });
    socket.terminate();
  },
};

/** They name hosts, or files, that only their readers have; these are in test/redis/topology.test.ts and test/examples/sinks.test.ts. */
const ELSEWHERE = [
  'Redis with Sentinel',
  'Redis Cluster',
  'Managed Redis',
  'uWebSockets.js',
  'Keep sessions in PostgreSQL',
];

let redis: RedisServer;
beforeAll(async () => {
  mkdirSync(`${root}.recipes`, { recursive: true });
  redis = await RedisServer.start();
});
afterAll(async () => {
  rmSync(`${root}.recipes`, { recursive: true });
  await redis.remove();
});

describe('each recipe', () => {
  // What a page in a browser does is compiled with the rest of the documentation, and tried in test/browser.
  const isOfPage = (code: string): boolean => code.includes("'voiceping-presence/client'");
  const all = Array.from(recipes('ts')).filter(([title, code]) => !ELSEWHERE.includes(title) && !isOfPage(code));

  it('is here', () => {
    const titles = all.map(([title]) => title);
    for (const title of Object.keys(USES)) expect(titles).toContain(title);
    for (const [title, code] of all) if (code.includes('3000')) expect(Object.keys(USES)).toContain(title);
    expect(titles.length).toBeGreaterThan(20);
  });

  it.each(all)('%s', async (title, code) => {
    const recipe = Running.start(code, redis.port);
    try {
      const use = USES[title];
      if (use === undefined) await recipe.isWell();
      else await use(await recipe.listening());
      expect(recipe.said).toEqual([]);
    } finally {
      await recipe.end();
    }
  });
});

it('the ten lines in CommonJS', async () => {
  const code = recipes('cjs').get('Ten lines in CommonJS') as string;
  const router = Running.start(code, redis.port, {}, 'recipe.cjs');
  try {
    const port = await router.listening();
    await stillAnswers(port);
    await phoneIsOnline(port);
    expect(router.said).toEqual([]);
  } finally {
    await router.end();
  }
});

it('nginx in front: calls and questions go through, and the header that names the device', async () => {
  const code = recipes('ts').get('Ten lines in your router') as string;
  const router = Running.start(
    `${code}\nwss.on('connection', (_, { headers }) => process.send?.({ port, device: headers['device_id'] }));
     const port = (server.address() as { port: number }).port;`,
    redis.port,
  );
  const folder = mkdtempSync(join(tmpdir(), 'nginx-'));
  const port = await freePort();
  const site = (recipes('nginx').get('nginx in front') as string)
    .replace('127.0.0.1:3000', `127.0.0.1:${await router.listening()}`)
    .replace('listen 8080', `listen 127.0.0.1:${port}`);
  mkdirSync(join(folder, 'body'));
  writeFileSync(
    join(folder, 'nginx.conf'),
    `daemon off; pid ${folder}/pid; error_log ${folder}/error.log;
     events {} http { access_log off; client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy;
     fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s; ${site} }`,
  );
  const nginx = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', join(folder, 'error.log')]);
  const complaints: string[] = [];
  nginx.stderr.on('data', (data) => complaints.push(String(data)));
  try {
    await until('nginx answers', () => ask(port, ['x']).then(Boolean, () => complaints.length > 0));
    expect(complaints).toEqual([]);
    await phoneIsOnline(port);
    expect(router.devices).toEqual(['phone']);
  } finally {
    nginx.kill('SIGKILL');
    await router.end();
    rmSync(folder, { recursive: true });
  }
});

it('Docker compose with Redis: its services, started as it says, without the containers', async () => {
  const { services } = parse(recipes('yaml').get('Docker compose with Redis') as string);
  expect(Object.keys(services)).toEqual(['router', 'redis']);
  const [binary, ...options] = services.redis.command.split(' ');
  expect(binary).toBe('redis-server');
  const server = await RedisServer.start(...options);
  // "As in", it says: these three recipes in one file.
  const code = [
    (recipes('ts').get('Ten lines in your router') as string).replace(
      'createPresence(optionsFromEnv())',
      'createPresence({ ...optionsFromEnv(), store: redisStoreFromEnv() })',
    ),
    "import { redisStoreFromEnv } from 'voiceping-presence/redis';",
    (recipes('ts').get('Rolling deploys') as string).replace(/^.*?(?=process\.once)/s, ''),
  ].join('\n');
  expect(code.match(/redisStoreFromEnv\(\)/g)).toHaveLength(1);
  const environment = Object.entries(services.router.environment).map(([name, value]) => [name, String(value)]);
  const router = Running.start(code, server.port, Object.fromEntries(environment));
  const client = new Redis({ port: server.port });
  try {
    const port = await router.listening();
    const { socket } = await connected(`ws://127.0.0.1:${port}`, { headers: { token: 'acme_u1' } });
    await until('the phone is online', async () => (await ask(port, ['acme_u1']))['acme_u1']?.status === 'online');
    const { PRESENCE_TTL } = services.router.environment;
    let ttl = -2;
    await until('the store knows', async () => {
      ttl = await client.pttl('presence:user:acme_u1');
      return ttl > 0;
    });
    expect(ttl).toBeGreaterThan((PRESENCE_TTL - 10) * 1_000);
    expect(ttl).toBeLessThanOrEqual(PRESENCE_TTL * 1_000);
    expect(await client.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
    // As "docker compose stop" does: SIGTERM, and SIGKILL when the grace period is over.
    await router.stops(Number.parseInt(services.router.stop_grace_period, 10) * 1_000);
    expect(await client.exists('presence:user:acme_u1')).toBe(1);
    socket.terminate();
  } finally {
    client.disconnect();
    await router.end();
    await server.remove();
  }
});
