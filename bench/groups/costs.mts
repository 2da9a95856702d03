import { Agent, request } from 'node:http';
import { Redis } from 'ioredis';
import { doneDuring, logBytes, median, memoryOf, sleep } from '../measure.mjs';
import { CALLED, Entrant } from '../peers/lineup.mjs';
import type { PeerName } from '../peers/node.mjs';
import { BURST } from '../peers/peer.mjs';
import type { Section } from '../report.mjs';

const PEERS: readonly PeerName[] = [
  'ours',
  'guide',
  'rivals/fork',
  'rivals/faye',
  'rivals/metroplex',
  'rivals/deepstream',
  'floor',
];
/** Those that can take a burst. */
const BURST_PEERS = PEERS.slice(0, 3);
const JOBS = ['sign', 'leave', 'join'] as const;
const ASKED = [100, 1_000, 10_000];
/** Ids from here on nobody has. */
const NOBODY = 1e9;

/** What the others leave out, where they are ahead. */
const WHY = {
  [CALLED['rivals/deepstream']]:
    'it keeps nothing in Redis; each node holds a copy of everybody in its heap, knows of no last seen, and has to be told all anew when it starts',
  [CALLED['rivals/metroplex']]:
    'it writes where a connection is, and nothing else: no last seen, no order of changes, no event for anybody, and a second connection of a user is another one',
  [CALLED['rivals/faye']]:
    'it keeps one time a client, and no status of those who have left; those who come are told to nobody',
  [CALLED['rivals/fork']]: 'as the guide',
  [CALLED.guide]: 'it keeps no record of a user who is connected but that of the socket itself, and numbers no change',
};

/** What a user costs Redis and Node: a sign of life, a join, a leave, a status, a place in memory. */
export async function run(quick: boolean): Promise<Section[]> {
  const [users, some, rounds] = quick ? [4_000, 2_000, 3] : [100_000, 20_000, 9];
  const entrants = await Promise.all(PEERS.map((name) => Entrant.start(name)));
  const sections = [
    await memory(entrants, users),
    ...(await jobs(entrants, users, some, rounds)),
    await bursts(entrants, users, some, rounds),
    await statuses(entrants, users, Math.min(rounds, 5)),
    await blocked(entrants, users),
  ];
  await Promise.all(entrants.map((entrant) => entrant.end()));
  return sections;
}

/** Joins everybody. */
async function memory(entrants: readonly Entrant[], count: number): Promise<Section> {
  const rows = [];
  for (const { called, node, redis } of entrants) {
    // So that what is loaded only once is loaded.
    for (const does of ['join', 'sign', 'statuses', 'leave'] as const) await node.ask(does, { from: 0, count: 1_000 });
    const [before, heapBefore] = [await memoryOf(redis), (await node.ask('heap')).value];
    await node.ask('join', { from: 1_000, count });
    const bytes = ((await memoryOf(redis)) - before) / count;
    const heap = ((await node.ask('heap')).value - heapBefore) / count;
    await node.ask('leave', { from: 1_000, count });
    // Tables shrink in the background.
    await sleep(1_000);
    const remembered = ((await memoryOf(redis)) - before) / count;
    await node.ask('join', { from: 1_000, count });
    rows.push([called, bytes, remembered, heap, (await logBytes(redis)) / (await logged(redis))] as const);
  }
  const [ours, guide] = rows as [(typeof rows)[number], (typeof rows)[number]];
  return {
    id: 'memory',
    title: 'Memory a user',
    text: `Redis' used_memory and the heap of the router before and after ${count.toLocaleString('en')} users connect, and after all have left; without the log of changes, which has a column of its own. The heap holds the socket too, the least that one can be.`,
    columns: [
      '',
      'Redis: a user online, bytes',
      'Redis: a user who has left, bytes',
      'heap of the router, bytes',
      'Redis: a change in the log, bytes',
    ],
    rows,
    chart: { column: 'Redis: a user online, bytes' },
    compared: {
      columns: ['Redis: a user online, bytes', 'Redis: a user who has left, bytes', 'heap of the router, bytes'],
      why: WHY,
    },
    figures: { online: ours[1], remembered: ours[2], log: ours[4] ?? Number.NaN, vsGuide: ours[1] / guide[1] },
  };
}

/** How many changes stand in our log. */
async function logged(redis: Redis): Promise<number> {
  const entries = await redis.xrange('presence:log:{0}', '-', '+');
  return entries.reduce((sum, [, fields]) => sum + JSON.parse(fields[1] as string).u.length, 0);
}

async function jobs(entrants: readonly Entrant[], users: number, some: number, rounds: number): Promise<Section[]> {
  // Ours gathers signs of life for a second, in which Redis does what it does anyway: the more there are, the less of it is each.
  const counts = { sign: users, leave: some, join: some };
  const all = new Map<string, Array<{ redis: number; node: number; reads: number; bytes: number }>>();
  for (let round = 0; round < rounds; round += 1) {
    for (const job of JOBS) {
      const count = counts[job];
      for (const entrant of entrants) {
        const { cpu, redis } = await entrant.cost(job, { from: 1_000, count });
        const costs = all.get(`${job} ${entrant.name}`) ?? [];
        costs.push({
          redis: redis.cpu / count,
          node: cpu / count,
          reads: redis.reads / count,
          bytes: redis.bytes / count,
        });
        all.set(`${job} ${entrant.name}`, costs);
      }
    }
  }
  const titles = { sign: 'A sign of life', leave: 'A user leaves', join: 'A user joins' };
  return JOBS.map((job): Section => {
    const of = (name: string, what: 'redis' | 'node' | 'reads' | 'bytes') =>
      (all.get(`${job} ${name}`) ?? []).map((cost) => cost[what]);
    const vs = (name: string, what: 'redis' | 'node') =>
      median(of(name, what).map((cost, round) => cost / (of('ours', what)[round] as number)));
    const middle = (name: string, what: 'redis' | 'node' | 'reads' | 'bytes') => median(of(name, what));
    return {
      id: job,
      title: titles[job],
      text: `${counts[job].toLocaleString('en')} users, ${job === 'sign' ? 'ten' : 'a hundred'} a turn of the event loop; medians of ${rounds} alternating rounds, a Redis and a process each. "Reads" is how often Redis read from a socket: what was sent together is read together.`,
      columns: ['', 'Redis CPU, µs', '× ours', 'Node CPU, µs', '× ours ', 'reads a user', 'bytes a user'],
      rows: entrants.map(({ name, called }) => [
        called,
        middle(name, 'redis'),
        vs(name, 'redis'),
        middle(name, 'node'),
        vs(name, 'node'),
        middle(name, 'reads'),
        middle(name, 'bytes'),
      ]),
      chart: { column: 'Redis CPU, µs' },
      compared: { columns: ['Redis CPU, µs', 'Node CPU, µs', 'reads a user', 'bytes a user'], why: WHY },
      figures: {
        redis: middle('ours', 'redis'),
        node: middle('ours', 'node'),
        reads: middle('ours', 'reads'),
        redisVsGuide: vs('guide', 'redis'),
        nodeVsGuide: vs('guide', 'node'),
        redisVsFork: vs('rivals/fork', 'redis'),
        nodeVsFork: vs('rivals/fork', 'node'),
        redisVsFloor: 1 / vs('floor', 'redis'),
      },
    };
  });
}

/** The same jobs where all that has piled up comes in one turn of the event loop, which is where a client that queues is at its best. */
async function bursts(entrants: readonly Entrant[], users: number, some: number, rounds: number): Promise<Section> {
  const counts = { sign: users, leave: some, join: some };
  const burstOf = { sign: 'signBurst', leave: 'leaveBurst', join: 'joinBurst' } as const;
  const all = new Map<string, Array<{ redis: number; node: number }>>();
  const racers = entrants.filter(({ name }) => BURST_PEERS.includes(name));
  for (let round = 0; round < rounds; round += 1) {
    for (const job of JOBS) {
      for (const entrant of racers) {
        const { cpu, redis } = await entrant.cost(burstOf[job], { from: 1_000, count: counts[job] });
        const costs = all.get(`${job} ${entrant.name}`) ?? [];
        costs.push({ redis: redis.cpu / counts[job], node: cpu / counts[job] });
        all.set(`${job} ${entrant.name}`, costs);
      }
    }
  }
  const of = (job: string, name: string, what: 'redis' | 'node') =>
    (all.get(`${job} ${name}`) ?? []).map((cost) => cost[what]);
  const vs = (job: string, name: string, what: 'redis' | 'node') =>
    median(of(job, name, what).map((cost, round) => cost / (of(job, 'ours', what)[round] as number)));
  return {
    id: 'bursts',
    title: 'The same in bursts',
    text: `${BURST.toLocaleString('en')} a turn of the event loop; CPU a user in microseconds, medians of ${rounds} alternating rounds.`,
    columns: ['', ...JOBS.flatMap((job) => [`${job}, Redis`, `${job}, Node`])],
    rows: racers.map(({ name, called }) => [
      called,
      ...JOBS.flatMap((job) => [median(of(job, name, 'redis')), median(of(job, name, 'node'))]),
    ]),
    figures: Object.fromEntries(
      JOBS.flatMap((job) =>
        (['Guide', 'Fork'] as const).flatMap((peer) => {
          const name = peer === 'Fork' ? 'rivals/fork' : 'guide';
          return [
            [`${job}RedisVs${peer}`, vs(job, name, 'redis')],
            [`${job}NodeVs${peer}`, vs(job, name, 'node')],
          ];
        }),
      ),
    ),
  };
}

async function statuses(entrants: readonly Entrant[], users: number, rounds: number): Promise<Section> {
  const agent = new Agent({ keepAlive: true });
  const ports = new Map<string, number>();
  for (const { name, node } of entrants) {
    if (name === 'ours' || name === 'guide') ports.set(name, (await node.ask('serve')).value);
  }
  const asked = ASKED.filter((count) => count <= users);
  const times = new Map<string, number[]>();
  const note = (what: string, ms: number) => times.set(what, [...(times.get(what) ?? []), ms]);
  /** Again and again for a while: what one takes, in milliseconds, and how much of Redis' CPU. */
  const repeat = async (entrant: Entrant, what: string, run: (turn: number) => Promise<number>): Promise<void> => {
    let [ms, times] = [0, 0];
    const { cpu } = await doneDuring(entrant.redis, async () => {
      for (const end = performance.now() + 150; times === 0 || performance.now() < end; times += 1)
        ms += await run(times);
    });
    note(`${entrant.name} ${what}`, ms / times);
    note(`${entrant.name} ${what} redis`, cpu / 1_000 / times);
  };
  for (let round = 0; round < rounds; round += 1) {
    for (const count of asked) {
      for (const entrant of entrants) {
        const { name, node } = entrant;
        const fromOf = (turn: number): number => 1_000 + ((turn * count * 7) % (users - count + 1));
        const port = ports.get(name);
        await repeat(entrant, `online ${count}`, async (turn) => {
          return (await expectOnline(node.ask('statuses', { from: fromOf(turn), count }), count)).ms;
        });
        await repeat(entrant, `half ${count}`, async (turn) => {
          const from = fromOf(turn);
          return (await expectOnline(node.ask('half', { from, count }), Math.ceil(count / 2))).ms;
        });
        await repeat(entrant, `unseen ${count}`, async () => {
          return (await expectOnline(node.ask('statuses', { from: NOBODY, count }), 0)).ms;
        });
        if (port !== undefined)
          await repeat(entrant, `http ${count}`, (turn) => post(agent, port, fromOf(turn), count));
      }
    }
  }
  agent.destroy();
  const middle = (what: string) => median(times.get(what) ?? []);
  const ratio = (a: string, b: string) =>
    median((times.get(a) ?? []).map((ms, round) => ms / (times.get(b)?.[round] as number)));
  return {
    id: 'statuses',
    title: 'Statuses in bulk',
    text: `How long one query takes, in milliseconds, of ${asked.map(shownCount).join(', ')} ids: all of them online, directly and over HTTP; and none of them ever seen. Medians of ${rounds} alternating rounds. The floor is one MGET, whose values nobody looks at.`,
    columns: [
      '',
      ...asked.flatMap((count) => [
        `${shownCount(count)} ids`,
        `${shownCount(count)} by HTTP`,
        `${shownCount(count)} half unseen`,
        `${shownCount(count)} unseen`,
      ]),
      '1,000 ids, Redis CPU',
    ],
    rows: entrants.map(({ name, called }) => [
      called,
      ...asked.flatMap((count) => [
        middle(`${name} online ${count}`),
        ports.has(name) ? middle(`${name} http ${count}`) : undefined,
        middle(`${name} half ${count}`),
        middle(`${name} unseen ${count}`),
      ]),
      middle(`${name} online 1000 redis`),
    ]),
    chart: { column: '1,000 ids' },
    compared: {
      columns: asked.flatMap((count) => [
        `${shownCount(count)} ids`,
        `${shownCount(count)} by HTTP`,
        `${shownCount(count)} unseen`,
      ]),
      why: WHY,
    },
    figures: {
      vsFork: ratio('rivals/fork online 1000', 'ours online 1000'),
      directVsGuide: ratio('guide online 1000', 'ours online 1000'),
      httpVsGuide: ratio('guide http 1000', 'ours http 1000'),
      redisVsMget: ratio('ours online 1000 redis', 'floor online 1000 redis'),
      vsMget: ratio('ours online 1000', 'floor online 1000'),
      unseenVsMget: ratio('ours unseen 1000', 'floor online 1000'),
      halfVsMget: ratio('ours half 1000', 'floor online 1000'),
    },
  };
}

const shownCount = (count: number): string => count.toLocaleString('en');

async function expectOnline<T extends { readonly value: number }>(answer: Promise<T>, online: number): Promise<T> {
  const measured = await answer;
  if (measured.value !== online) throw new Error(`${measured.value} of ${online} are online`);
  return measured;
}

function post(agent: Agent, port: number, from: number, count: number): Promise<number> {
  const userIds = Array.from({ length: count }, (_, index) => `acme_u${from + index}`);
  const body = JSON.stringify({ userIds });
  const startedAt = performance.now();
  return new Promise((resolve, reject) => {
    const options = { agent, port, host: '127.0.0.1', method: 'POST', path: '/api/presence/status' };
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    request({ ...options, headers }, (response) => {
      response.resume();
      response.once('end', () => {
        if (response.statusCode === 200) resolve(performance.now() - startedAt);
        else reject(new Error(`status ${response.statusCode}`));
      });
    })
      .once('error', reject)
      .end(body);
  });
}

/** While one asks for very many, others wait. */
async function blocked(entrants: readonly Entrant[], users: number): Promise<Section> {
  const count = Math.min(10_000, users);
  const rows: Array<[string, number, number]> = [];
  for (const { called, node, server, redis } of entrants) {
    const other = new Redis({ port: server.port });
    await other.ping();
    await redis.config('SET', 'slowlog-log-slower-than', 0);
    const waits: number[] = [];
    const longest: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      await redis.slowlog('RESET');
      let isAnswered = false;
      let wait = 0;
      const query = node.ask('statuses', { from: 1_000, count }).then(() => {
        isAnswered = true;
      });
      while (!isAnswered) {
        const startedAt = performance.now();
        await other.ping();
        wait = Math.max(wait, performance.now() - startedAt);
      }
      await query;
      waits.push(wait);
      const slow = (await redis.slowlog('GET', 128)) as unknown as Array<[number, number, number, string[]]>;
      longest.push(
        Math.max(...slow.filter(([, , , [command]]) => command !== 'slowlog').map(([, , micros]) => micros / 1_000)),
      );
    }
    other.disconnect();
    rows.push([called, median(waits), median(longest)]);
  }
  return {
    id: 'blocked',
    title: 'Others wait while one asks for very many',
    text: `One query of ${count.toLocaleString('en')} ids; the longest that a PING of another client takes meanwhile, and the longest single command by SLOWLOG, in milliseconds.`,
    columns: ['', 'longest PING, ms', 'longest command, ms'],
    rows,
    compared: { columns: ['longest PING, ms'], why: WHY },
    figures: { ping: rows[0]?.[1] ?? Number.NaN, command: rows[0]?.[2] ?? Number.NaN },
  };
}
