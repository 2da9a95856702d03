import { describe, expect, it } from 'vitest';
import type { Health, Presence } from 'voiceping-presence';
import { createStatusHandler } from 'voiceping-presence/fetch';

const AS_OF = '2026-01-01T00:00:00.000Z';

/** A presence that counts what it is asked. */
function counting(status: Health['status'] = 'ok') {
  const asked: string[][] = [];
  const presence = {
    attachToSocket: () => undefined,
    health: () => ({ status, asOf: AS_OF, problems: [] }),
    async getStatuses(ids: Iterable<string>) {
      const userIds = Array.from(ids);
      asked.push(userIds);
      return Object.fromEntries(
        userIds.map((userId) => [userId, { userId, status: 'offline', lastSeen: null }] as const),
      );
    },
  } as unknown as Presence;
  return { presence, asked };
}

const post = (body: unknown, headers = {}) =>
  new Request('http://router/api/presence/status', { method: 'POST', body: JSON.stringify(body), headers });

describe('the status endpoint', () => {
  it('asks the store of nobody whom the request may not see', async () => {
    const { presence, asked } = counting();
    const seen: string[][] = [];
    const authorize = (_: Request, userIds: string[]) => {
      seen.push(userIds);
      return !userIds.includes('boss');
    };
    const handler = createStatusHandler(presence, { authorize });
    expect((await handler(post({ userIds: ['boss'] }))).status).toBe(403);
    expect(asked).toEqual([]);
    expect((await handler(post({ userIds: ['u'] }))).status).toBe(200);
    expect(asked).toEqual([['u']]);
    // First the head alone, then the ids.
    expect(seen).toEqual([[], ['boss'], [], ['u']]);
  });

  it.each(['ok', 'degraded'] as const)('says nothing of its age while the store is %s', async (status) => {
    const handler = createStatusHandler(counting(status).presence, { authorize: 'everybody' });
    const { headers } = await handler(post({ userIds: ['u'] }));
    expect(headers.get('x-presence-stale')).toBeNull();
  });

  it('says until when it is true while the store is away, also to browsers', async () => {
    const handler = createStatusHandler(counting('stale').presence, { authorize: 'everybody', cors: true });
    const { headers } = await handler(post({ userIds: ['u'] }));
    expect(headers.get('x-presence-stale')).toBe(AS_OF);
    expect(headers.get('access-control-expose-headers')).toBe('X-Presence-Stale');
  });
});
