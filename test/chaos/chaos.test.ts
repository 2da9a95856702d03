import { describe, expect, it } from 'vitest';
import { programOf } from '../bundles';
import { random } from '../random';
import { PLANTED, programWith } from './planted';
import { LEASE_MS } from './protocol';
import { runChaos } from './run';
import type { Pace } from './world';

const CHAOS_MS = Number(process.env['CHAOS_MS'] ?? 50_000);
/** More than a third is too much. */
const PACE: Pace = { wellMs: 6_000, mostExcused: 0.3 };
/** With known faults in it, so that three seeds see every window. */
const PLANTED_PACE: Pace = { wellMs: 1_200, mostExcused: 1 };
const RUNS = Number(process.env['CHAOS_RUNS'] ?? 1);
/** A fault that is planted is noticed within so many seeds. */
const SEEDS = 3;
/** The last window may begin at the end, and then everything has to agree and to end. */
const ENDS_MS = CHAOS_MS + LEASE_MS * 20 + 180_000;

const first = random().seed;

/**
 * Router processes with thousands of connections on a real Redis, and faults drawn from a seed.
 * `SEED=1234 npm run chaos` replays a run: the same faults and the same phones, in the same order, however the machine
 * divides its time. `CHAOS_MS=600000` makes it longer, `CHAOS_RUNS=20` takes so many seeds in a row. `CHAOS_PLANTED=all`, or
 * a part of a name, plants known faults in the routers instead, one after the other, each of which must be noticed.
 */
const planted = process.env['CHAOS_PLANTED'];
if (planted === undefined) describe('faults from outside', everySeed);
else describe('faults that are planted', everyPlantedFault);

function everySeed(): void {
  for (let run = 0; run < RUNS; run += 1) {
    const seed = first + run;
    it(`hold no invariant up for ${CHAOS_MS} ms (seed ${seed})`, { timeout: CHAOS_MS + ENDS_MS }, async () => {
      console.log(`seed ${seed}`);
      const outcome = await runChaos(seed, { ms: CHAOS_MS, pace: PACE, program: programOf('chaos/router') });
      console.log(outcome.line);
      for (const violation of outcome.violations.slice(0, 10)) console.log(`seed ${seed}: ${violation}`);
      expect(outcome.violations, `SEED=${seed}`).toEqual([]);
      // Nothing can be wrong with what was not looked at.
      expect(outcome.shareExcused).toBeLessThan(1 / 3);
      expect(outcome.transitions).toBeGreaterThan(CHAOS_MS / 10);
      expect(outcome.compared / outcome.heard).toBeGreaterThan(1 / 2);
      expect(outcome.statuses).toBeGreaterThan(CHAOS_MS / 4);
      expect(outcome.agreements).toBeGreaterThanOrEqual(CHAOS_MS / 20_000);
      expect(outcome.asked).toBeGreaterThan(outcome.rejected);
    });
  }
}

function everyPlantedFault(): void {
  const chosen = PLANTED.filter(({ name }) => planted === 'all' || name.includes(planted as string));
  it.for(chosen)('$name: noticed', { timeout: (CHAOS_MS + ENDS_MS) * SEEDS }, async (fault) => {
    const program = await programWith(fault);
    const noticed: string[] = [];
    for (let run = 0; run < SEEDS && noticed.length === 0; run += 1) {
      const { violations } = await runChaos(first + run, { ms: CHAOS_MS, pace: PLANTED_PACE, program });
      noticed.push(...violations);
      console.log(`${fault.name}, seed ${first + run}: ${violations[0] ?? 'not noticed'}`);
    }
    expect(noticed).not.toEqual([]);
  });
}
