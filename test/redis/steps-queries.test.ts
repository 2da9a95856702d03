import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { join, leave, type Rig, startRigs } from './steps';
import { until } from './wait';

let rigs: Awaited<ReturnType<typeof startRigs>>;
beforeAll(async () => {
  rigs = await startRigs();
});
afterAll(() => rigs.end());
const on = (run: (rig: Rig) => Promise<void>) => rigs.on(run);

describe('changes for other routers', () => {
  const ODD = ['a"b', 'back\\slash', '\u0000', '</script>', '__proto__'];

  it('of any id, on the channel of its status and on that of all, with the version and the time', () =>
    on(async (rig) => {
      const [a, b] = [await rig.router('a'), await rig.router('b')];
      const listener = new Redis({ port: rigs.server.port });
      const heard: Array<{ channel: string; update: Record<string, unknown> }> = [];
      listener.on('message', (channel, text) =>
        heard.push({ channel: channel.slice(rig.prefix.length), update: JSON.parse(text) }),
      );
      await listener.subscribe(`${rig.prefix}online`, `${rig.prefix}offline`, `${rig.prefix}updates`);
      try {
        const before = await rig.now();
        await a.apply(...ODD.map((id) => join(id)));
        await a.apply(...ODD.map((id) => leave(id)));
        const after = await rig.now();
        await until('all is heard', () => heard.length >= ODD.length * 4 && b.told.length >= ODD.length * 2);
        expect(b.told).toEqual([
          ...ODD.map((id) => `${id} online connect`),
          ...ODD.map((id) => `${id} offline disconnect`),
        ]);
        for (const status of ['online', 'offline'] as const) {
          const own = heard.filter(({ channel }) => channel === status).map(({ update }) => update);
          expect(own.map(({ userId }) => userId)).toEqual(ODD);
          for (const update of own) {
            expect(update).toMatchObject({ status, reason: status === 'online' ? 'connect' : 'disconnect' });
            expect(Date.parse(String(update['timestamp']))).toBeGreaterThanOrEqual(before);
            expect(Date.parse(String(update['timestamp']))).toBeLessThanOrEqual(after);
          }
        }
        const all = heard.filter(({ channel }) => channel === 'updates').map(({ update }) => update['version']);
        expect(all).toEqual(b.versions);
      } finally {
        listener.disconnect();
      }
    }));

  it('a later subscriber receives no earlier changes', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      await a.apply(join('before'));
      const b = await rig.router('b');
      await a.apply(join('after'));
      await until('it is told', () => b.told.length > 0);
      expect(b.told).toEqual(['after online connect']);
    }));
});

describe('pages and counts', () => {
  it('show each user of a full bucket once, however they came and went', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      const partition = await rig.partition();
      const wanted = partition.bucketOf('u');
      const ids: string[] = [];
      for (let id = 0; ids.length < 12; id += 1) if (partition.bucketOf(`u${id}`) === wanted) ids.push(`u${id}`);
      await a.apply(...ids.map((id) => join(id)));
      // The order in the bucket is that of the first join, and that of the versions is another one.
      for (const id of [ids[3], ids[0], ids[7]] as string[]) await a.apply(leave(id), join(id));
      const found: string[] = [];
      for (let cursor: string | null = null; ; ) {
        const page = await a.store.list({ cursor, limit: 5 });
        found.push(...page.users.map(({ userId }) => userId));
        if (page.cursor === null) break;
        cursor = page.cursor;
      }
      expect(found.sort()).toEqual(ids.sort());
      expect(await a.store.count()).toBe(12);
    }));

  it('show nobody twice, whatever somebody has copied', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      await a.apply(join('u'));
      const partition = await rig.partition();
      const bucket = partition.bucketOf('u');
      const record = await rig.admin.hget(partition.bucketKey(bucket), 'u');
      const copy = partition.bucketKey((bucket + 1) % partition.buckets);
      await rig.admin.hset(copy, 'u', String(record));
      const { users } = await a.store.list({ cursor: null, limit: 10 });
      expect(users.map(({ userId }) => userId)).toEqual(['u']);
      await until('the copy goes', async () => (await rig.admin.hlen(copy)) === 0);
      expect(await a.isOnline('u')).toBe(true);
      await until('it is told', () => rig.failures.length > 0);
      rig.failures.length = 0;
    }));

  it('are of one place for each user, whichever router came first', () =>
    on(async (rig) => {
      const [a, b] = [await rig.router('a'), await rig.router('b')];
      await a.apply(join('u'));
      await b.apply(join('u'));
      expect([await a.store.count(), await b.store.count()]).toEqual([1, 1]);
      await a.apply(leave('u'));
      expect(await b.isOnline('u')).toBe(true);
      expect((await b.store.list({ cursor: null, limit: 10 })).users.map(({ userId }) => userId)).toEqual(['u']);
      await b.apply(leave('u'));
      expect(await a.store.count()).toBe(0);
    }));
});

describe('data of another version of this library', () => {
  it('are left alone: whoever would write there is told so', () =>
    on(async (rig) => {
      const now = await rig.now();
      const meta = { layout: '9', seed: 'f'.repeat(16), epoch: `${Math.floor(now / 1_000)}.1`, seq: '5' };
      await rig.admin.hset(rig.key('meta'), meta);
      await expect(rig.router('a')).rejects.toMatchObject({ code: 'ERR_PRESENCE_LAYOUT' });
      expect(await rig.admin.keys(`${rig.prefix}*`)).toEqual([rig.key('meta')]);
      expect(await rig.admin.hgetall(rig.key('meta'))).toEqual(meta);
      rig.failures.length = 0;
    }));
});
