import { median, sleep } from '../measure.mjs';
import { CALLED, Entrant } from '../peers/lineup.mjs';
import type { PeerName } from '../peers/node.mjs';
import type { Section } from '../report.mjs';

const PEERS: readonly PeerName[] = ['ours', 'guide', 'rivals/faye', 'rivals/metroplex', 'rivals/deepstream', 'floor'];
/** The phone's own. */
const RETURNS_AFTER_MS = 5_000;

/** A network goes down and comes back: everybody connects at once. */
export async function run(quick: boolean): Promise<Section[]> {
  const users = { from: 0, count: quick ? 2_000 : 50_000 };
  const rounds = quick ? 2 : 5;
  const entrants = await Promise.all(
    PEERS.map((name) =>
      Entrant.start(name, { graceMs: 8_000, watchesDelay: true, listens: name === 'ours' || name === 'guide' }),
    ),
  );
  type Storm = { node: number; redis: number; ms: number; delay: number };
  const storms = new Map<string, Storm[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const entrant of entrants) {
      const { ms, cpu, delayP99, redis } = await entrant.cost('join', users);
      const storm = { node: cpu / 1_000, redis: redis.cpu / 1_000, ms, delay: delayP99 };
      storms.set(entrant.name, [...(storms.get(entrant.name) ?? []), storm]);
      await entrant.node.ask('leave', users);
    }
  }
  const of = (name: string, what: keyof Storm): number => median((storms.get(name) ?? []).map((storm) => storm[what]));

  const returned = [];
  for (const entrant of entrants.slice(0, 2)) {
    await entrant.node.ask('join', users);
    await sleep(1_000);
    const before = entrant.node.changes.length;
    const lost = await entrant.cost('drop', users);
    await sleep(RETURNS_AFTER_MS);
    const back = await entrant.cost('join', users);
    await sleep(2_000);
    returned.push([
      entrant.called,
      entrant.node.changes.length - before,
      (lost.cpu + back.cpu) / 1_000,
      (lost.redis.cpu + back.redis.cpu) / 1_000,
      Math.max(lost.delayP99, back.delayP99),
    ] as const);
  }
  await Promise.all(entrants.map((entrant) => entrant.end()));
  const count = users.count.toLocaleString('en');
  return [
    {
      id: 'storm',
      title: `A storm: ${count} users connect at once`,
      text: `As fast as a router can take them, a hundred a turn of its event loop, until Redis knows all. CPU and time in milliseconds; the delay is that of the event loop, 99th percentile: how long a voice frame would have waited. Medians of ${rounds} alternating rounds.`,
      columns: ['', 'all known after, ms', 'Node CPU, ms', 'Redis CPU, ms', 'delay p99, ms'],
      rows: PEERS.map((name) => [CALLED[name], of(name, 'ms'), of(name, 'node'), of(name, 'redis'), of(name, 'delay')]),
      chart: { column: 'all known after, ms' },
      compared: {
        columns: ['all known after, ms', 'Node CPU, ms', 'Redis CPU, ms', 'delay p99, ms'],
        why: {
          [CALLED['rivals/metroplex']]: 'it writes where a connection is, and tells nobody',
          [CALLED.guide]: 'it sends each user for itself, so its work comes in smaller pieces, and takes longer in all',
          [CALLED['rivals/deepstream']]:
            'it sends each user for itself, so its work comes in smaller pieces, and takes longer in all',
        },
      },
      figures: { delay: of('ours', 'delay'), nodeVsGuide: of('guide', 'node') / of('ours', 'node') },
    },
    {
      id: 'return',
      title: `${count} phones are lost, and come back ${RETURNS_AFTER_MS / 1_000} s later`,
      text: 'As phones do, which wait for five seconds. What every dashboard is told of it, and what it costs, both ways.',
      columns: ['', 'changes told', 'Node CPU, ms', 'Redis CPU, ms', 'delay p99, ms'],
      rows: returned,
      compared: {
        columns: ['changes told', 'Node CPU, ms', 'Redis CPU, ms', 'delay p99, ms'],
        why: {
          [CALLED.guide]: 'it sends each user for itself, so its work comes in smaller pieces, and takes longer in all',
        },
      },
      figures: { changes: returned[0]?.[1] ?? Number.NaN, delay: returned[0]?.[4] ?? Number.NaN },
    },
  ];
}
