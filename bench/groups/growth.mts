import { exponent, median } from '../measure.mjs';
import { Entrant } from '../peers/lineup.mjs';
import type { Section } from '../report.mjs';

const JOBS = ['join', 'sign', 'statuses', 'leave'] as const;

/** Whether a user costs more where there are more users. */
export async function run(quick: boolean): Promise<Section[]> {
  const sizes = quick ? [500, 2_000] : [1_000, 10_000, 100_000, 1_000_000];
  const ours: Array<{ [what: string]: number }> = [];
  const floor: Array<{ [what: string]: number }> = [];
  for (const size of sizes) {
    ours.push(await at('ours', size));
    floor.push(await at('floor', size));
  }
  const redis = JOBS.map((job) => `${job}, Redis`);
  const node = JOBS.map((job) => `${job}, Node`);
  const grows = (costs: typeof ours, what: string): number =>
    exponent(sizes.map((size, index) => [size, costs[index]?.[what] as number]));
  const table = (costs: typeof ours, whats: string[]) =>
    sizes.map((size, index): [string, ...number[]] => [
      size.toLocaleString('en'),
      ...whats.map((what) => costs[index]?.[what] as number),
    ]);
  return [
    {
      id: 'growth',
      title: 'What a user costs where there are more users',
      text: 'CPU in microseconds a user, of Redis and of the router, with so many users on one router: all join, all give a sign of life, the statuses of all are asked a thousand at a time, all leave.',
      columns: ['users', ...redis, ...node],
      rows: table(ours, redis.concat(node)),
      chart: { curves: true },
      figures: {
        exponentRedis: Math.max(...redis.map((what) => grows(ours, what))),
        // A server that holds more finds less of it in the caches of its processor, whatever it is asked.
        beyondFloor: Math.max(...redis.map((what) => grows(ours, what) - grows(floor, what))),
        exponentNode: Math.max(...node.map((what) => grows(ours, what))),
      },
    },
    {
      id: 'floors',
      title: 'The same of the floor',
      text: 'A pipelined SET for each who joins or gives a sign of life, one MGET for a thousand statuses, a DEL for each who leaves: what Redis itself costs more where it holds more. CPU of Redis in microseconds a user.',
      columns: ['users', ...redis],
      rows: table(floor, redis),
      figures: {},
    },
    {
      id: 'exponents',
      title: 'The exponents of these curves',
      text: 'By which the cost of a user grows with the number of users: 0 is not at all, 1 is twice as much for twice as many. Below zero it is less, for batches fill.',
      columns: ['', 'exponent', 'of the floor'],
      rows: redis
        .concat(node)
        .map((what) => [what, grows(ours, what), redis.includes(what) ? grows(floor, what) : undefined]),
      figures: {},
    },
  ];
}

async function at(name: 'ours' | 'floor', size: number): Promise<{ [what: string]: number }> {
  const entrant = await Entrant.start(name);
  // As many users in all at each size, but for the largest.
  const rounds = Math.max(2, Math.min(15, 100_000 / size));
  const users = { from: 0, count: size };
  for (const does of ['join', 'sign', 'leave'] as const) await entrant.node.ask(does, { from: 0, count: 1_000 });
  const all = new Map<string, number[]>();
  const note = (what: string, value: number) => all.set(what, [...(all.get(what) ?? []), value]);
  for (let round = 0; round < rounds; round += 1) {
    for (const does of ['join', 'sign', 'statuses', 'leave'] as const) {
      if (does === 'statuses') {
        let [redis, node, asked] = [0, 0, 0];
        for (; asked < Math.min(size, 20_000); asked += 1_000) {
          const from = (asked * 37) % size;
          const cost = await entrant.cost(does, { from, count: 1_000 });
          redis += cost.redis.cpu;
          node += cost.cpu;
        }
        note('statuses, Redis', redis / asked);
        note('statuses, Node', node / asked);
        continue;
      }
      const cost = await entrant.cost(does, users);
      note(`${does}, Redis`, cost.redis.cpu / size);
      note(`${does}, Node`, cost.cpu / size);
    }
  }
  await entrant.end();
  return Object.fromEntries(Array.from(all, ([what, values]) => [what, median(values)]));
}
