import { exponent, median } from '../measure.mjs';
import { Entrant } from '../peers/lineup.mjs';
import type { Section } from '../report.mjs';

/** Whether a user costs more where there are more users. */
export async function run(quick: boolean): Promise<Section[]> {
  const sizes = quick ? [500, 2_000] : [1_000, 10_000, 100_000, 1_000_000];
  const jobs = ['join', 'sign', 'statuses', 'leave'] as const;
  const costs: Array<{ [what: string]: number }> = [];
  for (const size of sizes) costs.push(await at(size));
  const whats = jobs.flatMap((job) => [`${job}, Redis`, `${job}, Node`]);
  const exponents = whats.map((what) => exponent(sizes.map((size, index) => [size, costs[index]?.[what] as number])));
  return [
    {
      id: 'growth',
      title: 'What a user costs where there are more users',
      text: `CPU in microseconds a user, of Redis and of the router, with so many users on one router: all join, all give a sign of life, the statuses of all are asked a thousand at a time, all leave. The last row is the exponent by which the cost of a user grows with their number: 0 is not at all, 1 is twice as much for twice as many.`,
      columns: ['users', ...whats],
      rows: [
        ...sizes.map((size, index): [string, ...number[]] => [
          size.toLocaleString('en'),
          ...whats.map((what) => costs[index]?.[what] as number),
        ]),
      ],
      chart: { curves: true },
      figures: { exponent: Math.max(...exponents) },
    },
    {
      id: 'exponents',
      title: 'The exponents of these curves',
      text: 'Over all sizes. Above zero a user costs more where there are more; below, less, for batches fill.',
      columns: ['', 'exponent'],
      rows: whats.map((what, index) => [what, exponents[index]]),
      figures: {},
    },
  ];
}

async function at(size: number): Promise<{ [what: string]: number }> {
  const entrant = await Entrant.start('ours');
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
