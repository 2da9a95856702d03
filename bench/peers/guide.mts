import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { encode } from '@msgpack/msgpack';
import { Redis } from 'ioredis';
import type { SocketLike } from 'voiceping-presence';
import { arrive, BareSocket, type Open, SPREAD } from './peer.mjs';

/**
 * The guide, taken literally: a key with a TTL and a hash a user, which holds the status, when it was last seen and the
 * device, as the router that comes with the guide keeps it; EXPIRE and HSET in a MULTI at each pong; EXISTS and HGETALL an
 * id in a query, all in one MULTI; keyspace events for expired keys; a message on two channels for each change.
 */
export const open: Open = async ({ redisPort, ttlMs, listens }, onChange) => {
  const redis = new Redis({ port: redisPort });
  const subscriber = new Redis({ port: redisPort });
  await Promise.all([redis, subscriber].map((client) => once(client, 'ready')));
  await redis.config('SET', 'notify-keyspace-events', 'Ex');
  const ttl = Math.ceil(ttlMs / 1_000);
  const keyOf = (userId: string) => `presence:user:${userId}`;
  const metadataOf = (userId: string) => `presence:metadata:${userId}`;
  // As long as that of an Android phone.
  const deviceIdOf = (userId: string) => userId.padStart(16, '0');
  const publish = (userId: string, status: 'online' | 'offline', timestamp: number) => {
    const message = JSON.stringify({ userId, status, timestamp });
    return [redis.publish(`presence:${status}`, message), redis.publish('presence:updates', message)];
  };
  const connect = (userId: string) => {
    const now = Date.now();
    return Promise.all([
      redis.setex(keyOf(userId), ttl, now),
      redis.hset(metadataOf(userId), { status: 'online', lastSeen: now, deviceId: deviceIdOf(userId) }),
      ...publish(userId, 'online', now),
    ]);
  };
  const pong = (userId: string) =>
    redis.multi().expire(keyOf(userId), ttl).hset(metadataOf(userId), 'lastSeen', Date.now()).exec();
  const disconnect = (userId: string) => {
    const now = Date.now();
    return Promise.all([
      redis.del(keyOf(userId)),
      redis.hset(metadataOf(userId), { status: 'offline', lastSeen: now }),
      ...publish(userId, 'offline', now),
    ]);
  };
  const statuses = async (userIds: readonly string[]) => {
    const multi = redis.multi();
    for (const userId of userIds) multi.exists(keyOf(userId));
    for (const userId of userIds) multi.hgetall(metadataOf(userId));
    const replies = (await multi.exec()) ?? [];
    const all = userIds.map((userId, index) => {
      const status = replies[index]?.[1] === 1 ? 'online' : 'offline';
      const { lastSeen } = (replies[userIds.length + index]?.[1] ?? {}) as { lastSeen?: string };
      return { userId, status, lastSeen: lastSeen === undefined ? null : new Date(Number(lastSeen)).toISOString() };
    });
    return Object.fromEntries(all.map((status) => [status.userId, status]));
  };

  const dashboards = new Set<SocketLike>();
  if (listens) {
    await subscriber.subscribe('presence:updates', '__keyevent@0__:expired');
    subscriber.on('message', (channel: string, message: string) => {
      if (channel !== 'presence:updates') {
        const userId = message.slice('presence:user:'.length);
        const now = Date.now();
        void redis.hset(metadataOf(userId), 'status', 'offline');
        publish(userId, 'offline', now);
        return;
      }
      const { userId, status, timestamp } = JSON.parse(message);
      onChange(userId, status === 'online');
      const at = new Date(timestamp).toISOString();
      const frame = encode({ messageType: 31, fromId: userId, toId: '', status, timestamp: at, channelType: 1 });
      for (const dashboard of dashboards) dashboard.send(frame);
    });
  }

  const sockets = new Map<string, BareSocket>();
  let pending: Array<Promise<unknown>> = [];
  const settle = async (): Promise<void> => {
    await Promise.all(pending);
    pending = [];
  };
  const attach = (socket: SocketLike, userId: string): void => {
    socket.on('pong', () => pending.push(pong(userId)));
    socket.on('close', () => pending.push(disconnect(userId)));
    pending.push(connect(userId));
  };
  return {
    async join(userIds) {
      await arrive(userIds, (userId) => {
        const socket = new BareSocket();
        sockets.set(userId, socket);
        attach(socket, userId);
      });
      await settle();
    },
    async sign(userIds) {
      await arrive(userIds, (userId) => sockets.get(userId)?.emit('pong'), SPREAD);
      await settle();
    },
    async leave(userIds) {
      await arrive(userIds, (userId) => sockets.get(userId)?.close(1000));
      for (const userId of userIds) sockets.delete(userId);
      await settle();
    },
    silence(userIds) {
      for (const userId of userIds) sockets.get(userId)?.emit('pong');
    },
    async statuses(userIds) {
      const all = await statuses(userIds);
      return Object.values(all).filter(({ status }) => status === 'online').length;
    },
    async serve() {
      const server = createServer(async (request, response) => {
        const chunks: Buffer[] = [];
        for await (const chunk of request) chunks.push(chunk as Buffer);
        const { userIds } = JSON.parse(Buffer.concat(chunks).toString());
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify(await statuses(userIds)));
      }).listen(0, '127.0.0.1');
      await once(server, 'listening');
      return (server.address() as AddressInfo).port;
    },
    attach,
    watch: (socket) => dashboards.add(socket),
    async close() {
      redis.disconnect();
      subscriber.disconnect();
    },
  };
};
