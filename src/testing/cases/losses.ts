import assert from 'node:assert/strict';
import type { StoredStatus } from '../../stores/port';
import { isOnline, line, type Router, readUsers, type World } from '../conformance-world';
import { type Case, idsOf, join, leave, listen, rejoin } from './case';

const CHANGES = 2_500;
const CHANGES_A_CALL = 500;

const highestOf = ({ told }: Router): number => Math.max(0, ...told.map(({ version }) => version));

/** In the changes that a router received, the versions of each user grow. */
function assertGrowing({ told }: Router): void {
  const last = new Map<string, number>();
  for (const { userId, version } of told) {
    assert.ok(version > (last.get(userId) ?? 0), `${userId}: ${version} after ${last.get(userId)}`);
    last.set(userId, version);
  }
}

/** Versions continue after a loss: those of each user grow, and those of a shared counter are above the highest one before. */
async function assertAbove(router: Router, userId: string, highest: number): Promise<void> {
  assertGrowing(router);
  const { sequence } = await router.store.list({ cursor: null, limit: 1 });
  if (sequence === undefined) return;
  for (const update of router.told) {
    if (update.userId === userId) assert.ok(update.version > highest, `${update.version} after ${highest}`);
  }
}

async function everybodyOnline({ store }: Router): Promise<Map<string, StoredStatus>> {
  const online = new Map<string, StoredStatus>();
  for (let cursor: string | null = null; ; ) {
    const page = await store.list({ cursor, limit: 1_000 });
    for (const user of page.users) online.set(user.userId, user);
    if (page.cursor === null) return online;
    cursor = page.cursor;
  }
}

/** Does what a router does that the store no longer knows: it beats, and registers its users again. */
async function assertAnew(world: World, router: Router, userIds: readonly string[]): Promise<void> {
  await world.beginToBeat(router);
  await router.apply(...userIds.map(rejoin));
  await router.store.registered?.(router.node);
}

/** Data loss and cut feeds, for backends that have the hooks. @internal */
export const losses: readonly Case[] = [
  {
    name: 'a feed that was cut receives the changes later, or is notified that it may have missed some',
    needs: 'cutFeed',
    async check(world) {
      for (const changes of [3, CHANGES]) {
        const [a, b] = [await world.router(), await world.router()];
        const gaps = await listen(world, `before-${changes}`);
        const from = b.told.length;
        const mend = await world.cutFeed(b);
        const ids = idsOf(changes, `cut-${changes}`);
        for (let at = 0; at < changes; at += CHANGES_A_CALL) {
          await a.apply(...ids.slice(at, at + CHANGES_A_CALL).map((userId) => join(userId)));
        }
        await a.apply(join(`churn-${changes}`), leave(`churn-${changes}`), join(`churn-${changes}`));
        await mend();
        const heard = () => b.told.slice(from).filter(({ userId }) => userId.startsWith(`cut-${changes}-`));
        const isWarned = () => b.gaps > (gaps.get(b) ?? 0);
        await world.arrive(() => isWarned() || heard().length >= changes);
        if (!isWarned()) assert.deepEqual(heard().map(line).sort(), ids.map((id) => `${id} online connect`).sort());
        assert.equal((await readUsers(b, ids)).filter(({ online }) => online).length, changes);
        assert.ok((await everybodyOnline(b)).size > changes);
        // After these queries the feed has either received all changes, or was notified of a gap.
        await b.store.caughtUp?.();
        assert.ok(isWarned() || heard().length === changes);
        await a.apply(...ids.slice(0, 3).map((userId) => leave(userId)));
        const left = () => b.told.filter(({ userId, status }) => ids.includes(userId) && status === 'offline');
        await world.arrive(() => left().length >= 3);
        assert.equal(left().length, 3, 'the feed receives later changes');
        assertGrowing(b);
      }
    },
  },
  {
    name: 'the answers to calls reveal the changes that a cut feed has missed, before it is reconnected',
    needs: 'cutFeed',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      const gaps = await listen(world, 'before');
      const mend = await world.cutFeed(b);
      await a.apply(join('u'));
      const { known } = await b.store.beat(b.node);
      await world.expectKnown(b, { known });
      const isSeen = () => b.gaps > (gaps.get(b) ?? 0) || b.told.some(({ userId }) => userId === 'u');
      await world.arrive(isSeen);
      assert.ok(isSeen(), 'after a beat the feed has received the change, or was notified of a gap');
      await mend();
    },
  },
  {
    name: 'after a loss every router is refused, its users are back without a change, and versions continue',
    needs: 'lose',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(join('stays'), join('leaves'), join('gone'), leave('gone'));
      await b.apply(join('there'));
      const gaps = await listen(world, 'before');
      const highest = Math.max(highestOf(a), highestOf(b));
      await world.lose();
      assert.deepEqual(await a.store.apply(a.node, [join('early')]), { known: false });
      assert.deepEqual(await b.store.refresh(b.node, [{ userId: 'there', ageMs: 0 }]), { known: false, missing: [] });
      await assertAnew(world, a, ['stays', 'leaves', 'before']);
      await assertAnew(world, b, ['there']);
      for (const userId of ['stays', 'leaves', 'there']) assert.equal(await isOnline(b, userId), true);
      assert.equal(await isOnline(b, 'early'), false, 'the refused call has not taken effect');
      const isTold = ({ gaps: now }: Router, before: number): boolean => now > before;
      await world.arrive(() => Array.from(gaps).every(([router, before]) => isTold(router, before)));
      for (const [router, before] of gaps)
        assert.ok(isTold(router, before), 'each feed is notified that it may have missed changes');
      await a.apply(leave('leaves'), join('comes'));
      // A store may wait a moment to see whether another router holds the user too.
      const isOver = ({ told }: Router): boolean =>
        told.some(({ userId, status }) => userId === 'leaves' && status === 'offline') &&
        told.some(({ userId }) => userId === 'comes');
      for (let lease = 0; lease < 5 && !isOver(b); lease += 1) await world.pass(world.leaseMs);
      await world.arrive(() => isOver(a) && isOver(b));
      for (const router of [a, b]) {
        assert.ok(isOver(router));
        await assertAbove(router, 'comes', highest);
        const offline = router.told.filter(({ status }) => status === 'offline').map(({ userId }) => userId);
        assert.deepEqual(offline, ['gone', 'leaves'], 'nobody else goes offline');
      }
      assert.equal(await b.store.count(), 4);
    },
  },
  {
    name: 'data that are set back: a router whose acknowledged work is lost is refused, and the store recovers',
    needs: 'setBack',
    async check(world) {
      const [b, a] = [await world.router(), await world.mortal()];
      await b.apply(join('there'));
      await a.apply(join('stays'), join('left'));
      await listen(world, 'before');
      await world.pass(world.leaseMs / 2);
      const restore = await world.setBack();
      await a.apply(leave('left'), join('came'));
      await world.arrive(() => b.told.some(({ userId }) => userId === 'came'));
      const highest = Math.max(highestOf(a), highestOf(b));
      await restore();
      // A store that is partitioned by user may detect lost work only in a call that concerns the same users.
      const { known } = await a.store.apply(a.node, [join('left')]);
      assert.equal(known, false, 'an apply that lacks acknowledged work is refused');
      await assertAnew(world, a, ['stays', 'came']);
      // The other router has lost nothing.
      const beaten = await b.store.beat(b.node);
      if (!beaten.known) await b.apply(rejoin('there'), rejoin('before'));
      await b.store.registered?.(b.node);
      await world.pass(world.leaseMs * 3);
      const all = ['there', 'before', 'stays', 'came', 'left'];
      const statuses = async () => (await readUsers(b, all)).map(({ online }) => online);
      assert.deepEqual(await statuses(), [true, true, true, true, false]);
      await a.apply(leave('came'), join('later'));
      const isLater = ({ told }: Router): boolean => told.some(({ userId }) => userId === 'later');
      await world.arrive(() => [a, b].every(isLater));
      for (const router of [a, b]) {
        assert.ok(isLater(router));
        await assertAbove(router, 'later', highest);
      }
    },
  },
  {
    name: 'data that are set back: a user who came meanwhile, and whose router is dead, does not stay online for ever',
    needs: 'setBack',
    async check(world) {
      // The restored data hold nothing about the user, so no lease has to lapse.
      const [b, dead] = [await world.router(), await world.router()];
      const gaps = await listen(world, 'before');
      const restore = await world.setBack();
      await dead.apply(join('lost'));
      await world.arrive(() => b.told.some(({ userId }) => userId === 'lost'));
      await world.beat();
      dead.alive = false;
      await restore();
      const isTold = (): boolean =>
        b.gaps > (gaps.get(b) ?? 0) || b.told.some(({ userId, status }) => userId === 'lost' && status === 'offline');
      for (let lease = 0; lease < 3 && !isTold(); lease += 1) await world.pass(world.leaseMs);
      assert.equal(await isOnline(b, 'lost'), false);
      assert.ok(isTold(), 'the feed receives offline, or is notified that it may have missed changes');
    },
  },
];
