import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Redis } from 'ioredis';
import { afterAll, expect, it } from 'vitest';
import { programOf } from '../bundles';
import { RedisCluster } from './cluster';
import type { Task } from './connection-life-process';
import { Sentinel } from './sentinel';
import { RedisServer } from './server';

// A client does some work whose promises cannot be handled, and an unhandled rejection ends the process. So connections are
// cut, hung, refused and closed at each step of their life, in processes that report what was not caught.

/** Shorter than any time-out of ioredis that would end what was left behind. */
const ENDS_MS = 8_000;

const ends: Array<() => Promise<void>> = [];
afterAll(async () => {
  for (const end of ends) await end();
});

/** How many scenarios went well; all did. */
async function live(task: Task): Promise<number> {
  const options = { execArgv: [], stdio: ['ignore', 'inherit', 'pipe', 'ipc'] as never };
  const child = fork(programOf('redis/connection-life-process'), [JSON.stringify(task)], options);
  let stderr = '';
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  ends.push(async () => void child.kill('SIGKILL'));
  const exited = once(child, 'exit');
  const died = exited.then(([code]) => {
    throw new Error(`ended with ${code}: ${stderr}`);
  });
  const [{ scenarios, problems }] = await Promise.race([once(child, 'message'), died]);
  expect(problems).toEqual([]);
  // The process ends without a signal if no timer or socket is left.
  const timer = setTimeout(() => child.kill('SIGKILL'), ENDS_MS);
  const [code] = await exited;
  clearTimeout(timer);
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  expect(stderr).not.toMatch(/Unhandled error event/);
  return scenarios;
}

it.concurrent('a single server, ioredis 4 to 6', async () => {
  const server = await RedisServer.start();
  ends.push(() => server.remove());
  expect(await live({ kind: 'single', ports: [server.port] })).toBeGreaterThan(300);
});

it.concurrent('Sentinel, ioredis 4 and 6', async () => {
  const sentinel = await Sentinel.start();
  ends.push(() => sentinel.remove());
  // A master that is merely busy stays the master: the users of these routers are known to no other.
  const admin = new Redis({ port: sentinel.port });
  await admin.call('SENTINEL', 'SET', sentinel.name, 'down-after-milliseconds', 600_000);
  admin.disconnect();
  expect(await live({ kind: 'sentinel', ports: [sentinel.port, sentinel.master.port] })).toBeGreaterThan(100);
});

it.concurrent('a Cluster, ioredis 5 and 6', async () => {
  const cluster = await RedisCluster.start();
  ends.push(() => cluster.remove());
  expect(await live({ kind: 'cluster', ports: cluster.nodes.map(({ port }) => port) })).toBeGreaterThan(60);
});
