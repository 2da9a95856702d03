import assert from 'node:assert/strict';
import { line } from '../conformance-world';
import { type Case, drop, idsOf, join, leave } from './case';

/** The calls that feeds receive. @internal */
export const feeds: readonly Case[] = [
  {
    name: 'a feed receives no change from before it subscribed, and none after it has unsubscribed',
    async check(world) {
      const a = await world.router();
      await a.apply(join('before'));
      const told: string[] = [];
      const unsubscribe = a.store.subscribe({
        onTransition: (update) => told.push(line(update)),
        onGap: () => undefined,
        onDue: () => undefined,
        onLost: () => undefined,
        onError: () => undefined,
      });
      await world.arrive();
      await a.apply(join('u'));
      await world.arrive(() => told.length > 0);
      unsubscribe();
      unsubscribe();
      await a.apply(leave('u'));
      await world.arrive();
      assert.deepEqual(told, ['u online connect']);
      await world.assertChanges(['before online connect', 'u online connect', 'u offline disconnect']);
    },
  },
  {
    name: 'no feed is called before the function that causes it has returned',
    async check(world) {
      const a = await world.router();
      let isInside = false;
      const early: string[] = [];
      const note = (what: string) => (): void => {
        if (isInside) early.push(what);
      };
      const inside = <T>(call: () => T): T => {
        isInside = true;
        const answer = call();
        isInside = false;
        return answer;
      };
      const unsubscribe = inside(() =>
        a.store.subscribe({
          onTransition: note('a change'),
          onGap: note('a gap'),
          onDue: note('a due time'),
          onLost: note('a loss'),
          onError: note('an error'),
        }),
      );
      await world.arrive();
      await world.expectKnown(a, await inside(() => a.store.apply(a.node, [join('u'), drop('u', world.graceMs)])));
      await world.expectKnown(a, await inside(() => a.store.apply(a.node, [join('v'), leave('v')])));
      await world.standStill(world.graceMs * 1.5);
      await world.expectKnown(a, await inside(() => a.store.beat(a.node)));
      await world.arrive(() => a.told.length >= 4);
      unsubscribe();
      assert.deepEqual(early, []);
      assert.equal(a.told.length, 4);
    },
  },
  {
    name: 'feeds receive the changes of each user in the order in which they happened, and all receive the same',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      const ids = idsOf(30);
      const expected: string[] = [];
      for (let round = 0; round < 5; round += 1) {
        const [from, op, what] =
          round % 2 === 0 ? ([a, join, 'online connect'] as const) : ([a, leave, 'offline disconnect'] as const);
        await from.apply(...ids.map((userId) => op(userId)));
        expected.push(...ids.map((userId) => `${userId} ${what}`));
      }
      await world.assertChanges(expected);
      const { sequence } = await b.store.list({ cursor: null, limit: 1 });
      if (sequence !== undefined) assert.deepEqual(b.told.map(line), expected, 'one counter, one order');
    },
  },
];
