import { expect, it, onTestFinished } from 'vitest';
import type { ChangeBatch } from 'voiceping-presence';
import { random } from '../random';
import { RedisServer } from '../redis/server';
import { sleep, until } from '../redis/wait';
import { RouterProcess } from './router-handle';

/** `SEED=1234 DELIVERY_MS=600000 npx vitest run test/deliveries/killed-routers` replays a run, or makes it longer. */
const RUN_MS = Number(process.env['DELIVERY_MS'] ?? 10_000);
const ROUTERS = 3;
const USERS = 40;

type Status = 'online' | 'offline';

/** What the harness knows of a user: it has told a router so, and the router has acknowledged it. */
interface Truth {
  /** What must be among the changes of the user, in this order. */
  readonly acknowledged: Status[];
  /** Where the user is connected, if anywhere. */
  router: RouterProcess | undefined;
  /** The router has not acknowledged the last one yet. */
  isOpen: boolean;
  /** It died before it did. */
  isRetired: boolean;
}

it(
  'routers are killed and stopped, the receiver refuses and stalls, Redis stands still: no change is missing, none is out of order',
  async () => {
    const dice = random();
    console.log(`seed ${dice.seed}`);
    const server = await RedisServer.start();
    onTestFinished(() => server.remove());
    const received: Array<{ userId: string; status: Status; version: number }> = [];
    const gaps: ChangeBatch[] = [];
    const last = new Map<string, Status>();
    const statusOf = (userId: string): Status => last.get(userId) ?? 'offline';
    const counts = { batches: 0, refused: 0, repeated: 0, kills: 0, stops: 0, stalls: 0 };
    let isCalm = false;
    const versions = new Map<number, string>();
    const onBatch = (router: RouterProcess, batch: number, content: ChangeBatch): void => {
      counts.batches += 1;
      const roll = isCalm ? 1 : dice.next();
      if (roll < 0.1) {
        counts.refused += 1;
        router.answer(batch, false);
        return;
      }
      if (content.gap) gaps.push(content);
      for (const { userId, status, version } of content.changes) {
        const line = `${userId} ${status}`;
        const before = versions.get(version);
        if (before === undefined) {
          received.push({ userId, status, version });
          last.set(userId, status);
        } else {
          counts.repeated += 1;
          // The same change, always.
          expect(before).toBe(line);
        }
        versions.set(version, line);
      }
      // Longer than the handler may take, now and then.
      const waitMs = roll < 0.13 ? 2_500 : roll < 0.4 ? dice.below(100) : 0;
      setTimeout(() => router.answer(batch, true), waitMs);
    };
    const start = (): RouterProcess => new RouterProcess(server.port, 'start', onBatch);
    const routers = Array.from({ length: ROUTERS }, start);
    onTestFinished(async () => {
      await Promise.all(routers.map((router) => router.kill()));
    });
    await Promise.all(routers.map(({ ready }) => ready));
    const truths = new Map<string, Truth>();
    for (let user = 0; user < USERS; user += 1) {
      truths.set(`u${user}`, { acknowledged: [], router: undefined, isOpen: false, isRetired: false });
    }

    /** What was acknowledged and is not among the changes, in this order. Between there may be more, such as a router taken for dead. */
    const missingOf = (userId: string, { acknowledged }: Truth): readonly Status[] => {
      let at = 0;
      for (const change of received) if (change.userId === userId && change.status === acknowledged[at]) at += 1;
      return acknowledged.slice(at);
    };
    const step = (): void => {
      const userId = `u${dice.below(USERS)}`;
      const truth = truths.get(userId) as Truth;
      if (truth.isOpen || truth.isRetired) return;
      const isJoin = truth.router === undefined;
      const router = truth.router ?? dice.pick(routers);
      if (!router.isAlive) return;
      truth.isOpen = true;
      truth.router = isJoin ? router : undefined;
      void router.tell(isJoin ? { join: userId } : { leave: userId }).then((isAcknowledged) => {
        truth.isOpen = false;
        if (isAcknowledged) {
          truth.acknowledged.push(isJoin ? 'online' : 'offline');
          return;
        }
        // What a dead router has not acknowledged may have happened, or not: nobody speaks for the user any more.
        truth.router = undefined;
        truth.isRetired = true;
      });
    };
    const kill = async (): Promise<void> => {
      counts.kills += 1;
      const index = dice.below(routers.length);
      const router = routers[index] as RouterProcess;
      await router.kill();
      for (const [userId, truth] of truths) {
        if (truth.router !== router || truth.isOpen) continue;
        truth.router = undefined;
        truth.isOpen = true;
        // Nobody else speaks for the user: the fleet takes them offline. Until then a join elsewhere would be no change.
        truth.acknowledged.push('offline');
        void until(`${userId} is offline`, () => missingOf(userId, truth).length === 0, 60_000).then(
          () => {
            truth.isOpen = false;
          },
          () => undefined,
        );
      }
      const next = start();
      routers[index] = next;
      await next.ready;
    };
    const end = Date.now() + RUN_MS;
    let trouble: Promise<void> = Promise.resolve();
    let isTroubled = false;
    while (Date.now() < end) {
      for (let count = 0; count < 5; count += 1) step();
      if (!isTroubled && dice.chance(0.05)) {
        isTroubled = true;
        const roll = dice.next();
        const router = dice.pick(routers);
        const stop = async (): Promise<void> => {
          counts.stops += 1;
          router.signal('SIGSTOP');
          await sleep(1_000 + dice.below(2_000));
          router.signal('SIGCONT');
        };
        const stall = async (): Promise<void> => {
          counts.stalls += 1;
          process.kill(server.pid, 'SIGSTOP');
          await sleep(200 + dice.below(2_000));
          process.kill(server.pid, 'SIGCONT');
        };
        trouble = (roll < 0.4 ? kill() : roll < 0.7 ? stop() : stall()).finally(() => {
          isTroubled = false;
        });
      }
      await sleep(20);
    }
    await trouble;
    isCalm = true;
    await until('all is acknowledged', () => Array.from(truths.values()).every(({ isOpen }) => !isOpen), 60_000);
    const isRight = (): boolean =>
      Array.from(truths).every(
        ([userId, truth]) =>
          statusOf(userId) === (truth.router === undefined ? 'offline' : 'online') &&
          missingOf(userId, truth).length === 0,
      );
    // What is missing for good is named below.
    await until('the receiver knows the truth', isRight, 60_000).catch(() => undefined);

    expect(gaps).toEqual([]);
    // One counter numbers all changes: a missing one is a hole.
    const all = Array.from(versions.keys()).sort((a, b) => a - b);
    expect((all[all.length - 1] as number) - (all[0] as number) + 1).toBe(all.length);
    for (const userId of truths.keys()) {
      const changes = received.filter((change) => change.userId === userId);
      const flips = changes.map(({ status }) => status);
      expect(changes.every(({ version }, at) => at === 0 || version > (changes[at - 1]?.version ?? 0))).toBe(true);
      expect(flips.every((status, at) => status === (at % 2 === 0 ? 'online' : 'offline'))).toBe(true);
    }
    for (const [userId, truth] of truths) {
      expect([userId, missingOf(userId, truth)]).toEqual([userId, []]);
      expect([userId, statusOf(userId)]).toEqual([userId, truth.router === undefined ? 'offline' : 'online']);
    }
    const compared = Array.from(truths.values()).reduce((sum, { acknowledged }) => sum + acknowledged.length, 0);
    console.log(`${received.length} changes, ${compared} acknowledged by routers, ${JSON.stringify(counts)}`);
    expect(compared).toBeGreaterThan(RUN_MS / 100);
    expect(counts.kills + counts.stops + counts.stalls).toBeGreaterThan(0);
  },
  RUN_MS + 180_000,
);
