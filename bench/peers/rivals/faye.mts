import { createRequire } from 'node:module';
import { arrive, type Open, SPREAD } from '../peer.mjs';

const engines = createRequire(import.meta.url)('faye-redis');

/**
 * Faye's engine on Redis, which keeps when each client was last seen, driven in process as its server drives it. It tells
 * other nodes of those who leave, and not of those who come.
 */
export const open: Open = async ({ redisPort, ttlMs, listens }, onChange) => {
  const local = new Set<string>();
  /** Of the users who are about to join: Faye's own ids are random. */
  const ids: string[] = [];
  const engine = engines.create(
    {
      // It lets a client be silent for 1.6 times as long.
      timeout: ttlMs / 1_600,
      generateId: () => ids.shift(),
      hasConnection: (id: string) => local.has(id),
      deliver: () => undefined,
      debug: () => undefined,
      trigger: (event: string, id: string) => {
        if (event === 'close' && listens) onChange(id, false);
      },
    },
    { host: '127.0.0.1', port: redisPort },
  );
  const exists = (id: string): Promise<boolean> => new Promise((resolve) => engine.clientExists(id, resolve));
  await exists('');
  const sign = async (id: string): Promise<void> => {
    await exists(id);
    local.add(id);
    engine.ping(id);
    engine.emptyQueue(id);
  };
  const all = async (
    userIds: readonly string[],
    each: (id: string) => Promise<unknown>,
    atOnce?: number,
  ): Promise<void> => {
    const pending: Array<Promise<unknown>> = [];
    await arrive(userIds, (id) => pending.push(each(id)), atOnce);
    await Promise.all(pending);
    // Answered after all that went before on the same connection.
    await exists('');
  };
  return {
    join: (userIds) =>
      all(userIds, async (id) => {
        ids.push(id);
        await new Promise((resolve) => engine.createClient(resolve));
        await sign(id);
      }),
    sign: (userIds) => all(userIds, sign, SPREAD),
    leave: (userIds) =>
      all(userIds, async (id) => {
        await exists(id);
        await new Promise((resolve) => engine.destroyClient(id, resolve));
        local.delete(id);
      }),
    silence(userIds) {
      for (const id of userIds) engine.ping(id);
    },
    async statuses(userIds) {
      const known = await Promise.all(userIds.map(exists));
      return known.filter(Boolean).length;
    },
    close: async () => engine.disconnect(),
  };
};
