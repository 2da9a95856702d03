import { expect, it } from 'vitest';
import type { Clock, PresenceUpdate } from 'voiceping-presence';
import { fakeClock } from 'voiceping-presence/testing';
import { UpdateLimiter } from '../../src/subscriptions/update-limiter';

/** A limiter of two changes a second, and the changes that it delivers. */
function limiting() {
  const clock = fakeClock();
  const shown: string[] = [];
  const limiter = new UpdateLimiter(clock, 2, ({ update, version }) => shown.push(`${update.userId} ${version}`));
  let version = 0;
  const change = (userId: string): void => {
    version += 1;
    const timestamp = new Date(clock.now()).toISOString();
    const update: PresenceUpdate = {
      userId,
      status: version % 2 ? 'online' : 'offline',
      version,
      reason: 'connect',
      timestamp,
    };
    limiter.offer({ update, lastSeen: null, version });
  };
  return { clock, limiter, shown, change };
}

it('of a user who changes too often the last change is shown, once it may be, and none after it', async () => {
  const { clock, shown, change } = limiting();
  for (let count = 0; count < 5; count += 1) change('u');
  expect(shown).toEqual(['u 1', 'u 2']);
  await clock.advance(1_000);
  expect(shown).toEqual(['u 1', 'u 2', 'u 5']);
  await clock.advance(10_000);
  change('u');
  change('u');
  await clock.advance(10_000);
  expect(shown.slice(3)).toEqual(['u 6', 'u 7']);
});

it('a cursor is never ahead of what is kept back of anybody', async () => {
  const { clock, limiter, shown, change } = limiting();
  for (const userId of ['u', 'u', 'v', 'v']) change(userId);
  expect(limiter.settledVersion).toBe(4);
  // Changes of u, of v and of u again are kept back.
  for (const userId of ['u', 'v', 'u']) change(userId);
  expect(Array.from(limiter.keptBackIds())).toEqual(['v', 'u']);
  expect(limiter.settledVersion).toBe(5);
  expect(limiter.lastVersion).toBe(7);
  await clock.advance(1_000);
  expect(shown.slice(4).sort()).toEqual(['u 7', 'v 6']);
  expect(limiter.settledVersion).toBe(7);
});

// A router died with 2,500 users, 200 dashboards were open, and no voice frame went through the others for seconds.
it('many changes at once are delivered over several turns of the event loop, each once', () => {
  let now = 1_000_000;
  let timers: Array<{ readonly run: () => void; readonly at: number }> = [];
  const clock: Clock = {
    now: () => now,
    setTimeout(run, ms) {
      const timer = { run, at: now + ms };
      timers.push(timer);
      return timer;
    },
    clearTimeout(timer) {
      timers = timers.filter((one) => one !== timer);
    },
  };
  const delivered: string[] = [];
  const limiter = new UpdateLimiter(clock, 4, ({ update: { userId, version } }) => {
    delivered.push(`${userId} ${version}`);
    // As long as it takes to send it to very many dashboards.
    now += 1;
  });
  const offer = (userId: string, version: number): void =>
    limiter.offer({
      update: { userId, status: 'offline', timestamp: '', version, reason: 'node-down' },
      lastSeen: null,
      version,
    });
  for (let user = 0; user < 100; user += 1) offer(`u${user}`, user + 1);
  expect(delivered.length).toBe(4);
  expect(limiter.settledVersion).toBe(4);
  // What waits for its turn is not replaced.
  offer('u50', 101);
  expect(delivered[4]).toBe('u50 51');
  expect(limiter.settledVersion).toBe(4);
  let turns = 0;
  for (; delivered.length < 101 && turns < 200; turns += 1) {
    const before = delivered.length;
    now += 1;
    const due = timers.filter(({ at }) => at <= now);
    timers = timers.filter(({ at }) => at > now);
    for (const { run } of due) run();
    expect(delivered.length - before).toBeLessThanOrEqual(4);
  }
  expect(turns).toBeLessThan(60);
  expect(new Set(delivered).size).toBe(101);
  expect(delivered.indexOf('u50 101')).toBeGreaterThan(4);
  expect(limiter.settledVersion).toBe(101);
});
