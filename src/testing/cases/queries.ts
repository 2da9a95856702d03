import assert from 'node:assert/strict';
import { readUsers } from '../conformance-world';
import { type Case, join, leave } from './case';

const ODD_IDS = [
  '__proto__',
  'constructor',
  'toString',
  'a:b',
  '{x}',
  '*',
  ' ',
  '0',
  '00',
  '👷🏽',
  '\u00e9',
  'e\u0301',
  'x'.repeat(256),
  'a\nb',
  'a',
  'a\u0000b',
  'A',
  'a ',
  ' a',
];

/** Reading, listing and counting users. @internal */
export const queries: readonly Case[] = [
  {
    name: 'a user never seen is offline, with no last seen and version 0; answers are in the order asked',
    async check(world) {
      const a = await world.router();
      await a.apply(join('u'));
      const [never, known, twice, again] = await readUsers(a, ['never', 'u', 'u', 'never']);
      assert.deepEqual([twice, again], [known, never], 'one entry for each id, also where it is asked twice');
      assert.deepEqual(never, { userId: 'never', online: false, lastSeen: null, version: 0 });
      assert.equal(known?.userId, 'u');
      assert.deepEqual(await readUsers(a, []), []);
    },
  },
  {
    name: 'no id is special',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await a.apply(...ODD_IDS.map((userId) => join(userId)));
      assert.equal(await b.store.count(), ODD_IDS.length);
      const read = await readUsers(b, ODD_IDS);
      assert.deepEqual(
        read.map(({ userId, online }) => [userId, online]),
        ODD_IDS.map((userId) => [userId, true]),
      );
      const { users } = await b.store.list({ cursor: null, limit: 1_000 });
      assert.deepEqual(new Set(users.map(({ userId }) => userId)), new Set(ODD_IDS));
      await a.apply(...ODD_IDS.map((userId) => leave(userId)));
      assert.equal(await b.store.count(), 0);
    },
  },
  {
    name: 'pages show everybody who stays exactly once, while others come and go',
    async check(world) {
      const a = await world.router();
      const steady = Array.from({ length: 50 }, (_, index) => `steady-${index}`);
      await a.apply(...steady.map((userId) => join(userId)), join('leaves'));
      const seen: string[] = [];
      let cursor: string | null = null;
      let page = 0;
      do {
        const { users, unproven = [], cursor: next } = await a.store.list({ cursor, limit: 7 });
        assert.ok(users.length <= 7);
        for (const { userId, online, isPublished } of unproven) {
          assert.deepEqual([online, isPublished], [false, true], `${userId} is unproven`);
        }
        for (const { userId, online, lastSeen, version } of users) {
          assert.equal(online, true);
          assert.ok(lastSeen !== null && version > 0, `${userId} has a last seen and a version`);
          seen.push(userId);
        }
        await a.apply(join(`comes-${page}`), leave('leaves'));
        if (page > 0) await a.apply(leave(`comes-${page - 1}`));
        cursor = next;
        page += 1;
        assert.ok(page < 100, 'pages come to an end');
      } while (cursor !== null);
      const { users: whole } = await a.store.list({ cursor: null, limit: 1_000 });
      assert.deepEqual(whole.map(({ userId }) => userId).sort(), [...steady, `comes-${page - 1}`].sort());
      const counted = seen.filter((userId) => userId.startsWith('steady-'));
      assert.deepEqual(counted.sort(), steady.slice().sort());
    },
  },
  {
    name: 'a feed has received every change that a page says was published',
    async check(world) {
      const [a, b] = [await world.router(), await world.router()];
      await world.arrive();
      const { sequence: before } = await b.store.list({ cursor: null, limit: 1 });
      for (let round = 0; round < 20; round += 1) {
        const joins = Array.from({ length: 100 }, (_, index) => join(`u${round}-${index}`));
        const applied = a.apply(...joins);
        const { sequence } = await b.store.list({ cursor: null, limit: 1 });
        const heard = Math.max(before?.version ?? 0, ...b.told.map(({ version }) => version));
        const { version = 0, told = version } = sequence ?? {};
        assert.ok(told <= heard && told <= version, `${told} of ${heard} that were told, at ${version}`);
        await applied;
      }
    },
  },
  {
    name: 'a cursor that no page gave is refused',
    async check(world) {
      const a = await world.router();
      const refused = { name: 'TypeError', code: 'ERR_PRESENCE_OPTIONS' };
      await assert.rejects(a.store.list({ cursor: 'nonsense', limit: 10 }), refused);
    },
  },
];
