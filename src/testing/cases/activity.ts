import assert from 'node:assert/strict';
import { isOnline, type Router, readUsers } from '../conformance-world';
import { type Case, drop, join, leave } from './case';

/** Activity, and the last seen of users and of changes. @internal */
export const activity: readonly Case[] = [
  {
    name: 'activity moves last seen, brings nobody online, and is answered with the users whom the store does not hold',
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
    name: 'each activity in a call has its own age',
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
      assert.equal(left?.lastSeen, first?.lastSeen, 'older activity does not move last seen');
      let seen = first?.lastSeen ?? 0;
      for (const op of [join('u', 100), leave('u', 100), join('u', 100), drop('u', 0, 100)]) {
        await world.pass(300);
        await a.apply(op);
        const [later] = await readUsers(a, ['u']);
        const moved = (later?.lastSeen ?? 0) - seen;
        assert.ok(moved >= 150, `a ${op.kind} moved it by ${moved}`);
        seen += moved;
      }
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
    name: 'a leave or a drop by a router that does not hold the user changes nothing',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      const all = ['held', 'dropped', 'gone', 'never'];
      await a.apply(join('held', 50_000), join('dropped', 50_000), join('gone', 50_000), leave('gone', 50_000));
      const since = await world.now();
      await a.apply(drop('dropped', world.graceMs * 2, 50_000));
      const before = await readUsers(a, all);
      for (const op of [
        leave,
        (userId: string) => drop(userId, world.graceMs * 8),
        (userId: string) => drop(userId, 0),
      ])
        await b.apply(...all.map((userId) => op(userId)));
      const after = await readUsers(a, all);
      world.within(since, world.graceMs * 2, await world.now());
      assert.deepEqual(after, before);
      await a.apply(leave('held', 50_000));
      assert.equal(await isOnline(b, 'held'), false, 'no grace was begun');
      await world.pass(world.graceMs * 2.5);
      await world.assertChanges([
        'held online connect',
        'dropped online connect',
        'gone online connect',
        'gone offline disconnect',
        'held offline disconnect',
        'dropped offline timeout',
      ]);
    },
  },
  {
    name: 'activity of a user whom no router holds is answered as missing, brings nobody online, and does not move last seen',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('gone', 50_000), leave('gone', 50_000));
      const before = await readUsers(a, ['gone', 'never']);
      for (const router of [a, b]) {
        const signs = ['gone', 'never'].map((userId) => ({ userId, ageMs: 0 }));
        const answer = await router.store.refresh(router.node, signs);
        await world.expectKnown(router, answer);
        assert.deepEqual(answer.missing.sort(), ['gone', 'never']);
      }
      assert.deepEqual(await readUsers(a, ['gone', 'never']), before);
      assert.equal(await a.store.count(), 0);
      await world.assertChanges(['gone online connect', 'gone offline disconnect']);
    },
  },
  {
    name: 'activity of a user whom only another router or a grace holds is answered as missing',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('held'));
      const since = await world.now();
      await a.apply(join('dropped'), drop('dropped', world.graceMs * 4));
      const signs = ['held', 'dropped'].map((userId) => ({ userId, ageMs: 0 }));
      const answer = await b.store.refresh(b.node, signs);
      await world.expectKnown(b, answer);
      world.within(since, world.graceMs * 4, await world.now());
      assert.deepEqual(answer.missing.sort(), ['dropped', 'held']);
    },
  },
  {
    name: 'activity ends no grace, and keeps no user online after a leave',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('u'), join('v'));
      await b.apply(join('u'));
      const since = await world.now();
      await b.apply(drop('u', world.graceMs * 2));
      const signs = ['u', 'v'].map((userId) => ({ userId, ageMs: 0 }));
      const answer = await a.store.refresh(a.node, signs);
      await world.expectKnown(a, answer);
      assert.deepEqual(answer.missing, []);
      await a.apply(leave('u'), leave('v'));
      await world.assertInGrace(b, 'u', since, world.graceMs * 2);
      assert.equal(await isOnline(b, 'v'), false);
      await world.pass(world.graceMs * 2.5);
      await world.assertChanges(['u online connect', 'v online connect', 'u offline timeout', 'v offline disconnect']);
    },
  },
  {
    name: 'a change carries the time at which it happened, and when its user was last seen',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      const since = await world.now();
      await a.apply(join('closes', 30_000), join('drops', 20_000));
      await world.pass(world.graceMs / 2);
      const middle = await world.now();
      await a.apply(leave('closes', 40_000), drop('drops', world.graceMs, 10_000));
      const dropped = await world.now();
      await world.pass(world.graceMs * 1.5);
      await world.arrive(() => a.told.length >= 4 && b.told.length >= 4);
      const end = await world.now();
      const expected: { [change: string]: readonly [from: number, to: number, seen: number] } = {
        'closes online': [since, middle, since - 30_000],
        'drops online': [since, middle, since - 20_000],
        'closes offline': [middle, dropped, since - 30_000],
        'drops offline': [middle + world.graceMs, end, middle - 10_000],
      };
      for (const { told, toldSeen } of [a, b]) {
        assert.equal(told.length, 4);
        for (const [index, { userId, status, timestamp }] of told.entries()) {
          const [from, to, seen] = expected[`${userId} ${status}`] as readonly [number, number, number];
          const at = Date.parse(timestamp);
          assert.equal(new Date(at).toISOString(), timestamp);
          assert.ok(at >= from && at <= to, `${userId} ${status} is ${at - from} ms after its earliest time`);
          const late = (toldSeen[index] as number) - seen;
          assert.ok(late >= 0 && late <= end - since, `${userId} ${status}: seen ${late} ms after its earliest time`);
        }
      }
      const heardBy = ({ told, toldSeen }: Router) => {
        const heard = told.map(
          (update, index) => [`${update.userId} ${update.status}`, update, toldSeen[index]] as const,
        );
        return new Map(heard.map(([change, ...what]) => [change, what]));
      };
      assert.deepEqual(heardBy(a), heardBy(b));
      for (const { userId, lastSeen } of await readUsers(b, ['closes', 'drops'])) {
        const index = b.told.findIndex((update) => update.userId === userId && update.status === 'offline');
        assert.equal(lastSeen, b.toldSeen[index], 'a query gives the same');
      }
    },
  },
  {
    name: 'activity of a user who left and is back is not missing, also where one call held both',
    async check(world) {
      const a = await world.router();
      const ids = ['closed', 'dropped', 'late'];
      await a.apply(...ids.map((userId) => join(userId)), drop('late', world.graceMs));
      await world.standStill(world.graceMs * 1.5);
      await a.apply(leave('closed'), drop('dropped', 0), ...ids.map((userId) => join(userId)));
      const answer = await a.store.refresh(
        a.node,
        ids.map((userId) => ({ userId, ageMs: 0 })),
      );
      await world.expectKnown(a, answer);
      assert.deepEqual(answer.missing, []);
    },
  },
];
