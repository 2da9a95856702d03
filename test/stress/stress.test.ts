import { expect, it } from 'vitest';
import { random } from '../random';
import { StressWorld } from './world';

const OPERATIONS = Number(process.env['STRESS_OPERATIONS'] ?? 120_000);

/**
 * Routers that crash, stall and shut down; phones that come, close, drop and freeze; all drawn from a seed.
 * `SEED=1234 npx vitest run test/stress` replays a run; `STRESS_OPERATIONS=1000000` makes it longer.
 */
it(`holds every invariant through ${OPERATIONS} random operations with crashes, stalls and grace`, async () => {
  const dice = random();
  console.log(`seed ${dice.seed}`);
  const world = new StressWorld(dice, 60);
  const fail = (message: string) => expect.fail(`${message} (operation ${world.operations}, SEED=${dice.seed})`);
  for (let count = 0; count < 4; count += 1) await world.start();

  while (world.operations < OPERATIONS) {
    await world.step();
    if (world.errors.length > 0) fail(String(world.errors[0]));
    if (world.operations % 50 === 0) await world.assertQueries(fail);
    if (world.operations % 20_000 === 0) {
      await world.calm();
      await world.assertSettled(fail);
      world.assertHistory(fail);
    }
  }
  await world.calm();
  await world.assertSettled(fail);
  world.assertHistory(fail);
  expect(world.errors).toEqual([]);
  console.log(`${world.operations} operations, ${world.log.length} transitions`);
  expect(world.log.length).toBeGreaterThan(OPERATIONS / 10);
  for (const reason of ['connect', 'disconnect', 'timeout', 'node-down', 'resync']) {
    expect(world.log.some((update) => update.reason === reason)).toBe(true);
  }

  await world.end();
  expect(world.clock.timers).toBe(0);
}, 300_000);
