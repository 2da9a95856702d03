import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { setImmediate as turn } from 'node:timers/promises';
import { arrive, type Open, SPREAD } from '../peer.mjs';

const require = createRequire(import.meta.url);
const Redis = require('ioredis');
const Primus = require('primus');
const metroplex = require('metroplex');

interface Spark {
  emit(event: string, data: string): void;
  end(): void;
}

/**
 * metroplex: the registry of Primus, in Redis. It tells nobody of changes, and keeps no time of a user. Users are sparks
 * without sockets, made as its transformers make them, which favours it.
 */
export const open: Open = async ({ redisPort, leaseMs }) => {
  const redis = new Redis({ port: redisPort, host: '127.0.0.1' });
  const primus = new Primus(createServer(), {
    transformer: 'websockets',
    redis,
    address: `http://node-${process.pid}`,
    // It would end every spark that is silent for a minute.
    pingInterval: false,
    // A node counts as dead after it; five minutes by default.
    interval: leaseMs,
  });
  const registered = new Promise((resolve, reject) => {
    primus.once('register', resolve);
    primus.once('error', reject);
  });
  primus.plugin('metroplex', metroplex);
  await registered;
  const sparks = new Map<string, Spark>();
  // What it writes gives no callback: a PING on the same connection is answered after it.
  const settled = async (): Promise<void> => {
    await turn();
    await redis.ping();
  };
  return {
    async join(userIds) {
      await arrive(userIds, (userId) => sparks.set(userId, new primus.Spark({}, {}, {}, userId)));
      await settled();
    },
    sign: (userIds) =>
      arrive(userIds, (userId) => sparks.get(userId)?.emit('incoming::data', '"primus::pong::1"'), SPREAD),
    async leave(userIds) {
      await arrive(userIds, (userId) => sparks.get(userId)?.end());
      for (const userId of userIds) sparks.delete(userId);
      await settled();
    },
    statuses: (userIds) =>
      new Promise((resolve, reject) => {
        primus.metroplex.sparks(userIds, (error: Error | null, nodes: unknown[]) => {
          if (error) reject(error);
          else resolve(nodes.filter(Boolean).length);
        });
      }),
    close: async () => redis.disconnect(),
  };
};
