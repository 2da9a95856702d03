import { describe, expect, it } from 'vitest';
import { memoryStore } from 'voiceping-presence';
import { fakeClock, type StoreBackend, storeConformance } from 'voiceping-presence/testing';

async function openMemory(): Promise<StoreBackend> {
  const clock = fakeClock();
  const store = memoryStore({ now: clock.now });
  return {
    store: () => store,
    async pass(ms, everyMs, whileAlive) {
      for (let left = ms; left > 0; left -= everyMs) {
        await clock.advance(Math.min(left, everyMs));
        await whileAlive();
      }
    },
    standStill: (ms) => clock.advance(ms),
    arrive: () => clock.settle(),
  };
}

describe('memoryStore conforms', () => {
  const cases = storeConformance(openMemory);
  it('to a suite that is not empty', () => expect(cases.length).toBeGreaterThan(20));
  for (const { name, run } of cases) it(name, run);
});

const node = { nodeId: 'n', leaseMs: 15_000, ttlMs: 60_000 };
const join = (userId: string) => ({ kind: 'join', userId, ageMs: 0, reassert: false }) as const;
const leave = (userId: string) => ({ kind: 'leave', userId, ageMs: 0, reason: 'disconnect' }) as const;

describe('memoryStore', () => {
  it('forgets last seen after the retention time, and not before', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now, retentionMs: 60_000 });
    await store.beat(node);
    await store.apply(node, [join('a'), join('b'), leave('a')]);
    await clock.advance(59_999);
    expect((await store.read(['a'])).users).toMatchObject([
      { online: false, lastSeen: expect.any(Number), version: 3 },
    ]);
    await clock.advance(1);
    expect((await store.read(['a', 'b'])).users).toMatchObject([{ lastSeen: null, version: 0 }, { online: true }]);
  });

  it('remembers a user who came back within the retention time', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now, retentionMs: 10_000 });
    await store.beat(node);
    await store.apply(node, [join('a'), leave('a'), join('a')]);
    for (let beat = 0; beat < 10; beat += 1) {
      await clock.advance(5_000);
      await store.beat(node);
    }
    expect((await store.read(['a'])).users).toMatchObject([{ online: true }]);
    await store.apply(node, [leave('a')]);
    expect((await store.read(['a'])).users[0]?.lastSeen).not.toBeNull();
  });

  // A wall clock that is set back an hour must not make every lease and every grace an hour longer.
  it('ends graces and leases on time although the wall clock is set back', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now });
    const other = { ...node, nodeId: 'other' };
    await store.beat(node);
    await store.beat(other);
    await store.apply(node, [join('grace'), { kind: 'drop', userId: 'grace', ageMs: 0, graceMs: 8_000 }]);
    await store.apply(other, [join('lease')]);
    clock.set(clock.now() - 3_600_000);
    for (let beat = 0; beat < 5; beat += 1) {
      await clock.advance(4_000);
      await store.beat(node);
    }
    expect(await store.count()).toBe(0);
  });

  it('lets one feed unsubscribe while another is told', async () => {
    const store = memoryStore();
    const told: string[] = [];
    const quiet = { onGap: () => undefined, onDue: () => undefined };
    store.subscribe({ ...quiet, onTransition: () => stop() });
    const stop = store.subscribe({ ...quiet, onTransition: (update) => told.push(update.userId) });
    await store.beat(node);
    await store.apply(node, [join('a'), join('b')]);
    await new Promise((resolve) => setImmediate(resolve));
    expect(told).toEqual([]);
  });

  it.each([{ now: 5 }, { retentionMs: -1 }, { retentionMs: Number.NaN }])('refuses %o', (options) => {
    expect(() => memoryStore(options as never)).toThrow(
      expect.objectContaining({ name: 'TypeError', code: 'ERR_PRESENCE_OPTIONS' }),
    );
  });
});
