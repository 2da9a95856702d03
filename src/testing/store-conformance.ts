import assert from 'node:assert/strict';
import type { PresenceOp, StoreNode } from '../store';
import { isOnline, line, OutOfTime, readUsers, type StoreBackend, World } from './conformance-world';

/** One duty of a store, checked. */
export interface ConformanceCase {
  /** What must hold, in words. */
  readonly name: string;
  /** Rejects with an AssertionError where it does not. */
  run(): Promise<void>;
}

/** How many times as long a case may take on a busy machine. */
const MOST_SCALE = 32;

/**
 * The conformance suite for stores: each duty that `PresenceStore` states, as a case for any test runner. Whoever writes
 * a store runs it with two and three routers on one backend. On a real server some cases take more than ten seconds, which
 * a runner has to allow.
 *
 * @param open - makes a fresh, empty backend
 * @throws nothing; the cases reject with an AssertionError
 *
 * @example
 * for (const { name, run } of storeConformance(openMyBackend)) test(name, run, 120_000);
 */
export function storeConformance(open: () => Promise<StoreBackend>): ConformanceCase[] {
  return CASES.map(({ name, check }) => ({
    name,
    async run() {
      // Where the machine was too slow for what a case is about, it is about twice as much time.
      for (let scale = 1; !(await runAt(scale, open, check)); ) scale *= 2;
    },
  }));
}

/** False where what fails proves nothing, since it took longer than it may. */
async function runAt(scale: number, open: () => Promise<StoreBackend>, check: Check): Promise<boolean> {
  const backend = await open();
  const world = new World(backend, scale);
  try {
    await check(world);
    assert.deepEqual(world.failures, [], 'nothing fails in the background');
    return true;
  } catch (error) {
    if (scale < MOST_SCALE && (world.isLate || error instanceof OutOfTime)) return false;
    throw error;
  } finally {
    world.end();
    await backend.close?.();
  }
}

type Check = (world: World) => Promise<void>;

const join = (userId: string, ageMs = 0): PresenceOp => ({ kind: 'join', userId, ageMs, reassert: false });
const rejoin = (userId: string): PresenceOp => ({ kind: 'join', userId, ageMs: 0, reassert: true });
const leave = (userId: string, ageMs = 0): PresenceOp => ({ kind: 'leave', userId, ageMs, reason: 'disconnect' });
const drop = (userId: string, graceMs: number): PresenceOp => ({ kind: 'drop', userId, ageMs: 0, graceMs });

const ODD_IDS = [
  '__proto__',
  'constructor',
  'a:b',
  '{x}',
  '*',
  ' ',
  '0',
  '👷🏽',
  'é',
  'x'.repeat(256),
  'a\nb',
  'a\u0000b',
];

const CASES: ReadonlyArray<{ readonly name: string; readonly check: Check }> = [
  {
    name: 'a user comes and goes: each change is told once, to every router',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('u'));
      assert.equal(await isOnline(b, 'u'), true);
      await a.apply(leave('u'));
      assert.equal(await isOnline(b, 'u'), false);
      await world.assertChanges(['u online connect', 'u offline disconnect']);
      assert.equal(b.told.length, 2);
    },
  },
  {
    name: 'a user on two routers is online until both have let go',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('u'));
      await b.apply(join('u'));
      await a.apply(leave('u'));
      assert.equal(await isOnline(a, 'u'), true);
      await b.apply({ kind: 'leave', userId: 'u', ageMs: 0, reason: 'timeout' });
      await world.assertChanges(['u online connect', 'u offline timeout']);
    },
  },
  {
    name: 'operations are idempotent: what is told twice happens once',
    async check(world) {
      const a = await world.router();
      for (const op of [join('u'), join('u'), leave('u'), leave('u'), drop('u', world.graceMs), leave('never-joined')])
        await a.apply(op);
      await world.pass(world.graceMs * 2);
      await world.assertChanges(['u online connect', 'u offline disconnect']);
    },
  },
  {
    name: 'a join told twice is undone by one leave',
    async check(world) {
      const a = await world.router();
      await a.apply(join('u'), join('u'));
      await a.apply(leave('u'));
      assert.equal(await isOnline(a, 'u'), false);
      await world.assertChanges(['u online connect', 'u offline disconnect']);
    },
  },
  {
    name: 'operations of one call take effect in order',
    async check(world) {
      const a = await world.router();
      await a.apply(join('u'), leave('u'), join('u'), join('v'), leave('u'));
      await world.assertChanges([
        'u online connect',
        'u offline disconnect',
        'u online connect',
        'v online connect',
        'u offline disconnect',
      ]);
    },
  },
  {
    name: 'versions of a user grow with every change',
    async check(world) {
      const a = await world.router();
      for (let round = 0; round < 5; round += 1) await a.apply(join('u'), join('v'), leave('u'), leave('v'));
      await world.arrive(() => a.told.length >= 20);
      for (const userId of ['u', 'v']) {
        const versions = a.told.filter((update) => update.userId === userId).map(({ version }) => version);
        assert.equal(versions.length, 10);
        versions.reduce((before, version) => {
          assert.ok(version > before, `${version} after ${before}`);
          return version;
        }, 0);
        const [entry] = await readUsers(a, [userId]);
        assert.equal(entry?.version, versions[9], 'a query gives the version of the last change');
      }
    },
  },
  {
    name: 'a drop is no event when the user is back within the grace',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('u'));
      const since = await world.now();
      await a.apply(drop('u', world.graceMs));
      assert.equal(await isOnline(b, 'u'), true);
      await world.pass(world.graceMs / 2);
      await b.apply(join('u'));
      world.within(since, world.graceMs, await world.now());
      await world.pass(world.graceMs * 2);
      await world.assertChanges(['u online connect']);
      assert.equal(await isOnline(a, 'u'), true);
    },
  },
  {
    name: 'a drop becomes offline, by timeout, once the grace has run out',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('u'), drop('u', world.graceMs));
      await world.pass(world.graceMs * 2);
      await world.assertChanges(['u online connect', 'u offline timeout']);
      assert.equal(await isOnline(b, 'u'), false);
      await a.apply(join('u'));
      assert.equal(await isOnline(b, 'u'), true);
    },
  },
  {
    name: 'a grace of 0 is at once; a longer one that runs is not shortened; a join ends it',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('now'), drop('now', 0));
      assert.equal(await isOnline(b, 'now'), false);
      const since = await world.now();
      await a.apply(join('long'), drop('long', world.graceMs * 4));
      await b.apply(join('back'), drop('back', world.graceMs));
      await b.apply(join('back'), leave('back'));
      assert.equal(await isOnline(a, 'back'), false, 'the join has ended the grace: a clean close is at once');
      await world.pass(world.graceMs * 2);
      await world.assertInGrace(b, 'long', since, world.graceMs * 4);
      await world.pass(world.graceMs * 4);
      assert.equal(await isOnline(b, 'long'), false);
    },
  },
  {
    name: 'a second grace, after a return, lasts as long as it should',
    async check(world) {
      const a = await world.router();
      await a.apply(join('u'), drop('u', world.graceMs));
      await world.pass(world.graceMs / 2);
      const since = await world.now();
      await a.apply(join('u'), drop('u', world.graceMs));
      await world.pass(world.graceMs / 2);
      await world.assertInGrace(a, 'u', since, world.graceMs);
      await world.pass(world.graceMs);
      assert.equal(await isOnline(a, 'u'), false);
    },
  },
  {
    name: 'of two devices that dropped, the longer grace counts',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('u'));
      await b.apply(join('u'));
      const since = await world.now();
      await a.apply(drop('u', world.graceMs * 4));
      await b.apply(drop('u', world.graceMs));
      await world.pass(world.graceMs * 2);
      await world.assertInGrace(a, 'u', since, world.graceMs * 4);
      await world.pass(world.graceMs * 3);
      await world.assertChanges(['u online connect', 'u offline timeout']);
    },
  },
  {
    name: 'a device that dropped keeps its grace when another one of the user closes cleanly meanwhile',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('u'));
      await b.apply(join('u'));
      const since = await world.now();
      await a.apply(drop('u', world.graceMs));
      await b.apply(leave('u'));
      await world.assertInGrace(a, 'u', since, world.graceMs);
      await world.pass(world.graceMs * 2);
      await world.assertChanges(['u online connect', 'u offline timeout']);
    },
  },
  {
    name: 'a grace that starts is announced, so that a beat can tell its end on time',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('u'), drop('u', world.graceMs));
      await world.arrive(() => a.dues.length + b.dues.length > 0);
      assert.ok([...a.dues, ...b.dues].some((inMs) => inMs > 0 && inMs <= world.graceMs));
    },
  },
  {
    name: 'the users of a dead router go offline, once each, and those who are elsewhere too stay',
    async check(world) {
      const [dead, b, c] = [await world.mortal(), await world.router(), await world.router()];
      await dead.apply(join('only-there'), join('both'));
      await b.apply(join('both'));
      dead.alive = false;
      await world.pass(world.leaseMs * 2);
      await world.assertChanges(['only-there online connect', 'both online connect', 'only-there offline node-down']);
      assert.equal(await isOnline(c, 'only-there'), false);
      assert.equal(await isOnline(c, 'both'), true);
    },
  },
  {
    name: 'a router that beats keeps its users, however long',
    async check(world) {
      const [a, b] = [await world.mortal(), await world.mortal()];
      await a.apply(join('u'));
      await world.pass(world.leaseMs * 4);
      assert.equal(await isOnline(b, 'u'), true);
      await world.assertChanges(['u online connect']);
    },
  },
  {
    name: 'a grace survives the death of the router that started it',
    async check(world) {
      const [dead, b] = [await world.mortal(), await world.router()];
      const since = await world.now();
      await dead.apply(join('u'), drop('u', world.leaseMs * 2.5));
      dead.alive = false;
      await world.pass(world.leaseMs * 1.7);
      await world.assertInGrace(b, 'u', since, world.leaseMs * 2.5);
      await world.pass(world.leaseMs * 1.5);
      await world.assertChanges(['u online connect', 'u offline timeout']);
    },
  },
  {
    name: 'a router that was taken for dead is refused, told so, and asserts its users anew',
    async check(world) {
      const [stalled, b] = [await world.mortal(), await world.router()];
      await stalled.apply(join('u'));
      stalled.alive = false;
      await world.pass(world.leaseMs * 2);
      assert.deepEqual(await stalled.store.apply(stalled.node, [join('v')]), { known: false });
      assert.deepEqual(await stalled.store.refresh(stalled.node, [{ userId: 'u', ageMs: 0 }]), {
        known: false,
        missing: [],
      });
      assert.equal(await isOnline(b, 'v'), false);
      await world.beginToBeat(stalled);
      await world.beat();
      await stalled.apply(rejoin('u'));
      assert.equal(await isOnline(b, 'u'), true);
      await world.assertChanges(['u online connect', 'u offline node-down', 'u online resync']);
    },
  },
  {
    name: 'nobody is dead when the store itself was away: every router gets a full lease anew',
    async check(world) {
      const [a, b] = [await world.mortal(), await world.mortal()];
      await a.apply(join('u'));
      await b.apply(join('v'));
      await world.standStill(world.leaseMs * 3);
      assert.equal(await isOnline(b, 'u'), true);
      await world.pass(world.leaseMs * 2);
      await world.assertChanges(['u online connect', 'v online connect']);
    },
  },
  {
    name: 'after the store was away a router that is really dead is still found',
    async check(world) {
      const [dead, b] = [await world.mortal(), await world.router()];
      await dead.apply(join('u'));
      dead.alive = false;
      await world.standStill(world.leaseMs * 3);
      await world.pass(world.leaseMs * 2);
      await world.assertChanges(['u online connect', 'u offline node-down']);
      assert.equal(await isOnline(b, 'u'), false);
    },
  },
  {
    name: 'a router without a lease is refused, and nothing of the call takes effect',
    async check(world) {
      const [a] = [await world.router()];
      const stranger: StoreNode = { nodeId: 'stranger', leaseMs: world.leaseMs, ttlMs: 60_000 };
      assert.deepEqual(await a.store.apply(stranger, [join('u')]), { known: false });
      assert.equal(await isOnline(a, 'u'), false);
      await a.store.release(stranger);
      await world.assertChanges([]);
    },
  },
  {
    name: 'a router that has left is refused, and what it still held goes as if it had died',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('u'), join('v'), leave('v'));
      a.alive = false;
      await a.store.release(a.node);
      await world.pass(world.leaseMs / 2);
      assert.deepEqual(await a.store.apply(a.node, [join('w')]), { known: false });
      await world.assertChanges([
        'u online connect',
        'v online connect',
        'v offline disconnect',
        'u offline node-down',
      ]);
      assert.equal(await isOnline(b, 'u'), false);
    },
  },
  {
    name: 'a handover keeps users online until they reappear elsewhere, or time is up',
    async check(world) {
      const [old, next] = [await world.router(), await world.router()];
      await old.apply(join('moves'), join('stays-away'));
      const since = await world.now();
      await old.apply(drop('moves', world.leaseMs), drop('stays-away', world.leaseMs));
      await old.store.release(old.node);
      old.alive = false;
      await next.apply(join('moves'));
      world.within(since, world.leaseMs, await world.now());
      await world.pass(world.leaseMs / 2);
      await world.assertInGrace(next, 'stays-away', since, world.leaseMs);
      await world.pass(world.leaseMs);
      await world.assertChanges(['moves online connect', 'stays-away online connect', 'stays-away offline timeout']);
    },
  },
  {
    name: 'signs of life move last seen, bring nobody online, and name whom the store does not hold',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('u'));
      const [before] = await readUsers(a, ['u']);
      await world.pass(200);
      const refreshed = await a.store.refresh(a.node, [
        { userId: 'u', ageMs: 0 },
        { userId: 'stranger', ageMs: 0 },
      ]);
      assert.deepEqual(refreshed, { known: true, missing: ['stranger'] });
      const [after] = await readUsers(a, ['u']);
      assert.ok((after?.lastSeen ?? 0) >= (before?.lastSeen ?? 0) + 150);
      assert.equal(await isOnline(b, 'stranger'), false);
      await world.assertChanges(['u online connect']);
    },
  },
  {
    name: 'signs of life that come together have each their own age',
    async check(world) {
      const a = await world.router();
      const ages = [0, 0, 30_000, 30_000, 10_000, 0, 20_000];
      const since = await world.now();
      const ids = ages.map((_, index) => `u${index}`);
      await a.apply(...ids.map((id) => join(id, 60_000)));
      const { missing } = await a.store.refresh(
        a.node,
        ages.map((ageMs, index) => ({ userId: `u${index}`, ageMs })),
      );
      assert.deepEqual(missing, []);
      const { now, users } = await a.store.read(ids);
      for (const [index, { lastSeen }] of users.entries()) {
        const age = now - (lastSeen ?? 0);
        const given = ages[index] as number;
        assert.ok(
          age >= given && age <= given + (now - since) + 20,
          `of u${index} the age is ${age}, and was ${given}`,
        );
      }
    },
  },
  {
    name: 'last seen is now less the age, survives offline, and does not go back',
    async check(world) {
      const a = await world.router();
      await a.apply(join('u', 0));
      const [first] = await readUsers(a, ['u']);
      await a.apply(leave('u', 60_000));
      const [left] = await readUsers(a, ['u']);
      assert.equal(left?.lastSeen, first?.lastSeen, 'an older sign of life is no news');
      await world.pass(300);
      await a.apply(join('u', 100), leave('u', 100));
      const [later] = await readUsers(a, ['u']);
      const moved = (later?.lastSeen ?? 0) - (first?.lastSeen ?? 0);
      assert.ok(moved >= 150, `moved by ${moved}`);
    },
  },
  {
    name: 'a change says when its user was last seen, also where the router that knew has died',
    async check(world) {
      const [dead, b] = [await world.mortal(), await world.router()];
      const since = await world.now();
      await dead.apply(join('silent', 30_000), join('lost', 30_000));
      await b.apply(join('quiet', 20_000), leave('quiet', 20_000));
      await world.expectKnown(dead, await dead.store.refresh(dead.node, [{ userId: 'lost', ageMs: 10_000 }]));
      dead.alive = false;
      await world.pass(world.leaseMs * 2);
      await world.arrive(() => b.told.length === 6);
      const took = (await world.now()) - since;
      const ages: { [userId: string]: number } = {};
      for (const [index, { userId, status, timestamp }] of b.told.entries()) {
        if (status === 'offline') ages[userId] = Date.parse(timestamp) - (b.toldSeen[index] as number);
      }
      for (const [userId, least] of [
        ['quiet', 20_000],
        ['lost', 10_000],
        ['silent', 30_000],
      ] as const) {
        const age = ages[userId] ?? Number.NaN;
        assert.ok(age >= least && age <= least + took + 20, `${userId} was seen ${age} ms before, and not ${least}`);
      }
    },
  },
  {
    name: 'a user never seen is offline, with no last seen and version 0; answers are in the order asked',
    async check(world) {
      const a = await world.router();
      await a.apply(join('u'));
      const [never, known] = await readUsers(a, ['never', 'u']);
      assert.deepEqual(never, { userId: 'never', online: false, lastSeen: null, version: 0 });
      assert.equal(known?.userId, 'u');
      assert.deepEqual(await readUsers(a, []), []);
    },
  },
  {
    name: 'any id is just an id',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(...ODD_IDS.map((userId) => join(userId)));
      assert.equal(await b.store.count(), ODD_IDS.length);
      const read = await readUsers(b, ODD_IDS);
      assert.deepEqual(
        read.map(({ userId, online }) => [userId, online]),
        ODD_IDS.map((userId) => [userId, true]),
      );
      const { users } = await b.store.list({ cursor: null, limit: 1_000 });
      assert.deepEqual(new Set(users.map(({ userId }) => userId)), new Set(ODD_IDS));
      await a.apply(...ODD_IDS.map((userId) => leave(userId)));
      assert.equal(await b.store.count(), 0);
    },
  },
  {
    name: 'pages show everybody who stays exactly once, while others come and go',
    async check(world) {
      const a = await world.router();
      const steady = Array.from({ length: 50 }, (_, index) => `steady-${index}`);
      await a.apply(...steady.map((userId) => join(userId)), join('leaves'));
      const seen: string[] = [];
      let cursor: string | null = null;
      let page = 0;
      do {
        const { users, cursor: next } = await a.store.list({ cursor, limit: 7 });
        assert.ok(users.length <= 7);
        seen.push(...users.map(({ userId }) => userId));
        await a.apply(join(`comes-${page}`), leave('leaves'));
        if (page > 0) await a.apply(leave(`comes-${page - 1}`));
        cursor = next;
        page += 1;
        assert.ok(page < 100, 'pages come to an end');
      } while (cursor !== null);
      const counted = seen.filter((userId) => userId.startsWith('steady-'));
      assert.deepEqual(counted.sort(), steady.slice().sort());
    },
  },
  {
    name: 'what a page says to have been told has been told by then',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await world.arrive();
      const { sequence: before } = await b.store.list({ cursor: null, limit: 1 });
      for (let round = 0; round < 20; round += 1) {
        const joins = Array.from({ length: 100 }, (_, index) => join(`u${round}-${index}`));
        const applied = a.apply(...joins);
        const { sequence } = await b.store.list({ cursor: null, limit: 1 });
        const heard = Math.max(before?.version ?? 0, ...b.told.map(({ version }) => version));
        const { version = 0, told = version } = sequence ?? {};
        assert.ok(told <= heard && told <= version, `${told} of ${heard} that were told, at ${version}`);
        await applied;
      }
    },
  },
  {
    name: 'a cursor that no page gave is refused',
    async check(world) {
      const a = await world.router();
      await assert.rejects(a.store.list({ cursor: 'nonsense', limit: 10 }), { code: 'ERR_PRESENCE_OPTIONS' });
    },
  },
  {
    name: 'nothing is told after a feed has unsubscribed, nor of what was before it subscribed',
    async check(world) {
      const a = await world.router();
      await a.apply(join('before'));
      const told: string[] = [];
      const unsubscribe = a.store.subscribe({
        onTransition: (update) => told.push(line(update)),
        onGap: () => undefined,
        onDue: () => undefined,
        onLost: () => undefined,
        onError: () => undefined,
      });
      await world.arrive();
      await a.apply(join('u'));
      await world.arrive(() => told.length > 0);
      unsubscribe();
      unsubscribe();
      await a.apply(leave('u'));
      await world.arrive();
      assert.deepEqual(told, ['u online connect']);
    },
  },
];
