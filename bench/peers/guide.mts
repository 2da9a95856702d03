import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { encode } from '@msgpack/msgpack';
import { type ChainableCommander, Redis } from 'ioredis';
import type { SocketLike } from 'voiceping-presence';
import { arrive, BareSocket, type Open, SPREAD } from './peer.mjs';

/**
 * The guide, taken literally: a key with a TTL and a hash a user, which holds the status, when it was last seen and the
 * device, as the router that comes with the guide keeps it; EXPIRE and HSET at each pong; EXISTS and HGETALL an id in a query;
 * keyspace events for expired keys; a message on two channels for each change. These commands are sent in the best way there is:
 * one pipeline for all that comes in a turn of the event loop, without MULTI.
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
  let pending: Array<Promise<unknown>> = [];
  let batch: ChainableCommander | undefined;
  /** What is sent at the end of the turn. */
  const commands = (): ChainableCommander => {
    if (batch !== undefined) return batch;
    const made = redis.pipeline();
    batch = made;
    queueMicrotask(() => {
      batch = undefined;
      pending.push(made.exec());
    });
    return made;
  };
  const publish = (userId: string, status: 'online' | 'offline', timestamp: number): void => {
    const message = JSON.stringify({ userId, status, timestamp });
    commands().publish(`presence:${status}`, message).publish('presence:updates', message);
  };
  const connect = (userId: string): void => {
    const now = Date.now();
    commands()
      .setex(keyOf(userId), ttl, now)
      .hset(metadataOf(userId), 'status', 'online', 'lastSeen', now, 'deviceId', deviceIdOf(userId));
    publish(userId, 'online', now);
  };
  const pong = (userId: string): void => {
    commands().expire(keyOf(userId), ttl).hset(metadataOf(userId), 'lastSeen', Date.now());
  };
  const disconnect = (userId: string): void => {
    const now = Date.now();
    commands().del(keyOf(userId)).hset(metadataOf(userId), 'status', 'offline', 'lastSeen', now);
    publish(userId, 'offline', now);
  };
  const statuses = async (userIds: readonly string[]) => {
    const query = redis.pipeline();
    for (const userId of userIds) query.exists(keyOf(userId));
    for (const userId of userIds) query.hgetall(metadataOf(userId));
    const replies = (await query.exec()) ?? [];
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
        commands().hset(metadataOf(userId), 'status', 'offline');
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
  const settle = async (): Promise<void> => {
    await Promise.all(pending);
    pending = [];
  };
  const attach = (socket: SocketLike, userId: string): void => {
    socket.on('pong', () => pong(userId));
    socket.on('close', () => disconnect(userId));
    connect(userId);
  };
  return {
    async join(userIds, atOnce) {
      await arrive(
        userIds,
        (userId) => {
          const socket = new BareSocket();
          sockets.set(userId, socket);
          attach(socket, userId);
        },
        atOnce,
      );
      await settle();
    },
    async sign(userIds, atOnce = SPREAD) {
      await arrive(userIds, (userId) => sockets.get(userId)?.emit('pong'), atOnce);
      await settle();
    },
    async leave(userIds, atOnce) {
      await arrive(userIds, (userId) => sockets.get(userId)?.close(1000), atOnce);
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
