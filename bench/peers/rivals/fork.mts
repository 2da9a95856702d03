import { createRequire } from 'node:module';
import { arrive, BareSocket, type Open, SPREAD } from '../peer.mjs';

/** The old client, whose own queue sends what comes in one turn of the event loop in one piece. */
const redis = createRequire(import.meta.url)('redis');

/**
 * How the fork sends what the guide wants: a MULTI for each user, fields of the hash one by one, and the two messages of a change
 * once the MULTI is answered.
 */
export const open: Open = async ({ redisPort, ttlMs }) => {
  const client = redis.createClient(redisPort, '127.0.0.1');
  await new Promise((resolve) => client.once('ready', resolve));
  const ttl = Math.ceil(ttlMs / 1_000);
  const keyOf = (userId: string) => `presence:user:${userId}`;
  const metadataOf = (userId: string) => `presence:metadata:${userId}`;
  // As long as that of an Android phone.
  const deviceIdOf = (userId: string) => userId.padStart(16, '0');
  /** What was sent, and not answered yet. */
  let open = 0;
  let onIdle = (): void => undefined;
  const answered = (error: Error | null): void => {
    if (error !== null) throw error;
    open -= 1;
    if (open === 0) onIdle();
  };
  const settle = (): Promise<void> =>
    new Promise((resolve) => {
      onIdle = resolve;
      if (open === 0) resolve();
    });
  const exec = (multi: { exec(done: (error: Error | null) => void): void }, then = (): void => undefined): void => {
    open += 1;
    multi.exec((error) => {
      if (error === null) then();
      answered(error);
    });
  };
  const publish = (userId: string, status: 'online' | 'offline', timestamp: number, deviceId?: string): void => {
    const message = JSON.stringify({ status, timestamp, type: 'presence_update', userId, deviceId });
    open += 2;
    client.publish(`presence:${status}`, message, answered);
    client.publish('presence:updates', message, answered);
  };
  const connect = (userId: string): void => {
    const now = Date.now();
    const multi = client
      .multi()
      .set(keyOf(userId), '1', 'EX', ttl)
      .hset(metadataOf(userId), 'status', 'online')
      .hset(metadataOf(userId), 'lastSeen', String(now))
      .hset(metadataOf(userId), 'deviceId', deviceIdOf(userId));
    exec(multi, () => publish(userId, 'online', now, deviceIdOf(userId)));
  };
  const pong = (userId: string): void =>
    exec(client.multi().expire(keyOf(userId), ttl).hset(metadataOf(userId), 'lastSeen', String(Date.now())));
  const disconnect = (userId: string): void => {
    const now = Date.now();
    const multi = client
      .multi()
      .del(keyOf(userId))
      .hset(metadataOf(userId), 'status', 'offline')
      .hset(metadataOf(userId), 'lastSeen', String(now));
    exec(multi, () => publish(userId, 'offline', now));
  };

  const sockets = new Map<string, BareSocket>();
  return {
    async join(userIds, atOnce) {
      await arrive(
        userIds,
        (userId) => {
          const socket = new BareSocket();
          sockets.set(userId, socket);
          socket.on('pong', () => pong(userId));
          socket.on('close', () => disconnect(userId));
          connect(userId);
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
    statuses: (userIds) =>
      new Promise((resolve, reject) => {
        const multi = client.multi();
        for (const userId of userIds) multi.exists(keyOf(userId));
        for (const userId of userIds) multi.hgetall(metadataOf(userId));
        multi.exec((error: Error | null, replies: Array<{ lastSeen?: string } | number | null>) => {
          if (error !== null) {
            reject(error);
            return;
          }
          const users = userIds.map((userId, index) => {
            const metadata = replies[userIds.length + index] as { lastSeen?: string; deviceId?: string } | null;
            const status = replies[index] === 1 && metadata !== null ? 'online' : 'offline';
            return {
              userId,
              status,
              lastSeen: Number(metadata?.lastSeen ?? 0),
              deviceId: metadata?.deviceId,
              metadata,
            };
          });
          resolve(users.filter(({ status }) => status === 'online').length);
        });
      }),
    close: async () => client.quit(),
  };
};
