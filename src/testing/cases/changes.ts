import assert from 'node:assert/strict';
import { isOnline, readUsers } from '../conformance-world';
import { type Case, drop, join, leave } from './case';

/** Users who come and go. @internal */
export const changes: readonly Case[] = [
  {
    name: 'a user comes and goes: every router receives each change once',
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
    name: 'a user on two routers is online until both have released the user',
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
    name: 'operations are idempotent: one that is applied twice happens once',
    async check(world) {
      const a = await world.router();
      for (const op of [join('u'), join('u'), leave('u'), leave('u'), drop('u', world.graceMs), leave('never-joined')])
        await a.apply(op);
      await world.pass(world.graceMs * 2);
      await world.assertChanges(['u online connect', 'u offline disconnect']);
    },
  },
  {
    name: 'a join that is applied twice is undone by one leave',
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
];
