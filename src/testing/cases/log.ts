import assert from 'node:assert/strict';
import type { PresenceUpdate } from '../../public/types';
import type { ChangeLog, DeliveryClaim } from '../../stores/port';
import { line, type Router, type World } from '../conformance-world';
import { type Case, idsOf, join, leave, rejoin } from './case';

/** More than any case makes. */
const MOST_CHANGES = 10_000;

const logOf = ({ store }: Router): ChangeLog => store.log as ChangeLog;

/** Reads everything after a cursor, a page of `limit` at a time. */
async function readAll(router: Router, after: string | null, limit: number): Promise<PresenceUpdate[]> {
  const all: PresenceUpdate[] = [];
  for (let cursor = after; ; ) {
    const page = await logOf(router).read({ after: cursor, limit });
    assert.equal(page.isGap, false, 'nothing is missing');
    assert.ok(page.changes.length <= limit, 'no page is longer than was asked for');
    assert.ok(page.cursor.length <= 1_024, 'a cursor has at most 1,024 characters');
    all.push(...page.changes);
    if (!page.hasMore) return all;
    assert.notEqual(page.cursor, cursor, 'a page that is not the last one moves on');
    assert.ok(all.length <= MOST_CHANGES, 'no change is given twice');
    cursor = page.cursor;
  }
}

/** The changes of each user, in order. */
function byUser(changes: readonly PresenceUpdate[]): Map<string, string[]> {
  const users = new Map<string, string[]>();
  for (const update of changes) {
    const { userId, version, timestamp } = update;
    users.set(userId, (users.get(userId) ?? []).concat(`${line(update)} ${version} ${timestamp}`));
  }
  return users;
}

function claim(router: Router, from: string | null, isResumed = false): Promise<DeliveryClaim> {
  return logOf(router).claim(router.node, 'billing', from, isResumed);
}

async function holderOf(world: World): Promise<string | undefined> {
  const [delivery] = await logOf(world.routers[0] as Router).deliveries();
  return delivery?.router?.nodeId;
}

/** The log of changes, and the positions in it. */
const cases: readonly Case[] = [
  {
    name: 'the log gives every change that feeds receive, from every router, whatever the size of its pages',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      const start = await logOf(a).head();
      assert.deepEqual(await readAll(b, start, 10), []);
      const userIds = idsOf(40);
      await a.apply(...userIds.map((userId) => join(userId)));
      for (const userId of userIds.slice(0, 10)) await a.apply(leave(userId));
      await b.apply(join('b'), leave('b'), join('b'));
      await world.arrive(() => b.told.length >= 53);
      const told = byUser(b.told);
      for (const limit of [1, 7, 1_000]) {
        for (const router of [a, b]) assert.deepEqual(byUser(await readAll(router, start, limit)), told);
      }
      assert.deepEqual(byUser(await readAll(a, null, 100)), told, 'from the oldest on');
      assert.deepEqual(byUser(await readAll(a, await logOf(b).oldest(), 100)), told);
    },
  },
  {
    name: 'nothing is missing from a log that is read while it is written',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      let cursor = await logOf(b).head();
      const read: PresenceUpdate[] = [];
      let isOver = false;
      const write = async (): Promise<void> => {
        for (let turn = 0; turn < 20; turn += 1) {
          await a.apply(...idsOf(20, `w${turn}`).map((userId) => join(userId)));
          await a.apply(join('same'), leave('same'));
        }
      };
      const writing = write().finally(() => {
        isOver = true;
      });
      for (let isLast = false; ; isLast = isOver) {
        const page = await logOf(b).read({ after: cursor, limit: 25 });
        assert.equal(page.isGap, false);
        read.push(...page.changes);
        assert.ok(read.length <= 440, 'no change is given twice');
        assert.ok(page.cursor !== cursor || !page.hasMore, 'a page that is not the last one moves on');
        cursor = page.cursor;
        if (isLast && !page.hasMore) break;
        await world.arrive();
      }
      await writing;
      assert.equal(read.length, 440);
      await world.arrive(() => b.told.length >= 440);
      assert.deepEqual(byUser(read), byUser(b.told));
    },
  },
  {
    name: 'a cursor that the store has not given is refused, and the version of a page is one',
    async check(world) {
      const a = await world.router();
      await a.apply(join('u'));
      await assert.rejects(logOf(a).read({ after: 'no cursor', limit: 1 }), { code: 'ERR_PRESENCE_OPTIONS' });
      const { sequence } = await a.store.list({ cursor: null, limit: 1 });
      if (sequence === undefined) return;
      await a.apply(join('v'));
      const changes = await readAll(a, `${sequence.epoch}.${sequence.version}`, 10);
      assert.deepEqual(changes.map(line), ['v online connect']);
    },
  },
  {
    name: 'after a loss the log has a gap, and what follows it is complete',
    needs: 'lose',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('stays'));
      await b.apply(join('other'));
      const before = await logOf(a).head();
      await world.lose();
      for (const [router, userId] of [
        [a, 'stays'],
        [b, 'other'],
      ] as const) {
        if (!(await router.store.beat(router.node)).known) await router.apply(rejoin(userId));
        await router.store.registered?.(router.node);
      }
      await world.pass(world.leaseMs);
      const page = await logOf(b).read({ after: before, limit: 100 });
      assert.deepEqual([page.isGap, page.changes], [true, []]);
      await a.apply(join('later'));
      const later = await readAll(b, page.cursor, 100);
      assert.ok(later.some(({ userId }) => userId === 'later'));
    },
  },
  {
    name: 'a token is greater than every earlier one, also after a loss',
    needs: 'lose',
    async check(world) {
      const a = await world.router();
      const tokens: number[] = [];
      for (let count = 0; count < 3; count += 1) tokens.push((await claim(a, await logOf(a).head())).token as number);
      await world.lose();
      if (!(await a.store.beat(a.node)).known) await a.apply(rejoin('u'));
      await a.store.registered?.(a.node);
      let again = await claim(a, null);
      for (let attempt = 0; attempt < 20 && again.token === undefined; attempt += 1) {
        await world.pass(10);
        again = await claim(a, null);
      }
      tokens.push(again.token as number);
      assert.deepEqual(
        tokens,
        Array.from(new Set(tokens)).sort((one, other) => one - other),
      );
    },
  },
  {
    name: 'a delivery that begins nowhere begins with a gap',
    async check(world) {
      const a = await world.router();
      await a.apply(join('u'));
      const { cursor } = await claim(a, null);
      const page = await logOf(a).read({ after: cursor, limit: 10 });
      assert.deepEqual([page.isGap, page.changes], [true, []]);
      assert.equal((await logOf(a).deliveries())[0]?.cursor, cursor);
    },
  },
  {
    name: 'a delivery has one holder, and an earlier token moves nothing',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      const start = await logOf(a).head();
      const claims = await Promise.all([claim(a, start), claim(b, start)]);
      const won = claims.filter(({ token }) => token !== undefined);
      assert.equal(won.length, 1, 'one of two that claim at once');
      const [holder, other] = claims[0]?.token === undefined ? [b, a] : [a, b];
      const token = won[0]?.token as number;
      assert.equal(await holderOf(world), holder.node.nodeId);
      await a.apply(join('u'));
      const cursor = await logOf(a).head();
      assert.equal(await logOf(holder).advance('billing', token, { cursor, lastError: 'it was late' }), true);
      const [stored] = await logOf(other).deliveries();
      assert.deepEqual(
        [stored?.name, stored?.cursor, stored?.lastError, stored?.isEnded, stored?.lagChanges],
        ['billing', cursor, 'it was late', false, 0],
      );
      // The holder may claim again, as after an answer that was lost.
      const again = await claim(holder, start);
      assert.equal(again.cursor, cursor, 'the position is that of the store');
      assert.ok((again.token as number) > token);
      assert.equal(await logOf(holder).advance('billing', token, { cursor: start }), false);
      assert.equal(await logOf(holder).advance('other', again.token as number, { cursor: start }), false);
      await a.apply(join('v'), join('w'));
      assert.equal((await logOf(b).deliveries())[0]?.lagChanges, 2);
    },
  },
  {
    name: 'a delivery is free once its holder has released it, or is dead',
    async check(world) {
      const [b, a] = [await world.router(), await world.mortal()];
      const start = await logOf(a).head();
      const { token } = await claim(a, start);
      assert.equal((await claim(b, start)).token, undefined);
      assert.equal(await logOf(a).advance('billing', token as number, { isReleased: true }), true);
      assert.equal(await logOf(a).advance('billing', token as number, { cursor: start }), false);
      const second = await claim(b, start);
      assert.ok((second.token as number) > (token as number));
      assert.equal(await logOf(b).advance('billing', second.token as number, { isReleased: true }), true);
      await world.beat();
      const third = await claim(a, start);
      assert.ok((third.token as number) > (second.token as number));
      a.alive = false;
      for (let lease = 0; lease < 4; lease += 1) await world.pass(world.leaseMs);
      assert.equal(await holderOf(world), undefined);
      const fourth = await claim(b, start);
      assert.ok((fourth.token as number) > (third.token as number));
      assert.equal(await logOf(a).advance('billing', third.token as number, { cursor: start }), false);
      assert.equal(await holderOf(world), b.node.nodeId);
    },
  },
  {
    name: 'a delivery that has ended is nobody’s, until it is resumed where it was',
    async check(world) {
      const a = await world.router();
      const start = await logOf(a).head();
      const { token } = await claim(a, start);
      await a.apply(join('u'));
      const cursor = await logOf(a).head();
      const step = { cursor, isEnded: true, lastError: '410' };
      assert.equal(await logOf(a).advance('billing', token as number, step), true);
      assert.deepEqual(await claim(a, start), { token: undefined, cursor, isEnded: true });
      const [ended] = await logOf(a).deliveries();
      assert.deepEqual([ended?.isEnded, ended?.router], [true, null]);
      const resumed = await claim(a, start, true);
      assert.deepEqual([resumed.cursor, resumed.isEnded], [cursor, false]);
      assert.ok((resumed.token as number) > (token as number));
    },
  },
];

/** The cases of a store that has a log. @internal */
export const log: readonly Case[] = cases.map((one) => ({ ...one, part: 'log' as const }));
