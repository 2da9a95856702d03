import { Cluster, Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { random } from '../random';
import { RedisCluster } from './cluster';
import { LOST_SETS, type LostSet, PartialLoss, type Server } from './partial-loss';
import { RedisServer } from './server';
import { sleep } from './wait';

// `SEED=7 npx vitest run test/redis/partial-loss` replays the fleets of a run, as far as Redis takes the same time;
// `LOSSES=400 LOSSES_ON_CLUSTER=20 ...` draws more of them.
const SINGLE = Number(process.env['LOSSES'] ?? LOST_SETS.length);
const ON_CLUSTER = Number(process.env['LOSSES_ON_CLUSTER'] ?? 3);
const AT_ONCE = Number(process.env['LOSSES_AT_ONCE'] ?? LOST_SETS.length);
const ONLY = process.env['LOSSES_ONLY'];

async function single(): Promise<Server> {
  const server = await RedisServer.start();
  const admin = new Redis({ port: server.port });
  return {
    partitions: 1,
    admin,
    connect: () => new Redis({ port: server.port }),
    keys: (pattern) => admin.keys(pattern),
    async end() {
      admin.disconnect();
      await server.remove();
    },
  };
}

async function clustered(): Promise<Server> {
  const servers = await RedisCluster.start();
  const admin = new Cluster(servers.nodes);
  return {
    partitions: 64,
    admin,
    connect: () => new Cluster(servers.nodes),
    async keys(pattern) {
      const found = await Promise.all(admin.nodes('master').map((master) => master.keys(pattern)));
      return found.flat();
    },
    async end() {
      admin.disconnect();
      await servers.remove();
    },
  };
}

/** One fleet. Where the machine was too busy for its leases, the same happens to one with leases twice as long. */
async function tried(server: Server, sets: readonly LostSet[], number: number): Promise<PartialLoss> {
  for (let leaseMs = 1_000; ; leaseMs *= 2) {
    const lost = sets[number % sets.length] as LostSet;
    const fleet = new PartialLoss(server, lost, number, `s${number}-${leaseMs}:`, leaseMs);
    await fleet.run();
    if (fleet.problems.length === 0 || !fleet.wasTooSlow || leaseMs >= 16_000) return fleet;
    console.log(`too busy for leases of ${leaseMs} ms: ${fleet.problems[0]}`);
  }
}

async function lose(server: Server, seed: number, runs: number, atOnce: number): Promise<void> {
  const sets = LOST_SETS.filter(({ name }) => ONLY === undefined || name === ONLY);
  const problems: string[] = [];
  let compared = 0;
  for (let first = 0; first < runs; first += atOnce) {
    const count = Math.min(atOnce, runs - first);
    await Promise.all(
      Array.from({ length: count }, async (_, index) => {
        // Not all at once: they would be slow, and late.
        await sleep(index * 50);
        const fleet = await tried(server, sets, seed + first + index);
        compared += fleet.compared;
        problems.push(...fleet.problems);
        if (fleet.problems.length > 0) console.log(fleet.problems.join('\n'));
      }),
    );
    if (runs > atOnce) console.log(`${first + count} fleets, ${problems.length} lines of problems`);
  }
  await server.end();
  console.log(`${runs} fleets, ${compared} statuses and changes were as they should be, or not`);
  expect(problems).toEqual([]);
  expect(compared).toBeGreaterThan(runs * 50);
}

it.concurrent.for([
  { name: 'on one server', start: single, runs: SINGLE, atOnce: AT_ONCE },
  { name: 'on a Cluster', start: clustered, runs: ON_CLUSTER, atOnce: 3 },
])(
  'whatever keys are lost, and whatever happens meanwhile: everybody is right within a dozen leases, and told once, $name',
  { timeout: 3_600_000 },
  async ({ start, runs, atOnce }) => {
    const { seed } = random();
    console.log(`seed ${seed}`);
    await lose(await start(), seed, runs, atOnce);
  },
);
