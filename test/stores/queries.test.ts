import { describe, expect, it } from 'vitest';
import { fakeClock } from 'voiceping-presence/testing';
import { DataLoss } from '../../src/stores/redis/changes/data-loss';
import { Queries } from '../../src/stores/redis/commands/queries';
import { Keyspace } from '../../src/stores/redis/keyspace';

const ROUND_TRIP_MS = 300;
const sure = { awaited: 0, unsure: 0 };

/** Queries to a Redis that answers after a round trip: all users of a query were seen just now, or never. */
function far(isCluster: boolean, isKeyed: boolean) {
  const clock = fakeClock();
  const keyspace = new Keyspace('p:', isCluster);
  const later = <T>(value: T): Promise<T> =>
    new Promise((resolve) => clock.setTimeout(() => resolve(value), ROUND_TRIP_MS));
  const queries = new Queries({
    keyspace,
    losses: keyspace.partitions.map(() => new DataLoss()),
    ask: (_partition, script, keys) => {
      if (script.name === 'count') return later('1 1.1 0 0 1');
      if (script.name === 'list') {
        const done = keys.length - 3;
        return later(
          JSON.stringify({ now: 1, e: '1.1', seq: 0, done, after: 0, examined: done, users: [], junk: [], ...sure }),
        );
      }
      return later([`${clock.now()} 1.1 0 0 0`, ...keys.slice(3).map(() => '')].join(','));
    },
    receiverOf: () => ({ learn: () => 0, highestVersion: 0 }) as never,
    onOther: () => undefined,
    valuesOf: (keys) => later(keys.map(() => (isKeyed ? String(clock.now()) : null))),
    presenceKeys: () =>
      isCluster ? ({ get: (ids: string[]) => later(ids.map(() => undefined)) } as never) : undefined,
    settle: () => later(undefined),
    repair: () => undefined,
    clear: () => undefined,
    ttlMs: () => 60_000,
  });
  /** How many round trips it takes, and how many of them at most pass between two answers. */
  const measure = async (ask: (onAnswer: () => void) => Promise<unknown>) => {
    const startedAt = clock.now();
    let [answeredAt, longest, isOver] = [startedAt, 0, false];
    ask(() => {
      longest = Math.max(longest, clock.now() - answeredAt);
      answeredAt = clock.now();
    }).then(() => {
      isOver = true;
    });
    while (!isOver) await clock.advance(ROUND_TRIP_MS);
    return { roundTrips: (clock.now() - startedAt) / ROUND_TRIP_MS, silence: longest / ROUND_TRIP_MS };
  };
  return { queries, measure };
}

const idsOf = (count: number): string[] => Array.from({ length: count }, (_, index) => `u${index}`);

describe('queries to a Redis that is far away', () => {
  const everybody = () => true;
  it.each([
    ['who have a key', false, true, undefined, 1],
    ['who have none', false, false, undefined, 1],
    ['of whom the router knows that they are online', false, true, everybody, 1],
    ['half of whom the router knows', false, true, (id: string) => id.endsWith('1'), 1],
    ['of whom the router believes that they are online, and who are not', false, false, everybody, 2],
    ['on a Cluster', true, false, everybody, 1],
  ])(
    'of users %s: four thousand take no more round trips than one',
    async (_, isCluster, isKeyed, knows, roundTrips) => {
      for (const count of [0, 1, 1_000, 4_000]) {
        const { queries, measure } = far(isCluster, isKeyed);
        const taken = await measure((onAnswer) => queries.read(idsOf(count), onAnswer, knows));
        expect(taken.roundTrips).toBeLessThanOrEqual(roundTrips);
        expect(taken.silence).toBe(1);
      }
    },
  );

  it('of very many users say with each answer that there was one', async () => {
    const { queries, measure } = far(false, false);
    const { roundTrips, silence } = await measure((onAnswer) => queries.read(idsOf(40_000), onAnswer));
    expect(roundTrips).toBe(10);
    expect(silence).toBe(1);
  });

  it.each([false, true])('of all users, and their number (Cluster: %s)', async (isCluster) => {
    const { queries, measure } = far(isCluster, true);
    const count = await measure((onAnswer) => queries.count(onAnswer));
    expect(count).toEqual({ roundTrips: 1, silence: 1 });
    const list = await measure((onAnswer) => queries.list([0, 0, 0], 1_000, onAnswer));
    expect(list.roundTrips).toBeLessThanOrEqual(2);
    expect(list.silence).toBe(1);
  });

  it('fail as one, whichever of their calls fails', async () => {
    const keyspace = new Keyspace('p:', true);
    const fails = { ask: true };
    const answer = async (isAsk: boolean): Promise<never> => {
      await Promise.resolve();
      throw new Error(isAsk === fails.ask ? 'first' : 'second');
    };
    for (fails.ask of [true, false]) {
      const queries = new Queries({
        keyspace,
        losses: keyspace.partitions.map(() => new DataLoss()),
        ask: () => answer(true),
        receiverOf: () => ({ highestVersion: 0 }),
        presenceKeys: () => ({ get: () => answer(false) }) as never,
      } as never);
      // An unhandled rejection would end the process.
      await expect(queries.read(['u'], () => undefined)).rejects.toThrow(/first|second/);
      await new Promise((resolve) => setImmediate(resolve));
    }
  });

  // The key of "old" is valid at the first answer and 300 ms too old at the second; that of "lost" is no proof any more by then.
  it('of users whose keys stop being a proof between two answers', async () => {
    const clock = fakeClock();
    const keyspace = new Keyspace('p:', false);
    const losses = keyspace.partitions.map(() => new DataLoss());
    losses[0]?.hear([0], 1);
    let asked = 0;
    const answers = new Queries({
      keyspace,
      losses,
      ask: async (_partition: unknown, _script: unknown, keys: string[]) => {
        asked += 1;
        const answer = [`${clock.now()} 1.1 0 0 0`, ...keys.slice(4).map(() => '')].join(',');
        await clock.advance(ROUND_TRIP_MS);
        losses[0]?.hear([], 2);
        return answer;
      },
      receiverOf: () => ({ learn: () => 0, highestVersion: 0 }),
      onOther: () => undefined,
      valuesOf: async (keys: string[]) =>
        keys.map((key) => (key.endsWith('gone') ? null : String(clock.now() - (key.endsWith('old') ? 119_900 : 0)))),
      presenceKeys: () => undefined,
      repair: () => undefined,
      ttlMs: () => 60_000,
    } as never);
    const { users } = await answers.read(
      ['old', 'gone', 'lost'],
      () => undefined,
      () => true,
    );
    expect(asked).toBe(2);
    expect(users.map(({ userId, online }) => `${userId} ${online}`)).toEqual(['old true', 'gone false', 'lost true']);
  });
});
