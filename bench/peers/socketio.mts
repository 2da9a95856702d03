import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdapter } from '@socket.io/redis-adapter';
import { Redis } from 'ioredis';
import { Server } from 'socket.io';
import type { Open } from './peer.mjs';

const DASHBOARDS = 'dashboards';
const NOT_HERE = () => Promise.reject(new Error('users of socket.io come on real sockets'));

/** socket.io with its Redis adapter: a room a user, fetchSockets for who is online, and an event to the dashboards' room. */
export const open: Open = async ({ redisPort, pingIntervalMs, ttlMs, listens }, onChange) => {
  const [publisher, subscriber] = [new Redis({ port: redisPort }), new Redis({ port: redisPort })];
  const server = createServer();
  const io = new Server(server, {
    adapter: createAdapter(publisher, subscriber),
    transports: ['websocket'],
    perMessageDeflate: false,
    pingInterval: pingIntervalMs,
    pingTimeout: ttlMs,
  });
  const tell = (userId: string, status: 'online' | 'offline'): void => {
    io.to(DASHBOARDS).emit('presence', { userId, status, timestamp: new Date().toISOString() });
    if (listens) onChange(userId, status === 'online');
  };
  io.on('connection', async (socket) => {
    const userId = String(socket.handshake.query['userId']);
    if (userId === '') {
      await socket.join(DASHBOARDS);
      return;
    }
    socket.data['userId'] = userId;
    await socket.join(`user:${userId}`);
    tell(userId, 'online');
    socket.on('disconnect', async () => {
      const others = await io.in(`user:${userId}`).fetchSockets();
      if (others.length === 0) tell(userId, 'offline');
    });
  });
  return {
    join: NOT_HERE,
    sign: NOT_HERE,
    leave: NOT_HERE,
    async statuses(userIds) {
      const sockets = await io.in(userIds.map((userId) => `user:${userId}`)).fetchSockets();
      const online = new Set(sockets.map(({ data }) => data.userId));
      return userIds.filter((userId) => online.has(userId)).length;
    },
    async listen() {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      return (server.address() as AddressInfo).port;
    },
    change(userId) {
      tell(userId, 'online');
      tell(userId, 'offline');
    },
    async close() {
      await io.close();
      publisher.disconnect();
      subscriber.disconnect();
    },
  };
};
