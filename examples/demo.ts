import { parseArgs } from 'node:util';
import { startRouters } from './demo-routers';
import { CROWD, startCrowd } from './phones/crowd';
import { startRouter } from './router/router';
import { storeFromEnv } from './router/store';

/** Router, dashboard and forty lively phones, in one command. Short times, so that there is something to see. */
const presence = { ttlMs: 15_000, pingIntervalMs: 5_000 };

const { HOST = '127.0.0.1' } = process.env;

async function listen(): Promise<Awaited<ReturnType<typeof startRouter>>> {
  const asked = process.env['PORT'];
  const options = { host: HOST, presence: { ...presence, ...storeFromEnv() }, users: CROWD };
  try {
    return await startRouter({ ...options, port: Number(asked ?? 3000) });
  } catch (error) {
    if (asked !== undefined || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    return startRouter({ ...options, port: 0 });
  }
}

async function startOne(): Promise<void> {
  const router = await listen();
  const stopPhones = startCrowd(`ws://localhost:${router.port}`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, async () => {
      stopPhones();
      await router.close();
      console.log('  Closed.');
      // A phone that is frozen would hold on until its time-out.
      process.exit(0);
    });
  }
  console.log(`
  Dashboard  http://localhost:${router.port}
  Listens on ${HOST}, and believes everybody: nobody is authenticated in a demo.
  Query      curl -X POST http://localhost:${router.port}/api/presence/status \\
               -H 'Content-Type: application/json' -d '{"userIds": ["acme_omar", "nordbau_freja"]}'

  ${CROWD.length} phones come, talk, drop, freeze and go. Ctrl-C ends it.
`);
}

const { values } = parseArgs({ options: { routers: { type: 'string', default: '1' } } });
const count = Number(values.routers);
if (!Number.isInteger(count) || count < 1 || count > 9) throw new Error(`--routers is ${values.routers}; it is 1 to 9`);
await (count === 1 ? startOne() : startRouters(count));
