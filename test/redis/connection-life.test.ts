import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { RedisCluster } from './cluster';
import type { Task } from './connection-life-process';
import { Sentinel } from './sentinel';
import { RedisServer } from './server';

// What a client does by itself it tells nobody, and a rejection that nobody catches ends the process. So connections are
// cut, hung, refused and closed at each step of their life, in processes that tell what nobody has caught.

const FILE = fileURLToPath(new URL('connection-life-process.ts', import.meta.url));
/** Hundreds of routers in one process each: a quarter of a minute, and far more beside other work. */
const BUSY_MS = 180_000;
const ends: Array<() => Promise<void>> = [];
afterAll(async () => {
  for (const end of ends) await end();
});

/** How many scenarios went well; all did. */
async function live(task: Task): Promise<number> {
  const options = { execArgv: ['--import', 'tsx'], stdio: ['ignore', 'inherit', 'pipe', 'ipc'] as never };
  const child = fork(FILE, [JSON.stringify(task)], options);
  let stderr = '';
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  const exited = once(child, 'exit');
  const died = exited.then(([code]) => {
    throw new Error(`ended with ${code}: ${stderr}`);
  });
  const [{ scenarios, problems }] = await Promise.race([once(child, 'message'), died]);
  expect(problems).toEqual([]);
  // It ends by itself, where nothing is left behind.
  const at = Date.now();
  await exited;
  expect(Date.now() - at).toBeLessThan(20_000);
  expect(stderr).not.toMatch(/Unhandled error event/);
  return scenarios;
}

it.concurrent(
  'a single server, ioredis 4 to 6',
  async () => {
    const server = await RedisServer.start();
    ends.push(() => server.remove());
    expect(await live({ kind: 'single', ports: [server.port] })).toBeGreaterThan(500);
  },
  BUSY_MS,
);

it.concurrent(
  'Sentinel, ioredis 4 and 6',
  async () => {
    const sentinel = await Sentinel.start();
    ends.push(() => sentinel.remove());
    expect(await live({ kind: 'sentinel', ports: [sentinel.port, sentinel.master.port] })).toBeGreaterThan(140);
  },
  BUSY_MS,
);

it.concurrent(
  'a Cluster, ioredis 5 and 6',
  async () => {
    const cluster = await RedisCluster.start();
    ends.push(() => cluster.remove());
    expect(await live({ kind: 'cluster', ports: cluster.nodes.map(({ port }) => port) })).toBeGreaterThan(60);
  },
  BUSY_MS,
);
