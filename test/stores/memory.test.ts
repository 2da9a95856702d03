import { describe, expect, it } from 'vitest';
import { memoryStore } from 'voiceping-presence';
import { fakeClock, type StoreBackend, storeConformance } from 'voiceping-presence/testing';
import { onClock } from './clock-backend';
import { conforms } from './conforms';
import { openRemote } from './remote-memory';

const openMemory = async (): Promise<StoreBackend> => {
  const clock = fakeClock();
  return onClock(clock, memoryStore({ now: clock.now }));
};

describe('memoryStore conforms', () => {
  // Nothing outlives it, nothing gets lost on the way: it is the process.
  conforms(storeConformance(openMemory), { lacks: ['lose', 'setBack', 'cutFeed'] });
});

describe('a store on a server that loses data and messages conforms', () => {
  conforms(
    storeConformance(async () => openRemote(fakeClock())),
    { lacks: ['log'] },
  );
});

const node = { nodeId: 'n', leaseMs: 15_000, ttlMs: 60_000 };
const join = (userId: string) => ({ kind: 'join', userId, ageMs: 0, reassert: false }) as const;
const leave = (userId: string) => ({ kind: 'leave', userId, ageMs: 0, reason: 'disconnect' }) as const;

describe('memoryStore', () => {
  it('forgets last seen after the retention time, and not before', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now, retentionMs: 30_000 });
    await store.beat(node);
    await store.apply(node, [join('a'), join('b'), leave('a')]);
    await clock.advance(29_999);
    expect((await store.read(['a'])).users).toMatchObject([
      { online: false, lastSeen: expect.any(Number), version: 3 },
    ]);
    await clock.advance(1);
    expect((await store.read(['a', 'b'])).users).toMatchObject([{ lastSeen: null, version: 0 }, { online: true }]);
  });

  it('remembers so many of those who left, the latest, and everybody who is there', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now, maxRemembered: 3 });
    await store.beat(node);
    const ids = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    await store.apply(node, ids.map(join));
    await store.apply(node, ['a', 'b', 'c', 'd', 'e'].map(leave));
    // Who comes back is not among those who are forgotten.
    await store.apply(node, [join('c'), leave('f')]);
    const { users } = await store.read(ids);
    const forgotten = users.filter(({ lastSeen }) => lastSeen === null).map(({ userId }) => userId);
    expect(forgotten).toEqual(['a', 'b']);
    expect(users.filter(({ online }) => online).map(({ userId }) => userId)).toEqual(['c', 'g', 'h']);
  });

  it.each([-1, 1.5, Number.NaN, '5'])('remembers no %j users', (maxRemembered) => {
    expect(() => memoryStore({ maxRemembered: maxRemembered as number })).toThrow(
      /maxRemembered is .*; it is an integer of at least 0/,
    );
  });

  // Each visitor stayed for thirty days, and each grace that had ended in its queue until its time.
  it('is no larger after two hundred thousand visits, whatever becomes of their graces', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now, maxRemembered: 1_000 });
    await store.beat(node);
    const drop = (userId: string) => ({ kind: 'drop', userId, ageMs: 0, graceMs: 3_600_000 }) as const;
    for (let visit = 0; visit < 200_000; visit += 500) {
      const ids = Array.from({ length: 250 }, (_, index) => `u${visit + index}`);
      await store.apply(node, ids.map(join));
      await store.apply(node, ids.map(leave));
      await store.apply(node, [join('flaps'), drop('flaps')]);
    }
    await store.count();
    const inside = store as unknown as { users: Map<string, unknown>; graces: { size: number } };
    expect(inside.users.size).toBe(1_001);
    expect(inside.graces.size).toBe(1);
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

  // The short lease of the dead router made every gap between the beats of the others look like a stall.
  it('finds a dead router with a short lease beside one with a long lease', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now });
    const short = { ...node, nodeId: 'short', leaseMs: 3_000 };
    await store.beat(short);
    await store.beat(node);
    await store.apply(short, [join('u')]);
    for (let beat = 0; beat < 3; beat += 1) {
      await clock.advance(5_000);
      await store.beat(node);
    }
    expect(await store.count()).toBe(0);
  });

  it('a lease lapses to the millisecond, and one beat late finds it gone', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now });
    const other = { ...node, nodeId: 'other' };
    await store.beat(node);
    await store.beat(other);
    for (const ms of [5_000, 5_000, 4_999]) {
      await clock.advance(ms);
      await store.beat(other);
    }
    expect(await store.beat(node)).toMatchObject({ known: true });
    for (const ms of [5_000, 5_000, 5_000]) {
      await clock.advance(ms);
      await store.count();
    }
    expect(await store.beat(node)).toMatchObject({ known: false });
  });

  it('gives a whole lease anew after it stood still', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now });
    const other = { ...node, nodeId: 'other' };
    await store.beat(node);
    await store.beat(other);
    await store.apply(node, [join('u')]);
    await clock.advance(45_000);
    await store.beat(other);
    for (const ms of [5_000, 5_000, 4_999]) {
      await clock.advance(ms);
      await store.beat(other);
    }
    expect(await store.beat(node)).toMatchObject({ known: true });
    expect(await store.count()).toBe(1);
  });

  it('tells with each change when the user was last seen', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now });
    const seen: number[] = [];
    const feed = { onGap: () => undefined, onDue: () => undefined, onLost: () => undefined, onError: () => undefined };
    store.subscribe({ ...feed, onTransition: (_update, lastSeen) => seen.push(lastSeen) });
    await store.beat(node);
    await store.apply(node, [{ ...join('u'), ageMs: 5_000 }]);
    await clock.settle();
    expect(seen).toEqual([clock.now() - 5_000]);
  });

  it('goes on telling the others when a feed throws', async () => {
    const store = memoryStore();
    const told: string[] = [];
    const quiet = { onGap: () => undefined, onDue: () => undefined, onLost: () => undefined, onError: () => undefined };
    store.subscribe({
      ...quiet,
      onTransition: () => {
        throw new Error('a feed that breaks its duty');
      },
    });
    store.subscribe({ ...quiet, onTransition: ({ userId }) => told.push(userId) });
    await store.beat(node);
    for (const userId of ['a', 'b']) {
      await store.apply(node, [join(userId)]);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(told).toEqual(['a', 'b']);
  });

  it('remembers a user who is back after having been forgotten', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now, retentionMs: 1_000 });
    await store.beat(node);
    await store.apply(node, [join('u'), leave('u')]);
    await clock.advance(1_000);
    await store.apply(node, [join('u')]);
    await clock.advance(2_000);
    expect((await store.read(['u'])).users).toMatchObject([{ online: true }]);
    expect(await store.count()).toBe(1);
  });

  it('lets one feed unsubscribe while another is told', async () => {
    const store = memoryStore();
    const told: string[] = [];
    const quiet = { onGap: () => undefined, onDue: () => undefined, onLost: () => undefined, onError: () => undefined };
    store.subscribe({ ...quiet, onTransition: () => stop() });
    const stop = store.subscribe({ ...quiet, onTransition: (update) => told.push(update.userId) });
    await store.beat(node);
    await store.apply(node, [join('a'), join('b')]);
    await new Promise((resolve) => setImmediate(resolve));
    expect(told).toEqual([]);
  });

  it.each([null, { now: 5 }, { retentionMs: -1 }, { retentionMs: Number.NaN }, { retention: 5 }])(
    'refuses %o',
    (options) => {
      expect(() => memoryStore(options as never)).toThrow(
        expect.objectContaining({ name: 'TypeError', code: 'ERR_PRESENCE_OPTIONS' }),
      );
    },
  );
});
