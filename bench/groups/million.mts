import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import * as scripts from '../../src/stores/redis/lua/scripts.generated';
import { type Done, doneDuring, sleep } from '../measure.mjs';
import { Entrant } from '../peers/lineup.mjs';
import type { PeerNode } from '../peers/node.mjs';
import { userIdsOf } from '../peers/peer.mjs';
import type { Section } from '../report.mjs';

/** A million users on twenty routers and one Redis; and what a crash, a flush and a deploy do to it. */
export async function run(quick: boolean): Promise<Section[]> {
  const [routers, each, pingMs] = quick ? [3, 500, 5_000] : [20, 50_000, 120_000];
  const users = routers * each;
  const settings = { pingIntervalMs: pingMs, ttlMs: pingMs * 3, leaseMs: 15_000, graceMs: 8_000 };
  // One that has no users, and hears of all.
  const entrant = await Entrant.start('ours', { ...settings, listens: true });
  const observer = entrant.node;
  const { redis } = entrant;
  const idsOf = (index: number) => ({ from: index * each, count: each });
  const nodes: PeerNode[] = [];
  for (let index = 0; index < routers; index += 1) nodes.push(await entrant.add(settings));
  const rows: Array<[string, number | string | undefined, number, string]> = [];
  const during = async (
    run: () => Promise<unknown>,
  ): Promise<Done & { seconds: number; changes: typeof observer.changes }> => {
    const heard = observer.changes.length;
    const startedAt = performance.now();
    const done = await doneDuring(redis, run);
    const seconds = (performance.now() - startedAt) / 1_000;
    await sleep(1_000);
    return { ...done, seconds, changes: observer.changes.slice(heard) };
  };
  const row = (what: string, { seconds, cpu }: { seconds: number; cpu: number }, note: string) =>
    rows.push([what, seconds, (100 * cpu) / 1e6 / seconds, note]);

  const startedAt = performance.now();
  const joined = await during(() => Promise.all(nodes.map((node, index) => node.ask('join', idsOf(index)))));
  // Two cores cannot tell as fast as twenty routers join: what is behind is read from the store, and told after.
  await until(() => observer.changes.length >= users, 300_000);
  const toldAll = (performance.now() - startedAt) / 1_000;
  const observed = observer.changes.length;
  const isTold = new Set(observer.changes.map(([userId]) => userId));
  row(
    `${users.toLocaleString('en')} join at once`,
    joined,
    `${joined.changes.length.toLocaleString('en')} told by then, all after ${toldAll.toFixed(1)} s`,
  );

  // Two whole turns: in the first one not everybody is due.
  await sleep(pingMs);
  const cpuBefore = nodes.map((node) => cpuSecondsOf(node.pid));
  // Every script is noted, so that it can be said what the time went to, and nothing of what it calls.
  await redis.config('SET', 'slowlog-max-len', 100_000);
  await redis.config('SET', 'slowlog-log-slower-than', 50);
  await redis.slowlog('RESET');
  const steady = await during(() => sleep(pingMs));
  const shares = sharesOf((await redis.slowlog('GET', -1)) as unknown as SlowLog, steady.seconds);
  await redis.config('SET', 'slowlog-log-slower-than', -1);
  const nodeCpu = nodes.reduce((sum, node, index) => sum + cpuSecondsOf(node.pid) - (cpuBefore[index] as number), 0);
  const nodeShare = (100 * nodeCpu) / steady.seconds / routers;
  const share = (name: string): number => shares.get(name) ?? 0;
  const parts = ['refresh', 'sweep', 'beat'].map((name) => `${name} ${share(name).toFixed(2)} %`).join(', ');
  const told = steady.changes.length;
  row('nothing but signs of life', steady, `${told} told; ${parts}; a router ${nodeShare.toFixed(2)} % of a core`);

  // The least that Redis could do for them, with the same users, the same pauses and the same machine.
  const both = await during(() => setPlainly(redis, routers, each, pingMs));
  const plain = { seconds: both.seconds, cpu: both.cpu - (steady.cpu * both.seconds) / steady.seconds };
  const plainShare = (100 * plain.cpu) / 1e6 / plain.seconds;
  row('a plain SET besides, for each sign of life', plain, 'what these alone take');

  const victim = nodes[0] as PeerNode;
  const crash = await during(async () => {
    const heard = observer.changes.length;
    await victim.kill();
    await until(() => observer.changes.length >= heard + each, 60_000);
  });
  const twice = crash.changes.length - new Set(crash.changes.map(([userId]) => userId)).size;
  row(
    `one router is killed, with ${each.toLocaleString('en')} users`,
    crash,
    `${crash.changes.length.toLocaleString('en')} told offline, ${twice} of them twice`,
  );
  nodes[0] = await entrant.add(settings);
  await nodes[0].ask('join', idsOf(0));

  const flush = await during(async () => {
    await redis.flushall();
    await until(async () => (await redis.dbsize()) >= users, 120_000);
  });
  await sleep(settings.leaseMs);
  const flushedOffline = flush.changes.filter(([, online]) => !online).length;
  row('FLUSHALL: until every user has a key again', flush, `${flushedOffline} told offline`);

  const deploy = await during(async () => {
    for (const [index, old] of nodes.entries()) {
      await old.ask('close', { from: 0, count: 30_000 });
      await old.kill();
      const fresh = await entrant.add(settings);
      nodes[index] = fresh;
      await fresh.ask('join', idsOf(index));
    }
  });
  row('a rolling deploy, router by router', deploy, `${deploy.changes.length} told`);
  const { value: left } = await observer.ask('statuses', {
    from: Math.max(0, users - 10_000),
    count: Math.min(users, 10_000),
  });
  if (left !== Math.min(users, 10_000)) throw new Error(`only ${left} are online at the end`);
  await entrant.end();
  return [
    {
      id: 'million',
      title: `${users.toLocaleString('en')} users on ${routers} routers and one Redis`,
      text: `Each router a process of its own, with sockets that need no network and answer each ping, every ${pingMs / 1_000} s; ${routers + 1} processes share the cores of this machine. Redis CPU in percent of one core while it lasts; of the signs of life, by SLOWLOG, how much of the time each script runs: "refresh" are the signs of life themselves. They come with pauses between, after which the same command takes up to twice as long, for caches have gone cold; "What a user costs where there are more users" has them without pauses.`,
      columns: ['', 'takes, s', 'Redis CPU, %', 'what was told'],
      rows,
      figures: {
        joinUntold: users - isTold.size,
        joinTwice: observed - isTold.size,
        signs: share('refresh'),
        signsBesidePlain: share('refresh') / plainShare,
        steady: (100 * steady.cpu) / 1e6 / steady.seconds,
        besidePlain: (100 * steady.cpu) / 1e6 / steady.seconds / plainShare,
        sweepBesideSigns: share('sweep') / share('refresh'),
        crashSeconds: crash.seconds,
        crashTwice: twice + Math.abs(new Set(crash.changes.map(([userId]) => userId)).size - each),
        flushSeconds: flush.seconds,
        flushOffline: flushedOffline,
        deployTold: deploy.changes.length,
      },
    },
  ];
}

/** As signs of life come from routers, each of which gathers for a second: a pipelined SET for each. */
async function setPlainly(redis: Redis, routers: number, each: number, pingMs: number): Promise<void> {
  const turns = Math.floor(pingMs / 2_000);
  const batch = Math.max(1, Math.round((each * 1_000) / pingMs));
  const startedAt = performance.now();
  for (let turn = 0; turn < turns; turn += 1) {
    for (let router = 0; router < routers; router += 1) {
      await sleep(Math.max(0, startedAt + (turn + router / routers) * 1_000 - performance.now()));
      const from = router * each + ((turn * batch) % each);
      const pipeline = redis.pipeline();
      for (const id of userIdsOf({ from, count: batch })) {
        pipeline.set(`presence:user:${id}`, String(Date.now()), 'PX', pingMs * 3, 'XX');
      }
      await pipeline.exec();
    }
  }
}

type SlowLog = ReadonlyArray<readonly [id: number, at: number, micros: number, command: readonly string[]]>;

/** By script, the percentage of the time in which it ran. */
function sharesOf(log: SlowLog, seconds: number): Map<string, number> {
  const names = new Map(Object.values(scripts).map(({ sha, name }) => [sha, name]));
  const shares = new Map<string, number>();
  for (const [, , micros, [, sha = '']] of log) {
    const name = names.get(sha) ?? 'other';
    shares.set(name, (shares.get(name) ?? 0) + micros / 1e4 / seconds);
  }
  return shares;
}

/** User and system, by the kernel. */
function cpuSecondsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function until(isSo: () => boolean | Promise<boolean>, mostMs: number): Promise<void> {
  const end = Date.now() + mostMs;
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error('it takes too long');
    await sleep(20);
  }
}
