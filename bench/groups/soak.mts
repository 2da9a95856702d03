import { readdirSync, readFileSync } from 'node:fs';
import { median, sleep } from '../measure.mjs';
import { Clients } from '../peers/clients.mjs';
import { Entrant } from '../peers/lineup.mjs';
import type { Section } from '../report.mjs';

const USERS = 4_000;
const DASHBOARDS = 50;
const PING_MS = 10_000;
const SAMPLE_EVERY_MS = 30_000;

interface Sample {
  readonly minute: number;
  readonly heap: number;
  readonly resident: number;
  readonly handles: number;
  readonly timers: number;
  readonly keys: number;
  readonly memory: number;
}

/** Thousands of real sockets come and go on a real router, for as many minutes as were asked for. */
export async function run(quick: boolean): Promise<Section[]> {
  const minutes = quick ? 0.5 : Number(process.env['SOAK_MINUTES'] ?? 30);
  const users = quick ? 200 : USERS;
  const entrant = await Entrant.start('ours', {
    pingIntervalMs: PING_MS,
    ttlMs: PING_MS * 3,
    graceMs: 1_000,
    listens: true,
  });
  const { node, redis } = entrant;
  const { value: port } = await node.ask('listen');
  const dashboards = await Clients.start();
  await dashboards.connect({ port, from: 0, count: DASHBOARDS, kind: 'dashboard', protocol: 'ws' });
  const startedAt = Date.now();
  const minutesNow = (): number => (Date.now() - startedAt) / 60_000;
  const sample = async (): Promise<Sample> => ({
    minute: minutesNow(),
    heap: (await node.ask('heap')).value / 2 ** 20,
    resident: Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${node.pid}/status`, 'utf8'))?.[1]) / 2 ** 10,
    handles: readdirSync(`/proc/${node.pid}/fd`).length,
    timers: (await node.ask('timers')).value,
    keys: await redis.dbsize(),
    memory: Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]) / 2 ** 20,
  });

  /** Everybody comes, some leave and come back, some are cut off, and all are gone. */
  const cycle = async (): Promise<void> => {
    const [staying, leaving, dying] = await Promise.all([Clients.start(), Clients.start(), Clients.start()]);
    const part = Math.floor(users / 4);
    await staying.connect({ port, from: 0, count: part * 2, kind: 'user', protocol: 'ws' });
    await leaving.connect({ port, from: part * 2, count: part, kind: 'user', protocol: 'ws' });
    await dying.connect({ port, from: part * 3, count: part, kind: 'user', protocol: 'ws' });
    await leaving.close();
    await dying.end();
    // A second device of some.
    await leaving.connect({ port, from: 0, count: part, kind: 'user', protocol: 'ws' });
    await sleep(2_000);
    await leaving.close();
    await staying.close();
    await Promise.all([staying.end(), leaving.end()]);
    await sleep(3_000);
  };
  await cycle();
  const samples = [await sample()];
  let cycles = 1;
  for (let next = Date.now() + SAMPLE_EVERY_MS; minutesNow() < minutes; cycles += 1) {
    await cycle();
    if (Date.now() < next) continue;
    next = Date.now() + SAMPLE_EVERY_MS;
    samples.push(await sample());
  }
  samples.push(await sample());
  const { connected } = await dashboards.count();
  if (connected !== DASHBOARDS) throw new Error(`only ${connected} dashboards are left`);
  await dashboards.end();
  await entrant.end();

  const third = Math.max(1, Math.floor(samples.length / 3));
  const [early, late] = [samples.slice(0, third), samples.slice(-third)];
  const grown = (what: keyof Sample): number =>
    median(late.map((each) => each[what])) - median(early.map((each) => each[what]));
  const shown = samples.filter(
    (_, index) => index % Math.ceil(samples.length / 12) === 0 || index === samples.length - 1,
  );
  return [
    {
      id: 'soak',
      title: `A soak of ${Math.round(minutes)} minutes`,
      text: `${users.toLocaleString('en')} users come on real sockets, ${cycles} times: a quarter leaves, a quarter is cut off, a quarter gets a second device, and all are gone again; ${DASHBOARDS} dashboards watch. Each row was taken when nobody was connected but they. Redis keeps, by design, who was last seen when: the same users each time.`,
      columns: ['minute', 'heap, MiB', 'resident, MiB', 'open files', 'timers', 'Redis keys', 'Redis memory, MiB'],
      rows: shown.map(({ minute, heap, resident, handles, timers, keys, memory }) => [
        minute.toFixed(1),
        heap,
        resident,
        handles,
        timers,
        keys,
        memory,
      ]),
      figures: {
        heap: grown('heap'),
        handles: grown('handles'),
        timers: grown('timers'),
        keys: grown('keys'),
        memory: grown('memory'),
        cycles,
      },
    },
  ];
}
