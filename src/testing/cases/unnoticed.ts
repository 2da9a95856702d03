import assert from 'node:assert/strict';
import { isOnline, type Router, type World } from '../conformance-world';
import { type Case, drop, join, leave, rejoin } from './case';

/** A user whose grace has ended, before any call could make the store notice. */
async function graceEnds(world: World): Promise<[Router, Router]> {
  const [a, b] = [await world.router(), await world.router()];
  await a.apply(join('u'), drop('u', world.graceMs));
  await world.standStill(world.graceMs * 1.5);
  return [a, b];
}

/** A user whose router has lost its lease, before any call could make the store notice. */
async function leaseEnds(world: World): Promise<[Router, Router, number]> {
  // The store of the first router gives the time, so the dead one must not be the first.
  const [b, dead] = [await world.router(), await world.mortal()];
  await dead.apply(join('u'));
  const since = await world.lapse(dead);
  return [dead, b, since];
}

/** Graces and leases that time has ended, before any router beats. @internal */
export const unnoticed: readonly Case[] = [
  {
    name: 'a grace that has ended unnoticed is reported before the next event of its user',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('back'), join('elsewhere'), join('held'), join('dropped'), join('left'));
      await b.apply(join('held'), drop('held', world.graceMs), join('dropped'), drop('dropped', world.graceMs));
      await a.apply(drop('back', world.graceMs), drop('elsewhere', world.graceMs), drop('left', world.graceMs));
      await world.standStill(world.graceMs * 1.5);
      await a.apply(join('back'), leave('held'), drop('dropped', 0), leave('left'));
      await b.apply(join('elsewhere'));
      await world.beat();
      await world.assertChanges([
        'back online connect',
        'elsewhere online connect',
        'held online connect',
        'dropped online connect',
        'left online connect',
        'back offline timeout',
        'back online connect',
        'held offline disconnect',
        'dropped offline timeout',
        'left offline timeout',
        'elsewhere offline timeout',
        'elsewhere online connect',
      ]);
    },
  },
  {
    name: 'a router whose lease has lapsed unnoticed is refused, and registers its users again',
    async check(world) {
      const [dead, b, since] = await leaseEnds(world);
      // In some case, each of these calls is the first one.
      const applied = await dead.store.apply(dead.node, [join('v')]);
      const refreshed = await dead.store.refresh(dead.node, [{ userId: 'u', ageMs: 0 }]);
      const beaten = await dead.store.beat(dead.node);
      world.within(since, world.leaseMs / 2, await world.now());
      assert.equal(applied.known, false);
      assert.deepEqual(refreshed, { known: false, missing: [] });
      assert.equal(beaten.known, false);
      assert.equal(await isOnline(b, 'v'), false);
      dead.alive = true;
      dead.beatAt = since;
      await dead.apply(rejoin('u'));
      assert.equal(await isOnline(b, 'u'), true);
      await world.pass(world.leaseMs * 1.5);
      assert.equal(
        await isOnline(b, 'u'),
        true,
        'it loses the users of its old lease, and not those that it has registered again',
      );
      await dead.apply(leave('u'));
      assert.equal(await isOnline(b, 'u'), false);
      await world.arrive(() => b.told[b.told.length - 1]?.reason === 'disconnect');
      const lines = b.told.map(({ status, reason }) => `${status} ${reason}`).join(', ');
      // The router may have registered the user before the store reaped the old lease.
      const isSeen = lines === 'online connect, offline node-down, online resync, offline disconnect';
      assert.ok(isSeen || lines === 'online connect, offline disconnect', lines);
    },
  },
  {
    name: 'a router whose lease has lapsed unnoticed cannot report activity',
    async check(world) {
      const [dead, , since] = await leaseEnds(world);
      const refreshed = await dead.store.refresh(dead.node, [{ userId: 'u', ageMs: 0 }]);
      world.within(since, world.leaseMs / 2, await world.now());
      assert.deepEqual(refreshed, { known: false, missing: [] });
    },
  },
  {
    name: 'a router whose lease has lapsed unnoticed learns it from its next beat',
    async check(world) {
      const [dead, , since] = await leaseEnds(world);
      const { known } = await dead.store.beat(dead.node);
      world.within(since, world.leaseMs / 2, await world.now());
      assert.equal(known, false);
    },
  },
  {
    name: 'a query does not say online for a grace that has ended unnoticed',
    async check(world) {
      const [, b] = await graceEnds(world);
      assert.equal(await isOnline(b, 'u'), false);
    },
  },
  {
    name: 'a query does not say online for a lease that has lapsed unnoticed',
    async check(world) {
      const [, b, since] = await leaseEnds(world);
      const online = await isOnline(b, 'u');
      world.within(since, world.leaseMs / 2, await world.now());
      assert.equal(online, false);
    },
  },
  {
    name: 'no user is counted for a grace that has ended unnoticed',
    async check(world) {
      const [, b] = await graceEnds(world);
      assert.equal(await b.store.count(), 0);
    },
  },
  {
    name: 'no user is counted for a lease that has lapsed unnoticed',
    async check(world) {
      const [, b, since] = await leaseEnds(world);
      const count = await b.store.count();
      world.within(since, world.leaseMs / 2, await world.now());
      assert.equal(count, 0);
    },
  },
];
