import { encode } from '@msgpack/msgpack';
import { Redis } from 'ioredis';
import type { SocketLike } from 'voiceping-presence';
import type { Open } from './peer.mjs';

const BATCH = 1_000;

/** No presence at all: the plainest command that Redis has for each job, pipelined. */
export const open: Open = async ({ redisPort, ttlMs }) => {
  const redis = new Redis({ port: redisPort });
  const inBatches = async (
    userIds: readonly string[],
    command: (key: string) => [string, ...Array<string | number>],
  ) => {
    for (let at = 0; at < userIds.length; at += BATCH) {
      await redis.pipeline(userIds.slice(at, at + BATCH).map((id) => command(`presence:user:${id}`))).exec();
    }
  };
  const set = (userIds: readonly string[]) =>
    inBatches(userIds, (key) => ['set', key, String(Date.now()), 'PX', ttlMs]);
  const dashboards: SocketLike[] = [];
  return {
    join: set,
    sign: set,
    leave: (userIds) => inBatches(userIds, (key) => ['del', key]),
    async statuses(userIds) {
      const values = await redis.mget(userIds.map((id) => `presence:user:${id}`));
      return values.filter((value) => value !== null).length;
    },
    // A socket that nobody looks at.
    attach: () => undefined,
    watch: (socket) => dashboards.push(socket),
    change(userId) {
      for (const status of ['online', 'offline']) {
        const at = { timestamp: new Date().toISOString(), channelType: 1, version: 123_456, reason: 'connect' };
        const frame = encode({ messageType: 31, fromId: userId, toId: '', status, ...at });
        for (const dashboard of dashboards) dashboard.send(frame);
      }
    },
    async close() {
      redis.disconnect();
    },
  };
};
