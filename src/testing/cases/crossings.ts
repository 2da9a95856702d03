import assert from 'node:assert/strict';
import { isOnline, type Router, type World } from '../conformance-world';
import { type Case, drop, join, leave } from './case';

const USERS = ['alone', 'beside-owner', 'beside-grace', 'beside-both'];
const CAME = USERS.map((userId) => `${userId} online connect`);

/**
 * Makes `a` hold one user alone, one beside `c`, one beside a grace that runs since a drop on `b`, and one beside both.
 * Returns a time before the graces began.
 */
async function cross(world: World, [a, b, c]: readonly Router[], graceMs: number): Promise<number> {
  const [held, others, third] = [a, b, c] as [Router, Router, Router];
  await held.apply(...USERS.map((userId) => join(userId)));
  await third.apply(join('beside-owner'), join('beside-both'));
  await others.apply(join('beside-grace'), join('beside-both'));
  const since = await world.now();
  await others.apply(drop('beside-grace', graceMs), drop('beside-both', graceMs));
  return since;
}

async function statusesAt(router: Router): Promise<boolean[]> {
  const { users } = await router.store.read(USERS);
  return users.map(({ online }) => online);
}

/** The effect of each event beside another owner, beside a grace, and beside both. @internal */
export const crossings: readonly Case[] = [
  {
    name: 'a join beside another router, a grace or both: causes no change, and ends the grace',
    async check(world) {
      const [a, b, c] = [await world.router(), await world.router(), await world.router()];
      const since = await cross(world, [a, b, c], world.graceMs * 4);
      await a.apply(...USERS.map((userId) => join(userId)));
      assert.deepEqual(await statusesAt(b), [true, true, true, true]);
      await a.apply(...USERS.map((userId) => leave(userId)));
      const statuses = await statusesAt(b);
      world.within(since, world.graceMs * 4, await world.now());
      assert.deepEqual(statuses, [false, true, false, true], 'the graces have ended');
      await c.apply(leave('beside-owner'), leave('beside-both'));
      assert.deepEqual(await statusesAt(b), [false, false, false, false]);
      await world.assertChanges([...CAME, ...USERS.map((userId) => `${userId} offline disconnect`)]);
    },
  },
  {
    name: 'a leave beside another router, a grace or both: waits for each of them',
    async check(world) {
      const [a, b, c] = [await world.router(), await world.router(), await world.router()];
      const since = await cross(world, [a, b, c], world.graceMs * 2);
      await a.apply(...USERS.map((userId) => leave(userId)));
      const before = await statusesAt(b);
      await c.apply(leave('beside-owner'), leave('beside-both'));
      const after = await statusesAt(b);
      world.within(since, world.graceMs * 2, await world.now());
      assert.deepEqual(before, [false, true, true, true]);
      assert.deepEqual(after, [false, false, true, true], 'the last leave waits for the grace, too');
      await world.pass(world.graceMs * 2.5);
      await world.assertChanges([
        ...CAME,
        'alone offline disconnect',
        'beside-owner offline disconnect',
        'beside-grace offline timeout',
        'beside-both offline timeout',
      ]);
      assert.deepEqual(await statusesAt(b), [false, false, false, false]);
    },
  },
  {
    name: 'a drop beside another router, a grace or both: the longer grace counts, and users who are elsewhere stay',
    async check(world) {
      const [a, b, c] = [await world.router(), await world.router(), await world.router()];
      const since = await cross(world, [a, b, c], world.graceMs * 4);
      await a.apply(join('longer'));
      await b.apply(join('longer'), drop('longer', world.graceMs));
      await a.apply(...USERS.map((userId) => drop(userId, world.graceMs)), drop('longer', world.graceMs * 4));
      await world.pass(world.graceMs * 2);
      const statuses = await statusesAt(b);
      await world.assertInGrace(b, 'longer', since, world.graceMs * 4);
      world.within(since, world.graceMs * 4, await world.now());
      assert.deepEqual(statuses, [false, true, true, true]);
      await c.apply(leave('beside-owner'), leave('beside-both'));
      const after = await statusesAt(b);
      world.within(since, world.graceMs * 4, await world.now());
      assert.deepEqual(after, [false, false, true, true]);
      await world.pass(world.graceMs * 4);
      await world.assertChanges([
        ...CAME,
        'longer online connect',
        'alone offline timeout',
        'beside-owner offline disconnect',
        'beside-grace offline timeout',
        'beside-both offline timeout',
        'longer offline timeout',
      ]);
    },
  },
  {
    name: 'a drop without grace beside another router, a grace or both: shortens nothing',
    async check(world) {
      const [a, b, c] = [await world.router(), await world.router(), await world.router()];
      const since = await cross(world, [a, b, c], world.graceMs * 2);
      await a.apply(...USERS.map((userId) => drop(userId, 0)));
      const statuses = await statusesAt(b);
      world.within(since, world.graceMs * 2, await world.now());
      assert.deepEqual(statuses, [false, true, true, true]);
      await world.pass(world.graceMs * 2.5);
      await world.assertChanges([...CAME, 'alone offline timeout', 'beside-grace offline timeout']);
      await c.apply(drop('beside-owner', 0), drop('beside-both', 0));
      await world.assertChanges([...CAME, ...USERS.map((userId) => `${userId} offline timeout`)]);
    },
  },
  {
    name: 'a death beside another router, a grace or both: takes away the dead router, and nothing else',
    async check(world) {
      const [dead, b, c] = [await world.mortal(), await world.router(), await world.router()];
      const graceMs = world.leaseMs * 2.5;
      const since = await cross(world, [dead, b, c], graceMs);
      await world.beat();
      dead.alive = false;
      await world.pass(world.leaseMs * 1.5);
      await world.arrive(() => b.told.some(({ status }) => status === 'offline'));
      const before = await statusesAt(b);
      await c.apply(leave('beside-both'));
      const after = await statusesAt(b);
      world.within(since, graceMs, await world.now());
      assert.deepEqual(before, [false, true, true, true]);
      assert.deepEqual(after, [false, true, true, true], 'the grace still runs');
      await world.pass(world.leaseMs * 1.5);
      await world.assertChanges([
        ...CAME,
        'alone offline node-down',
        'beside-grace offline timeout',
        'beside-both offline timeout',
      ]);
      await c.apply(leave('beside-owner'));
      assert.equal(await isOnline(b, 'beside-owner'), false);
    },
  },
  {
    name: 'a grace that ends beside a router that holds the user: causes no change, and delays no later leave',
    async check(world) {
      const [a, b, c] = [await world.router(), await world.router(), await world.router()];
      await cross(world, [a, b, c], world.graceMs);
      await world.pass(world.graceMs * 1.5);
      assert.deepEqual(await statusesAt(b), [true, true, true, true]);
      await a.apply(...USERS.map((userId) => leave(userId)));
      assert.deepEqual(await statusesAt(b), [false, true, false, true]);
      await c.apply(leave('beside-owner'), leave('beside-both'));
      await world.assertChanges([...CAME, ...USERS.map((userId) => `${userId} offline disconnect`)]);
    },
  },
];
