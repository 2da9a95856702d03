import assert from 'node:assert/strict';
import type { PresenceUpdate } from '../../public/types';
import type { PresenceOp } from '../../stores/port';
import { isOnline, type Router, readUsers, type World } from '../conformance-world';
import { type Case, drop, idsOf, join, leave, listen } from './case';

const OPS = 1_000;
const SHARED_USERS = 200;

const reversed = <T>(items: readonly T[]): T[] => items.slice().reverse();

function byUser(updates: readonly PresenceUpdate[]): Map<string, PresenceUpdate[]> {
  const told = new Map<string, PresenceUpdate[]>();
  for (const update of updates) told.set(update.userId, (told.get(update.userId) ?? []).concat(update));
  return told;
}

/** Each change differs from the last one of its user and has a higher version. A shared counter leaves no version out. */
async function assertNumbered(router: Router): Promise<void> {
  const { told } = router;
  for (const [userId, updates] of byUser(told)) {
    updates.reduce((before, update) => {
      assert.notEqual(update.status, before.status, `${userId} ${update.status} twice in a row`);
      assert.ok(update.version > before.version, `${userId}: ${update.version} after ${before.version}`);
      return update;
    });
  }
  const versions = new Set(told.map(({ version }) => version));
  const { sequence } = await router.store.list({ cursor: null, limit: 1 });
  if (sequence === undefined || told.length === 0) return;
  assert.equal(versions.size, told.length, 'no version twice');
  const highest = Math.max(...Array.from(versions));
  assert.equal(highest - Math.min(...Array.from(versions)) + 1, told.length, 'versions without a gap');
  assert.equal(sequence.version, highest, 'the sequence is as far as the last change');
}

/** Two routers apply at once. Returns who of the shared users is online afterwards. */
async function atOnce(world: World, [one, ops]: [Router, PresenceOp[]], [other, others]: [Router, PresenceOp[]]) {
  await Promise.all([one.apply(...ops), other.apply(...others)]);
  const [watching] = world.routers as [Router];
  return (await readUsers(watching, idsOf(SHARED_USERS))).map(({ online }) => online);
}

/** Concurrent and large calls. @internal */
export const concurrency: readonly Case[] = [
  {
    name: 'two routers that apply at once to the same users: each change happens once, and each status is right',
    async check(world) {
      const [c, a, b] = [await world.router(), await world.router(), await world.router()];
      const gaps = await listen(world, 'first');
      const ids = idsOf(SHARED_USERS);
      const all = (online: boolean): boolean[] => ids.map(() => online);
      const joins = ids.map((userId) => join(userId));
      const leaves = ids.map((userId) => leave(userId));
      for (let round = 0; round < 3; round += 1) {
        assert.deepEqual(await atOnce(world, [a, joins], [b, reversed(joins)]), all(true), 'both have joined');
        assert.deepEqual(await atOnce(world, [a, leaves], [b, leaves]), all(false), 'both have left');
        assert.equal(await c.store.count(), 1);
        assert.deepEqual(await atOnce(world, [a, joins], [b, joins]), all(true));
        await (round % 2 === 0 ? a : b).apply(...leaves);
        assert.equal(await c.store.count(), SHARED_USERS + 1, 'neither join got lost');
        await (round % 2 === 0 ? b : a).apply(...leaves);
        assert.equal(await c.store.count(), 1, 'neither leave got lost');
        await a.apply(...joins);
        await b.apply(...joins);
        assert.deepEqual(await atOnce(world, [a, leaves], [b, leaves]), all(false), 'both have left again');
        await a.apply(...joins);
        assert.deepEqual(await atOnce(world, [a, leaves], [b, reversed(joins)]), all(true), 'the other holds them');
        assert.deepEqual(await atOnce(world, [b, leaves], [a, joins]), all(true), 'and this one again');
        // Each user leaves one of the two routers, and not the other.
        await b.apply(...joins);
        const evens = ids.filter((_, index) => index % 2 === 0);
        const odds = ids.filter((_, index) => index % 2 === 1);
        const left = await atOnce(
          world,
          [a, evens.map((userId) => leave(userId))],
          [b, odds.map((userId) => drop(userId, 0))],
        );
        assert.deepEqual(left, all(true), 'each user is still on one router');
        assert.equal(await c.store.count(), SHARED_USERS + 1);
        await atOnce(world, [a, odds.map((userId) => leave(userId))], [b, evens.map((userId) => leave(userId))]);
        assert.equal(await c.store.count(), 1, 'none of them is left');
      }
      const isOver = ({ told }: Router): boolean => {
        const last = byUser(told);
        return ids.every((userId) => {
          const updates = last.get(userId) ?? [];
          return updates.length >= 24 && updates[updates.length - 1]?.status === 'offline';
        });
      };
      await a.apply(join('last'));
      const hasAll = (router: Router): boolean => isOver(router) && router.told.some(({ userId }) => userId === 'last');
      const isWarned = (router: Router): boolean => router.gaps > (gaps.get(router) ?? 0);
      await world.arrive(() => [a, b, c].every((router) => isWarned(router) || hasAll(router)));
      for (const router of [a, b, c]) {
        if (isWarned(router)) continue;
        assert.ok(hasAll(router), 'every change was received');
        await assertNumbered(router);
      }
    },
  },
  {
    name: 'two routers apply at once and one leaves for good: the other loses no user',
    async check(world) {
      const [c, a, b] = [await world.router(), await world.router(), await world.router()];
      const ids = idsOf(SHARED_USERS);
      await a.apply(...ids.map((userId) => join(userId)));
      a.alive = false;
      await Promise.all([a.store.release(a.node), b.apply(...ids.map((userId) => join(userId)))]);
      await world.pass(world.leaseMs / 2);
      const users = await readUsers(c, ids);
      assert.ok(users.every(({ online }) => online));
      await world.arrive(() => c.told.length >= SHARED_USERS);
      await assertNumbered(c);
    },
  },
  {
    name: 'one call takes a thousand operations, activities or ids',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      const gaps = await listen(world, 'first');
      const ids = idsOf(OPS);
      await a.apply(...ids.map((userId) => join(userId, 60_000)));
      assert.equal(await b.store.count(), OPS + 1);
      const users = await readUsers(b, ids);
      assert.deepEqual(
        users.map(({ userId, online }) => [userId, online]),
        ids.map((userId) => [userId, true]),
      );
      const signs = ids.map((userId) => ({ userId, ageMs: 0 }));
      const answer = await a.store.refresh(a.node, signs);
      await world.expectKnown(a, answer);
      assert.deepEqual(answer.missing, []);
      const seen = await readUsers(b, ids);
      assert.ok(seen.every(({ lastSeen }, at) => (lastSeen ?? 0) >= (users[at]?.lastSeen ?? 0) + 59_000));
      // Many operations on a few users take effect in order.
      const few = ids.slice(0, 10);
      const churn: PresenceOp[] = [];
      for (let round = 0; round < OPS / few.length / 2; round += 1) {
        for (const userId of few) churn.push(leave(userId), join(userId));
      }
      await a.apply(...churn);
      assert.equal(await b.store.count(), OPS + 1);
      await a.apply(...ids.map((userId) => leave(userId)));
      assert.equal(await b.store.count(), 1);
      const total = 1 + OPS * 2 + churn.length;
      const isWarned = (router: Router): boolean => router.gaps > (gaps.get(router) ?? 0);
      await world.arrive(() => [a, b].every((router) => isWarned(router) || router.told.length >= total));
      for (const router of [a, b]) {
        if (isWarned(router)) continue;
        assert.equal(router.told.length, total);
        await assertNumbered(router);
      }
    },
  },
  {
    name: 'calls of one router that are made at once take effect in their order, or not at all',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      const calls = [join('u'), leave('u'), join('u'), leave('u')];
      const taken = await Promise.all(
        calls.map((op) =>
          a.apply(op).then(
            () => true,
            (error: unknown) => {
              if (error instanceof assert.AssertionError) throw error;
              return false;
            },
          ),
        ),
      );
      const last = calls.filter((_, index) => taken[index]).pop();
      assert.ok(last !== undefined, 'some call takes effect');
      assert.equal(await isOnline(b, 'u'), last.kind === 'join');
      await a.apply(leave('u'));
      await world.arrive(() => b.told[b.told.length - 1]?.status === 'offline');
      await assertNumbered(b);
    },
  },
  {
    name: 'two stores that come to an empty backend at the same moment are on the same one',
    async check(world) {
      const [a, b] = await world.twoAtOnce();
      const ids = idsOf(50);
      const joins = ids.map((userId) => join(userId));
      await Promise.all([a.apply(...joins, join('only-a')), b.apply(...joins, join('only-b'))]);
      const c = await world.router();
      for (const { store } of [a, b, c]) assert.equal(await store.count(), 52);
      await a.apply(...ids.map((userId) => leave(userId)), leave('only-a'));
      for (const { store } of [a, b, c]) assert.equal(await store.count(), 51, 'the other one still holds them');
      await b.apply(...ids.map((userId) => leave(userId)));
      const all = ids.concat('only-a', 'only-b');
      const users = await readUsers(c, all);
      assert.deepEqual(
        users.filter(({ online }) => online).map(({ userId }) => userId),
        ['only-b'],
      );
      for (const router of [a, b]) assert.deepEqual(await readUsers(router, ids), users.slice(0, ids.length));
    },
  },
];
