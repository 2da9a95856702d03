import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { Pool } from 'pg';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { type ChangeBatch, createPresence, memoryStore, type PresenceUpdate } from 'voiceping-presence';
import { fakeSocket } from 'voiceping-presence/testing';
import { createTables, storedId, toSessions } from '../../examples/sinks/sessions';
import { toStream } from '../../examples/sinks/stream';
import { RouterProcess } from '../deliveries/router-handle';
import { random } from '../random';
import { RedisServer } from '../redis/server';
import { sleep, until } from '../redis/wait';
import { PostgresServer } from './postgres-server';

/** `SEED=1234 SESSIONS_MS=600000 npx vitest run test/examples/sinks` replays a run, or makes it longer. */
const RUN_MS = Number(process.env['SESSIONS_MS'] ?? 8_000);
const ROUTERS = 3;
const USERS = 40;
const LEASE_MS = 1_500;
const SAMPLES = 4_000;

let postgres: PostgresServer;
let redis: RedisServer;
beforeAll(async () => {
  [postgres, redis] = await Promise.all([PostgresServer.start(), RedisServer.start()]);
});
afterAll(async () => {
  await Promise.all([postgres.remove(), redis.remove()]);
});

let databases = 0;
/** A database of its own, with the tables. */
async function tables(): Promise<Pool> {
  databases += 1;
  const admin = new Pool({ connectionString: postgres.url });
  await admin.query(`create database d${databases}`);
  await admin.end();
  const pool = new Pool({ connectionString: postgres.url.replace(/postgres$/, `d${databases}`) });
  pool.on('error', () => undefined);
  onTestFinished(() => pool.end());
  await createTables(pool);
  // It is run at each start of a router.
  await createTables(pool);
  return pool;
}

const T0 = Date.parse('2026-03-01T14:00:00Z');
const iso = (minute: number): string => new Date(T0 + minute * 60_000).toISOString();
let version = 0;
function change(userId: string, minute: number, reason: PresenceUpdate['reason']): PresenceUpdate {
  version += 1;
  const status = reason === 'connect' ? 'online' : 'offline';
  return { userId, status, timestamp: iso(minute), version, reason };
}
const batch = (...changes: PresenceUpdate[]): ChangeBatch => ({ changes, cursor: 'c', gap: false });
const listing = (minute: number, part: number, more: boolean, ...userIds: string[]): ChangeBatch => ({
  changes: [],
  cursor: 'c',
  gap: true,
  part,
  asOf: iso(minute),
  users: userIds.map((userId) => ({ userId, status: 'online', lastSeen: iso(minute) })),
  ...(more ? { more } : {}),
});

/** The sessions of a user, in minutes. */
async function sessionsOf(pool: Pool, userId: string): Promise<string[]> {
  const { rows } = await pool.query(
    'select began, began_by, ended, ended_by from presence_sessions where user_id = $1 order by began, ended',
    [storedId(userId)],
  );
  const minute = (at: Date | null): string => (at === null ? '' : String((at.getTime() - T0) / 60_000));
  return rows.map((row) => `${row.began_by} ${minute(row.began)}-${minute(row.ended)} ${row.ended_by ?? ''}`.trim());
}

it('sessions begin with a listing, end for a reason, and span no gap', async () => {
  const pool = await tables();
  const take = toSessions(pool);
  const at = async (userId: string, minute: number): Promise<string> =>
    (await pool.query('select presence_at($1, $2) as status', [userId, iso(minute)])).rows[0].status;
  await take(listing(0, 0, true, 'early'), { token: 1 });
  await take(listing(0, 1, false, 'other'), { token: 1 });
  const first = batch(change('123', 2, 'connect'), change('early', 3, 'disconnect'), change('123', 10, 'timeout'));
  await take(first, { token: 1 });
  // The same again, as after an answer that was lost, by another router.
  await take(first, { token: 2 });
  await take(batch(change('123', 12, 'connect')), { token: 2 });
  await take(first, { token: 2 });
  expect(await sessionsOf(pool, '123')).toEqual(['connect 2-10 timeout', 'connect 12-']);
  expect(await sessionsOf(pool, 'early')).toEqual(['listing 0-3 disconnect']);

  // The changes between 12 and 20 are lost. The first listing is not completed, and its users may be gone by the second one.
  await take(listing(19, 0, true, '123', 'short'), { token: 2 });
  await take(listing(20, 0, true, '123'), { token: 3 });
  await take(listing(21, 1, false, 'new'), { token: 3 });
  expect(await sessionsOf(pool, '123')).toEqual(['connect 2-10 timeout', 'connect 12-12 unknown', 'listing 20-']);
  expect(await sessionsOf(pool, 'other')).toEqual(['listing 0-12 unknown']);
  expect(await sessionsOf(pool, 'short')).toEqual([]);
  // Changes between the head of the log and the page in which the user was listed, or not.
  await take(
    batch(change('new', 20.5, 'connect'), change('gone', 20.6, 'disconnect'), change('123', 19.5, 'disconnect')),
    { token: 3 },
  );
  expect(await sessionsOf(pool, 'new')).toEqual(['connect 20.5-']);
  expect(await sessionsOf(pool, 'gone')).toEqual([]);
  expect((await sessionsOf(pool, '123'))[2]).toBeUndefined();
  await take(batch(change('123', 22, 'connect'), change('123', 82, 'node-down')), { token: 3 });

  const minutes = [-1, 1, 2, 5, 10, 11, 12, 15, 20, 21, 22, 30, 82];
  expect(await Promise.all(minutes.map((minute) => at('123', minute)))).toEqual(
    'unknown offline online online offline offline unknown unknown unknown offline online online offline'.split(' '),
  );
  const hours = readFileSync(new URL('../../examples/sinks/hours.sql', import.meta.url), 'utf8');
  const { rows } = await pool.query(hours, [iso(0)]);
  expect(rows.find(({ user_id }) => user_id === '123')).toMatchObject({ hours: '1.13' });
  // From the first of the month to the first listing, and the gap.
  expect(rows[0].unknown_hours).toBe((14 + 9 / 60).toFixed(2));
});

it('a batch of a router that has lost the delivery is refused, and nothing of it is recorded', async () => {
  const pool = await tables();
  const take = toSessions(pool);
  await take(listing(0, 0, false, 'u'), { token: 7 });
  await expect(take(listing(1, 0, false), { token: 6 })).rejects.toThrow('with token 6 comes late');
  expect(await sessionsOf(pool, 'u')).toEqual(['listing 0-']);
  // All or nothing.
  const odd = { ...change('v', 2, 'connect'), timestamp: 'never' };
  await expect(take(batch(change('u', 1, 'disconnect'), odd), { token: 7 })).rejects.toThrow();
  expect(await sessionsOf(pool, 'u')).toEqual(['listing 0-']);
});

it('tables are made by many routers at once, also while batches are recorded', async () => {
  const pool = await tables();
  await pool.query(
    'drop table presence_sessions, presence_unknown, presence_record; drop function presence_record_batch',
  );
  const make = () => Promise.all(Array.from({ length: 6 }, () => createTables(pool)));
  await make();
  const take = toSessions(pool);
  await take(listing(0, 0, false), { token: 1 });
  const records = async (): Promise<void> => {
    for (let count = 0; count < 30; count += 1) await take(batch(change(`u${count}`, count, 'connect')), { token: 1 });
  };
  await Promise.all([records(), make(), make()]);
  expect((await pool.query('select from presence_sessions')).rowCount).toBe(30);
});

it('a call that timed out and arrives after the next one is refused', async () => {
  const pool = await tables();
  const held: Array<() => void> = [];
  let isHeld = true;
  // The first query is on its way for long.
  const slow = {
    query: (...args: unknown[]) => {
      const send = () => (pool.query as (...all: unknown[]) => Promise<unknown>)(...args);
      return isHeld ? new Promise((resolve, reject) => held.push(() => send().then(resolve, reject))) : send();
    },
  } as unknown as Pool;
  const take = toSessions(slow);
  const late = Promise.resolve(take(listing(0, 0, false, 'u'), { token: 1 }));
  isHeld = false;
  await take(listing(0, 0, false, 'u'), { token: 1 });
  await take(batch(change('u', 1, 'disconnect')), { token: 1 });
  held[0]?.();
  await expect(late).rejects.toThrow('comes late');
  expect(await sessionsOf(pool, 'u')).toEqual(['listing 0-1 disconnect']);
});

it('a gap ends what a batch with more to come has recorded, and a listing may be repeated', async () => {
  const pool = await tables();
  const take = toSessions(pool);
  for (let times = 0; times < 3; times += 1) await take(listing(0, 0, false, 'here'), { token: 1 });
  expect(await sessionsOf(pool, 'here')).toEqual(['listing 0-']);
  await take({ ...batch(change('u', 10, 'connect')), more: true }, { token: 1 });
  await take(listing(100, 0, false), { token: 1 });
  expect(await sessionsOf(pool, 'u')).toEqual(['connect 10-10 unknown']);
  const { rows } = await pool.query('select presence_at($1, $2) as status', ['u', iso(30)]);
  expect(rows[0].status).toBe('unknown');
});

it('versions that begin again after a restart, as those of a store in memory, lose no session', async () => {
  const pool = await tables();
  const take = toSessions(pool);
  const [came, left] = [change('u', 1, 'connect'), change('u', 2, 'disconnect')];
  await take(listing(0, 0, false), { token: 1 });
  await take(batch(came, left), { token: 1 });
  await take(listing(10, 0, false, 'u'), { token: 2 });
  const again = { ...came, timestamp: iso(11) };
  await take(batch(again), { token: 2 });
  await take(batch(again), { token: 2 });
  expect(await sessionsOf(pool, 'u')).toEqual(['connect 1-2 disconnect', 'connect 10-']);
});

it.each([
  ['with a NUL', 'a\0b'],
  ['with a backslash', 'a\\0b'],
  ['with quotes', `'"; drop table presence_sessions; --`],
  ['with all of Unicode', 'ü\u{1f600}\ufffe'],
])('an id %s is kept, and told from others', async (_, userId) => {
  const pool = await tables();
  const store = memoryStore();
  const presence = createPresence({ store });
  onTestFinished(() => presence.close());
  presence.changes.deliver('sessions', toSessions(pool), { from: 'listing' });
  const socket = fakeSocket();
  await presence.attachToSocket(socket, { userId }).ready;
  await until('the user is there', async () => (await sessionsOf(pool, userId)).length === 1);
  socket.close(1000);
  await until('the user is gone', async () => (await sessionsOf(pool, userId))[0]?.endsWith('disconnect') === true);
  const { rows } = await pool.query('select user_id from presence_sessions');
  expect(rows).toEqual([{ user_id: storedId(userId) }]);
});

it('a stream of your own has every change, and the gap with its listing', async () => {
  const client = new Redis({ port: redis.port });
  onTestFinished(() => client.disconnect());
  const take = toStream(client, 'my:changes');
  const changes = [change('u', 1, 'connect'), change('u', 2, 'timeout')];
  await take(listing(0, 0, false, 'u'), { token: 1 });
  await take(batch(...changes), { token: 1 });
  const entries = await client.xrange('my:changes', '-', '+');
  expect(JSON.parse(entries[0]?.[1][3] as string)).toMatchObject({ gap: true, users: [{ userId: 'u' }] });
  const read = entries
    .slice(1)
    .map(([, fields]) => Object.fromEntries(fields.map((f, i) => [f, fields[i + 1]]).filter((_, i) => i % 2 === 0)));
  expect(read).toEqual(changes.map((one) => ({ token: '1', ...one, version: String(one.version) })));
  await client.set('my:other', 'text');
  await expect(toStream(client, 'my:other')(batch(...changes), { token: 1 })).rejects.toThrow('WRONGTYPE');
});

interface Flip {
  readonly status: 'online' | 'offline';
  /** It happened between these two. */
  readonly after: number;
  before: number;
}

it(
  'the table equals the truth while routers are killed and stopped, Redis stands still and forgets, and PostgreSQL is killed',
  async () => {
    const dice = random();
    console.log(`seed ${dice.seed}`);
    const pool = await tables();
    const server = await RedisServer.start();
    onTestFinished(() => server.remove());
    const admin = new Redis({ port: server.port });
    admin.on('error', () => undefined);
    onTestFinished(() => admin.disconnect());
    const take = toSessions(pool);
    const counts = { batches: 0, failed: 0, gaps: 0, kills: 0, stops: 0, stalls: 0, postgres: 0 };
    const onBatch = async (
      router: RouterProcess,
      number: number,
      content: ChangeBatch,
      token: number,
    ): Promise<void> => {
      counts.batches += 1;
      if (content.gap) counts.gaps += 1;
      const isTaken = await Promise.resolve(take(content, { token })).then(
        () => true,
        () => false,
      );
      if (!isTaken) counts.failed += 1;
      router.answer(number, isTaken);
    };
    const start = (): RouterProcess =>
      new RouterProcess({ port: server.port, from: 'listing' }, (...args) => void onBatch(...args));
    const routers = Array.from({ length: ROUTERS }, start);
    onTestFinished(async () => {
      await Promise.all(routers.map((router) => router.kill()));
    });
    await Promise.all(routers.map(({ ready }) => ready));

    const users = Array.from({ length: USERS }, (_, index) => `u${index}`);
    const flips = new Map<string, Flip[]>(users.map((userId) => [userId, []]));
    const flipsOf = (userId: string): Flip[] => flips.get(userId) as Flip[];
    const where = new Map<string, RouterProcess>();
    const busy = new Set<string>();
    /** When the status of a user was not to be known from outside. */
    const doubts: Array<{ readonly userId: string; readonly from: number; to: number }> = [];
    const doubt = (userId: string, from: number, to = Number.POSITIVE_INFINITY) => {
      const one = { userId, from, to };
      doubts.push(one);
      return one;
    };
    const flip = (userId: string, status: Flip['status']): Flip => {
      const one = { status, after: Date.now(), before: Number.POSITIVE_INFINITY };
      flipsOf(userId).push(one);
      return one;
    };
    /** Nobody speaks for the user any more: the fleet takes them offline. */
    const leftBehind = (userId: string, one: Flip): Promise<void> => {
      where.delete(userId);
      const isOnline = 'select 1 from presence_sessions where user_id = $1 and ended is null';
      const isGone = async (): Promise<boolean> =>
        (await pool.query(isOnline, [userId]).catch(() => ({ rowCount: 1 }))).rowCount === 0;
      return sleep(2 * LEASE_MS)
        .then(() => until(`${userId} is offline`, isGone, 60_000))
        .then(
          () => {
            one.before = Date.now();
            busy.delete(userId);
          },
          () => undefined,
        );
    };
    const step = async (): Promise<void> => {
      const userId = dice.pick(users);
      const router = where.get(userId) ?? dice.pick(routers);
      if (busy.has(userId) || !router.isAlive) return;
      busy.add(userId);
      const isJoin = !where.has(userId);
      const one = flip(userId, isJoin ? 'online' : 'offline');
      if (await router.tell(isJoin ? { join: userId } : { leave: userId })) {
        one.before = Date.now();
        if (isJoin) where.set(userId, router);
        else where.delete(userId);
        busy.delete(userId);
        return;
      }
      // It has happened, or not.
      const unknown = doubt(userId, one.after);
      one.before = Date.now();
      await leftBehind(userId, flip(userId, 'offline'));
      unknown.to = Date.now();
    };
    const of = (router: RouterProcess): string[] => users.filter((userId) => where.get(userId) === router);
    const kill = async (): Promise<void> => {
      counts.kills += 1;
      const index = dice.below(ROUTERS);
      const router = routers[index] as RouterProcess;
      const mine = of(router).filter((userId) => !busy.has(userId));
      for (const userId of mine) busy.add(userId);
      const dying = mine.map((userId) => ({ userId, one: flip(userId, 'offline') }));
      await router.kill();
      for (const { userId, one } of dying) void leftBehind(userId, one);
      routers[index] = start();
      await routers[index]?.ready;
    };
    const stop = async (): Promise<void> => {
      counts.stops += 1;
      const router = dice.pick(routers);
      // It may be taken for dead, and its users for offline until it is back.
      const standing = of(router).map((userId) => doubt(userId, Date.now()));
      router.signal('SIGSTOP');
      await sleep(1_000 + dice.below(2_000));
      router.signal('SIGCONT');
      for (const one of standing) one.to = Date.now() + 3 * LEASE_MS;
    };
    const stall = async (): Promise<void> => {
      counts.stalls += 1;
      server.pause();
      await sleep(200 + dice.below(1_000));
      server.resume();
    };
    const killPostgres = async (): Promise<void> => {
      counts.postgres += 1;
      await postgres.kill();
      await sleep(dice.below(1_000));
      await postgres.start();
    };
    const flushes: number[] = [];
    const flush = async (): Promise<void> => {
      flushes.push(Date.now());
      await admin.flushall();
    };
    const startedAt = Date.now();
    const troubles = [kill, stop, stall, killPostgres, flush, kill, stop, stall];
    let trouble: Promise<void> | undefined;
    for (let number = 0; Date.now() < startedAt + RUN_MS || number < troubles.length; ) {
      void step();
      if (trouble === undefined && Date.now() > startedAt + 1_000 * number) {
        const next = troubles[number % troubles.length] as () => Promise<void>;
        number += 1;
        trouble = next().finally(() => {
          trouble = undefined;
        });
      }
      await sleep(20);
    }
    await trouble;
    await until('everything is acknowledged', () => busy.size === 0, 60_000);
    const last = (userId: string): string => flipsOf(userId).slice(-1)[0]?.status ?? 'offline';
    await until(
      'the table knows the truth',
      async () => {
        const { rows } = await pool.query('select user_id from presence_sessions where ended is null');
        const online = new Set(rows.map(({ user_id }) => user_id));
        return users.every((userId) => online.has(userId) === (last(userId) === 'online'));
      },
      60_000,
    );

    const endedAt = Date.now();
    const truthAt = (userId: string, at: number): string | undefined => {
      const left = flipsOf(userId).filter(({ status }) => status === 'offline');
      // After a loss, who leaves stays online for two leases, since another router may hold the user, and not have said so yet.
      const mayLinger = flushes.some(
        (flush) =>
          at < flush + 4 * LEASE_MS &&
          left.some(({ after, before }) => after <= at && before > flush - 1_000 && after < flush + 3 * LEASE_MS),
      );
      if (mayLinger) return undefined;
      if (doubts.some((one) => one.userId === userId && one.from <= at && at <= one.to)) return undefined;
      if (flipsOf(userId).some(({ after, before }) => after <= at && at <= before)) return undefined;
      return (
        flipsOf(userId)
          .filter(({ before }) => before < at)
          .pop()?.status ?? 'offline'
      );
    };
    const samples = Array.from({ length: SAMPLES }, () => ({
      userId: dice.pick(users),
      at: startedAt + dice.below(endedAt - startedAt),
    }));
    const { rows } = await pool.query(
      'select presence_at(id, at) as status from unnest($1::text[], $2::timestamptz[]) with ordinality as s (id, at, place) order by place',
      [samples.map(({ userId }) => userId), samples.map(({ at }) => new Date(at))],
    );
    // A router that had no time to beat was taken for dead, and registered its users again: nobody knows that but the fleet.
    const { rows: taken } = await pool.query(`
      select * from (
        select user_id, ended as from, ended_by, lead(began) over next as to, lead(began_by) over next as began_by
        from presence_sessions window next as (partition by user_id order by began, ended)
      ) s where ended_by = 'node-down' and began_by = 'resync'`);
    const wasTakenForDead = (userId: string, at: number): boolean =>
      taken.some((one) => one.user_id === userId && one.from.getTime() <= at && at <= one.to.getTime());
    const compared = { equal: 0, unknown: 0, untold: 0, takenForDead: 0 };
    for (const [index, { userId, at }] of samples.entries()) {
      const truth = truthAt(userId, at);
      const said = rows[index].status;
      if (truth === undefined) compared.untold += 1;
      else if (said === 'unknown') compared.unknown += 1;
      else if (said === 'offline' && wasTakenForDead(userId, at)) compared.takenForDead += 1;
      else {
        expect([userId, at - startedAt, said]).toEqual([userId, at - startedAt, truth]);
        compared.equal += 1;
      }
    }
    const spans = await pool.query("select began, ended from presence_unknown where began > '-infinity'");
    console.log(
      JSON.stringify({ ...counts, ...compared, flips: Array.from(flips.values()).flat().length, spans: spans.rows }),
    );
    // Nothing else is unknown but what a flush has taken away; it may have taken nothing.
    for (const { began, ended } of spans.rows) {
      const isOfFlush = flushes.some((flush) => began.getTime() <= flush + 1_000 && ended.getTime() > flush - 1_000);
      expect([began, ended, isOfFlush]).toEqual([began, ended, true]);
    }
    expect(compared.equal).toBeGreaterThan(SAMPLES / 40);
    expect(counts.failed).toBeGreaterThan(0);
    expect(counts.gaps).toBeGreaterThan(0);
  },
  RUN_MS + 180_000,
);
