import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Redis } from 'ioredis';
import { type Attachment, createPresence, type PresenceStore } from 'voiceping-presence';
import { createStatusHandler } from 'voiceping-presence/http';
import { redisStore } from 'voiceping-presence/redis';
import { arrive, BareSocket, type Open, SPREAD } from './peer.mjs';

/** This library. */
export const open: Open = async ({ redisPort, ttlMs, pingIntervalMs, leaseMs, graceMs, listens }, onChange) => {
  const client = new Redis({ port: redisPort });
  // A user is told to the store at most twice a ping interval: before each sign of life as much time goes by.
  let skew = 0;
  const timers = new Set<unknown>();
  const errors = new Set<string>();
  const told = { signs: 0, ops: 0 };
  let onTold = (): void => undefined;
  const untilTold = (what: keyof typeof told, count: number): Promise<void> =>
    new Promise((resolve) => {
      onTold = () => {
        if (told[what] >= count) resolve();
      };
      onTold();
    });
  const presence = createPresence({
    store: counting(redisStore({ client }), (what, count) => {
      told[what] += count;
      onTold();
    }),
    ttlMs,
    pingIntervalMs,
    leaseMs,
    graceMs,
    clock: {
      now: () => Date.now() + skew,
      setTimeout(run, ms) {
        const timer = setTimeout(() => {
          timers.delete(timer);
          run();
        }, ms).unref();
        timers.add(timer);
        return timer;
      },
      clearTimeout(timer) {
        timers.delete(timer);
        clearTimeout(timer as NodeJS.Timeout);
      },
    },
    onError({ message }) {
      if (!errors.has(message)) console.error(`voiceping-presence, process ${process.pid}: ${message}`);
      errors.add(message);
    },
  });
  await presence.ready();
  if (listens) presence.onUpdate(({ userId, status }) => onChange(userId, status === 'online'));
  const sockets = new Map<string, BareSocket>();
  return {
    async join(userIds, atOnce) {
      const attachments: Attachment[] = [];
      await arrive(
        userIds,
        (userId) => {
          const socket = new BareSocket();
          sockets.set(userId, socket);
          attachments.push(presence.attachToSocket(socket, { userId }));
        },
        atOnce,
      );
      await Promise.all(attachments.map(({ ready }) => ready));
    },
    async sign(userIds, atOnce = SPREAD) {
      skew += pingIntervalMs;
      const until = told.signs + userIds.length;
      await arrive(userIds, (userId) => sockets.get(userId)?.emit('pong'), atOnce);
      await untilTold('signs', until);
    },
    async leave(userIds, atOnce) {
      const until = told.ops + userIds.length;
      await arrive(userIds, (userId) => sockets.get(userId)?.close(1000), atOnce);
      for (const userId of userIds) sockets.delete(userId);
      await untilTold('ops', until);
    },
    drop: (userIds) => arrive(userIds, (userId) => sockets.get(userId)?.close(1006)),
    silence(userIds) {
      for (const userId of userIds) {
        const socket = sockets.get(userId) as BareSocket;
        socket.emit('pong');
        socket.answersPings = false;
      }
    },
    async statuses(userIds) {
      const statuses = await presence.getStatuses(userIds);
      return Object.values(statuses).filter(({ status }) => status === 'online').length;
    },
    async serve() {
      // A router that is asked very often keeps a roster, so that a query knows of whom nothing but the presence key is needed.
      presence.isOnline('acme_u0');
      const handle = createStatusHandler(presence, { maxIds: 10_000, authorize: 'everybody' });
      const server = createServer(handle).listen(0, '127.0.0.1');
      await once(server, 'listening');
      return (server.address() as AddressInfo).port;
    },
    timers: () => timers.size,
    isPinging: true,
    attach(socket, userId) {
      presence.attachToSocket(socket, { userId });
    },
    watch(socket) {
      presence.attachToSocket(socket, { userId: 'dashboard', track: false, watch: true });
    },
    async close(handoverMs) {
      await presence.close({ handoverMs });
      client.disconnect();
    },
  };
};

/** Says how much has been told. */
function counting(store: PresenceStore, onTold: (what: 'signs' | 'ops', count: number) => void): PresenceStore {
  return {
    beat: (node) => store.beat(node),
    async apply(node, ops) {
      const answer = await store.apply(node, ops);
      onTold('ops', ops.length);
      return answer;
    },
    async refresh(node, signs) {
      const answer = await store.refresh(node, signs);
      onTold('signs', signs.length);
      return answer;
    },
    release: (node) => store.release(node),
    read: (...asked) => store.read(...asked),
    list: (page) => store.list(page),
    count: () => store.count(),
    subscribe: (feed) => store.subscribe(feed),
  };
}
