import type { Redis } from 'ioredis';

/** The middle of some figures. */
export function median(figures: readonly number[]): number {
  const sorted = figures.slice().sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

/** CPU of this process, user and system, in microseconds, that `run` takes. */
export async function cpuOf(run: () => unknown): Promise<number> {
  const before = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/** Runs two in turn, so that what the machine does meanwhile meets both; the medians of both. */
export async function inTurn(
  rounds: number,
  a: () => Promise<number>,
  b: () => Promise<number>,
): Promise<{ a: number; b: number; ratio: number }> {
  const as: number[] = [];
  const bs: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    as.push(await a());
    bs.push(await b());
  }
  const ratios = as.map((figure, index) => figure / (bs[index] ?? Number.NaN));
  return { a: median(as), b: median(bs), ratio: median(ratios) };
}

export function usedHeap(): number {
  if (global.gc === undefined) throw new Error('run with --expose-gc');
  for (let times = 0; times < 5; times += 1) global.gc();
  return process.memoryUsage().heapUsed;
}

/** How a cost grows: the exponent `e` of the line `cost = c × size ^ e` that fits best. */
export function exponent(points: ReadonlyArray<readonly [size: number, cost: number]>): number {
  const logs = points.map(([size, cost]) => [Math.log(size), Math.log(cost)] as const);
  const mean = (at: 0 | 1) => logs.reduce((sum, point) => sum + point[at], 0) / logs.length;
  const [x, y] = [mean(0), mean(1)];
  const above = logs.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0);
  return above / logs.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
}

/** What a redis-server has done so far. */
export interface Done {
  /** CPU of the server, user and system, in microseconds. */
  readonly cpu: number;
  /** How often it read from a socket: what was sent together is read at once. */
  readonly reads: number;
  /** Over the network, both ways. */
  readonly bytes: number;
  /** Those that scripts call, too. */
  readonly commands: number;
}

export async function doneBy(redis: Redis): Promise<Done> {
  const info = await redis.info('everything');
  const figure = (name: string): number => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1]);
  return {
    cpu: (figure('used_cpu_user') + figure('used_cpu_sys')) * 1e6,
    reads: figure('total_reads_processed'),
    bytes: figure('total_net_input_bytes') + figure('total_net_output_bytes'),
    commands: figure('total_commands_processed'),
  };
}

/** What `run` makes a redis-server do, less what asking for it does. */
export async function doneDuring(redis: Redis, run: () => Promise<unknown>): Promise<Done> {
  const first = await doneBy(redis);
  const second = await doneBy(redis);
  await run();
  const third = await doneBy(redis);
  const between = (name: keyof Done) => third[name] - second[name] - (second[name] - first[name]);
  const cpu = Math.max(0, between('cpu'));
  return { cpu, reads: between('reads'), bytes: between('bytes'), commands: between('commands') };
}

/** Bytes that a redis-server holds, without what it remembers of slow commands, and without our log of changes. */
export async function memoryOf(redis: Redis): Promise<number> {
  await redis.slowlog('RESET');
  return Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]) - (await logBytes(redis));
}

/** Bytes of our log of changes. */
export async function logBytes(redis: Redis): Promise<number> {
  return Number((await redis.memory('USAGE', 'presence:log:{0}', 'SAMPLES', 0)) ?? 0);
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
