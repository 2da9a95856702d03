import assert from 'node:assert/strict';
import { isOnline, type Router, type World } from '../conformance-world';
import { type Case, drop, join, leave, rejoin } from './case';

/** A user whose grace has ended, and nobody has noticed. */
async function graceEnds(world: World): Promise<[Router, Router]> {
  const [a, b] = [await world.router(), await world.router()];
  await a.apply(join('u'), drop('u', world.graceMs));
  await world.standStill(world.graceMs * 1.5);
  return [a, b];
}

/** A user whose router has lost its lease, and nobody has noticed. */
async function leaseEnds(world: World): Promise<[Router, Router, number]> {
  // The first is asked what time it is.
  const [b, dead] = [await world.router(), await world.mortal()];
  await dead.apply(join('u'));
  const since = await world.lapse(dead);
  return [dead, b, since];
}

/** What time alone has ended, before anybody beats. @internal */
export const unnoticed: readonly Case[] = [
  {
    name: 'a grace that has ended is told before whatever comes next of its user, though nobody has noticed',
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
    name: 'a router whose lease has lapsed is refused, though nobody has noticed, and asserts its users anew',
    async check(world) {
      const [dead, b, since] = await leaseEnds(world);
      // Each comes first to a store, once.
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
      assert.equal(await isOnline(b, 'u'), true, 'what it held before has been taken away, and not what it asserted');
      await dead.apply(leave('u'));
      assert.equal(await isOnline(b, 'u'), false);
      await world.arrive(() => b.told[b.told.length - 1]?.reason === 'disconnect');
      const lines = b.told.map(({ status, reason }) => `${status} ${reason}`).join(', ');
      // It may have come in time for the change not to be one.
      const isSeen = lines === 'online connect, offline node-down, online resync, offline disconnect';
      assert.ok(isSeen || lines === 'online connect, offline disconnect', lines);
    },
  },
  {
    name: 'a router whose lease has lapsed cannot give signs of life, though nobody has noticed',
    async check(world) {
      const [dead, , since] = await leaseEnds(world);
      const refreshed = await dead.store.refresh(dead.node, [{ userId: 'u', ageMs: 0 }]);
      world.within(since, world.leaseMs / 2, await world.now());
      assert.deepEqual(refreshed, { known: false, missing: [] });
    },
  },
  {
    name: 'a router whose lease has lapsed is told so by its next beat, though nobody has noticed',
    async check(world) {
      const [dead, , since] = await leaseEnds(world);
      const { known } = await dead.store.beat(dead.node);
      world.within(since, world.leaseMs / 2, await world.now());
      assert.equal(known, false);
    },
  },
  {
    name: 'a reading does not say online for a grace that has ended, though nobody has noticed',
    async check(world) {
      const [, b] = await graceEnds(world);
      assert.equal(await isOnline(b, 'u'), false);
    },
  },
  {
    name: 'a reading does not say online for a lease that has lapsed, though nobody has noticed',
    async check(world) {
      const [, b, since] = await leaseEnds(world);
      const online = await isOnline(b, 'u');
      world.within(since, world.leaseMs / 2, await world.now());
      assert.equal(online, false);
    },
  },
  {
    name: 'nobody is counted for a grace that has ended, though nobody has noticed',
    async check(world) {
      const [, b] = await graceEnds(world);
      assert.equal(await b.store.count(), 0);
    },
  },
  {
    name: 'nobody is counted for a lease that has lapsed, though nobody has noticed',
    async check(world) {
      const [, b, since] = await leaseEnds(world);
      const count = await b.store.count();
      world.within(since, world.leaseMs / 2, await world.now());
      assert.equal(count, 0);
    },
  },
];
