import { type RedisLike, redisStore } from 'voiceping-presence/redis';
import type { StoreBackend } from 'voiceping-presence/testing';
import { sleep, until } from '../redis/wait';

let opened = 0;

/** A prefix of its own is a backend of its own. */
export async function openOn(connect: () => RedisLike): Promise<StoreBackend> {
  const clients: RedisLike[] = [];
  opened += 1;
  const prefix = `case-${opened}:`;
  return {
    async store() {
      const client = connect();
      clients.push(client);
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
    async close() {
      for (const client of clients) client.disconnect();
    },
  };
}
