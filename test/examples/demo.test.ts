import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { decode } from '@msgpack/msgpack';
import { expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { CROWD } from '../../examples/phones/crowd';
import { RedisServer } from '../redis/server';
import { onCleanup, until } from './running';

interface Update {
  readonly fromId: string;
  readonly status: string;
  readonly reason: string;
}

type Frame = Update | { readonly users: Array<{ userId: string; status: string }> };

it('three routers on one Redis: a dashboard sees all phones, a key kills a router, and its phones go and come back', async () => {
  const server = await RedisServer.start();
  onCleanup(() => server.remove());
  const demo = spawn(process.execPath, ['--import', 'tsx', 'examples/demo.ts', '--routers', '3'], {
    env: { ...process.env, PORT: '0', REDIS_HOST: '127.0.0.1', REDIS_PORT: String(server.port) },
    detached: true,
  });
  let output = '';
  for (const stream of [demo.stdout, demo.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk));
  const exited = once(demo, 'exit');
  onCleanup(() => {
    if (demo.exitCode === null) process.kill(-(demo.pid as number), 'SIGKILL');
  });
  await until(() => expect(output).toMatch(/http:\/\/localhost:\d+/), 30_000);

  const online = new Set<string>();
  const reasons: string[] = [];
  const port = /http:\/\/localhost:(\d+)/.exec(output)?.[1];
  let socket: WebSocket;
  let isOver = false;
  onCleanup(() => {
    isOver = true;
    socket.terminate();
  });
  function watch(): void {
    socket = new WebSocket(`ws://localhost:${port}`, ['dashboard', 'web']);
    socket.on('error', () => undefined);
    socket.on('message', (data: Buffer) => {
      const frame = decode(data) as Frame;
      const users = 'users' in frame ? frame.users : [{ userId: frame.fromId, status: frame.status }];
      for (const { userId, status } of users) {
        if (status === 'online') online.add(userId);
        else online.delete(userId);
      }
      if ('reason' in frame) reasons.push(frame.reason);
    });
    // Its own router may be the one that is killed.
    socket.on('close', () => {
      if (!isOver) watch();
    });
  }
  watch();
  await until(() => expect(online.size).toBeGreaterThan(CROWD.length * 0.6), 30_000);
  demo.stdin.write('2');
  await until(() => expect(output).toContain('Router 2 was killed.'));
  await until(() => expect(reasons).toContain('node-down'), 20_000);
  await until(() => expect(online.size).toBeGreaterThan(CROWD.length * 0.6), 30_000);
  demo.stdin.write('2');
  await until(() => expect(output).toContain('Router 2 is back.'), 20_000);
  demo.stdin.write('q');
  const [code] = await exited;
  expect(code).toBe(0);
  expect(output).toContain('Closed.');
}, 120_000);
