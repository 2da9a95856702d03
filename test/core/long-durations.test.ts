import { EventEmitter } from 'node:events';
import { expect, it } from 'vitest';
import { createPresence, memoryStore } from 'voiceping-presence';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { attachPresence } from 'voiceping-presence/ws';

/** The longest delay of a timer in Node. A timer with a longer one runs at once, and one that is renewed does so in a loop. */
const LONGEST_MS = 2 ** 31 - 1;

/** A router with the longest durations that the options allow. */
function longest(clock = fakeClock()) {
  const waits: number[] = [];
  const presence = createPresence({
    clock: {
      now: clock.now,
      setTimeout(run, ms) {
        waits.push(ms);
        return clock.setTimeout(run, ms);
      },
      clearTimeout: clock.clearTimeout,
    },
    store: memoryStore({ now: clock.now }),
    ttlMs: LONGEST_MS,
    pingIntervalMs: false,
    graceMs: LONGEST_MS,
    leaseMs: LONGEST_MS,
    commandTimeoutMs: LONGEST_MS,
    limits: { callbackTimeoutMs: LONGEST_MS },
    authorizeWatch: () => new Promise(() => undefined),
  });
  return { presence, clock, waits };
}

it('no timer is set for longer than Node can wait, however long everything lasts', async () => {
  const { presence, clock, waits } = longest();
  const unlisten = presence.onUpdate(() => undefined);
  const [dropped, ends, watches] = [fakeSocket(), fakeSocket(), fakeSocket()];
  presence.attachToSocket(dropped, { userId: 'u' });
  presence.attachToSocket(ends, { userId: 'v', expiresAt: new Date(8.64e15) });
  presence.attachToSocket(watches, { userId: 'd', track: false, watch: true });
  const wss = new EventEmitter();
  attachPresence(presence, wss, { identify: () => new Promise(() => undefined), identifyTimeoutMs: LONGEST_MS });
  wss.emit('connection', fakeSocket(), { headers: {} });
  await clock.settle();
  dropped.drop();
  await presence.getStatuses(['u']);
  unlisten();
  await clock.advance(100_000);
  await presence.close({ handoverMs: LONGEST_MS });
  expect(waits.length).toBeGreaterThan(8);
  for (const ms of waits) expect(ms >= 0 && ms <= LONGEST_MS, `${ms} ms`).toBe(true);
});

it('a time-out after weeks is exact to a ten-thousandth, and costs no slot a second', async () => {
  const before = process.memoryUsage().heapUsed;
  const presences = Array.from({ length: 5 }, () => longest());
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(20_000_000);
  const [{ presence, clock }] = presences as [ReturnType<typeof longest>];
  const socket = fakeSocket();
  presence.attachToSocket(socket, { userId: 'u' });
  await clock.advance(LONGEST_MS - 1);
  expect(socket.readyState).toBe(1);
  await clock.advance(LONGEST_MS / 10_000);
  expect(socket.readyState).toBe(3);
  expect((await presence.getStatuses(['u']))['u']?.status).toBe('offline');
});
