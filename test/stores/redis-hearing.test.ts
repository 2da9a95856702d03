import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Batch, Head } from '../../src/stores/batch';
import { ChangeReceiver } from '../../src/stores/change-receiver';
import { parseMessage, toBatch } from '../../src/stores/redis/changes/message-codec';

const EPOCH = '1700000000.5';
const NEWER = '1700000001.5';

/** The changes of a batch: by default those of the store, else forged ones. */
const text = (first: number, count = 1, { at = 1_000 + first, epoch = EPOCH, id = 'u' } = {}): string =>
  JSON.stringify({ e: epoch, n: first, t: at, u: Array.from({ length: count }, () => [id, 1, 5, 'connect']) });
const batch = (...args: Parameters<typeof text>): Batch => parseMessage(text(...args)) as Batch;
const forged = (first: number, count = 1, epoch = EPOCH): Batch => batch(first, count, { epoch, id: 'forged' });

/** The receiver of one partition, on a fake Redis: a log, and its last version. */
function hearing(log: string[] = []) {
  const told: number[] = [];
  const ids = new Set<string>();
  const heard = { gaps: 0, deaf: 0, reads: [] as number[], errors: 0 };
  /** How often other data were found. */
  const anew = { times: 0 };
  const redis = { epoch: EPOCH, seq: undefined as number | undefined, asked: 0, fails: false, log };
  const end = (entry: string): number => {
    const { n, u } = JSON.parse(entry) as { n: number; u: unknown[] };
    return n + u.length - 1;
  };
  const ear = new ChangeReceiver({
    readHead: async (): Promise<Head> => {
      redis.asked += 1;
      if (redis.fails) throw new Error('away');
      return { epoch: redis.epoch, version: redis.seq ?? Math.max(0, ...log.map(end)) };
    },
    readLog: async (from, most) => {
      heard.reads.push(from);
      if (redis.fails) throw new Error('away');
      const entries = log.filter((entry) => (JSON.parse(entry) as { n: number }).n >= from).slice(0, most);
      return entries.map(toBatch);
    },
    tell: ({ changes }) => {
      for (const { update } of changes) {
        told.push(update.version);
        ids.add(update.userId);
      }
    },
    onGap: () => {
      heard.gaps += 1;
    },
    onAnew: () => {
      anew.times += 1;
    },
    onDeaf: () => {
      heard.deaf += 1;
    },
    onError: () => {
      heard.errors += 1;
    },
  });
  /** A script makes changes, and its message comes. */
  const change = (...args: Parameters<typeof text>): void => {
    log.push(text(...args));
    ear.hear(batch(...args));
  };
  const settle = (ms = 10) => vi.advanceTimersByTimeAsync(ms);
  return { ear, told, ids, heard, anew, log, redis, change, settle };
}

const upTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('a message is parsed', () => {
  const change = (...fields: unknown[]) => ({ e: EPOCH, n: 1, t: 1, u: [fields] });
  const good = ['u', 1, 5, 'connect'];

  it.each([
    ['a batch', { e: EPOCH, n: 1, t: 1, u: [good] }],
    ['fields and values that are not known', { e: EPOCH, n: 1, t: 1, u: [[...good, 'more']], further: { x: 1 } }],
    ['the longest id', change('é'.repeat(128), 1, 5, 'connect')],
    ['the last number', { e: EPOCH, n: 2 ** 52 - 1, t: 8.64e15, u: [['u', 0, 8.64e15, 'node-down']] }],
    [
      'each offline',
      { e: EPOCH, n: 1, t: 1, u: ['disconnect', 'timeout', 'node-down', 'resync'].map((r) => ['u', 0, 0, r]) },
    ],
    ['each online', { e: EPOCH, n: 1, t: 1, u: ['connect', 'resync'].map((r) => ['u', 1, 0, r]) }],
    ['an id that is a name of JavaScript', change('__proto__', 1, 5, 'connect')],
    ['a loss', { l: [0, 4_095], k: 0 }],
    ['a loss of all', { l: [], k: 2 ** 52, further: 1 }],
    ['a loss of each', { l: Array.from({ length: 4_096 }, (_, bucket) => bucket), k: 1 }],
  ])('%s', (_, wire) => {
    expect(parseMessage(JSON.stringify(wire))).toBeDefined();
  });

  it('to what it says', () => {
    const parsed = parseMessage(
      JSON.stringify({ e: EPOCH, n: 7, t: 1_700_000_000_000, u: [good, ['v', 0, 6, 'timeout']] }),
    );
    expect(parsed).toMatchObject({ epoch: EPOCH, first: 7, at: 1_700_000_000_000 });
    const timestamp = '2023-11-14T22:13:20.000Z';
    expect((parsed as Batch).changes).toEqual([
      { update: { userId: 'u', status: 'online', timestamp, version: 7, reason: 'connect' }, lastSeen: 5 },
      { update: { userId: 'v', status: 'offline', timestamp, version: 8, reason: 'timeout' }, lastSeen: 6 },
    ]);
  });

  const batchWith = (fields: object) => ({ e: EPOCH, n: 1, t: 1, u: [good], ...fields });
  it.each([
    ['no object', null],
    ['a number', 5],
    ['nothing', {}],
    ['a list', [good]],
    ...[1e300, 2 ** 53 - 1, 2 ** 53, 2 ** 52, 0, -1, 1.5, '1', null, [1], { valueOf: 1 }, true].map(
      (n) => ['n', batchWith({ n })] as const,
    ),
    ...[0, -1, 8.64e15 + 2, 1.5, 1e300, '1', null].map((t) => ['t', batchWith({ t })] as const),
    ...[
      '',
      'e',
      '1',
      '1.',
      '1.1234567',
      '12345678901234567.1',
      '1.5x',
      '1.5\n',
      'x'.repeat(5_000),
      1.5,
      null,
      ['1.5'],
    ].map((e) => ['e', batchWith({ e })] as const),
    ...[[], {}, 'x', 5, null, { length: 1 }, [5], [null], [{ 0: 'u', 1: 1, 2: 5, 3: 'connect' }]].map(
      (u) => ['u', batchWith({ u })] as const,
    ),
    ['too many changes', batchWith({ u: Array(10_001).fill(good) })],
    ['one bad change among good ones', batchWith({ u: [good, ['u', 1, 5], good] })],
    ...['', 'x'.repeat(257), 'é'.repeat(129), 'x'.repeat(5_000), '\ud800', 5, null, ['u'], { toString: 1 }].map(
      (id) => ['an id', change(id, 1, 5, 'connect')] as const,
    ),
    ...[2, -1, true, false, '1', null, 0.5].map((online) => ['a status', change('u', online, 5, 'connect')] as const),
    ...[-1, 1.5, 8.64e15 + 2, 1e300, '5', null].map((seen) => ['last seen', change('u', 1, seen, 'connect')] as const),
    ...['', 'online', 'toString', '__proto__', { a: 1 }, ['connect'], 5, null, undefined].map(
      (reason) => ['a reason', change('u', 1, 5, reason)] as const,
    ),
    ['a reason to go for who comes', change('u', 1, 5, 'timeout')],
    ['a reason to come for who goes', change('u', 0, 5, 'connect')],
    ...[[-1], [4_096], [1.5], ['1'], [null], [[1]], {}, 'x', 5, null, Array(4_097).fill(1)].map(
      (l) => ['buckets', { l, k: 1 }] as const,
    ),
    ...[-1, 1.5, 2 ** 53, 1e300, '1', null, undefined].map((k) => ['a count', { l: [1], k }] as const),
  ] as ReadonlyArray<readonly [string, unknown]>)('and is none: %s', (_, wire) => {
    expect(parseMessage(JSON.stringify(wire))).toBeUndefined();
  });

  it.each(['', 'x', '{', '[', '"', 'NaN', '{"l":[1],"k":1}'.padEnd(4_000_001), '['.repeat(100_000)])(
    'nor is %.20s',
    (junk) => {
      expect(parseMessage(junk)).toBeUndefined();
    },
  );
});

describe('Hearing', () => {
  it('tells what comes in order', () => {
    const { ear, told, heard, redis } = hearing();
    ear.learn(EPOCH, 4);
    for (const first of [5, 6]) ear.hear(batch(first));
    ear.hear(batch(7, 3));
    expect(told).toEqual([5, 6, 7, 8, 9]);
    expect(heard).toEqual({ gaps: 0, deaf: 0, reads: [], errors: 0 });
    expect(redis.asked).toBe(0);
    expect(ear.knownVersion).toBe(9);
  });

  it('reads missing changes from the log, while later ones are delivered', async () => {
    const { ear, told, heard, settle } = hearing([text(2), text(3, 2), text(5), text(6), text(7)]);
    ear.learn(EPOCH, 0);
    ear.hear(batch(1));
    ear.hear(batch(5));
    ear.hear(batch(6));
    ear.hear(batch(7));
    expect(told).toEqual([1]);
    await settle();
    expect(told).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(heard.gaps).toBe(0);
  });

  it('keeps what comes while Redis is asked, and hears it after that', async () => {
    const { ear, told, heard, change, settle, log } = hearing();
    ear.learn(EPOCH, 0);
    log.push(text(1));
    change(2);
    await Promise.resolve();
    change(3);
    change(4);
    await settle();
    expect(told).toEqual([1, 2, 3, 4]);
    expect(heard.gaps).toBe(0);
  });

  it('finds out silence, from what answers say, and reads the log', async () => {
    const { ear, told, heard, log, settle } = hearing();
    ear.learn(EPOCH, 1);
    log.push(text(2));
    ear.learn(EPOCH, 2);
    await settle(299);
    expect(heard.deaf).toBe(0);
    await settle(1);
    expect(told).toEqual([2]);
    expect(heard).toEqual({ gaps: 0, deaf: 1, reads: [2], errors: 0 });
  });

  // The timer of one answer judged by the newest one, so that any steady stream looked like a lost connection.
  it('takes a steady stream that is 150 ms late for what it is', async () => {
    const { ear, told, heard, redis, settle } = hearing();
    ear.learn(EPOCH, 0);
    for (let version = 1; version <= 60; version += 1) {
      ear.learn(EPOCH, version);
      setTimeout(() => ear.hear(batch(version)), 150);
      await settle(50);
    }
    await settle(500);
    expect(told).toHaveLength(60);
    expect(heard).toEqual({ gaps: 0, deaf: 0, reads: [], errors: 0 });
    expect(redis.asked).toBe(0);
  });

  it('takes a steady stream that is 150 ms ahead of the answers for what it is', async () => {
    const { ear, told, heard, redis, settle } = hearing();
    ear.learn(EPOCH, 0);
    for (let version = 1; version <= 60; version += 1) {
      ear.hear(batch(version));
      setTimeout(() => ear.learn(EPOCH, version), 150);
      await settle(50);
    }
    expect(told).toHaveLength(60);
    expect(heard).toEqual({ gaps: 0, deaf: 0, reads: [], errors: 0 });
    expect(redis.asked).toBe(0);
  });

  // A message that came after it had been read from the log was taken for data that were set back.
  it('passes by what comes late, and was read from the log', async () => {
    const { ear, told, heard, log, redis, settle } = hearing();
    ear.learn(EPOCH, 0);
    for (const version of [1, 2, 3]) log.push(text(version));
    ear.learn(EPOCH, 3);
    await settle(300);
    for (const version of [1, 2, 3, 4]) ear.hear(batch(version));
    expect(told).toEqual([1, 2, 3, 4]);
    await settle(60_000);
    expect(heard.gaps).toBe(0);
    expect(redis.asked).toBe(1);
  });

  it('cannot fill what the log has forgotten, and says so', async () => {
    const { ear, told, heard, settle } = hearing([text(5), text(6)]);
    ear.learn(EPOCH, 0);
    ear.hear(batch(1));
    ear.hear(batch(6));
    await settle();
    expect(heard.gaps).toBe(1);
    ear.hear(batch(7));
    expect(told).toEqual([1, 7]);
  });

  // A router that had stood still for seconds asked before it listened, and passed by what lay there unread.
  it('needs no log for what comes while it is read', async () => {
    const { ear, told, heard, log, settle } = hearing();
    ear.learn(EPOCH, 1);
    ear.learn(EPOCH, 9);
    log.push(text(8), text(9));
    vi.advanceTimersByTime(300);
    for (const first of [2, 5, 8]) ear.hear(batch(first, first === 8 ? 2 : 3));
    await settle(1_000);
    expect(told).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
    expect(heard).toEqual({ gaps: 0, deaf: 1, reads: [], errors: 0 });
  });

  // What an answer said while the log was read was taken for missed.
  it('leaps over nothing that is expected only since the log was read', async () => {
    const { ear, told, heard, log, settle } = hearing();
    ear.learn(EPOCH, 0);
    for (const version of [1, 2, 3]) log.push(text(version));
    ear.learn(EPOCH, 3);
    vi.advanceTimersByTime(300);
    while (heard.reads.length === 0) await Promise.resolve();
    ear.learn(EPOCH, 4);
    await settle(10);
    expect(told).toEqual([1, 2, 3]);
    ear.hear(batch(4));
    await settle(1_000);
    expect(told).toEqual([1, 2, 3, 4]);
    expect(heard.gaps).toBe(0);
  });

  it('waits for the rest where what is missing has begun to come', async () => {
    const { ear, told, heard, settle } = hearing([text(9)]);
    ear.learn(EPOCH, 1);
    ear.learn(EPOCH, 9);
    vi.advanceTimersByTime(300);
    ear.hear(batch(2, 3));
    await settle(100);
    ear.hear(batch(5, 5));
    await settle(1_000);
    expect(told).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
    expect(heard.gaps).toBe(0);
  });

  it('says so too where the log cannot be read', async () => {
    const told: number[] = [];
    const heard = { gaps: 0 };
    const failing = new ChangeReceiver({
      readHead: async () => ({ epoch: EPOCH, version: 3 }),
      readLog: () => Promise.reject(new Error('away')),
      tell: ({ first }) => told.push(first),
      onGap: () => {
        heard.gaps += 1;
      },
      onAnew: () => undefined,
      onDeaf: () => undefined,
      onError: () => undefined,
    });
    failing.learn(EPOCH, 0);
    failing.hear(batch(1));
    failing.hear(batch(3));
    await vi.advanceTimersByTimeAsync(10);
    expect(heard.gaps).toBe(1);
    failing.hear(batch(4));
    expect(told).toEqual([1, 4]);
    failing.close();
  });

  it('asks again where Redis cannot be asked, says so once, and forgets nothing meanwhile', async () => {
    const { ear, told, heard, redis, change, settle, log } = hearing();
    ear.learn(EPOCH, 0);
    redis.fails = true;
    log.push(text(1));
    change(2);
    await settle(20_000);
    expect(heard).toMatchObject({ errors: 1, gaps: 0 });
    // Every one or two seconds, by chance.
    expect(redis.asked).toBeLessThan(22);
    redis.fails = false;
    await settle(2_000);
    expect(told).toEqual([1, 2]);
    redis.fails = true;
    ear.hear(batch(9));
    await settle(5_000);
    expect(heard.errors).toBe(2);
  });

  it('hears of other data: everything may be lost, a gap, and on from there', async () => {
    const { ear, told, heard, anew, redis, log, settle } = hearing();
    ear.learn(EPOCH, 40);
    expect(anew.times).toBe(0);
    ear.hear(batch(41));
    redis.epoch = NEWER;
    log.push(text(42, 1, { epoch: NEWER }));
    ear.hear(batch(42, 1, { epoch: NEWER }));
    await settle();
    expect(heard.gaps).toBe(1);
    ear.hear(batch(43, 1, { epoch: NEWER }));
    ear.learn('1700000002.5', 3);
    expect(told).toEqual([41, 43]);
    expect(heard.gaps).toBe(2);
    expect(anew.times).toBe(2);
    // Changes that it has received must not be delivered again.
    expect(ear.highestVersion).toBe(43);
  });

  it('hears of the same data, set back to an older state: a gap, and on from there', async () => {
    const { ear, told, heard, change, settle } = hearing();
    ear.learn(EPOCH, 37);
    for (const first of [38, 39, 40, 41]) ear.hear(batch(first));
    change(39, 1, { at: 9_000 });
    await settle();
    expect(heard.gaps).toBe(1);
    expect(ear.highestVersion).toBe(42);
    change(40, 1, { at: 9_001 });
    await settle();
    expect(told).toEqual([38, 39, 40, 41, 40]);
  });

  it('drops the older ones of too many that wait, and reads them from the log', async () => {
    const { ear, told, heard, log, settle } = hearing();
    ear.learn(EPOCH, 0);
    ear.hear(batch(1));
    for (let first = 2; first < 20_000; first += 1_000) log.push(text(first, 1_000));
    for (let first = 1_002; first < 20_000; first += 1_000) ear.hear(batch(first, 1_000));
    await settle();
    expect(told).toEqual(upTo(20_001));
    expect(heard.gaps).toBe(0);
  });

  it('tells what came before the first answer said where to begin', async () => {
    const { ear, told, heard, change, settle } = hearing();
    for (const version of [10, 11, 12]) change(version);
    ear.learn(EPOCH, 12);
    change(13);
    await settle();
    expect(told).toEqual([10, 11, 12, 13]);
    const sooner = hearing();
    sooner.change(11);
    sooner.ear.learn(EPOCH, 10);
    await settle();
    expect(sooner.told).toEqual([11]);
    expect(heard.gaps + sooner.heard.gaps).toBe(0);
  });

  it('and reads again where something of that did not come, or where it is much', async () => {
    const { ear, told, heard, change, settle } = hearing();
    change(10);
    change(12);
    ear.learn(EPOCH, 12);
    expect(heard.gaps).toBe(1);
    await settle();
    change(13);
    await settle();
    expect(told).toEqual([12, 13]);
    const many = hearing();
    many.change(1, 1_001);
    many.ear.learn(EPOCH, 1_001);
    await settle();
    expect(many.told).toEqual([]);
    expect(many.heard.gaps).toBe(1);
  });

  it('forged changes before the first answer are not delivered', async () => {
    const { ear, told, ids, heard, change, settle } = hearing();
    ear.hear(forged(1, 11));
    change(12);
    for (const message of [forged(14), forged(2 ** 51), forged(1, 1, NEWER)]) ear.hear(message);
    ear.learn(EPOCH, 12);
    await settle(60_000);
    change(13);
    await settle();
    // The log does not have what seemed to come before 12, so everything is read again.
    expect(heard.gaps).toBe(1);
    expect(told).toEqual([13]);
    expect(Array.from(ids)).toEqual(['u']);
    expect(ear.highestVersion).toBe(12);
  });

  it('is silent once closed', async () => {
    const { ear, told, heard, redis, settle } = hearing([text(2)]);
    ear.learn(EPOCH, 1);
    ear.learn(EPOCH, 2);
    ear.hear(batch(9));
    ear.close();
    ear.hear(batch(2));
    ear.learn(NEWER, 3);
    await settle(60_000);
    expect(told).toEqual([]);
    expect(heard).toEqual({ gaps: 0, deaf: 0, reads: [], errors: 0 });
    expect(redis.asked).toBe(1);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('what is forged', () => {
  it.each([
    ['a number far ahead', forged(2 ** 52 - 1)],
    ['a number somewhat ahead', forged(7)],
    ['an old number', forged(2)],
    ['the first number', forged(1, 4)],
    ['another epoch', forged(6, 1, NEWER)],
    ['very many changes, ahead', forged(1_000, 10_000)],
  ])('%s: nothing is told, nothing is read again, and what follows is heard at once', async (_, message) => {
    const { ear, told, ids, heard, redis, change, settle } = hearing();
    ear.learn(EPOCH, 0);
    for (const first of upTo(5)) change(first);
    ear.hear(message);
    change(6);
    expect(told).toEqual(upTo(6));
    await settle(20);
    ear.learn(EPOCH, 6);
    change(7);
    await settle(20_000);
    ear.learn(EPOCH, 7);
    expect(told).toEqual(upTo(7));
    expect(Array.from(ids)).toEqual(['u']);
    // A second batch with a known number may be the true one, if the attacker can write to the log, too.
    expect(heard.gaps).toBe(message.first < 6 && message.epoch === EPOCH ? 1 : 0);
    expect(redis.asked).toBe(1);
    expect(ear.highestVersion).toBe(7);
  });

  it('the next number: the true one that comes then refutes it, and nothing is given that number', async () => {
    const { ear, heard, change, settle } = hearing();
    ear.learn(EPOCH, 0);
    change(1);
    ear.hear(forged(2));
    expect(ear.highestVersion).toBe(0);
    change(2);
    await settle();
    expect(heard.gaps).toBe(1);
    expect(ear.highestVersion).toBe(3);
  });

  it('the next numbers, many of them: the same', async () => {
    const { ear, told, heard, change, settle } = hearing();
    ear.learn(EPOCH, 0);
    change(1);
    ear.hear(forged(2, 10_000));
    change(2);
    await settle();
    expect(heard.gaps).toBe(1);
    expect(ear.highestVersion).toBe(10_002);
    const before = told.length;
    change(3);
    await settle();
    expect(told.slice(before)).toEqual([3]);
  });

  it('the next number, and nothing comes then: answers that stay below it refute it', async () => {
    const { ear, heard, redis, change, settle } = hearing();
    ear.learn(EPOCH, 0);
    change(1);
    ear.hear(forged(2));
    ear.learn(EPOCH, 1);
    await settle(200);
    ear.learn(EPOCH, 1);
    await settle();
    expect(redis.asked).toBe(0);
    await settle(300);
    ear.learn(EPOCH, 1);
    await settle();
    expect(heard.gaps).toBe(1);
    expect(ear.highestVersion).toBe(3);
  });

  it('the next number, after which Redis has jumped over it: the rest is heard as ever', async () => {
    const { ear, told, heard, redis, change, settle } = hearing();
    ear.learn(EPOCH, 0);
    change(1);
    ear.hear(forged(2));
    change(2);
    await settle();
    redis.seq = ear.highestVersion;
    ear.learn(EPOCH, redis.seq);
    await settle(300);
    expect(heard.gaps).toBe(2);
    redis.seq = undefined;
    change(4);
    await settle();
    expect(told.at(-1)).toBe(4);
    expect(heard.gaps).toBe(2);
  });

  it('once one has succeeded the next ones do not: for a while only the log is believed', async () => {
    const { ear, told, ids, heard, change, settle } = hearing();
    ear.learn(EPOCH, 0);
    ear.hear(forged(1));
    change(1);
    await settle();
    expect(heard.gaps).toBe(1);
    ids.clear();
    for (let version = 2; version < 12; version += 1) {
      ear.hear(forged(version));
      change(version);
      await settle(2_000);
    }
    expect(told.slice(1)).toEqual(upTo(11).slice(1));
    expect(Array.from(ids)).toEqual(['u']);
    expect(heard.gaps).toBe(1);
  });

  it('a log that does not work either: messages are believed again', async () => {
    const { ear, told, redis, settle } = hearing();
    ear.learn(EPOCH, 0);
    ear.hear(forged(1, 3));
    ear.hear(batch(1));
    for (redis.seq = 1; redis.seq < 10; redis.seq += 1) {
      ear.hear(batch(redis.seq));
      await settle(2_000);
    }
    expect(told.slice(3)).toEqual([4, 5, 6, 7, 8, 9]);
  });

  it.each([
    ['ahead', () => 2 ** 40],
    ['old', () => 3],
    ['anywhere', (index: number) => 1 + ((index * 7_919) % 100_000)],
    ['of other epochs', (index: number) => index + 1],
  ])('a flood of numbers %s costs a handful of questions, and nothing else', async (name, number) => {
    const { ear, told, heard, redis, change, settle } = hearing();
    ear.learn(EPOCH, 0);
    for (const first of upTo(5)) change(first);
    let version = 5;
    for (let index = 0; index < 10_000; index += 1) {
      const first = number(index);
      if (first !== version + 1) ear.hear(forged(first, 1, name === 'of other epochs' ? `${index}.1` : EPOCH));
      if (index % 100 === 0) {
        version += 1;
        change(version);
        // All of it within two seconds.
        await settle(15);
      }
    }
    // Changes are delivered as they arrive.
    expect(told).toEqual(upTo(105));
    await settle(10_000);
    expect(redis.asked).toBeLessThanOrEqual(5);
    expect(heard.gaps).toBeLessThanOrEqual(1);
    expect(ear.highestVersion).toBeLessThanOrEqual(105);
  });

  it('a flood does not keep what was missed from being found', async () => {
    const { ear, told, heard, log, change, settle } = hearing();
    ear.learn(EPOCH, 0);
    change(1);
    ear.hear(forged(50));
    await settle();
    log.push(text(2));
    change(3);
    for (let index = 0; index < 20_000; index += 1) ear.hear(forged(60 + index));
    await settle(2_000);
    change(4);
    await settle();
    expect(told).toEqual([1, 2, 3, 4]);
    expect(heard.gaps).toBe(0);
  });

  it('a flood of numbers that follow each other heals, too', async () => {
    const { ear, told, heard, redis, change, settle } = hearing();
    ear.learn(EPOCH, 0);
    for (let version = 1; version <= 10_000; version += 1) ear.hear(forged(version));
    change(1);
    await settle(2_000);
    expect(heard.gaps).toBe(1);
    expect(redis.asked).toBeLessThanOrEqual(2);
    const before = told.length;
    change(2);
    await settle(2_000);
    expect(told.slice(before)).toEqual([2]);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, 1.5, -5])(
    'an answer that makes no sense is none: %s',
    async (version) => {
      const { ear, told, heard, change, settle } = hearing();
      ear.learn(EPOCH, 0);
      change(1);
      ear.learn(EPOCH, version);
      await settle(1_000);
      change(2);
      ear.learn(EPOCH, 2);
      await settle(1_000);
      expect(told).toEqual([1, 2]);
      expect(heard).toMatchObject({ gaps: 0, deaf: 0 });
      expect(ear.highestVersion).toBe(2);
    },
  );

  it('a count in Redis that somebody has set far ahead, and that is right again: versions are, too', async () => {
    const { ear, told, heard, redis, change, settle } = hearing();
    ear.learn(EPOCH, 0);
    change(1);
    redis.seq = 2 ** 52;
    ear.learn(EPOCH, redis.seq);
    await settle(400);
    redis.seq = undefined;
    ear.learn(EPOCH, 1);
    await settle(400);
    ear.learn(EPOCH, 1);
    await settle(400);
    expect(heard.gaps).toBe(2);
    expect(ear.highestVersion).toBe(1);
    change(2);
    await settle();
    expect(told).toEqual([1, 2]);
  });

  it('entries of the log that are none, or do not follow, are passed by', async () => {
    const junk = [text(1, 1, { epoch: NEWER }), '{"n":2,"x":1}', '{"n":9007199254740991}', text(2 ** 51)];
    const { ear, told, heard, redis, settle } = hearing([
      text(1),
      junk[0],
      text(2),
      junk[1],
      text(3),
      junk[2],
      junk[3],
    ] as string[]);
    redis.seq = 3;
    ear.learn(EPOCH, 0);
    ear.learn(EPOCH, 3);
    await settle(300);
    expect(told).toEqual([1, 2, 3]);
    expect(heard.gaps).toBe(0);
  });

  it('a log full of them costs a few readings, and then everything is read again', async () => {
    const junk = Array.from({ length: 5_000 }, (_, index) => JSON.stringify({ n: index + 1 }));
    const { ear, told, heard, redis, settle } = hearing(junk);
    redis.seq = 9_000;
    ear.learn(EPOCH, 0);
    ear.learn(EPOCH, 9_000);
    await settle(300);
    expect(heard.gaps).toBe(1);
    expect(heard.reads.length).toBeLessThanOrEqual(10);
    ear.hear(batch(9_001));
    expect(told).toEqual([9_001]);
  });

  it('an entry under the next number, of which Redis does not know: it is not read', async () => {
    const { ear, told, redis, settle } = hearing([text(1), text(2, 1, { id: 'forged' })]);
    redis.seq = 1;
    ear.learn(EPOCH, 0);
    ear.hear(batch(7));
    await settle();
    expect(told).toEqual([1]);
  });

  it('a message and an entry under one number: everything is read again, but seldom', async () => {
    const { ear, heard, log, redis, settle } = hearing();
    ear.learn(EPOCH, 0);
    redis.seq = 1;
    log.push(text(1, 1, { id: 'forged' }));
    ear.hear(forged(1));
    for (let round = 0; round < 40; round += 1) {
      // The true one, which could not be written down.
      ear.hear(batch(1));
      await settle(500);
    }
    expect(heard.gaps).toBe(1);
    await settle(30_000);
    expect(heard.gaps).toBe(2);
  });
});

describe('a call that waits for all changes', () => {
  const isOver = (ear: ChangeReceiver) => {
    const over = { is: false };
    void ear.caughtUp().then(() => {
      over.is = true;
    });
    return over;
  };

  it('does not wait where nothing is missing', async () => {
    const { ear, settle } = hearing();
    const atFirst = isOver(ear);
    ear.learn(EPOCH, 5);
    const later = isOver(ear);
    await settle(0);
    expect([atFirst.is, later.is]).toEqual([true, true]);
  });

  it('waits for the log, and not for a message that will not come', async () => {
    const { ear, log, told, settle } = hearing();
    ear.learn(EPOCH, 0);
    log.push(text(1), text(2));
    ear.learn(EPOCH, 2);
    const over = isOver(ear);
    expect(over.is).toBe(false);
    await settle(1);
    expect([over.is, told]).toEqual([true, [1, 2]]);
  });

  it('resolves once missed changes cannot be delivered one by one', async () => {
    const { ear, heard, settle } = hearing();
    ear.learn(EPOCH, 0);
    ear.learn(EPOCH, 50);
    const over = isOver(ear);
    await settle(1);
    expect([over.is, heard.gaps]).toEqual([true, 1]);
  });

  it('does not wait for data that are not there any more', async () => {
    const { ear, redis, heard, settle } = hearing();
    ear.learn(EPOCH, 0);
    redis.fails = true;
    ear.learn(EPOCH, 50);
    const over = isOver(ear);
    await settle(1);
    expect(over.is).toBe(false);
    ear.learn(NEWER, 1);
    await settle(1);
    expect([over.is, heard.gaps]).toEqual([true, 1]);
  });

  it('does not wait for one that is closed', async () => {
    const { ear, redis, settle } = hearing();
    ear.learn(EPOCH, 0);
    redis.fails = true;
    ear.learn(EPOCH, 50);
    const over = isOver(ear);
    await settle(1);
    expect(over.is).toBe(false);
    ear.close();
    await settle(1);
    expect(over.is).toBe(true);
  });
});
