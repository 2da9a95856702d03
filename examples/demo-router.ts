import { CROWD } from './phones/crowd';
import { startRouter } from './router/router';
import { storeFromEnv } from './router/store';

// One of the routers of `npm run demo -- --routers 3`, a process of its own. It says its port to the one that started it.

const router = await startRouter({
  port: 0,
  presence: { ...storeFromEnv(), ttlMs: 15_000, pingIntervalMs: 5_000, leaseMs: 2_000 },
  users: CROWD,
});
process.send?.(router.port);

async function end(): Promise<void> {
  await router.close();
  // The channel to the one that started it would keep it alive.
  if (process.connected) process.disconnect();
}
for (const signal of ['SIGINT', 'SIGTERM', 'disconnect'] as const) process.once(signal, end);
