import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { drop, HOUR_MS, join, leave, NODE, type Rig, rejoin, startRigs } from './steps';
import { until } from './wait';

let rigs: Awaited<ReturnType<typeof startRigs>>;
beforeAll(async () => {
  rigs = await startRigs();
});
afterAll(() => rigs.end());
const on = (run: (rig: Rig) => Promise<void>) => rigs.on(run);

type Router = Awaited<ReturnType<Rig['router']>>;
const pttl = (rig: Rig, userId: string) => rig.admin.pttl(`${rig.prefix}user:${userId}`);
const expectTtl = (ms: number) => {
  expect(ms).toBeGreaterThan(NODE.ttlMs / 2);
  expect(ms).toBeLessThanOrEqual(NODE.ttlMs);
};

describe('the presence key', () => {
  it('lives for a TTL from the last activity: after a join, and after a renewal', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      await a.apply(join('u'));
      expectTtl(await pttl(rig, 'u'));
      await rig.admin.pexpire(`${rig.prefix}user:u`, 30_000);
      expect(await a.refresh({ userId: 'u', ageMs: 0 })).toEqual({ known: true, missing: [] });
      expectTtl(await pttl(rig, 'u'));
    }));

  it('is made by no renewal, and goes in the step in which its user goes offline', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      await a.apply(join('u'));
      await a.apply(leave('u'));
      expect(await pttl(rig, 'u')).toBe(-2);
      expect(await a.refresh({ userId: 'u', ageMs: 0 })).toEqual({ known: true, missing: ['u'] });
      expect(await pttl(rig, 'u')).toBe(-2);
      expect(await a.isOnline('u')).toBe(false);
    }));

  it('says no later than the phone was heard', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      await a.apply(join('u', 20_000));
      const before = await rig.now();
      await a.refresh({ userId: 'u', ageMs: 12_345 });
      const after = await rig.now();
      const seen = Number(await rig.admin.get(`${rig.prefix}user:u`));
      // Told by hundredths of a second, and rounded to the past.
      expect(seen).toBeGreaterThanOrEqual(before - 12_350);
      expect(seen).toBeLessThanOrEqual(after - 12_345);
    }));

  it('counts no longer than it can be ours: not from an hour ago, nor from tomorrow', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      const now = await rig.now();
      await rig.admin.set(`${rig.prefix}user:restored`, String(now - HOUR_MS));
      await rig.admin.set(`${rig.prefix}user:forged`, String(now + 24 * HOUR_MS));
      await rig.admin.set(`${rig.prefix}user:lost`, String(now));
      expect([await a.isOnline('restored'), await a.isOnline('forged')]).toEqual([false, false]);
      // This one was last seen a moment ago.
      expect(await a.isOnline('lost')).toBe(true);
    }));

  it('of somebody who is offline, which somebody else has written, is gone after a sweep', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      await a.apply(join('u'), leave('u'));
      await rig.admin.set(`${rig.prefix}user:u`, String(await rig.now()));
      await rig.sweepNext();
      await a.beat();
      await until('its key has gone', async () => (await pttl(rig, 'u')) === -2);
      // Something was deleted that is not ours.
      await until('it is told', () => rig.failures.length > 0);
      expect(rig.failures.splice(0)).toEqual([expect.stringContaining('repair')]);
    }));
});

// It fell back to when they had come, hours before: no key was left, and the record knew no more.
describe('of users whose keys have ended before anybody found their router dead', () => {
  const endOf = async (rig: Rig, userId: string, before: () => Promise<unknown>): Promise<number> => {
    const [a, b] = [await rig.router('a'), await rig.router('b')];
    await a.apply(join(userId, HOUR_MS));
    await a.refresh({ userId, ageMs: 0 });
    await rig.admin.del(`${rig.prefix}user:${userId}`);
    await before();
    await rig.die('a');
    await b.beat();
    await until('it is told', () => b.told.includes(`${userId} offline node-down`));
    return (await b.status(userId)).lastSeen ?? 0;
  };

  it('last seen is no longer ago than a TTL before its last heartbeat', () =>
    on(async (rig) => {
      const seen = await endOf(rig, 'u', async () => undefined);
      const now = await rig.now();
      // Its lease has ended now.
      expect(seen).toBeGreaterThanOrEqual(now - NODE.leaseMs - NODE.ttlMs - 30_000);
      expect(seen).toBeLessThanOrEqual(now - NODE.leaseMs - NODE.ttlMs);
    }));

  it('nor, where leases were extended because the server was away, than before a heartbeat of that time', () =>
    on(async (rig) => {
      const awaySince = (await rig.now()) - 10 * NODE.ttlMs;
      const seen = await endOf(rig, 'u', async () => {
        await rig.admin.hset(rig.key('nodes'), 'a', `${NODE.leaseMs} 1 1 0`);
        await rig.admin.hset(rig.key('meta'), 'away', awaySince);
      });
      expect(seen).toBe(awaySince - NODE.leaseMs - NODE.ttlMs);
    }));
});

describe('a record', () => {
  const EPOCH = Date.UTC(2020, 0, 1);
  /** What a record says of the last change, by the rules of lua/record.lua. */
  const lastChange = (record: string) => {
    const [, letter, seen, sign, later] = /^-?[\da-f]+([jltnr])([\da-f]+)([+-]?)([\da-f]*)/.exec(record) ?? [];
    const at = Number.parseInt(seen as string, 16) + EPOCH;
    return { letter, at: at + (later === '' ? 0 : Number.parseInt(`${sign}${later}`, 16)), seen: at };
  };

  it.each([
    ['connect', 'j', async (a: Router) => void (await a.apply(join('u', 5_000)))],
    ['disconnect', 'l', async (a: Router) => void (await a.apply(join('u'), leave('u', 0)))],
    ['timeout', 't', async (a: Router) => void (await a.apply(join('u'), drop('u', 0)))],
    ['resync', 'r', async (a: Router) => void (await a.apply(rejoin('u')))],
    [
      'node-down',
      'n',
      async (a: Router, rig: Rig) => {
        const b = await rig.router('b');
        await b.apply(join('u'));
        await rig.die('b');
        await a.beat();
        await until('it is told', () => a.told.includes('u offline node-down'));
      },
    ],
  ])('says why the last change happened, and when: %s', (reason, letter, happen) =>
    on(async (rig) => {
      const a = await rig.router('a');
      await happen(a, rig);
      const change = lastChange(String(await rig.admin.hget(await rig.bucketOf('u'), 'u')));
      const [batch] = (await rig.admin.xrevrange(rig.key('log'), '+', '-', 'COUNT', 1)).map(([, fields]) => fields[1]);
      expect(change.letter).toBe(letter);
      // Less than a second is not written down.
      expect(Math.abs(change.at - JSON.parse(batch as string).t)).toBeLessThan(1_000);
      expect(JSON.parse(batch as string).u.pop()[3]).toBe(reason);
    }),
  );

  it('has the time of the change exactly where it is a second after last seen, or later', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      for (const [userId, ageMs, isKept] of [
        ['soon', 900, false],
        ['late', 1_100, true],
      ] as const) {
        await a.apply(join(userId, ageMs));
        const record = String(await rig.admin.hget(await rig.bucketOf(userId), userId));
        expect(record.includes('+')).toBe(isKept);
        expect(lastChange(record).at - lastChange(record).seen).toBe(isKept ? ageMs : 0);
      }
    }));

  it('goes on saying so when somebody else of the user is seen later, and what a later version has added is passed by', () =>
    on(async (rig) => {
      const [a, b] = [await rig.router('a'), await rig.router('b')];
      const bucket = await rig.bucketOf('u');
      await a.apply(join('u', 60_000));
      const { at } = lastChange(String(await rig.admin.hget(bucket, 'u')));
      await rig.admin.hset(bucket, 'u', `${await rig.admin.hget(bucket, 'u')};later=1`);
      await rig.admin.hset(rig.key('nodes'), 'b', `${await rig.admin.hget(rig.key('nodes'), 'b')} later`);
      await until('the clock goes on', async () => (await rig.now()) > at);
      await b.apply(join('u'));
      const record = String(await rig.admin.hget(bucket, 'u'));
      expect(record).toContain(',a,b,');
      expect(lastChange(record)).toMatchObject({ letter: 'j', at });
      expect(lastChange(record).seen).toBeGreaterThan(at);
      await rig.admin.hset(bucket, 'u', `${record};later=1`);
      expect([await a.isOnline('u'), await a.store.count()]).toEqual([true, 1]);
      expect((await a.store.list({ cursor: null, limit: 9 })).users.map(({ userId }) => userId)).toEqual(['u']);
      await rig.sweepNext();
      await a.beat();
      expect(rig.failures).toEqual([]);
    }));
});

describe('what routers say of themselves', () => {
  it('stands beside their leases, and goes with them', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      const b = await rig.router('b', {
        says: { name: 'west "1"\n', address: 'ws://10.0.0.2', version: '1.2.3', upMs: 5_000 },
      });
      const read = async () => (await rig.admin.hvals(rig.key('routers'))).sort().map((text) => JSON.parse(text));
      const now = await rig.now();
      const [first, second] = await read();
      expect(first).toMatchObject({ name: 'a', address: null, version: '' });
      expect(second).toMatchObject({ name: 'west "1"\n', address: 'ws://10.0.0.2', version: '1.2.3' });
      expect(Math.abs(second.since - (now - 5_000))).toBeLessThan(5_000);
      await b.store.release(b.node);
      await until('it is gone', async () => (await read()).length === 1);
      // Lost, or written by another program.
      await rig.admin.set(rig.key('routers'), 'junk');
      await a.beat();
      expect(await read()).toHaveLength(1);
      expect(rig.failures.splice(0)).toEqual([expect.stringContaining(`${rig.key('routers')} contained data`)]);
    }));
});

describe('a sweep', () => {
  it(
    'skips no bucket, nor a user in one: whoever nobody speaks for goes offline',
    () =>
      on(async (rig) => {
        const a = await rig.router('a');
        await rig.admin.hset(rig.key('meta'), 'sweep', 0);
        // In a grace of 2020 that was never ended.
        const ghost = '1t1/1';
        const partition = await rig.partition();
        const pipeline = rig.admin.pipeline();
        const ghosts = new Map<number, number>();
        const idIn = new Map<number, string>();
        for (let id = 0; id < 100_000; id += 1) {
          const bucket = partition.bucketOf(`g${id}`);
          const count = ghosts.get(bucket) ?? 0;
          idIn.set(bucket, `g${id}`);
          if (bucket >= 1_100 || count >= (bucket < 512 ? 12 : 1)) continue;
          ghosts.set(bucket, count + 1);
          pipeline.hset(partition.bucketKey(bucket), `g${id}`, ghost);
        }
        expect(ghosts.size).toBe(1_100);
        await pipeline.exec();
        const ghostsUpTo = async (end: number): Promise<string[]> => {
          const reading = rig.admin.pipeline();
          for (let bucket = 0; bucket < end; bucket += 1) reading.hgetall(partition.bucketKey(bucket));
          const answers = (await reading.exec()) ?? [];
          const ids: string[] = [];
          for (const [, fields] of answers as Array<[unknown, Record<string, string>]>) {
            for (const [id, record] of Object.entries(fields)) if (!record.startsWith('-')) ids.push(id);
          }
          return ids;
        };
        for (const end of [512, 1_024]) {
          await rig.sweepMore();
          await a.beat();
          await until(`those up to ${end} are found`, async () => (await ghostsUpTo(end)).length === 0);
        }
        // The last of them are followed by the first.
        await rig.admin.hset(partition.bucketKey(100), idIn.get(100) as string, ghost);
        for (let turn = 0; turn < 3; turn += 1) {
          await rig.admin.hset(rig.key('meta'), 'sweep', 4_000);
          await rig.sweepMore();
          await a.beat();
        }
        await until('it goes round the end', async () => (await ghostsUpTo(101)).length === 0);
      }),
    60_000,
  );

  // Each turn takes four leases.
  it.each([
    ['a record that is none', ',a,', undefined],
    ['a record that looks like two', '1j1,a,\n1j1,a,', undefined],
    ['an id that is none', '1j1,a,', `${'x'.repeat(257)}`],
  ])('examines all buckets by turns: finds %s', (_, record, id) =>
    on(async (rig) => {
      const a = await rig.router('a');
      const partition = await rig.partition();
      const strangers = new Map<string, string>();
      for (let bucket = 0; bucket < 4_096; bucket += 341) {
        const key = partition.bucketKey(bucket);
        strangers.set(key, id ?? `stranger${bucket}`);
        await rig.admin.hset(key, `user${bucket}`, '1j1,a,');
        await rig.admin.hset(key, id ?? `stranger${bucket}`, record);
        // Without a count, the bucket would be examined at once; with one, the missing user would pass for a loss.
        await rig.admin.hset(rig.key('count'), String(bucket), 0);
      }
      const left = async (): Promise<number> => {
        let sum = 0;
        for (const [key, id] of strangers) sum += await rig.admin.hexists(key, id);
        return sum;
      };
      const lefts: number[] = [];
      for (let turn = 0; turn < 17; turn += 1) {
        await rig.sweepAll(a);
        await until('what a beat has found is looked at', async () => {
          lefts[turn] = await left();
          return true;
        });
      }
      await until('all are gone', async () => (await left()) === 0);
      // Not all of them at once, since most buckets are only counted.
      expect(lefts[0]).toBeGreaterThan(4);
      rig.failures.length = 0;
    }),
  );

  it('finds at the next turn that a bucket has lost more users than are offline, also where it does not examine it', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      const ids = Array.from({ length: 40 }, (_, user) => `u${user}`);
      await a.apply(...ids.map((id) => join(id)));
      await rig.sweepAll(a);
      const partition = await rig.partition();
      const turn = Number(await rig.admin.hget(rig.key('meta'), 'turn'));
      const spared = ids.map((id) => partition.bucketOf(id)).find((bucket) => (bucket + turn) % 2 === 1);
      await rig.admin.del(partition.bucketKey(spared as number));
      await rig.sweepAll(a);
      await until('it is found', async () => (await rig.admin.hget(rig.key('meta'), 'lost')) !== '0');
    }));

  it('finds users of a router of which nothing else is left', () =>
    on(async (rig) => {
      const a = await rig.router('a');
      const bucket = await rig.bucketOf('u');
      await a.apply(join('u'));
      const record = String(await rig.admin.hget(bucket, 'u'));
      await rig.admin.hset(bucket, 'u', record.replace(',a,', ',unknown,'));
      await rig.sweepNext();
      await a.beat();
      await until('it has a lease', async () => (await rig.admin.zscore(rig.key('lease'), 'unknown')) !== null);
      await rig.die('unknown');
      await a.beat();
      await until('it is told', () => a.told.includes('u offline node-down'));
    }));

  it('forgets who was seen last before the retention time, and nobody else', () =>
    on(async (rig) => {
      const a = await rig.router('a', { retentionMs: 60_000 });
      await a.apply(join('old', 120_000), join('new'), join('there', 120_000));
      await a.apply(leave('old', 120_000), leave('new'));
      await rig.sweepNext();
      await a.beat();
      await until('it is forgotten', async () => (await a.status('old')).lastSeen === null);
      expect((await a.status('new')).lastSeen).not.toBeNull();
      expect(await a.isOnline('there')).toBe(true);
    }));
});
