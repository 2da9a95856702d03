import assert from 'node:assert/strict';
import { isOnline, readUsers } from '../conformance-world';
import { type Case, join } from './case';

/** No router is dead because the store was away. @internal */
export const selfPreservation: readonly Case[] = [
  {
    name: 'no router is dead when the store itself was away: each gets a full lease again',
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
    name: 'a lease that was extended lasts as long as a whole one',
    async check(world) {
      const [b, a] = [await world.router(), await world.mortal()];
      await a.apply(join('u'));
      await world.standStill(world.leaseMs * 1.1);
      a.alive = false;
      const since = await world.now();
      await world.beat();
      await world.pass(world.leaseMs * 0.7);
      const { known } = await a.store.beat(a.node);
      world.within(since, world.leaseMs, await world.now());
      assert.equal(known, true);
      assert.equal(await isOnline(b, 'u'), true);
      await world.assertChanges(['u online connect']);
    },
  },
  {
    name: 'an extended lease keeps no user online whose last activity is older than the TTL, until the router is back',
    async check(world) {
      const [b, a] = [await world.router(), await world.mortal(world.leaseMs / 3)];
      await a.apply(join('u'));
      await world.standStill(world.leaseMs * 1.1);
      const since = await world.now();
      await b.store.beat(b.node);
      const [doubted] = await readUsers(b, ['u']);
      const { users, unproven = [] } = await b.store.list({ cursor: null, limit: 10 });
      const counted = await b.store.count();
      const { known } = await a.store.beat(a.node);
      const proven = await isOnline(b, 'u');
      world.within(since, world.leaseMs, await world.now());
      assert.deepEqual([doubted?.online, doubted?.isPublished], [false, true]);
      assert.deepEqual([users.length, unproven.map(({ userId }) => userId)], [0, ['u']]);
      assert.ok(counted === 0 || counted === undefined, `counted ${counted}`);
      assert.deepEqual([known, proven], [true, true]);
      await world.assertChanges(['u online connect']);
    },
  },
  {
    name: 'twice in a row the store was away: a router that has beaten in between is not dead, and one that has not is',
    async check(world) {
      const [b, dead, a] = [await world.router(), await world.mortal(), await world.mortal()];
      await dead.apply(join('lost'));
      await a.apply(join('stays'));
      await world.beat();
      dead.alive = false;
      // In the second silence the extended lease of the dead router ends, and may not be extended again.
      for (let silence = 0; silence < 2; silence += 1) await world.standStill(world.leaseMs * 1.1);
      await world.beat();
      assert.equal(await isOnline(b, 'stays'), true);
      await world.assertChanges(['lost online connect', 'stays online connect', 'lost offline node-down']);
    },
  },
];
