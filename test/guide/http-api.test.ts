import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import axios from 'axios';
import { beforeEach, describe, expect, it } from 'vitest';
import { faultyStore } from '../core/faulty-store';
import { running, until } from '../examples/running';

// The guide, "HTTP API Reference", and "Option 1: HTTP API": each example as it stands there, but for the address.

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

describe('POST /api/presence/status', () => {
  let router: Awaited<ReturnType<typeof running>>;

  beforeEach(async () => {
    router = await running();
    router.phone('123');
    router.phone('789');
    const gone = router.phone('456');
    await until(async () => {
      const online = await router.statuses(['123', '456', '789']);
      expect(Object.values(online).map(({ status }) => status)).toEqual(['online', 'online', 'online']);
    });
    gone.close();
    await until(async () => expect((await router.statuses(['456']))['456']?.status).toBe('offline'));
  });

  const EXPECTED = {
    '123': { userId: '123', status: 'online', lastSeen: expect.stringMatching(ISO) },
    '456': { userId: '456', status: 'offline', lastSeen: expect.stringMatching(ISO) },
    '789': { userId: '789', status: 'online', lastSeen: expect.stringMatching(ISO) },
  };

  it('answers the example with cURL', async () => {
    const { stdout } = await promisify(execFile)('curl', [
      '-s',
      '-X',
      'POST',
      router.statusUrl,
      '-H',
      'Content-Type: application/json',
      '-d',
      '{"userIds": ["123", "456", "789"]}',
    ]);
    expect(JSON.parse(stdout)).toEqual(EXPECTED);
  });

  it('answers the example with JavaScript (fetch)', async () => {
    const response = await fetch(router.statusUrl, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ userIds: ['123', '456', '789'] }),
    });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual(EXPECTED);
  });

  it('answers the example with axios', async () => {
    const { data } = await axios.post(router.statusUrl, { userIds: ['123', '456', '789'] });
    expect(data).toEqual(EXPECTED);
  });

  it('gives null for a user never seen', async () => {
    expect(await router.statuses(['123', '456', '789', '1011'])).toEqual({
      ...EXPECTED,
      '1011': { userId: '1011', status: 'offline', lastSeen: null },
    });
  });
});

it('answers the error response', async () => {
  const { store, link } = faultyStore(Date.now);
  const { statusUrl } = await running({ presence: { store, commandTimeoutMs: 100 } });
  link.state = 'down';
  const response = await fetch(statusUrl, { method: 'POST', body: JSON.stringify({ userIds: ['123'] }) });
  expect(response.status).toBe(500);
  expect(await response.json()).toEqual({
    error: 'Failed to fetch presence status',
    details: expect.stringMatching(/./),
  });
  link.state = 'up';
});
