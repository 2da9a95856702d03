import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { Phone } from '../../examples/phones/phone';
import { onCleanup, running, until } from '../examples/running';

// The guide, "Testing", 1 to 3 and 5, with shorter times.

it('2. Test Offline Detection: connect, force close or turn off the network, wait for the TTL, query again', async () => {
  const { phone, statuses } = await running({ presence: { ttlMs: 1_000, pingIntervalMs: 200 } });
  const handset = phone('123');
  await until(async () => expect((await statuses(['123']))['123']?.status).toBe('online'));
  handset.freeze();
  await until(async () => expect((await statuses(['123']))['123']?.status).toBe('offline'));
  expect((await statuses(['123']))['123']?.lastSeen).not.toBeNull();
});

it('3. Test Real-Time Updates: a dashboard hears immediately of phones that connect and disconnect', async () => {
  const { client, phone } = await running({ presence: { ttlMs: 60_000 } });
  const { frames } = await client(['web_dashboard_token', 'device_id']);
  const handset = phone('123');
  await until(() => expect(frames).toMatchObject([{ messageType: 32 }, { messageType: 31, status: 'online' }]));
  handset.close();
  await until(() => expect(frames[2]).toMatchObject({ messageType: 31, fromId: '123', status: 'offline' }));
});

it('1. and 5. with DEBUG=vp:* the server logs, word for word, what the guide says that it does', async () => {
  const child = spawn(process.execPath, ['--import', 'tsx', 'examples/router/main.ts'], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: { ...process.env, DEBUG: 'vp:*', DEBUG_HIDE_DATE: '1', PORT: '0', PRESENCE_TTL: '2', PING_INTERVAL: '200' },
  });
  onCleanup(() => child.kill('SIGKILL'));
  let output = '';
  let log = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  child.stderr.on('data', (chunk) => {
    log += chunk;
  });
  await until(() => expect(output).toMatch(/http:\/\/localhost:\d+/));
  const port = /localhost:(\d+)/.exec(output)?.[1];

  const handset = new Phone({ url: `ws://127.0.0.1:${port}`, userId: '123' });
  handset.connect();
  await until(() => {
    expect(log).toMatch(/^vp:presence User 123 marked as online$/m);
    expect(log).toMatch(/^vp:presence \[PONG DETECTED\] User 123 responded to PING - refreshing presence$/m);
    expect(log).toMatch(/^vp:presence Presence refreshed for 123 via PONG$/m);
  });
  const response = await fetch(`http://127.0.0.1:${port}/api/presence/status`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: '{"userIds": ["123"]}',
  });
  expect(await response.json()).toMatchObject({ '123': { userId: '123', status: 'online' } });
  handset.close();
  await until(() => expect(log).toMatch(/^vp:presence User 123 marked as offline$/m));

  // Asked to end, it ends by itself: nothing of presence keeps the process alive.
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  expect((await exited)[0]).toBe(0);
});
