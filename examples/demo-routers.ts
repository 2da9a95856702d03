import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { startBalancer } from './balancer';
import { CROWD, startCrowd } from './phones/crowd';
import { isRedisNamed } from './router/store';

const ROUTER = fileURLToPath(new URL('demo-router.ts', import.meta.url));

interface Started {
  readonly child: ChildProcess;
  readonly port: number;
}

async function startOne(): Promise<Started> {
  const child = fork(ROUTER);
  const [port] = await once(child, 'message');
  return { child, port };
}

/** Several router processes on one Redis, and in front of them one address. A key kills one, or starts it again. */
export async function startRouters(count: number): Promise<void> {
  if (!isRedisNamed()) {
    throw new Error('several routers need one Redis: REDIS_HOST=localhost npm run demo -- --routers 3');
  }
  const routers: Array<Started | undefined> = await Promise.all(Array.from({ length: count }, startOne));
  const alive = () => routers.flatMap((router) => (router === undefined ? [] : [router.port]));
  const { PORT = '3000', HOST = '127.0.0.1' } = process.env;
  const balancer = await startBalancer(Number(PORT), HOST, alive);
  const stopPhones = startCrowd(`ws://localhost:${balancer.port}`);
  async function toggle(index: number): Promise<void> {
    const router = routers[index];
    if (router === undefined) {
      routers[index] = await startOne();
      console.log(`  Router ${index + 1} is back.`);
      return;
    }
    routers[index] = undefined;
    router.child.kill('SIGKILL');
    console.log(`  Router ${index + 1} was killed.`);
  }

  let isEnding = false;
  async function end(): Promise<void> {
    if (isEnding) return;
    isEnding = true;
    process.stdin.destroy();
    stopPhones();
    balancer.close();
    const children = routers.flatMap((router) => (router === undefined ? [] : [router.child]));
    await Promise.all(
      children.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const exited = once(child, 'exit');
        child.kill('SIGTERM');
        await exited;
      }),
    );
    console.log('  Closed.');
    // A phone that hangs would hold on until its time-out.
    process.exit(0);
  }

  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end);
  if (process.stdin.isTTY) process.stdin.setRawMode(true);
  process.stdin.on('data', (keys: Buffer) => {
    for (const key of keys.toString()) {
      if (key === 'q' || key === '\u0003') void end();
      else if (Number(key) >= 1 && Number(key) <= count) void toggle(Number(key) - 1);
    }
  });
  console.log(`
  Dashboard  http://localhost:${balancer.port}
  Listens on ${HOST}, and believes everybody: nobody is authenticated in a demo.
  Routers    ${alive().join(', ')}: ${count} processes, ${CROWD.length} phones spread over them

  Keys 1 to ${count} kill a router, or start it again: its phones go within a lease, and come back elsewhere.
  Ctrl-C, or q, ends it.
`);
}
