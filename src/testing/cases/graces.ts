import assert from 'node:assert/strict';
import { isOnline } from '../conformance-world';
import { type Case, drop, join, leave } from './case';

/** Drops, and the graces that follow them. @internal */
export const graces: readonly Case[] = [
  {
    name: 'a drop causes no change when the user is back within the grace',
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
    name: 'a grace that starts is announced, so that a beat can report its end on time',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('u'), drop('u', world.graceMs));
      await world.arrive(() => a.dues.length + b.dues.length > 0);
      assert.ok([...a.dues, ...b.dues].some((inMs) => inMs > 0 && inMs <= world.graceMs));
    },
  },
  {
    name: 'graces of several users are reported in the order in which they run out, and not in that of the drops',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      const order = ['m', 'z', 'a', 'q', 'c', 'x'];
      // Neither in the order in which the graces begin, nor in that in which they end.
      await a.apply(
        ...order
          .slice()
          .sort()
          .map((userId) => join(userId)),
      );
      // The graces that end last begin first.
      const since = await world.now();
      for (const userId of order.slice().reverse()) {
        await a.apply(drop(userId, (world.graceMs * (order.indexOf(userId) + 1)) / 3));
      }
      world.within(since, world.graceMs / 3, await world.now());
      await world.standStill(world.graceMs * 2.5);
      await world.beat();
      await world.arrive(() => b.told.length >= order.length * 2);
      const { sequence } = await b.store.list({ cursor: null, limit: 1 });
      const told = b.told.filter(({ status }) => status === 'offline').map(({ userId }) => userId);
      // Where versions have several counters, the order of two users is not defined.
      assert.deepEqual(sequence === undefined ? told.sort() : told, sequence === undefined ? order.sort() : order);
      await world.assertChanges(
        order.map((userId) => `${userId} online connect`).concat(order.map((userId) => `${userId} offline timeout`)),
      );
    },
  },
  {
    name: 'the next beat of any router reports a grace that has ended, without a query',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('u'), drop('u', world.graceMs));
      await world.standStill(world.graceMs * 1.5);
      const { known } = await b.store.beat(b.node);
      await world.expectKnown(b, { known });
      await world.assertChanges(['u online connect', 'u offline timeout']);
    },
  },
];
