import { describe, expect, it } from 'vitest';
import { createPresence, PresenceError, type PresenceStore, type StoreFeed } from 'voiceping-presence';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { faultyStore } from './faulty-store';
import { router } from './world';

const SECOND = 1_000;

/** A router that does not ping phones, on a store whose `refresh` may fail. */
async function renewing({ failures = 0 } = {}) {
  const clock = fakeClock();
  const { store } = faultyStore(clock.now);
  let left = failures;
  const flaky: PresenceStore = {
    ...store,
    async refresh(node, signs) {
      left -= 1;
      if (left >= 0) throw new Error('connect ECONNREFUSED');
      return store.refresh(node, signs);
    },
  };
  const world = await router({ store: flaky, ttlMs: 60 * SECOND, pingIntervalMs: false }, clock);
  const phone = await world.connect('u');
  const joinedAt = clock.now();
  return {
    ...world,
    clock,
    phone,
    /** The last activity by the store, counted from the arrival of the phone. */
    async seenAfterMs() {
      const [user] = (await store.read(['u'])).users;
      return (user?.lastSeen ?? Number.NaN) - joinedAt;
    },
  };
}

describe('what the store is told of a phone that is still there', () => {
  it('a sign of life too soon after the one before is told a little later, though no other follows', async () => {
    const { clock, phone, seenAfterMs } = await renewing();
    await clock.advance(30 * SECOND);
    phone.emit('pong');
    await clock.advance(5 * SECOND);
    phone.emit('pong');
    await clock.advance(5 * SECOND);
    expect(await seenAfterMs()).toBe(30 * SECOND);
    await clock.advance(20 * SECOND);
    expect(await seenAfterMs()).toBe(35 * SECOND);
  });

  it('a renewal that failed is tried again, though the phone says nothing more', async () => {
    const { clock, phone, seenAfterMs, errors } = await renewing({ failures: 1 });
    await clock.advance(30 * SECOND);
    phone.emit('pong');
    await clock.advance(4 * SECOND);
    expect(errors.map(({ stage }) => stage)).toEqual(['refresh']);
    await clock.advance(22 * SECOND);
    expect(await seenAfterMs()).toBe(30 * SECOND);
  });

  it('who closes was last seen then, however long the phone was silent before', async () => {
    const { clock, phone, seenAfterMs } = await renewing();
    await clock.advance(40 * SECOND);
    phone.close();
    await clock.settle();
    expect(await seenAfterMs()).toBe(40 * SECOND);
  });
});

describe('what the store is told again', () => {
  it('a user of whom it publishes that they have gone, and who has not', async () => {
    const clock = fakeClock();
    const { store } = faultyStore(clock.now);
    const applied: string[] = [];
    let feed: StoreFeed | undefined;
    const wrapped: PresenceStore = {
      ...store,
      apply(node, ops) {
        applied.push(...ops.map(({ kind, userId }) => `${kind} ${userId}`));
        return store.apply(node, ops);
      },
      subscribe(subscriber) {
        feed = subscriber;
        return store.subscribe(subscriber);
      },
    };
    const { connect } = await router({ store: wrapped }, clock);
    await connect('u');
    await connect('v');
    applied.length = 0;
    const timestamp = new Date(clock.now()).toISOString();
    feed?.onTransition({ userId: 'u', status: 'offline', version: 9, reason: 'node-down', timestamp }, clock.now());
    await clock.settle();
    expect(applied).toEqual(['join u']);
  });

  it('that it knows everybody: not before the last batch', async () => {
    const clock = fakeClock();
    const { store, link } = faultyStore(clock.now);
    let applied = 0;
    const toldAt: number[] = [];
    const wrapped: PresenceStore = {
      ...store,
      apply(node, ops) {
        applied += ops.length;
        return store.apply(node, ops);
      },
      async registered() {
        toldAt.push(applied);
      },
    };
    const presence = createPresence({ clock, store: wrapped, onError: () => undefined });
    for (let user = 0; user < 2_500; user += 1) presence.attachToSocket(fakeSocket(), { userId: user });
    await clock.advance(1_000);
    link.flush();
    applied = 0;
    toldAt.length = 0;
    await clock.advance(10_000);
    expect(toldAt).toEqual([2_500]);
  });
});

describe('a close that hands over', () => {
  // The rest of the time was enough to release the lease, which would have taken all users offline at once.
  it('keeps its lease where it could not be told, though there would be time to give it back', async () => {
    const clock = fakeClock();
    const { store, direct } = faultyStore(clock.now);
    const released: string[] = [];
    const refusing: PresenceStore = {
      ...store,
      apply: (node, ops) =>
        ops.some(({ kind }) => kind === 'drop') ? Promise.reject(new Error('OOM')) : store.apply(node, ops),
      release(node) {
        released.push(node.nodeId);
        return store.release(node);
      },
    };
    const leaving = await router({ store: refusing, leaseMs: 6_000 }, clock);
    const staying = await router({ store: direct(), leaseMs: 6_000 }, clock);
    await leaving.connect('u');
    const closing = leaving.presence.close({ handoverMs: 30_000 });
    await clock.advance(2_000);
    await closing;
    expect(released).toEqual([]);
    expect(staying.lines()).toEqual(['u online connect']);
  });
});

describe('a socket that is attached twice', () => {
  it('at once, before the store has heard of it, is online, once, until it closes', async () => {
    const { presence, clock, connect, lines } = await router();
    const socket = fakeSocket();
    presence.attachToSocket(socket, { userId: 'u' });
    presence.attachToSocket(socket, { userId: 'u' });
    await clock.settle();
    expect(await presence.countOnline()).toBe(1);
    // A second device that connects and closes does not take the user offline.
    (await connect('u')).close();
    await clock.advance(60_000);
    expect(lines()).toEqual(['u online connect']);
    socket.close();
    await clock.settle();
    expect(lines().slice(1)).toEqual(['u offline disconnect']);
  });
});

describe('without options', () => {
  it('a connection that is lost has eight seconds to come back', async () => {
    const { connect, clock, lines } = await router();
    const phone = await connect('u');
    phone.drop();
    await clock.advance(7_800);
    const again = await connect('u');
    await clock.advance(60_000);
    expect(lines()).toEqual(['u online connect']);
    again.drop();
    await clock.advance(8_200);
    expect(lines().slice(1)).toEqual(['u offline timeout']);
  });
});

describe('where the clock of the router is not that of the store', () => {
  it('nobody was seen in the future', async () => {
    const clock = fakeClock();
    const HOUR_MS = 3_600_000;
    const { store } = faultyStore(() => clock.now() - HOUR_MS);
    const { connect, presence } = await router({ store, ttlMs: 60_000, pingIntervalMs: false }, clock);
    const phone = await connect('u');
    await clock.advance(2_000);
    phone.emit('pong');
    await clock.advance(1_000);
    const { u } = await presence.getStatuses(['u']);
    expect(Date.parse(String(u?.lastSeen))).toBe(clock.now() - HOUR_MS - 1_000);
  });
});

describe('an attachment', () => {
  it('is ready once the store has answered, whenever it is asked', async () => {
    const clock = fakeClock();
    const { store } = faultyStore(clock.now);
    let answer: (() => void) | undefined;
    const slow: PresenceStore = {
      ...store,
      async apply(node, ops) {
        const done = await store.apply(node, ops);
        await new Promise<void>((resolve) => {
          answer = resolve;
        });
        return done;
      },
    };
    const { presence } = await router({ store: slow }, clock);
    const attachment = presence.attachToSocket(fakeSocket(), { userId: 'u' });
    await clock.settle();
    let isReady = false;
    void attachment.ready.then(() => {
      isReady = true;
    });
    await clock.settle();
    expect(isReady).toBe(false);
    answer?.();
    await clock.settle();
    expect(isReady).toBe(true);
  });
});

describe('what has failed', () => {
  it('for want of a store is over with the first heartbeat that gets through', async () => {
    const clock = fakeClock();
    const { store, link } = faultyStore(clock.now);
    const { connect, presence, errors } = await router({ store }, clock);
    link.state = 'down';
    await connect('dash', { track: false, watch: true });
    await connect('named', { track: false, watch: ['u'] });
    await clock.advance(8_000);
    expect(errors.map(({ stage }) => stage)).toEqual(expect.arrayContaining(['beat', 'snapshot']));
    link.state = 'up';
    await clock.advance(1_100);
    expect(presence.health()).toMatchObject({ status: 'ok', problems: [] });
  });

  it('because data are of another version is said once, however often it is met', async () => {
    const clock = fakeClock();
    const { store } = faultyStore(clock.now);
    const foreign: PresenceStore = {
      ...store,
      beat: () => Promise.reject(new PresenceError('ERR_PRESENCE_LAYOUT', 'the data are of layout 9')),
    };
    const { errors } = await router({ store: foreign }, clock);
    await clock.advance(60_000);
    expect(errors.map(({ code }) => code)).toEqual(['ERR_PRESENCE_LAYOUT']);
  });
});
