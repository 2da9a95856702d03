import { describe, expect, it } from 'vitest';
import { fakeClock } from 'voiceping-presence/testing';
import { Maintenance } from '../../src/stores/redis/commands/maintenance';
import type { Script } from '../../src/stores/redis/commands/script';
import { Incarnations } from '../../src/stores/redis/incarnation';
import { Keyspace } from '../../src/stores/redis/keyspace';

const NODE = { nodeId: 'n', leaseMs: 15_000, ttlMs: 60_000 };

interface Call {
  readonly name: string;
  readonly isLast: boolean;
  readonly sentAt: number;
  readonly answeredAt: number;
}

/** Leases on a Redis that answers after a round trip; `graces` calls of a beat say that there is more. */
function far(roundTripMs: number, { isCluster = false, graces = 0 } = {}) {
  const clock = fakeClock();
  const keyspace = new Keyspace('p:', isCluster);
  const calls: Call[] = [];
  let left = graces;
  const later = async <T>(value: T): Promise<T> => {
    await new Promise<void>((resolve) => clock.setTimeout(resolve, roundTripMs));
    return value;
  };
  const runner = {
    isClosed: false,
    presenceKeys: undefined,
    connected: async () => undefined,
    ask: (_partition: unknown, script: Script, keys: string[]) => {
      if (script.name === 'held') return later(JSON.stringify({ done: keys.length - 1, users: [[0, 'u']] }));
      return later('1');
    },
    change: async (script: Script, _partition: unknown, build: () => { keys: string[]; args: string[] }) => {
      const { keys, args } = build();
      const sentAt = clock.now();
      if (script.name === 'beat') left -= 1;
      // The first beat makes the lease.
      const known = script.name !== 'beat' || calls.length > 0;
      const due = script.name === 'beat' && graces > 0 ? [[0, 'u']] : [];
      const answer = { known, due, more: left > 0, dead: [], sweep: [0, 0], lost: 0, log: [0, 0], done: keys.length };
      await later(undefined);
      calls.push({
        name: script.name,
        isLast: args[1] === '1',
        sentAt,
        answeredAt: clock.now(),
      });
      return answer;
    },
  };
  const dues: number[] = [];
  const news = {
    tellDue: (inMs: number) => dues.push(inMs),
    verifyLosses: () => undefined,
    inBackground: (_stage: string, work: Promise<void>) => work,
  };
  const incarnations = new Incarnations(keyspace.partitions.length);
  const maintenance = new Maintenance(
    keyspace,
    runner as never,
    incarnations,
    news as never,
    { retentionMs: 1_000, logChanges: 0, logMs: 0 },
    clock,
  );
  const timed = async (work: Promise<unknown>): Promise<number> => {
    const startedAt = clock.now();
    let isOver = false;
    const end = (): void => {
      isOver = true;
    };
    work.then(end, end);
    while (!isOver) await clock.advance(Math.max(1, roundTripMs));
    await work;
    return (clock.now() - startedAt) / Math.max(1, roundTripMs);
  };
  return { maintenance, calls, dues, timed, clock };
}

describe('the users of a router that has left or died, on a Redis far away', () => {
  it.each([false, true])('are taken away within four round trips (Cluster: %s)', async (isCluster) => {
    const { maintenance, calls, timed } = far(300, { isCluster });
    await timed(maintenance.beat(NODE, () => undefined));
    // That of the lease, those that name the users and take them away, and the one that ends the lease for good.
    expect(await timed(maintenance.release(NODE))).toBeLessThanOrEqual(4);
    const reaps = calls.filter(({ name }) => name === 'reap');
    expect(reaps).toHaveLength(isCluster ? 128 : 17);
    // The last step, for which no user may be left, comes after all other answers.
    const last = reaps.filter(({ isLast }) => isLast);
    const others = reaps.filter(({ isLast }) => !isLast);
    expect(last).toHaveLength(isCluster ? 64 : 1);
    for (const { answeredAt } of others) expect(answeredAt).toBeLessThanOrEqual(last[0]?.sentAt ?? 0);
  });
});

describe('a beat', () => {
  // With ten thousand graces it took twenty round trips, and was given up after two seconds.
  it('takes two round trips where each is long and graces have ended, and the next one follows at once', async () => {
    const { maintenance, dues, timed } = far(300, { graces: 20 });
    let answers = 0;
    const beats = [];
    for (let beat = 0; beat < 20; beat += 1) {
      beats.push(
        await timed(
          maintenance.beat(NODE, () => {
            answers += 1;
          }),
        ),
      );
    }
    expect(beats).toEqual(Array(20).fill(2));
    expect(dues).toEqual(Array(19).fill(0));
    expect(answers).toBe(20);
  });

  it('ends very many graces by itself where Redis is near', async () => {
    const { maintenance, dues, timed, calls } = far(0, { graces: 20 });
    await timed(maintenance.beat(NODE, () => undefined));
    expect(calls).toHaveLength(40);
    expect(dues).toEqual([]);
  });
});
