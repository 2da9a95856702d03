import { describe, expect, it } from 'vitest';
import {
  createPresence,
  memoryStore,
  type PresenceOp,
  type PresenceStore,
  type SignOfLife,
  type StoreFeed,
} from 'voiceping-presence';
import { type FakeSocket, fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { LocalUser } from '../../src/connections/local-user';
import { Outbox } from '../../src/replication/outbox';
import { faultyStore } from './faulty-store';
import { router } from './world';

/** A store whose answers can be held back, and which records its calls. */
function heldStore() {
  const clock = fakeClock();
  const { store, link, direct } = faultyStore(clock.now);
  const held: Array<() => void> = [];
  const applied: PresenceOp[][] = [];
  const refreshed: SignOfLife[][] = [];
  const state = { holds: false };
  const wrapped: PresenceStore = {
    ...store,
    async apply(node, ops) {
      applied.push(ops.slice());
      const answer = await store.apply(node, ops);
      if (state.holds) await new Promise<void>((resolve) => held.push(resolve));
      return answer;
    },
    async refresh(node, signs) {
      refreshed.push(signs.slice());
      return store.refresh(node, signs);
    },
  };
  const release = async () => {
    for (const answer of held.splice(0)) answer();
    await clock.settle();
  };
  return { clock, store: wrapped, link, direct, applied, refreshed, state, release };
}

it('tells the store whole milliseconds, whatever clock and options there are', async () => {
  const clock = fakeClock();
  const behind = memoryStore({ now: clock.now });
  const numbers: number[] = [];
  const store: PresenceStore = Object.create(behind);
  store.beat = (node) => {
    numbers.push(node.leaseMs, node.ttlMs);
    return behind.beat(node);
  };
  store.apply = (node, ops) => {
    for (const op of ops) numbers.push(op.ageMs, op.kind === 'drop' ? op.graceMs : 0);
    return behind.apply(node, ops);
  };
  store.refresh = (node, signs) => {
    for (const { ageMs } of signs) numbers.push(ageMs);
    return behind.refresh(node, signs);
  };
  const fractions = { ...clock, now: () => clock.now() / 3 };
  const options = { ttlMs: 10_000.5, leaseMs: 3_000.25, graceMs: 700.1, pingIntervalMs: 1_000.5 };
  const presence = createPresence({ ...options, store, clock: fractions });
  const socket = fakeSocket();
  presence.attachToSocket(socket, { userId: 'u' });
  for (let second = 0; second < 30; second += 1) {
    await clock.advance(1_001);
    socket.receive(new Uint8Array([1]));
  }
  socket.drop();
  await clock.advance(10_000);
  expect(numbers.length).toBeGreaterThan(20);
  expect(numbers.filter((ms) => !Number.isSafeInteger(ms) || ms < 0)).toEqual([]);
});

describe('the outbox', () => {
  // The store carried out the call and lost its effect before the answer arrived, and the router counted the user as held.
  it('tells once more who was on the way when the store lost what it held', async () => {
    const clock = fakeClock();
    const { store: memory } = faultyStore(clock.now);
    const applied: string[] = [];
    let feed: StoreFeed | undefined;
    let answer: (() => void) | undefined;
    let isHeld = true;
    const store: PresenceStore = {
      ...memory,
      async apply(node, ops) {
        applied.push(ops.map(({ kind, userId }) => `${kind} ${userId}`).join());
        const done = await memory.apply(node, ops);
        if (isHeld) await new Promise<void>((resolve) => (answer = resolve));
        return done;
      },
      subscribe(subscriber) {
        feed = subscriber;
        return memory.subscribe(subscriber);
      },
    };
    const presence = createPresence({ store, clock });
    await clock.settle();
    presence.attachToSocket(fakeSocket(), { userId: 'u' });
    await clock.settle();
    feed?.onLost((userId) => userId === 'u');
    feed?.onLost((userId) => userId === 'nobody');
    isHeld = false;
    answer?.();
    await clock.settle();
    expect(applied).toEqual(['join u', 'join u']);
    await clock.advance(60_000);
    expect(applied).toHaveLength(2);
    await presence.close();
  });

  // A user left, came back, left and came back. The answer to the first leave removed the entry of the third connection.
  it('never loses a user who comes back while an earlier leave is under way', async () => {
    const { clock, store, state, release, link } = heldStore();
    const { connect, presence, status, lines } = await router({ store }, clock);
    const first = await connect('u');
    state.holds = true;
    first.close();
    await clock.settle();
    (await connect('u')).close();
    await release();
    await release();
    state.holds = false;
    const second = await connect('u');
    await release();
    (await connect('u')).close();
    await clock.settle();
    expect(await status('u')).toBe('online');
    link.flush();
    await clock.advance(10_000);
    expect(await presence.countOnline()).toBe(1);
    second.close();
    await clock.settle();
    expect(await status('u')).toBe('offline');
    expect(lines().filter((line) => line.includes('offline')).length).toBe(lines().length / 2);
  });

  // On a busy store, each batch was carried out, timed out before its answer, and was sent again, for ever.
  it('gets through to a store that takes longer for a whole batch than is waited for', async () => {
    const clock = fakeClock();
    const { store } = faultyStore(clock.now);
    let isBusy = false;
    let done = 0;
    const slow: PresenceStore = {
      ...store,
      async apply(node, ops) {
        if (isBusy) throw new Error('the previous apply has no answer yet');
        isBusy = true;
        const answer = await store.apply(node, ops);
        done += ops.length;
        await new Promise<void>((resolve) => clock.setTimeout(resolve, ops.length * 3));
        isBusy = false;
        return answer;
      },
    };
    const presence = createPresence({ store: slow, clock, onError: () => undefined });
    await clock.settle();
    const attachments = Array.from({ length: 3_000 }, (_, user) =>
      presence.attachToSocket(fakeSocket(), { userId: `u${user}` }),
    );
    let told = 0;
    for (const { ready } of attachments) void ready.then(() => (told += 1));
    await clock.advance(30_000);
    expect(told).toBe(3_000);
    // Only batches that timed out were carried out twice.
    expect(done).toBeLessThan(3_000 * 2);
  });

  // Each call failed at once and halved the next one, until ten users a second were sent while a hundred a second came.
  it('a master that hangs does not hold up the users of the others', async () => {
    const clock = fakeClock();
    const joined = new Set<string>();
    let isBusy = false;
    const isOnHung = (userId: string): boolean => Number(userId.slice(1)) % 3 === 0;
    const store: PresenceStore = {
      ...faultyStore(clock.now).store,
      // Like the store on a Cluster: one call at a time to each master, independently of the others.
      async apply(_node, ops) {
        for (const { kind, userId } of ops) {
          if (isOnHung(userId)) continue;
          if (kind === 'join') joined.add(userId);
          else joined.delete(userId);
        }
        if (!ops.some(({ userId }) => isOnHung(userId))) return { known: true };
        if (isBusy) throw new Error('the previous apply has no answer yet');
        isBusy = true;
        return new Promise(() => undefined);
      },
    };
    const presence = createPresence({ store, clock, onError: () => undefined });
    await clock.settle();
    const sockets = [];
    for (let user = 0; user < 1_500; user += 1) {
      const socket = fakeSocket();
      sockets.push(socket);
      presence.attachToSocket(socket, { userId: `u${user}` });
      await clock.advance(10);
    }
    expect(joined.size).toBeGreaterThan(800);
    sockets[1]?.close();
    await clock.advance(3_000);
    expect(joined.has('u1')).toBe(false);
  });

  // A single invalid record made its whole batch fail for ever.
  it.each([2, 51, 1_001])('one user of %d whom the store refuses holds up nobody else', async (count) => {
    const clock = fakeClock();
    const { store } = faultyStore(clock.now);
    const reported: Array<string | undefined> = [];
    let refused = 0;
    const picky: PresenceStore = {
      ...store,
      async apply(node, ops) {
        if (ops.some(({ userId }) => userId === 'refused' || userId === 'refused too')) {
          refused += 1;
          throw new Error('WRONGTYPE');
        }
        return store.apply(node, ops);
      },
    };
    const presence = createPresence({ store: picky, clock, onError: (_, { userId }) => reported.push(userId) });
    await clock.settle();
    const users = Array.from({ length: count - 2 }, (_, user) => `u${user}`);
    const sockets = new Map<string, FakeSocket>();
    for (const userId of [...users.slice(0, 20), 'refused', ...users.slice(20), 'refused too']) {
      sockets.set(userId, fakeSocket());
      presence.attachToSocket(sockets.get(userId) as FakeSocket, { userId });
    }
    await clock.advance(1_000);
    expect(await store.count()).toBe(count - 2);
    // Users who come later are not delayed.
    presence.attachToSocket(fakeSocket(), { userId: 'later' });
    await clock.advance(10);
    expect(await store.count()).toBe(count - 1);
    // The refused users are tried again rarely and alone, and are reported by name.
    const before = refused;
    await clock.advance(600_000);
    expect(refused - before).toBeGreaterThan(10);
    expect(refused - before).toBeLessThan(50);
    expect(new Set(reported.slice(-10))).toEqual(new Set(['refused', 'refused too']));
    for (const socket of sockets.values()) socket.close();
    await clock.advance(100);
    expect(await store.count()).toBe(1);
    await presence.close();
    expect(await store.count()).toBe(0);
    expect(clock.timers).toBe(0);
  });

  // The heartbeat was sent while the store was available, the batch failed because it no longer was, and was repeated at once.
  it('an answer to a beat that was under way when a batch failed says nothing about those in the batch', async () => {
    const { clock, store, applied } = heldStore();
    const beats: Array<() => void> = [];
    let isAway = false;
    const shaky: PresenceStore = {
      ...store,
      async beat(node) {
        const answer = await store.beat(node);
        if (isAway) await new Promise<void>((resolve) => beats.push(resolve));
        return answer;
      },
      async apply(node, ops) {
        const answer = await store.apply(node, ops);
        if (isAway) throw new Error('ECONNREFUSED');
        return answer;
      },
    };
    const presence = createPresence({ store: shaky, clock, onError: () => undefined });
    await clock.settle();
    isAway = true;
    await clock.advance(5_000);
    expect(beats).toHaveLength(1);
    for (const userId of ['a', 'b', 'c', 'd']) presence.attachToSocket(fakeSocket(), { userId });
    await clock.settle();
    expect(applied.map((ops) => ops.length)).toEqual([4]);
    beats[0]?.();
    await clock.settle();
    expect(applied.map((ops) => ops.length)).toEqual([4]);
    await clock.advance(10);
    beats[1]?.();
    await clock.settle();
    expect(applied.map((ops) => ops.length)).toEqual([4, 2]);
  });

  it('nobody is set aside for a store that is away, and whoever was comes back when it takes them', async () => {
    const clock = fakeClock();
    const { store } = faultyStore(clock.now);
    let isAway = false;
    let isPicky = false;
    const guard = (): void => {
      if (isAway) throw new Error('ECONNREFUSED');
    };
    const shaky: PresenceStore = {
      ...store,
      async beat(node) {
        guard();
        return store.beat(node);
      },
      async apply(node, ops) {
        guard();
        if (isPicky && ops.some(({ userId }) => userId === 'u')) throw new Error('no');
        return store.apply(node, ops);
      },
    };
    const presence = createPresence({ store: shaky, clock, onError: () => undefined });
    await clock.settle();
    isAway = true;
    presence.attachToSocket(fakeSocket(), { userId: 'u' });
    await clock.advance(60_000);
    isAway = false;
    await clock.advance(1_300);
    expect(await store.count()).toBe(1);
    isPicky = true;
    const phone = fakeSocket();
    presence.attachToSocket(phone, { userId: 'v' });
    await clock.advance(100);
    expect(await store.count()).toBe(2);
    isPicky = false;
    await presence.close();
  });

  it('a store that refuses everybody is asked no faster for it', async () => {
    const clock = fakeClock();
    const { store } = faultyStore(clock.now);
    let calls = 0;
    const refusing: PresenceStore = {
      ...store,
      async apply() {
        calls += 1;
        throw new Error('NOPERM');
      },
    };
    const presence = createPresence({ store: refusing, clock, onError: () => undefined });
    await clock.settle();
    for (let user = 0; user < 5_000; user += 1) presence.attachToSocket(fakeSocket(), { userId: user });
    await clock.advance(60_000);
    const before = calls;
    await clock.advance(60_000);
    expect(calls - before).toBeLessThan(300);
    const closed = presence.close();
    await clock.advance(2_000);
    await closed;
  });

  it('without a lease, signs of life of those who have gone are not kept', async () => {
    const clock = fakeClock();
    const users = new Map<string, LocalUser>();
    const outbox = new Outbox({
      clock,
      store: memoryStore({ now: clock.now }),
      node: { nodeId: 'n', leaseMs: 15_000, ttlMs: 60_000 },
      users,
      timeoutMs: 2_000,
      gatherMs: 1_000,
      beat: () => undefined,
      report: () => undefined,
      worked: () => undefined,
    });
    for (let visit = 0; visit < 1_000; visit += 1) {
      const user = new LocalUser(`u${visit}`, clock.now());
      users.set(user.userId, user);
      user.arrive(clock.now());
      outbox.change(user);
      outbox.touch(user);
      user.depart('disconnect', clock.now(), 0);
      outbox.change(user);
    }
    await clock.advance(10_000);
    expect([users.size, (outbox as unknown as { activity: { users: Set<unknown> } }).activity.users.size]).toEqual([
      0, 0,
    ]);
  });

  it('forgets who has left, and only them', async () => {
    const clock = fakeClock();
    const { store } = faultyStore(clock.now);
    const node = { nodeId: 'n', leaseMs: 15_000, ttlMs: 60_000 };
    await store.beat(node);
    const users = new Map<string, LocalUser>();
    const outbox = new Outbox({
      clock,
      store,
      node,
      timeoutMs: 1_000,
      gatherMs: 1_000,
      users,
      beat: () => undefined,
      report: (_stage, error) => expect.fail(String(error)),
      worked: () => undefined,
    });
    outbox.hold(true, true);
    const user = new LocalUser('u', clock.now());
    users.set('u', user);
    user.arrive(clock.now());
    outbox.change(user);
    await clock.settle();
    user.depart('disconnect', clock.now(), 0);
    outbox.change(user);
    // A newer object of the same user, which the first one must not remove.
    const next = new LocalUser('u', clock.now());
    users.set('u', next);
    await clock.settle();
    expect(users.get('u')).toBe(next);
    users.set('u', user);
    user.arrive(clock.now());
    outbox.change(user);
    await clock.settle();
    user.depart('disconnect', clock.now(), 0);
    outbox.change(user);
    await clock.settle();
    expect(users.size).toBe(0);
  });

  // The answer to a join was lost, and the phone had closed by then, so the store never received the leave.
  it('tells of a leave also when the join before it was never answered', async () => {
    const { clock, store, link, direct } = heldStore();
    const { connect, lines } = await router({ store, leaseMs: 600_000 }, clock);
    link.state = 'lost';
    const phone = await connect('u');
    phone.close();
    await clock.advance(3_000);
    link.state = 'up';
    await clock.advance(10_000);
    expect(await direct().count()).toBe(0);
    expect(lines()).toEqual(['u online connect', 'u offline disconnect']);
  });

  it('tells of nobody twice when the lease is made anew while the first join is under way', async () => {
    const { clock, store, link, direct, state, release } = heldStore();
    const { connect, lines } = await router({ store, leaseMs: 3_000 }, clock);
    state.holds = true;
    const first = await connect('u');
    link.flush();
    first.close();
    await clock.advance(1_000);
    await connect('u');
    state.holds = false;
    await release();
    await clock.advance(20_000);
    expect((await direct().read(['u'])).users).toMatchObject([{ online: true }]);
    expect(lines().at(-1)).toMatch(/^u online/);
  });

  it('gives a grace also to a connection that was lost before the store had heard of it', async () => {
    const { clock, store, link } = heldStore();
    link.state = 'down';
    const early = createPresence({ clock, store, graceMs: 8_000 });
    const socket = fakeSocket();
    early.attachToSocket(socket, { userId: 'early' });
    socket.drop();
    await clock.advance(2_000);
    link.state = 'up';
    const { presence, lines } = await router({ store, graceMs: 8_000 }, clock);
    const same = fakeSocket();
    presence.attachToSocket(same, { userId: 'same-turn' });
    same.drop();
    await clock.advance(2_000);
    expect(lines().sort()).toEqual(['early online connect', 'same-turn online connect']);
    await clock.advance(10_000);
    expect(lines().slice(2).sort()).toEqual(['early offline timeout', 'same-turn offline timeout']);
  });

  it('keeps nothing of those who came and left while there was no lease', async () => {
    const clock = fakeClock();
    const { store } = faultyStore(clock.now);
    const users = new Map<string, LocalUser>();
    const outbox = new Outbox({
      clock,
      store,
      node: { nodeId: 'n', leaseMs: 15_000, ttlMs: 60_000 },
      timeoutMs: 1_000,
      gatherMs: 1_000,
      users,
      beat: () => undefined,
      report: () => undefined,
      worked: () => undefined,
    });
    for (let id = 0; id < 1_000; id += 1) {
      const user = new LocalUser(String(id), clock.now());
      users.set(user.userId, user);
      if (user.arrive(clock.now())) outbox.change(user);
      if (user.depart('disconnect', clock.now(), 0)) outbox.change(user);
    }
    expect(users.size).toBe(0);
  });

  it('sends at most 1,000 operations and 1,000 signs of life a call', async () => {
    const { clock, store, applied, refreshed } = heldStore();
    const { presence } = await router({ store }, clock);
    const sockets = Array.from({ length: 2_500 }, () => fakeSocket());
    for (const [id, socket] of sockets.entries()) {
      socket.answersPings = false;
      presence.attachToSocket(socket, { userId: id });
    }
    await clock.settle();
    expect(applied.map(({ length }) => length)).toEqual([1_000, 1_000, 500]);
    await clock.advance(100_000);
    for (const socket of sockets) socket.emit('pong');
    await clock.advance(2_000);
    expect(refreshed.map(({ length }) => length)).toEqual([1_000, 1_000, 500]);
  });

  it('asks the store for nothing before it holds a lease', async () => {
    const { clock, store, applied, refreshed, link } = heldStore();
    link.state = 'hangs';
    const presence = createPresence({ clock, store });
    const socket = fakeSocket();
    presence.attachToSocket(socket, { userId: 'u' });
    await clock.advance(5_000);
    expect([applied, refreshed]).toEqual([[], []]);
  });

  it('waits longer each time the store fails, whatever comes and goes or asks meanwhile', async () => {
    const { clock, store, link } = heldStore();
    const times: number[] = [];
    const failing: PresenceStore = {
      ...store,
      async apply(node, ops) {
        times.push(clock.now());
        if (link.state === 'up') return store.apply(node, ops);
        throw new Error('READONLY');
      },
    };
    const { presence } = await router({ store: failing, leaseMs: 600_000 }, clock);
    link.state = 'down';
    for (let count = 0; count < 100; count += 1) {
      presence.attachToSocket(fakeSocket(), { userId: count });
      presence.countOnline().catch(() => undefined);
      await clock.advance(20);
    }
    await clock.advance(3_000);
    const waits = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    expect(waits.slice(0, 5)).toEqual([100, 200, 400, 800, 1_000]);
    link.state = 'up';
    await clock.advance(2_000);
    link.state = 'down';
    times.length = 0;
    presence.attachToSocket(fakeSocket(), { userId: 'later' });
    await clock.advance(150);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBe(100);
  });

  it('does not hammer a store that beats and yet refuses', async () => {
    const { clock, store } = heldStore();
    let calls = 0;
    const refusing: PresenceStore = {
      ...store,
      apply: async () => {
        calls += 1;
        return { known: false };
      },
    };
    const { presence } = await router({ store: refusing }, clock);
    presence.attachToSocket(fakeSocket(), { userId: 'u' });
    await clock.advance(10_000);
    expect(calls).toBeLessThan(20);
  });

  it('lets signs of life gather, not calls, where the store hangs', async () => {
    const { clock, store, link, refreshed } = heldStore();
    const { connect } = await router({ store, leaseMs: 600_000, ttlMs: 60_000 }, clock);
    const phones = [];
    for (let id = 0; id < 50; id += 1) phones.push(await connect(id));
    link.state = 'hangs';
    refreshed.length = 0;
    for (let second = 0; second < 60; second += 1) {
      await clock.advance(1_000);
      for (const phone of phones) phone.receive(Buffer.from([0xc0]));
    }
    // One call at a time, and each times out after commandTimeoutMs.
    expect(refreshed.length).toBeLessThanOrEqual(30);
  });

  it('tells the store of a sign of life with its age', async () => {
    const { clock, store, direct } = heldStore();
    const { connect } = await router({ store }, clock);
    const phone = await connect('u');
    phone.answersPings = false;
    await clock.advance(90_000);
    const at = clock.now();
    phone.emit('pong');
    await clock.advance(5_000);
    expect((await direct().read(['u'])).users[0]?.lastSeen).toBe(at);
  });

  it('tells a connect after a re-assertion as a connect again', async () => {
    const { clock, store, link } = heldStore();
    const { connect, lines } = await router({ store }, clock);
    const phone = await connect('u');
    link.flush();
    await clock.advance(6_000);
    phone.close();
    await clock.settle();
    await connect('u');
    expect(lines()).toEqual(['u online connect', 'u offline disconnect', 'u online connect']);
  });

  it('answers what was asked of it when a user who left and came back needs no telling', async () => {
    const { clock, store, link } = heldStore();
    const { presence } = await router({ store }, clock);
    const socket = fakeSocket();
    await presence.attachToSocket(socket, { userId: 'u' }).ready;
    link.state = 'down';
    socket.close();
    await clock.advance(500);
    const { ready } = presence.attachToSocket(fakeSocket(), { userId: 'u' });
    link.state = 'up';
    await clock.advance(10_000);
    await ready;
  });

  it('survives answers that are none', async () => {
    const clock = fakeClock();
    const { store } = faultyStore(clock.now);
    let calls = 0;
    const nonsense: PresenceStore = {
      ...store,
      beat: async (node) => {
        calls += 1;
        return calls % 2 === 0 ? (undefined as never) : store.beat(node);
      },
      apply: async (node, ops) => (calls < 3 ? (null as never) : store.apply(node, ops)),
      refresh: async () => ({}) as never,
    };
    const { connect, errors, presence } = await router({ store: nonsense, ttlMs: 30_000 }, clock);
    await connect('u');
    await clock.advance(60_000);
    expect(calls).toBeGreaterThan(5);
    expect(new Set(errors.map(({ stage }) => stage))).toEqual(new Set(['beat', 'apply', 'refresh']));
    expect(await presence.countOnline()).toBe(1);
  });
});

describe('close', () => {
  it('does not turn a handover into an outage when the store fails for a moment', async () => {
    const { clock, store, link } = heldStore();
    const { presence, connect } = await router({ store }, clock);
    const other = await router({ store }, clock);
    for (const id of ['a', 'b']) await connect(id);
    link.state = 'down';
    const closing = presence.close({ handoverMs: 30_000 });
    await clock.advance(150);
    link.state = 'up';
    await clock.advance(5_000);
    await closing;
    expect(other.lines()).toEqual(['a online connect', 'b online connect']);
    await clock.advance(31_000);
    expect(other.lines().slice(2)).toEqual(['a offline timeout', 'b offline timeout']);
  });

  it('gives up when its time is up, also when the store is only slow', async () => {
    const { clock, store } = heldStore();
    const slow: PresenceStore = {
      ...store,
      async apply(node, ops) {
        await new Promise<void>((resolve) => clock.setTimeout(resolve, 1_500));
        return store.apply(node, ops);
      },
    };
    const { presence } = await router({ store: slow }, clock);
    for (let id = 0; id < 20_000; id += 1) presence.attachToSocket(fakeSocket(), { userId: id });
    await clock.advance(60_000);
    let closed = false;
    presence.close().then(() => {
      closed = true;
    });
    await clock.advance(6_000);
    expect(closed).toBe(true);
  });

  it('lets the lease lapse where a handover could not be told at all', async () => {
    const { clock, store, link, direct } = heldStore();
    const { presence, connect } = await router({ store, leaseMs: 6_000 }, clock);
    const other = await router({ store: direct(), leaseMs: 6_000 }, clock);
    await connect('a');
    link.state = 'down';
    const closing = presence.close({ handoverMs: 30_000 });
    await clock.advance(3_000);
    await closing;
    expect(other.lines()).toEqual(['a online connect']);
    await clock.advance(10_000);
    expect(other.lines()).toEqual(['a online connect', 'a offline node-down']);
  });

  it('ends when the lease turns out to be gone', async () => {
    const { clock, store, link } = heldStore();
    const { presence, connect } = await router({ store }, clock);
    const phone = await connect('u');
    const held = presence.attachToSocket(fakeSocket(), { userId: 'held' });
    link.flush();
    phone.close();
    await presence.close();
    await held.ready;
  });

  // The back-off waited to send a heartbeat although another one had got the lease meanwhile, and the batch was not repeated.
  it('gives up also where it was refused, holds a lease again, and the store goes away', async () => {
    const { clock, store, link } = heldStore();
    const refusing: PresenceStore = {
      ...store,
      apply: async (node, ops) => {
        await store.apply(node, ops);
        return { known: false };
      },
    };
    // The store becomes unavailable at each point between two attempts.
    for (let ms = 0; ms < 1_000; ms += 100) {
      const { presence, connect } = await router({ store: refusing, leaseMs: 1_500 }, clock);
      await connect('u');
      await clock.advance(3_000 + ms);
      link.state = 'down';
      let closed = false;
      presence.close().then(() => {
        closed = true;
      });
      await clock.advance(5_000);
      expect(closed).toBe(true);
      link.state = 'up';
    }
    expect(clock.timers).toBe(0);
  });
});
