import { expect, it } from 'vitest';
import { createPresence, memoryStore, type Presence, type PresenceStore, type StoreFeed } from 'voiceping-presence';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { faultyStore } from './faulty-store';

// The problems in health(), on a fake clock: each has its stage and its start, and disappears when it is over.

const LEASE_MS = 15_000;

/** A store whose functions can each be made to fail or to hang. */
function picky() {
  const clock = fakeClock();
  const store = memoryStore({ now: clock.now });
  const failing = new Map<string, Error | 'hangs'>();
  const feeds: StoreFeed[] = [];
  const guarded: PresenceStore = Object.create(store);
  for (const name of ['beat', 'apply', 'refresh', 'read', 'list', 'count'] as const) {
    guarded[name] = (...args: never[]): Promise<never> => {
      const failure = failing.get(name);
      if (failure === 'hangs') return new Promise(() => undefined);
      return failure === undefined ? (store[name] as (...all: never[]) => never)(...args) : Promise.reject(failure);
    };
  }
  guarded.subscribe = (feed) => {
    feeds.push(feed);
    return store.subscribe(feed);
  };
  const presence = createPresence({ store: guarded, clock, leaseMs: LEASE_MS, ttlMs: 60_000, logger: false });
  return { clock, presence, failing, feeds };
}

const NOPERM = new Error("NOPERM this user has no permissions to run the 'evalsha' command");
const stages = (presence: Presence) => presence.health().problems.map(({ stage }) => stage);

it('is not ok before the store has answered, and says since when', async () => {
  const { clock, presence } = picky();
  const since = new Date(clock.now()).toISOString();
  const problem = { stage: 'beat', code: 'ERR_PRESENCE_STORE', message: 'the store has not answered yet', since };
  expect(presence.health()).toEqual({ status: 'stale', asOf: null, problems: [problem] });
  await clock.settle();
  expect(presence.health()).toEqual({ status: 'ok', asOf: since, problems: [] });
});

it('a first reading that is pending, or that never succeeds, makes it stale', async () => {
  const { clock, presence, failing } = picky();
  await clock.settle();
  failing.set('list', 'hangs');
  const since = new Date(clock.now()).toISOString();
  const end = presence.onUpdate(() => undefined);
  const reading = { stage: 'resync', code: 'ERR_PRESENCE_STORE', since };
  const pending = { ...reading, message: 'who is online is being read for the first time' };
  expect(presence.health()).toMatchObject({ status: 'stale', problems: [pending] });
  await clock.advance(2_000);
  const failed = { ...reading, message: 'the store did not answer within 2000 ms', since: expect.any(String) };
  expect(presence.health()).toMatchObject({ status: 'stale', problems: [failed] });
  failing.set('list', NOPERM);
  await clock.advance(10 * LEASE_MS);
  // The problem has its first time and its latest message.
  const { problems, status } = presence.health();
  expect({ status, problems }).toEqual({
    status: 'stale',
    problems: [
      {
        ...failed,
        since: new Date(Date.parse(since) + 2_000).toISOString(),
        message: `the store failed: ${NOPERM.message}`,
      },
    ],
  });
  failing.clear();
  await clock.advance(LEASE_MS);
  expect(presence.health()).toMatchObject({ status: 'ok', problems: [] });
  // Without listeners, nothing has to be read.
  failing.set('list', NOPERM);
  end();
  await clock.advance(2 * LEASE_MS);
  presence.onUpdate(() => undefined)();
  await clock.advance(2 * LEASE_MS);
  expect(presence.health()).toMatchObject({ status: 'ok', problems: [] });
});

it('a reading after a gap that fails makes it stale until it succeeds', async () => {
  const { clock, presence, failing, feeds } = picky();
  presence.onUpdate(() => undefined);
  await clock.settle();
  failing.set('list', NOPERM);
  feeds[0]?.onGap();
  await clock.settle();
  expect(presence.health()).toMatchObject({ status: 'stale', problems: [{ stage: 'resync' }] });
  failing.clear();
  await clock.advance(LEASE_MS / 3);
  expect(presence.health()).toMatchObject({ status: 'ok', problems: [] });
});

it('writes that are refused make it degraded until one succeeds', async () => {
  const { clock, presence, failing } = picky();
  await clock.settle();
  failing.set('apply', NOPERM);
  const socket = fakeSocket();
  presence.attachToSocket(socket, { userId: 'u' });
  await clock.settle();
  const since = new Date(clock.now()).toISOString();
  await clock.advance(20 * LEASE_MS);
  expect(presence.health()).toMatchObject({
    status: 'degraded',
    problems: [{ stage: 'apply', since, message: `the store failed: ${NOPERM.message}` }],
  });
  failing.clear();
  await clock.advance(60_000);
  expect(presence.health()).toMatchObject({ status: 'ok', problems: [] });
  failing.set('refresh', NOPERM);
  await clock.advance(60_000);
  expect(presence.health()).toMatchObject({ status: 'degraded', problems: [{ stage: 'refresh' }] });
  failing.clear();
  await clock.advance(30_000);
  expect(presence.health()).toMatchObject({ status: 'ok', problems: [] });
});

// A store that was set back to older data did so: it had the lease, but not the later applies.
it('a store that knows the lease and takes nothing from its router is reported, once, until it takes something', async () => {
  const clock = fakeClock();
  const behind = memoryStore({ now: clock.now });
  const state = { refuses: false, knows: true };
  const store: PresenceStore = Object.create(behind);
  store.apply = async (node, ops) => (state.refuses ? { known: false } : behind.apply(node, ops));
  store.beat = async (node) => ({ ...(await behind.beat(node)), known: state.knows });
  const reported: string[] = [];
  const onError = (error: Error, { stage }: { stage: string }) => reported.push(`${stage}: ${error.message}`);
  const presence = createPresence({ store, clock, leaseMs: LEASE_MS, ttlMs: 60_000, onError });
  await clock.settle();
  state.refuses = true;
  // The router registers its users again, so there is nothing to report.
  state.knows = false;
  presence.attachToSocket(fakeSocket(), { userId: 'u' });
  await clock.advance(4 * LEASE_MS);
  expect(reported).toEqual([]);
  state.knows = true;
  await clock.advance(4 * LEASE_MS);
  expect(reported).toEqual([expect.stringContaining('apply: the store has refused 3 calls in a row')]);
  expect(presence.health()).toMatchObject({ status: 'degraded', problems: [{ stage: 'apply' }] });
  state.refuses = false;
  await clock.advance(LEASE_MS);
  expect(presence.health()).toMatchObject({ status: 'ok', problems: [] });
  expect(reported).toHaveLength(1);
});

it('a write that is refused is over, too, when nothing is left to write', async () => {
  const { clock, presence, failing } = picky();
  await clock.settle();
  failing.set('apply', NOPERM);
  const socket = fakeSocket();
  presence.attachToSocket(socket, { userId: 'u' });
  await clock.settle();
  expect(stages(presence)).toEqual(['apply']);
  socket.close();
  failing.clear();
  await clock.advance(120_000);
  expect(presence.health()).toMatchObject({ status: 'ok', problems: [] });
});

it('what a store says on its own is over a lease after it was said last; a repair is no problem', async () => {
  const { clock, presence, feeds } = picky();
  await clock.settle();
  feeds[0]?.onError('sweep', NOPERM);
  feeds[0]?.onError('repair', new Error('in presence:b:{0}:1 was something'));
  expect(presence.health()).toMatchObject({ status: 'degraded', problems: [{ stage: 'sweep' }] });
  await clock.advance(LEASE_MS - 1_000);
  expect(stages(presence)).toEqual(['sweep']);
  feeds[0]?.onError('sweep', NOPERM);
  await clock.advance(LEASE_MS - 1_000);
  expect(stages(presence)).toEqual(['sweep']);
  await clock.advance(LEASE_MS);
  expect(presence.health()).toMatchObject({ status: 'ok', problems: [] });
});

it('an outage is one problem for heartbeats, and all are over after it', async () => {
  const clock = fakeClock();
  const { store, link } = faultyStore(clock.now);
  const presence = createPresence({ store, clock, logger: false, ttlMs: 60_000 });
  presence.onUpdate(() => undefined);
  presence.attachToSocket(fakeSocket(), { userId: 'u' });
  await clock.settle();
  link.state = 'down';
  presence.attachToSocket(fakeSocket(), { userId: 'v' });
  await clock.advance(100_000);
  const since = new Date(clock.now() - 100_000);
  const { status, problems } = presence.health();
  expect(status).toBe('stale');
  expect(problems).toEqual([
    {
      stage: 'beat',
      code: 'ERR_PRESENCE_STORE',
      message: 'the store failed: connect ECONNREFUSED',
      since: expect.any(String),
    },
  ]);
  // The first heartbeat that failed was the next regular one.
  const began = Date.parse(problems[0]?.since as string);
  expect([began >= since.getTime(), began <= since.getTime() + LEASE_MS / 3]).toEqual([true, true]);
  link.state = 'up';
  // The next heartbeat is sent within a second, and then the pending changes are.
  await clock.advance(LEASE_MS / 3);
  expect(presence.health()).toMatchObject({ status: 'ok', problems: [] });
});

it('is stale after an outage until what was missed is known, and says so', async () => {
  const { clock, presence, failing } = picky();
  await clock.settle();
  failing.set('beat', NOPERM);
  await clock.advance(LEASE_MS);
  failing.delete('beat');
  failing.set('read', NOPERM);
  await clock.advance(10 * LEASE_MS);
  expect(presence.health()).toMatchObject({
    status: 'stale',
    problems: [{ stage: 'resync', message: 'what was missed is being read' }],
  });
  failing.clear();
  await clock.advance(LEASE_MS / 3);
  expect(presence.health()).toMatchObject({ status: 'ok', problems: [] });
});

it('asOf is by the clock of the store', async () => {
  const clock = fakeClock();
  const store = memoryStore({ now: () => clock.now() - 3_600_000 });
  const presence = createPresence({ store, clock, logger: false });
  await clock.settle();
  expect(presence.health().asOf).toBe(new Date(clock.now() - 3_600_000).toISOString());
  // Where a store does not return its time, the time of this router counts.
  const silent: PresenceStore = Object.assign(Object.create(store), {
    beat: async (node: never) => ({ known: (await store.beat(node)).known }),
  });
  const other = createPresence({ store: silent, clock, logger: false });
  await clock.settle();
  expect(other.health().asOf).toBe(new Date(clock.now()).toISOString());
});

it('says problems once where the store says them itself, and keeps them while it does', async () => {
  const clock = fakeClock();
  const memory = memoryStore({ now: clock.now });
  const feeds: StoreFeed[] = [];
  let standing = [{ stage: 'publish' as const, message: 'may not publish', since: clock.now() }];
  const store: PresenceStore = Object.assign(Object.create(memory), {
    subscribe: (feed: StoreFeed) => {
      feeds.push(feed);
      return memory.subscribe(feed);
    },
    problems: () => standing,
  });
  const lines: string[] = [];
  const say = (line: string) => lines.push(line);
  const presence = createPresence({ store, clock, logger: { warn: say, error: say }, router: { name: 'r' } });
  feeds[0]?.onError('publish', new Error('may not publish'));
  await clock.advance(10 * LEASE_MS);
  const since = new Date(clock.now() - 10 * LEASE_MS).toISOString();
  expect(presence.health()).toMatchObject({
    status: 'degraded',
    problems: [{ stage: 'publish', message: 'may not publish', since }],
  });
  expect(lines).toEqual(['presence r: publish failed: may not publish (other, stage publish)']);
  standing = [];
  await clock.advance(LEASE_MS);
  expect(presence.health()).toMatchObject({ status: 'ok', problems: [] });
  expect(lines.slice(1)).toEqual(['presence r: publish works again after 155 s']);
});
