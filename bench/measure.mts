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

export interface Result {
  what: string;
  measured: string;
  bound: string;
  met: boolean;
}

export function print(results: readonly Result[]): void {
  console.log(`\n${process.version}, ${process.arch}`);
  console.table(results.map(({ met, ...rest }) => ({ ...rest, met: met ? 'yes' : 'NO' })));
}
