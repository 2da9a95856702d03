import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Script } from '../../src/stores/redis/commands/script';
import * as scripts from '../../src/stores/redis/lua/scripts.generated';
import { drop, HOUR_MS, join, type Rig, rejoin, startRigs } from './steps';
import { sleep, until } from './wait';

// What another program writes, a field of `meta` that is lost, a clock that was set back, and what happens between the call that names
// users and the one that acts.

let rigs: Awaited<ReturnType<typeof startRigs>>;
beforeAll(async () => {
  rigs = await startRigs();
});
afterAll(() => rigs.end());
const on = (run: (rig: Rig) => Promise<void>) => rigs.on(run);

/** A client that calls `before` each time before it sends this script. */
function interposed(script: Script, before: () => Promise<unknown>): Redis {
  const client = new Redis({ port: rigs.server.port });
  for (const name of ['eval', 'evalsha'] as const) {
    const send = client[name].bind(client) as (...args: unknown[]) => Promise<unknown>;
    client[name] = (async (text: string, ...rest: unknown[]) => {
      if (text === script.sha || text === script.text) await before();
      return send(text, ...rest);
    }) as never;
  }
  return client;
}

const offline = (told: readonly string[], userId: string) =>
  told.filter((line) => line.startsWith(`${userId} offline`));

describe('a record in a bucket that is not the one of its user', () => {
  // It turned the user offline, whom a router held, and took the presence key away.
  it.each(['sweep', 'reap', 'grace'])('decides nothing, and goes: %s', (how) =>
    on(async (rig) => {
      const [a, b] = [await rig.router('a'), await rig.router('b')];
      await a.apply(join('u'));
      await b.apply(join('other'));
      const home = await rig.bucketOf('u');
      const record = String(await rig.admin.hget(home, 'u'));
      const bucket = (Number(home.split(':').pop()) + 1) % 4_096;
      const wrong = `${rig.prefix}b:{0}:${bucket}`;
      const past = ((await rig.now()) - Date.UTC(2020, 0, 1) - 5_000).toString(16);
      await rig.admin.hset(wrong, 'u', record.replace(',a,', how === 'reap' ? ',b,' : `/${past}`));
      if (how === 'reap') await rig.die('b');
      else if (how === 'sweep') await rig.sweepNext();
      else await rig.admin.zadd(rig.key('grace'), (await rig.now()) - 5_000, `${bucket}:u`);
      await a.beat();
      if (how === 'reap') await rig.reaped('b');
      await until('it is gone', async () => (await rig.admin.hexists(wrong, 'u')) === 0);
      await a.beat();
      expect([offline(a.told, 'u'), await a.isOnline('u')]).toEqual([[], true]);
      await until('the next sweep has counted', async () => {
        await rig.sweepNext();
        await a.beat();
        return (await a.store.count()) === (how === 'reap' ? 1 : 2);
      });
      expect(await rig.admin.exists(`${rig.prefix}user:u`)).toBe(1);
      expect(await rig.admin.zcard(rig.key('grace'))).toBe(0);
      rig.failures.length = 0;
    }),
  );
});

describe('a clock of the server that was set back', () => {
  const HOUR = HOUR_MS;
  /** All that was written lies an hour ahead. */
  async function setBack(rig: Rig): Promise<void> {
    const now = await rig.now();
    await rig.admin.hset(rig.key('meta'), 'at', now + HOUR);
    for (const tag of await rig.admin.zrange(rig.key('lease'), 0, -1)) {
      await rig.admin.zadd(rig.key('lease'), now + HOUR + 60_000, tag);
    }
    const pipeline = rig.admin.pipeline();
    const graces = await rig.admin.zrange(rig.key('grace'), 0, -1, 'WITHSCORES');
    for (let at = 0; at < graces.length; at += 2) {
      const [member, score] = graces.slice(at, at + 2) as [string, string];
      pipeline.zadd(rig.key('grace'), Number(score) + HOUR, member);
      const [bucket, id] = member.split(':') as [string, string];
      const key = `${rig.prefix}b:{0}:${bucket}`;
      const record = String(await rig.admin.hget(key, id));
      const later = (text: string) => `/${(Number.parseInt(text.slice(1), 16) + HOUR).toString(16)}`;
      pipeline.hset(key, id, record.replace(/\/[\da-f]+/, later));
    }
    await pipeline.exec();
  }

  // The first five hundred ended, and the others an hour later.
  it('ends all graces, however many calls that takes', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      const ids = Array.from({ length: 1_100 }, (_, index) => `u${index}`);
      await a.apply(...ids.map((id) => join(id)));
      await a.apply(...ids.map((id) => drop(id, 60_000)));
      await setBack(rig);
      await a.beat();
      await until('all have ended', async () => {
        await a.beat();
        return a.told.filter((line) => line.includes('offline')).length === ids.length;
      });
    }));

  it('ends no grace that began since', () =>
    on(async (rig) => {
      let isFirst = true;
      const client: Redis = interposed(scripts.settle, async () => {
        if (!isFirst) return;
        isFirst = false;
        await b.apply(join('u'));
        await b.apply(drop('u', 60_000));
      });
      const a = await rig.router('a', { client });
      const b = await rig.router('b');
      await a.apply(join('u'));
      await a.apply(drop('u', 120_000));
      await setBack(rig);
      await a.beat();
      await a.beat();
      expect([await a.isOnline('u'), offline(a.told, 'u')]).toEqual([true, []]);
    }));
});

describe('between the call that names users and the one that acts', () => {
  it.each([
    ['who is back', (rig: Rig, b: Router) => b.apply(join('u')).then(() => rig)],
    [
      'whose grace was extended',
      async (_rig: Rig, b: Router) => {
        await b.apply(join('u'));
        await b.apply(drop('u', 60_000));
      },
    ],
  ] as ReadonlyArray<readonly [string, (rig: Rig, b: Router) => Promise<unknown>]>)('a user %s stays', (_who, happen) =>
    on(async (rig) => {
      let isFirst = true;
      const a: Router = await rig.router('a', {
        client: interposed(scripts.settle, async () => {
          if (isFirst) await happen(rig, b);
          isFirst = false;
        }),
      });
      const b: Router = await rig.router('b');
      await a.apply(join('u'));
      await a.apply(drop('u', 1));
      await sleep(20);
      await a.beat();
      await a.beat();
      expect(isFirst).toBe(false);
      expect(await a.isOnline('u')).toBe(true);
    }),
  );

  // It called again at once, two hundred times in two seconds.
  it('five hundred graces that cannot be ended are named once a heartbeat', () =>
    on(async (rig) => {
      let settles = 0;
      const a = await rig.router('a', {
        client: interposed(scripts.settle, async () => {
          settles += 1;
          throw new Error('NOPERM');
        }),
      });
      const ids = Array.from({ length: 600 }, (_, index) => `u${index}`);
      await a.apply(...ids.map((id) => join(id)));
      await a.apply(...ids.map((id) => drop(id, 1)));
      await sleep(20);
      expect((await a.beat()).known).toBe(true);
      await sleep(100);
      expect(settles).toBe(1);
      expect(rig.failures.splice(0).length).toBe(1);
    }));
});

type Router = Awaited<ReturnType<Rig['router']>>;

describe('fields of meta that are lost while users are online, before a new router comes', () => {
  // The new router emptied the buckets, and the others took them for those that they knew: nobody was listed any more, for good.
  it.each([
    [['seed']],
    [['epoch']],
    [['seq']],
    [['seed', 'epoch']],
    [['seed', 'seq']],
    [['epoch', 'seq']],
    [['layout', 'seq']],
    [['layout', 'epoch']],
    [['layout', 'seed', 'epoch', 'seq']],
    [['at']],
    [['at', 'seed']],
  ])('%j: everybody is listed again, and nobody was told offline', (fields) =>
    on(async (rig) => {
      const [a, b] = [await rig.router('a'), await rig.router('b')];
      await a.apply(join('u1'), join('u2'));
      await b.apply(join('u3'));
      await rig.admin.hdel(rig.key('meta'), ...fields);
      const c = await rig.router('c');
      const held = new Map([
        [a, ['u1', 'u2']],
        [b, ['u3']],
      ]);
      const listed = async (router: Router) =>
        (await router.store.list({ cursor: null, limit: 9 })).users.map(({ userId }) => userId).sort();
      await until('all three see everybody', async () => {
        for (const [router, ids] of held) {
          const lost = router.lost();
          const { known } = await router.beat();
          if (!known || router.lost() > lost) await router.apply(...ids.map((id) => rejoin(id)));
          await router.store.registered?.(router.node);
        }
        await c.beat();
        const all = await Promise.all([a, b, c].map((router) => listed(router)));
        const counts = await Promise.all([a, b, c].map(({ store }) => store.count()));
        return all.every((ids) => ids.join() === 'u1,u2,u3') && counts.every((count) => count === 3);
      });
      for (const { told } of [a, b, c]) expect(told.filter((line) => line.includes('offline'))).toEqual([]);
      rig.failures.length = 0;
    }),
  );
});
