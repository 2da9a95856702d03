import { type RedisLike, redisStore } from 'voiceping-presence/redis';
import type { StoreBackend } from 'voiceping-presence/testing';
import { sleep, until } from '../redis/wait';

let opened = 0;

/** Clients for the routers of a case, shared by all cases: to connect costs more than most cases do. */
export function openOn(connect: () => RedisLike) {
  const clients: RedisLike[] = [];
  return {
    /** A prefix of its own is a backend of its own. */
    async open(): Promise<StoreBackend> {
      opened += 1;
      const prefix = `case-${opened}:`;
      let routers = 0;
      return {
        async store() {
          const client = clients[routers] ?? connect();
          clients[routers] = client;
          routers += 1;
          await until('the client is connected', () => client.status === 'ready' || client.status === undefined);
          return redisStore({ client, prefix });
        },
        async pass(ms, everyMs, whileAlive) {
          for (const end = Date.now() + ms; Date.now() < end; ) {
            await sleep(Math.min(everyMs, end - Date.now()));
            await whileAlive();
          }
        },
        standStill: sleep,
        arrive: () => sleep(200),
      };
    },
    disconnect(): void {
      for (const client of clients) client.disconnect();
    },
  };
}
