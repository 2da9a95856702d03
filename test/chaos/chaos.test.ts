import { expect, it } from 'vitest';
import { random } from '../random';
import { ChaosWorld } from './world';

const CHAOS_MS = Number(process.env['CHAOS_MS'] ?? 40_000);
const RUNS = Number(process.env['CHAOS_RUNS'] ?? 1);
/** Code that was compiled since, and the last version told of some thousands of users. */
const HEAP_TOLERANCE = 8 * 2 ** 20;

const first = random().seed;

/**
 * Router processes with thousands of connections on a real Redis, and faults drawn from a seed.
 * `SEED=1234 npx vitest run test/chaos` replays a run: the same faults and the same phones, in the same order, however
 * the machine divides its time. `CHAOS_MS=600000` makes it longer, `CHAOS_RUNS=20` takes so many seeds in a row.
 */
for (let run = 0; run < RUNS; run += 1) {
  const seed = first + run;
  it(
    `holds every invariant through ${CHAOS_MS} ms of faults (seed ${seed})`,
    async () => {
      console.log(`seed ${seed}`);
      const world = await ChaosWorld.start(seed);
      try {
        await world.rage(CHAOS_MS);
        if (world.violations.length === 0) await world.calmDown();
        if (world.violations.length === 0) await world.assertEndings();
        const memory = world.violations.length === 0 ? await world.assertMemory(HEAP_TOLERANCE) : [];
        if (world.violations.length === 0) await world.assertNothingLeft();
        console.log(
          `seed ${seed}: ${world.operations} operations, ${world.channels.history.length} transitions, ` +
            `${world.compared} compared with what a router told, ${world.queried} statuses asked all along, ` +
            `${world.violations.length} violations\n` +
            `faults: ${shown(world.faultCounts)}\nerrors reported: ${shown(world.errors)}\nmemory: ${memory.join(', ')}`,
        );
        for (const violation of world.violations.slice(0, 10)) console.log(`seed ${seed}: ${violation}`);
      } finally {
        await world.end();
      }
      expect(world.violations, `SEED=${seed}`).toEqual([]);
      expect(world.channels.history.length).toBeGreaterThan(CHAOS_MS / 2);
    },
    CHAOS_MS * 2 + 240_000,
  );
}

function shown(counts: ReadonlyMap<string, number>): string {
  return Array.from(counts, ([name, count]) => `${name} ${count}`)
    .sort()
    .join(', ');
}
