import { afterEach, describe, expect, it } from 'vitest';
import { CALLED, Entrant } from '../../bench/peers/lineup.mjs';
import type { PeerName } from '../../bench/peers/node.mjs';
import { until } from '../redis/wait';

// A figure is worth nothing where the job was not done. Those that the bench installs for itself are checked by its own runs.

const entrants: Entrant[] = [];
afterEach(async () => {
  await Promise.all(entrants.splice(0).map((entrant) => entrant.end()));
});

async function start(name: PeerName): Promise<Entrant> {
  const entrant = await Entrant.start(name, { listens: true });
  entrants.push(entrant);
  return entrant;
}

const online = async ({ node }: Entrant, from: number, count: number): Promise<number> =>
  (await node.ask('statuses', { from, count })).value;

describe.each(['ours', 'guide', 'floor'] as const)('%s', (name) => {
  it('users join, give a sign of life and leave, and all of it is in Redis by then', async () => {
    const entrant = await start(name);
    await entrant.node.ask('join', { from: 0, count: 50 });
    expect(await entrant.redis.exists('presence:user:acme_u49')).toBe(1);
    expect([await online(entrant, 0, 50), await online(entrant, 50, 50)]).toEqual([50, 0]);
    const endsAt = async (): Promise<number> =>
      Number(await entrant.redis.call('PEXPIRETIME', 'presence:user:acme_u0'));
    const before = await endsAt();
    const left = (): Promise<number> => entrant.redis.pttl('presence:user:acme_u0');
    await until('a little time has gone by', async () => (await left()) < 359_500);
    const { redis, cpu } = await entrant.cost('sign', { from: 0, count: 50 });
    expect(await endsAt()).toBeGreaterThan(before);
    expect([redis.reads > 0, cpu > 0]).toEqual([true, true]);
    await entrant.node.ask('leave', { from: 0, count: 20 });
    expect(await entrant.redis.exists('presence:user:acme_u19', 'presence:user:acme_u20')).toBe(1);
    expect([await online(entrant, 0, 20), await online(entrant, 20, 30)]).toEqual([0, 30]);
  });
});

describe.each(['ours', 'guide'] as const)('%s', (name) => {
  it('another router is told of each change', async () => {
    const entrant = await start(name);
    const other = await entrant.add({ listens: false });
    await other.ask('join', { from: 0, count: 30 });
    await other.ask('leave', { from: 0, count: 10 });
    await until('all is told', () => entrant.node.changes.length >= 40);
    const came = entrant.node.changes.filter(([, isOnline]) => isOnline).map(([userId]) => userId);
    const left = entrant.node.changes.filter(([, isOnline]) => !isOnline).map(([userId]) => userId);
    expect([new Set(came).size, new Set(left).size, entrant.node.changes.length]).toEqual([30, 10, 40]);
  });
});

it('each peer of the report has a name', () => {
  expect(new Set(Object.values(CALLED)).size).toBe(Object.keys(CALLED).length);
});
