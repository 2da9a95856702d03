import { describe, expect, it } from 'vitest';
import { memoryStore, type PresenceOp, type PresenceUpdate, type StoreFeed } from 'voiceping-presence';
import { fakeClock } from 'voiceping-presence/testing';

// The embedded store with several routers, on a fake clock.

const LEASE_MS = 15_000;
const HOUR_MS = 3_600_000;
const node = (nodeId: string) => ({ nodeId, leaseMs: LEASE_MS, ttlMs: 60_000 });
const [A, B] = [node('a'), node('b')];
const join = (userId: string, ageMs = 0): PresenceOp => ({ kind: 'join', userId, ageMs, reassert: false });
const leave = (userId: string, ageMs = 0): PresenceOp => ({ kind: 'leave', userId, ageMs, reason: 'disconnect' });
const drop = (userId: string, graceMs: number): PresenceOp => ({ kind: 'drop', userId, ageMs: 0, graceMs });

function world() {
  const clock = fakeClock();
  const store = memoryStore({ now: clock.now });
  const told: string[] = [];
  const updates: PresenceUpdate[] = [];
  const listen = (feed: Partial<StoreFeed>) =>
    store.subscribe({
      onTransition: () => undefined,
      onGap: () => undefined,
      onDue: () => undefined,
      onLost: () => undefined,
      onError: () => undefined,
      ...feed,
    });
  listen({
    onTransition: (update) => {
      updates.push(update);
      told.push(`${update.userId} ${update.status} ${update.reason}`);
    },
  });
  return {
    clock,
    store,
    told,
    updates,
    listen,
    /** Lets time pass, while these routers send heartbeats. */
    async pass(ms: number, ...alive: Array<typeof A>) {
      for (let left = ms; left > 0; left -= LEASE_MS / 5) {
        await clock.advance(Math.min(left, LEASE_MS / 5));
        for (const each of alive) await store.beat(each);
      }
      await clock.settle();
    },
    read: async (userId: string) => (await store.read([userId])).users[0],
  };
}

describe('the embedded store', () => {
  it('a user in grace on one router stays when another one of theirs dies', async () => {
    const { store, told, pass } = world();
    await store.beat(A);
    await store.beat(B);
    await store.apply(A, [join('u')]);
    await store.apply(B, [join('u'), join('gone')]);
    await store.apply(A, [drop('u', HOUR_MS)]);
    await pass(LEASE_MS * 2, A);
    expect(told.slice(2)).toEqual(['gone offline node-down']);
    expect((await store.read(['u'])).users).toMatchObject([{ online: true }]);
  });

  it('a router that died is not taken for one that waits twice in a row', async () => {
    const { store, told, clock } = world();
    await store.beat(A);
    await store.beat(B);
    await store.apply(B, [join('u')]);
    // The process stands still, so no call reaches the store.
    await clock.advance(LEASE_MS * 0.9);
    await store.beat(A);
    expect(told).toEqual(['u online connect']);
    await clock.advance(LEASE_MS * 1.1);
    await store.beat(A);
    await clock.settle();
    expect(told).toEqual(['u online connect', 'u offline node-down']);
  });

  it('renews nobody for a router that does not hold them, and takes no leave from it', async () => {
    const { store, clock, read, told } = world();
    await store.beat(A);
    await store.beat(B);
    await store.apply(A, [join('u')]);
    const joinedAt = clock.now();
    await clock.advance(1_000);
    expect(await store.refresh(B, [{ userId: 'u', ageMs: 0 }])).toEqual({ known: true, missing: ['u'] });
    await store.apply(B, [leave('u'), drop('u', 0)]);
    expect(await read('u')).toMatchObject({ online: true, lastSeen: joinedAt });
    expect(told).toEqual(['u online connect']);
  });

  it('who leaves on one router was last seen when another one heard them, where that was later', async () => {
    const { store, clock, read } = world();
    await store.beat(A);
    await store.beat(B);
    await store.apply(A, [join('u')]);
    await store.apply(B, [join('u')]);
    await clock.advance(2_000);
    await store.refresh(B, [{ userId: 'u', ageMs: 0 }]);
    const heardAt = clock.now();
    await store.apply(A, [leave('u', 1_500)]);
    expect(await read('u')).toMatchObject({ online: true, lastSeen: heardAt });
  });

  it('a grace ends in time although the clock was set back an hour', async () => {
    const { store, clock, told, pass } = world();
    await store.beat(A);
    await store.apply(A, [join('u'), drop('u', 8_000)]);
    await pass(3_000, A);
    clock.set(clock.now() - HOUR_MS);
    await pass(9_000, A);
    expect(told.slice(1)).toEqual(['u offline timeout']);
  });

  it('nobody was last seen in the future after the clock was set back', async () => {
    const { store, clock, pass } = world();
    await store.beat(A);
    await store.apply(A, [join('u', 2_000)]);
    clock.set(clock.now() - HOUR_MS);
    await store.count();
    await pass(3_000, A);
    const { now, users } = await store.read(['u']);
    expect(now - (users[0]?.lastSeen ?? 0)).toBe(5_000);
  });

  it('tells every listener the same, which none of them can change, also where one of them throws', async () => {
    const { store, clock, updates, listen } = world();
    listen({
      onTransition: () => {
        throw new Error('it breaks its duty');
      },
    });
    const heard: PresenceUpdate[] = [];
    listen({ onTransition: (update) => heard.push(update) });
    await store.beat(A);
    await store.apply(A, [join('u')]);
    await clock.settle();
    expect(heard).toEqual(updates);
    expect(heard).toHaveLength(1);
    expect(() => {
      (heard[0] as { status: string }).status = 'offline';
    }).toThrow(TypeError);
  });

  it('tells nobody who subscribes what was before, be it in the same moment', async () => {
    const { store, clock, listen, told } = world();
    await store.beat(A);
    const heard: string[] = [];
    const applied = store.apply(A, [join('before')]);
    listen({ onTransition: ({ userId }) => heard.push(userId) });
    await applied;
    await store.apply(A, [join('after')]);
    await clock.settle();
    expect(told).toEqual(['before online connect', 'after online connect']);
    expect(heard).toEqual(['after']);
  });

  it('a lease that has lapsed is gone, though nobody has looked since: its router is told to say again who is there', async () => {
    const { store, clock } = world();
    await store.beat(A);
    await store.beat(B);
    await clock.advance(LEASE_MS / 3);
    await store.beat(B);
    await clock.advance(LEASE_MS / 3);
    await store.beat(B);
    await clock.advance(LEASE_MS / 3 + 1);
    expect(await store.beat(A)).toMatchObject({ known: false });
  });
});
