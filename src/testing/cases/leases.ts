import assert from 'node:assert/strict';
import type { StoreNode } from '../../stores/port';
import { isOnline, readUsers } from '../conformance-world';
import { type Case, drop, idsOf, join, leave, rejoin } from './case';

/** Routers that beat, leave and die. @internal */
export const leases: readonly Case[] = [
  {
    name: 'the users of a dead router go offline, once each, and those who are also elsewhere stay online',
    async check(world) {
      const [dead, b, c] = [await world.mortal(), await world.router(), await world.router()];
      await dead.apply(join('only-there'), join('both'));
      await b.apply(join('both'));
      dead.alive = false;
      await world.pass(world.leaseMs * 1.5);
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
    name: 'a router that was taken for dead is refused until its next beat, and then registers its users again',
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
    name: 'a router that has left is refused, and the users whom it still held go offline as if it had died',
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
    name: 'a beat that comes late, and before the lease has lapsed, keeps it for a whole lease more',
    async check(world) {
      const [b, a] = [await world.router(), await world.mortal()];
      await a.apply(join('u'));
      await world.beat();
      for (let late = 0; late < 3; late += 1) {
        const { beatAt } = a;
        a.alive = false;
        await world.pass(world.leaseMs * 0.7);
        const beganAt = await world.now();
        const { known } = await a.store.beat(a.node);
        world.within(beatAt, world.leaseMs, await world.now());
        assert.equal(known, true);
        a.beatAt = beganAt;
      }
      assert.equal(await isOnline(b, 'u'), true);
      await world.assertChanges(['u online connect']);
    },
  },
  {
    name: 'a router that has left has no lease: its next beat makes one, and it holds nobody',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('u'));
      const since = await world.now();
      await a.apply(join('graced'), drop('graced', world.graceMs * 4));
      a.alive = false;
      await a.store.release(a.node);
      await a.store.release(a.node);
      await world.assertInGrace(b, 'graced', since, world.graceMs * 4);
      await world.beginToBeat(a);
      await a.apply(join('v'));
      await world.pass(world.leaseMs / 2);
      assert.equal(await isOnline(b, 'u'), false);
      assert.equal(await isOnline(b, 'v'), true);
      await world.pass(world.graceMs * 4);
      await world.assertChanges([
        'u online connect',
        'graced online connect',
        'u offline node-down',
        'v online connect',
        'graced offline timeout',
      ]);
    },
  },
  {
    name: 'a dead router takes no user offline whom another router holds, however many it held',
    async check(world) {
      const [b, dead] = [await world.router(), await world.mortal()];
      const ids = idsOf(300);
      await dead.apply(...ids.map((userId) => join(userId)));
      await b.apply(...ids.slice(0, 100).map((userId) => join(userId)));
      dead.alive = false;
      await world.pass(world.leaseMs * 1.5);
      await world.arrive(() => b.told.length >= 500);
      assert.equal(b.told.filter(({ reason }) => reason === 'node-down').length, 200);
      assert.equal(await b.store.count(), 100);
      const users = await readUsers(b, ids);
      assert.deepEqual(
        users.map(({ online }) => online),
        ids.map((_, index) => index < 100),
      );
      await b.apply(...ids.map((userId) => leave(userId)));
      assert.equal(await b.store.count(), 0, 'nothing of the dead router is left');
    },
  },
];
