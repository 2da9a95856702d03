import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { createPresence, type PresenceStore } from 'voiceping-presence';
import { besideFork, redisStore } from 'voiceping-presence/redis';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { floodWaitMs } from '../../src/client/backoff';
import { backoffMs, jitteredMs } from '../../src/public/backoff';
import { connect, reconnectMs } from '../../src/stores/redis/connection/connect';
import { random } from '../random';
import { faultyStore } from './faulty-store';

const { next } = random();

describe('a wait', () => {
  it.each([
    // [failures, least, most, certain, chance, factor, expected]
    ['full jitter', 0, 1_000, 30_000, 0, 0, 2, 0],
    ['full jitter', 0, 1_000, 30_000, 0, 0.25, 2, 250],
    ['full jitter', 3, 1_000, 30_000, 0, 0.25, 2, 2_000],
    ['full jitter, at the cap', 5, 1_000, 30_000, 0, 0.25, 2, 7_500],
    ['equal jitter', 0, 100, 1_000, 0.5, 0, 2, 50],
    ['equal jitter', 0, 100, 1_000, 0.5, 0.5, 2, 75],
    ['equal jitter', 2, 100, 1_000, 0.5, 0.5, 2, 300],
    ['equal jitter, at the cap', 4, 100, 1_000, 0.5, 0, 2, 500],
    ['equal jitter, by ten', 2, 1, 1_000, 0.5, 0, 10, 50],
    ['no jitter', 2, 100, 1_000, 1, 0.7, 2, 400],
    ['no cap', 4, 100, Number.POSITIVE_INFINITY, 0, 0.5, 2, 800],
    ['after very many failures', 1e9, 100, 1_000, 0, 0.5, 2, 500],
    ['a fraction', 0, 1, 1_000, 0, 0.3, 2, 0.3],
  ])('%s: after %i failures', (_what, failures, leastMs, mostMs, certain, chance, factor, expectedMs) => {
    expect(jitteredMs(failures, leastMs, mostMs, certain, chance, factor)).toBe(expectedMs);
  });

  it('of a client that asks too often is 1 to 2 seconds, and grows to 15 to 30', () => {
    for (const [times, leastMs] of [1_000, 2_000, 4_000, 8_000, 15_000, 15_000].entries()) {
      const waits = Array.from({ length: 100 }, () => floodWaitMs(times));
      expect(Math.min(...waits)).toBeGreaterThanOrEqual(leastMs);
      expect(Math.max(...waits)).toBeLessThan(leastMs * 2);
      expect(new Set(waits).size).toBeGreaterThan(20);
    }
  });

  it('doubles up to a cap, and half of it is by chance', () => {
    const range = { leastMs: 100, mostMs: 1_000 };
    for (const [failures, wholeMs] of [100, 200, 400, 800, 1_000, 1_000].entries()) {
      expect(backoffMs(failures, range, () => 0)).toBe(wholeMs / 2);
      expect(backoffMs(failures, range, () => 0.5)).toBe(wholeMs * 0.75);
      expect(backoffMs(failures, range, () => 1 - Number.EPSILON)).toBe(wholeMs);
    }
    expect(backoffMs(1e9, range, () => 0)).toBe(500);
    expect(backoffMs(2, { leastMs: 1, mostMs: 1_000, factor: 10 }, () => 0)).toBe(50);
  });
});

/** The times at which each of ten routers calls a store that has just become unavailable for all of them. */
async function callsOf(what: 'beat' | 'apply', breakIt: 'everything' | 'apply only'): Promise<number[][]> {
  const fleet = Array.from({ length: 10 }, async () => {
    const clock = { ...fakeClock(), random: next };
    const { store } = faultyStore(clock.now);
    const at: number[] = [];
    let isBroken = false;
    const startedAt = clock.now();
    const call = <T>(name: string, run: () => Promise<T>): Promise<T> => {
      if (isBroken && name === what) at.push(clock.now() - startedAt);
      const fails = isBroken && (breakIt === 'everything' || name === 'apply');
      return fails ? Promise.reject(new Error('ECONNREFUSED')) : run();
    };
    const broken: PresenceStore = {
      ...store,
      beat: (node) => call('beat', () => store.beat(node)),
      apply: (node, ops) => call('apply', () => store.apply(node, ops)),
    };
    const presence = createPresence({ clock, store: broken, onError: () => undefined });
    await clock.settle();
    isBroken = true;
    presence.attachToSocket(fakeSocket(), { userId: 'u' });
    await clock.advance(20_000);
    return at;
  });
  return Promise.all(fleet);
}

describe('routers that have lost one store together do not come back to it together', () => {
  it.each([
    ['beat', 'everything'],
    // The store is available and refuses applies, so the routers set their user aside.
    ['apply', 'apply only'],
    // The routers wait for a heartbeat that shows whether the store is available.
    ['apply', 'everything'],
  ] as const)('%s, where it fails: %s', async (what, breakIt) => {
    const fleet = await callsOf(what, breakIt);
    const last = fleet.map((at) => at[at.length - 1] as number);
    for (const at of fleet) expect(at.length).toBeGreaterThan(3);
    expect(new Set(last).size).toBeGreaterThan(fleet.length / 2);
  });

  it('connections neither: those that the store makes, for commands and for messages', () => {
    for (const [times, wholeMs] of [100, 200, 400, 800, 1_000, 1_000].entries()) {
      const waits = Array.from({ length: 100 }, () => reconnectMs(times + 1));
      expect(Math.min(...waits)).toBeGreaterThanOrEqual(wholeMs / 2);
      expect(Math.max(...waits)).toBeLessThanOrEqual(wholeMs);
      expect(new Set(waits).size).toBeGreaterThan(20);
    }
    expect(connect({}).options).toMatchObject({ retryStrategy: reconnectMs });
    const overrides: unknown[] = [];
    const feed = { onTransition() {}, onGap() {}, onDue() {}, onLost() {}, onError() {} };
    const clientOf = (isCluster: boolean) => {
      const client = Object.assign(new EventEmitter(), {
        isCluster,
        status: 'connecting',
        duplicate: (...given: unknown[]) => {
          overrides.push(given[isCluster ? 1 : 0]);
          return client;
        },
        subscribe: () => new Promise(() => undefined),
        disconnect: () => undefined,
      });
      for (const name of ['evalsha', 'eval', 'xrange', 'mget', 'hmget', 'pipeline', 'publish', 'scan', 'sscan'])
        Object.assign(client, { [name]: () => new Promise(() => undefined) });
      return client as never;
    };
    redisStore({ client: clientOf(false) }).subscribe(feed)();
    redisStore({ client: clientOf(true) }).subscribe(feed)();
    besideFork(redisStore({ client: clientOf(false) }), clientOf(false)).subscribe(feed)();
    expect(overrides).toEqual([
      expect.objectContaining({ retryStrategy: reconnectMs }),
      expect.objectContaining({ clusterRetryStrategy: reconnectMs }),
      expect.objectContaining({ retryStrategy: reconnectMs }),
      expect.objectContaining({ retryStrategy: reconnectMs }),
    ]);
  });
});
