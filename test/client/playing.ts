import { afterEach, beforeEach, expect, vi } from 'vitest';
import {
  type Connection,
  createPresenceClient,
  type PresenceClient,
  type PresenceClientOptions,
} from 'voiceping-presence/client';
import { fakeRouter } from './fake-router';

export const ISO = '2025-12-12T10:30:45.123Z';
export const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** Clients against a router that a test plays, on a clock of its own. */
export function playing() {
  const clients: PresenceClient[] = [];
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    for (const client of clients.splice(0)) client.close();
    // A client that has ended leaves nothing behind.
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
    vi.unstubAllGlobals();
    vi.restoreAllMocks();
  });

  function start(options: Partial<PresenceClientOptions> = {}) {
    const router = fakeRouter();
    const warnings: string[] = [];
    const logger = { warn: (message: string) => warnings.push(message) };
    const client = createPresenceClient({ url: 'ws://router', WebSocket: router.WebSocket, logger, ...options });
    clients.push(client);
    const states: Connection['state'][] = [];
    client.onConnectionChange(({ state }) => states.push(state));
    return { router, client, states, warnings };
  }

  /** One that is live, and was for a while. */
  async function live(options: Partial<PresenceClientOptions> = {}) {
    const started = start(options);
    started.router.socket.open();
    started.router.socket.answer();
    expect(started.client.connection.state).toBe('live');
    await pass(500);
    return started;
  }
  return { start, live };
}

export const known = (client: PresenceClient) =>
  client
    .getAll()
    .map(({ userId, status }) => `${userId} ${status}`)
    .sort();
