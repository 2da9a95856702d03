import { once } from 'node:events';
import { decode, encode } from '@msgpack/msgpack';
import { vi } from 'vitest';
import type { PresenceStatus } from 'voiceping-presence';
import { WebSocket } from 'ws';
import { Phone, type PhoneOptions } from '../../examples/phones/phone';
import { type RouterConfig, startRouter } from '../../examples/router/router';
import { onTestFinished } from '../side-by-side';

export const onCleanup = onTestFinished;

/** Waits for a condition; end-to-end tests have no other way to wait. */
export const until = (check: () => unknown, timeout = 15_000): Promise<void> =>
  vi.waitFor(
    async () => {
      await check();
    },
    { timeout, interval: 10 },
  );

/** The example router on a free port. */
export async function running(config: Partial<RouterConfig> = {}) {
  const router = await startRouter({ port: 0, ...config });
  onCleanup(() => router.close());
  const http = `http://127.0.0.1:${router.port}`;
  const ws = `ws://127.0.0.1:${router.port}`;
  return {
    router,
    http,
    ws,
    statusUrl: `${http}/api/presence/status`,
    async statuses(userIds: unknown[]): Promise<{ [userId: string]: PresenceStatus }> {
      const response = await fetch(`${http}/api/presence/status`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ userIds }),
      });
      return (await response.json()) as { [userId: string]: PresenceStatus };
    },
    /** What a request over HTTP is answered, with a token or without. */
    async ask(path: string, token: string | undefined, userIds?: readonly string[]) {
      const response = await fetch(`${http}${path}`, {
        method: userIds === undefined ? 'GET' : 'POST',
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        ...(userIds !== undefined && { body: JSON.stringify({ userIds }) }),
      });
      return { status: response.status, body: (await response.json()) as unknown };
    },
    /** How a handshake ends: with a socket, or with a status. */
    async handshake(headers: Record<string, string>, protocols: string[] = []) {
      const socket = new WebSocket(ws, protocols, { headers });
      onCleanup(() => socket.terminate());
      return Promise.race([
        once(socket, 'open').then(() => socket),
        once(socket, 'unexpected-response').then(([, response]) => response.statusCode as number),
      ]);
    },
    phone(userId: string, options: Partial<PhoneOptions> = {}): Phone {
      const phone = new Phone({ url: ws, userId, ...options });
      onCleanup(() => phone.close());
      phone.connect();
      return phone;
    },
    /** A client of our own, and what it receives. */
    async client(protocols: string[] | undefined, headers: Record<string, string> = {}) {
      const socket = new WebSocket(ws, protocols, { headers });
      onCleanup(() => socket.terminate());
      const frames: unknown[] = [];
      const raw: Buffer[] = [];
      socket.on('message', (data: Buffer) => {
        raw.push(data);
        frames.push(decode(data));
      });
      await once(socket, 'open');
      return { socket, frames, raw, send: (frame: unknown) => socket.send(encode(frame)) };
    },
  };
}
