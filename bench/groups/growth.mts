import { exponent, median, memoryOf } from '../measure.mjs';
import { Entrant } from '../peers/lineup.mjs';
import type { Section } from '../report.mjs';

const JOBS = ['join', 'sign', 'statuses', 'leave'] as const;
type Job = (typeof JOBS)[number];

/** What a user costs, by job. */
interface Costs {
  /** CPU in microseconds. */
  readonly redis: number;
  readonly node: number;
  readonly floor: number;
  /** Redis CPU beside that of the floor, by rounds. */
  readonly beside: number;
  /** What Redis is made to do, and over the network, which no cache and no other process changes. */
  readonly commands: number;
  readonly bytes: number;
}
interface Growing {
  readonly costs: { readonly [job in Job]: Costs };
  /** Bytes a user online: Redis' used_memory, and the heap of the router. */
  readonly held: { readonly redis: number; readonly node: number };
}

/** Whether a user costs more where there are more users. */
export async function run(quick: boolean): Promise<Section[]> {
  const sizes = quick ? [500, 2_000] : [1_000, 10_000, 100_000, 1_000_000];
  const all: Growing[] = [];
  for (const size of sizes) all.push(await at(size));
  const grows = (job: Job, what: keyof Costs): number =>
    exponent(sizes.map((size, index) => [size, (all[index] as Growing).costs[job][what]]));
  const holds = (what: keyof Growing['held']): number =>
    exponent(sizes.map((size, index) => [size, (all[index] as Growing).held[what]]));
  const largest = (...whats: ReadonlyArray<keyof Costs>): number =>
    Math.max(...whats.flatMap((what) => JOBS.map((job) => grows(job, what))));
  const named = (what: string) => JOBS.map((job) => `${job}${what}`);
  const table = (...whats: ReadonlyArray<keyof Costs>) =>
    sizes.map((size, index): [string, ...number[]] => [
      size.toLocaleString('en'),
      ...whats.flatMap((what) => JOBS.map((job) => (all[index] as Growing).costs[job][what])),
    ]);
  return [
    {
      id: 'growth',
      title: 'What a user costs where there are more users',
      text: 'Redis CPU a user beside that of the plainest command with as many users: a pipelined SET for each who joins or gives a sign of life, one MGET for a thousand statuses, a DEL for each who leaves; in turn, medians. So many users on one router: all join, all give a sign of life, statuses are asked a thousand at a time, all leave.',
      columns: ['users', ...named(', ×')],
      rows: table('beside'),
      chart: { curves: true },
      figures: {
        exponentBeside: largest('beside'),
        exponentRedis: largest('redis'),
        exponentNode: largest('node'),
        exponentWork: largest('commands', 'bytes'),
      },
    },
    {
      id: 'work',
      title: 'What a user makes Redis do where there are more users',
      text: 'Commands that Redis runs, those within scripts too, and bytes over the network, both ways; upkeep, such as beats and the sweep, is in it.',
      columns: ['users', ...named(', commands'), ...named(', bytes')],
      rows: table('commands', 'bytes'),
      figures: {},
    },
    {
      id: 'held',
      title: 'What a user holds where there are more users',
      text: "Bytes a user online: Redis' used_memory, and the heap of the router, the least that a socket can be included.",
      columns: ['users', 'Redis, bytes', 'heap of the router, bytes'],
      rows: sizes.map((size, index): [string, number, number] => {
        const { redis, node } = (all[index] as Growing).held;
        return [size.toLocaleString('en'), redis, node];
      }),
      figures: { exponent: Math.max(holds('redis'), holds('node')) },
    },
    {
      id: 'micros',
      title: 'The same in microseconds',
      text: 'CPU a user of Redis, of Redis for the plain command, and of the router. Where there are more users less of them is in the caches of the processor, whatever is asked.',
      columns: ['users', ...named(', Redis'), ...named(', plain'), ...named(', Node')],
      rows: table('redis', 'floor', 'node'),
      figures: {},
    },
    {
      id: 'exponents',
      title: 'The exponents of these curves',
      text: 'By which the cost of a user grows with the number of users: 0 is not at all, 1 is twice as much for twice as many. Below zero it is less, for batches fill.',
      columns: ['', 'beside the plain command', 'commands', 'bytes', 'Redis', 'plain', 'Node'],
      rows: JOBS.map((job): [string, ...number[]] => [
        job,
        ...(['beside', 'commands', 'bytes', 'redis', 'floor', 'node'] as const).map((what) => grows(job, what)),
      ]),
      figures: {},
    },
  ];
}

async function at(size: number): Promise<Growing> {
  const [ours, floor] = [await Entrant.start('ours'), await Entrant.start('floor')];
  // As many users in all at each size, but for the largest.
  const rounds = Math.max(3, Math.min(15, 100_000 / size));
  for (const does of ['join', 'sign', 'leave'] as const) {
    for (const entrant of [ours, floor]) await entrant.node.ask(does, { from: 0, count: 1_000 });
  }
  const heldBy = async () => [await memoryOf(ours.redis), (await ours.node.ask('heap')).value] as const;
  const before = await heldBy();
  // None of those whom the store remembers already.
  await ours.node.ask('join', { from: 1_000, count: size });
  const after = await heldBy();
  await ours.node.ask('leave', { from: 1_000, count: size });
  const held = { redis: (after[0] - before[0]) / size, node: (after[1] - before[1]) / size };
  const all: { [job in Job]: Costs[] } = { join: [], sign: [], statuses: [], leave: [] };
  for (let round = 0; round < rounds; round += 1) {
    for (const job of JOBS) {
      const own = await costOf(ours, job, size);
      const plain = await costOf(floor, job, size);
      all[job].push({ ...own, floor: plain.redis, beside: own.redis / plain.redis });
    }
  }
  for (const entrant of [ours, floor]) await entrant.end();
  const middle = (costs: readonly Costs[]): Costs => {
    const of = (what: keyof Costs): number => median(costs.map((cost) => cost[what]));
    const [redis, node, plain] = [of('redis'), of('node'), of('floor')];
    return { redis, node, floor: plain, beside: of('beside'), commands: of('commands'), bytes: of('bytes') };
  };
  const { join, sign, statuses, leave } = all;
  return { held, costs: { join: middle(join), sign: middle(sign), statuses: middle(statuses), leave: middle(leave) } };
}

async function costOf(entrant: Entrant, job: Job, size: number): Promise<Omit<Costs, 'floor' | 'beside'>> {
  const asked = job === 'statuses' ? Math.min(size, 20_000) : size;
  const step = job === 'statuses' ? 1_000 : size;
  let [redis, node, commands, bytes] = [0, 0, 0, 0];
  for (let done = 0; done < asked; done += step) {
    const from = job === 'statuses' ? (done * 37) % size : 0;
    const cost = await entrant.cost(job, { from, count: Math.min(step, size) });
    redis += cost.redis.cpu;
    node += cost.cpu;
    commands += cost.redis.commands;
    bytes += cost.redis.bytes;
  }
  const of = (sum: number): number => sum / asked;
  return { redis: of(redis), node: of(node), commands: of(commands), bytes: of(bytes) };
}
