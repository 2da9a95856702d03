import { expect, it, onTestFinished } from 'vitest';
import type { ChangeBatch } from 'voiceping-presence';
import { parseCursor } from '../../src/stores/log-cursor';
import { Keyspace } from '../../src/stores/redis/keyspace';
import { type Random, random } from '../random';
import { RedisCluster } from '../redis/cluster';
import { RedisServer } from '../redis/server';
import { sleep, until } from '../redis/wait';
import { RouterProcess } from './router-handle';

/**
 * `SEED=1234 npx vitest run test/deliveries/killed-routers` replays a run. A great one:
 * `DELIVERY_MS=900000 DELIVERY_USERS=5000 DELIVERY_STEPS=50 DELIVERY_LOG=100000 DELIVERY_DOWN_MS=90000`.
 */
const { DELIVERY_MS = '6000', DELIVERY_USERS = '200', DELIVERY_STEPS = '6' } = process.env;
const { DELIVERY_LOG = '300', DELIVERY_DOWN_MS = '2000' } = process.env;
const RUN_MS = Number(DELIVERY_MS);
const USERS = Number(DELIVERY_USERS);
/** Orders to routers every 20 ms. */
const STEPS = Number(DELIVERY_STEPS);
/** How long the receiver refuses everything, in the middle of the run: longer than the log reaches. */
const DOWN_MS = Number(DELIVERY_DOWN_MS);
const ROUTERS = 3;
const LEASE_MS = 1_500;

type Status = 'online' | 'offline';
type Change = ChangeBatch['changes'][number];

/** What routers have acknowledged of a user, and what the receiver was told. */
class Truth {
  /** Where the user is connected, if anywhere. */
  router: RouterProcess | undefined;
  /** An order is under way, or the fleet has to find something out. */
  isBusy = false;
  acknowledged = 0;
  /** What was acknowledged, and was not told yet. */
  private due: Status[] = [];
  /** What was told, and may be acknowledged later. */
  private early: Status[] = [];
  private status: Status = 'offline';
  /** Told by a change, and not by a listing, which may already contain the changes that follow it. */
  private isExact = true;

  constructor(readonly userId: string) {}

  /** Whether all was told. */
  get isTold(): boolean {
    return this.due.length === 0 && this.status === (this.router === undefined ? 'offline' : 'online');
  }

  get isRight(): boolean {
    return this.isTold && !this.isBusy;
  }

  acknowledge(status: Status): void {
    this.acknowledged += 1;
    const at = this.early.indexOf(status);
    // Between there may be more, such as a router that was taken for dead.
    if (this.due.length === 0 && at >= 0) this.early = this.early.slice(at + 1);
    else this.due.push(status);
  }

  /** Returns what is wrong with it. */
  tell({ status }: Change): string | undefined {
    const isTwice = this.isExact && status === this.status;
    this.status = status;
    this.isExact = true;
    if (this.due[0] === status) this.due.shift();
    else if (this.due.length === 0) this.early.push(status);
    return isTwice ? `${this.userId} was told ${status} twice` : undefined;
  }

  /** What was acknowledged so far need not be told any more. */
  tellGap(isOnline: boolean): void {
    this.status = isOnline ? 'online' : 'offline';
    this.isExact = false;
    this.due = [];
    this.early = [];
  }

  toString(): string {
    const { userId, status, router, due, isBusy } = this;
    return `${userId} told ${status}, ${router === undefined ? 'offline' : 'online'}; due ${due.join()}; busy ${isBusy}`;
  }
}

/** Numbers that must have no holes, but for those that a gap has told. */
class Numbers {
  private readonly told: Array<Map<number, string>>;
  private readonly excused: Array<Array<readonly [from: number, to: number]>>;
  private readonly highest: number[] = [];
  count = 0;
  repeated = 0;

  constructor(private readonly keyspace: Keyspace) {
    this.told = keyspace.partitions.map(() => new Map());
    this.excused = keyspace.partitions.map(() => []);
  }

  /** Returns whether it is new. */
  take({ userId, status, version }: Change): boolean {
    const { partition } = this.keyspace.place(userId);
    const told = this.told[partition] as Map<number, string>;
    const before = told.get(version);
    this.highest[partition] = Math.max(this.highest[partition] ?? 0, version);
    // A change that is told again is the same one.
    if (before !== undefined) expect(before).toBe(`${userId} ${status}`);
    if (before === undefined) this.count += 1;
    else this.repeated += 1;
    told.set(version, `${userId} ${status}`);
    return before === undefined;
  }

  /** Everything up to the end of the log may be missing that was not told so far. */
  takeGap(cursor: string): void {
    for (const [index, { version }] of parseCursor(cursor, this.told.length).entries()) {
      this.excused[index]?.push([(this.highest[index] ?? 0) + 1, version]);
    }
  }

  holes(): number[] {
    return this.told.flatMap((told, index) => {
      const versions = Array.from(told.keys()).sort((a, b) => a - b);
      const holes: number[] = [];
      const isExcused = (version: number): boolean =>
        (this.excused[index] ?? []).some(([from, to]) => from <= version && version <= to);
      for (const [at, version] of versions.entries()) {
        for (let missing = (versions[at - 1] ?? version - 1) + 1; missing < version; missing += 1)
          if (!isExcused(missing)) holes.push(missing);
      }
      return holes;
    });
  }
}

interface Servers {
  readonly servers: readonly RedisServer[];
  readonly port: number;
  remove(): Promise<void>;
}

async function serversOf(kind: string): Promise<Servers> {
  if (kind === 'a Cluster') {
    const cluster = await RedisCluster.start();
    return { servers: cluster.servers, port: cluster.nodes[0]?.port as number, remove: () => cluster.remove() };
  }
  const server = await RedisServer.start();
  return { servers: [server], port: server.port, remove: () => server.remove() };
}

it.each(['one server', 'a Cluster'])(
  'on %s, routers are killed and stopped, the receiver refuses, stalls and is away, Redis stands still: each gap is told, and nothing else is missing or out of order',
  async (kind) => {
    const dice: Random = random();
    console.log(`seed ${dice.seed}`);
    const isCluster = kind === 'a Cluster';
    const { servers, port, remove } = await serversOf(kind);
    onTestFinished(remove);
    const truths = Array.from({ length: USERS }, (_, index) => new Truth(`u${index}`));
    const byId = new Map(truths.map((truth) => [truth.userId, truth]));
    const numbers = new Numbers(new Keyspace('presence:', isCluster));
    const counts = { batches: 0, refused: 0, gaps: 0, kills: 0, stops: 0, stalls: 0 };
    const wrong: string[] = [];
    let listed: Set<string> = new Set();
    let mood: 'moody' | 'away' | 'calm' = 'moody';
    const take = (content: ChangeBatch): void => {
      for (const change of content.changes) {
        if (!numbers.take(change)) continue;
        const fault = byId.get(change.userId)?.tell(change);
        if (fault !== undefined) wrong.push(fault);
      }
      if (!content.gap) return;
      if (content.part === 0) listed = new Set();
      for (const { userId } of content.users ?? []) listed.add(userId);
      if (content.more === true) return;
      counts.gaps += 1;
      numbers.takeGap(content.cursor);
      for (const truth of truths) truth.tellGap(listed.has(truth.userId));
    };
    const onBatch = (router: RouterProcess, batch: number, content: ChangeBatch): void => {
      counts.batches += 1;
      const roll = mood === 'calm' ? 1 : mood === 'away' ? 0 : dice.next();
      if (roll < 0.1) {
        counts.refused += 1;
        router.answer(batch, false);
        return;
      }
      take(content);
      // Longer than the handler may take, now and then.
      const waitMs = roll < 0.13 ? 2_500 : roll < 0.4 ? dice.below(100) : 0;
      setTimeout(() => router.answer(batch, true), waitMs);
    };
    const start = (): RouterProcess =>
      new RouterProcess({ port, isCluster, from: 'start', logChanges: Number(DELIVERY_LOG) }, onBatch);
    const routers = Array.from({ length: ROUTERS }, start);
    onTestFinished(async () => {
      await Promise.all(routers.map((router) => router.kill()));
    });
    await Promise.all(routers.map(({ ready }) => ready));

    const step = async (): Promise<void> => {
      const truth = dice.pick(truths);
      const router = truth.router ?? dice.pick(routers);
      if (truth.isBusy || !router.isAlive) return;
      const isJoin = truth.router === undefined;
      truth.isBusy = true;
      const { gaps } = counts;
      if (!(await router.tell(isJoin ? { join: truth.userId } : { leave: truth.userId }))) {
        await leftBehind(truth);
        return;
      }
      truth.router = isJoin ? router : undefined;
      // It may be in the listing of a gap that was told meanwhile.
      if (gaps === counts.gaps) truth.acknowledge(isJoin ? 'online' : 'offline');
      truth.isBusy = false;
    };
    /** Nobody speaks for the user any more: the fleet takes them offline, and until then a join elsewhere would be no change. */
    const leftBehind = async (truth: Truth): Promise<void> => {
      truth.router = undefined;
      await sleep(3 * LEASE_MS);
      await until(`${truth.userId} is offline`, () => truth.isTold, 120_000).catch(() => undefined);
      truth.isBusy = false;
    };
    const kill = async (): Promise<void> => {
      counts.kills += 1;
      const index = dice.below(routers.length);
      const router = routers[index] as RouterProcess;
      const orphans = truths.filter((truth) => truth.router === router && !truth.isBusy);
      for (const truth of orphans) truth.isBusy = true;
      await router.kill();
      for (const truth of orphans) {
        truth.acknowledge('offline');
        void leftBehind(truth);
      }
      const next = start();
      routers[index] = next;
      await next.ready;
    };
    const stop = async (): Promise<void> => {
      counts.stops += 1;
      const router = dice.pick(routers);
      router.signal('SIGSTOP');
      await sleep(1_000 + dice.below(2_000));
      router.signal('SIGCONT');
    };
    const stall = async (): Promise<void> => {
      counts.stalls += 1;
      const server = dice.pick(servers);
      server.pause();
      await sleep(200 + dice.below(2_000));
      server.resume();
    };
    const startedAt = Date.now();
    let trouble: Promise<void> | undefined;
    for (let number = 0; Date.now() < startedAt + RUN_MS; ) {
      for (let count = 0; count < STEPS; count += 1) void step();
      const at = Date.now() - startedAt;
      mood = at > (RUN_MS - DOWN_MS) / 2 && at < (RUN_MS + DOWN_MS) / 2 ? 'away' : 'moody';
      if (trouble === undefined && at > 1_000 * number) {
        number += 1;
        trouble = dice
          .pick([kill, stop, stall])()
          .finally(() => {
            trouble = undefined;
          });
      }
      await sleep(20);
    }
    await trouble;
    mood = 'calm';
    // What is wrong for good is named below.
    await until('the receiver knows the truth', () => truths.every(({ isRight }) => isRight), 90_000).catch(
      () => undefined,
    );

    const acknowledged = truths.reduce((sum, truth) => sum + truth.acknowledged, 0);
    console.log(
      `${kind}: ${numbers.count} changes, ${acknowledged} acknowledged by routers, ${numbers.repeated} repeated, ${JSON.stringify(counts)}`,
    );
    expect(truths.filter(({ isRight }) => !isRight).map(String)).toEqual([]);
    expect(wrong).toEqual([]);
    expect(numbers.holes()).toEqual([]);
    expect(acknowledged).toBeGreaterThan(RUN_MS / 100);
    expect(counts.kills + counts.stops + counts.stalls).toBeGreaterThan(0);
  },
  RUN_MS + 240_000,
);
