import { random } from '../random';
import { sleep } from '../redis/wait';
import { Agreement } from './agreement';
import { ChannelObserver } from './channel-observer';
import { Excuses } from './excuses';
import { type Fault, nameOf, Plan } from './faults';
import { FaultyRedis } from './faulty-redis';
import { Fleet } from './fleet';
import { Judge } from './judge';
import type { Life } from './life';
import { LinkProcess } from './link-process';
import { ASSERTED_MS, GRACE_MS, LEASE_MS, SLACK_MS, userIdOf } from './protocol';
import { Truth } from './truth';

const USERS = 6_000;
/** Windows of one fault before many come at once, and how many those are. */
const WINDOWS = 4;
const RAGING = 6;
/** How long phones come and go before all else. */
const FILLS_MS = 1_500;
/** And in one piece at the end. */
const WORKS_MS = 3_000;
/** Quiet for so long, everything agrees: four leases, and a grace that began at their end. */
const QUIET_MS = LEASE_MS * 4 + GRACE_MS + SLACK_MS;
/** What was lost alone is made good within a dozen leases, as README says. */
const EVICTED_MS = LEASE_MS * 12 + SLACK_MS;
const LOOK_MS = 150;
/** Routers beat every third of a lease. */
const BEAT_MS = LEASE_MS * 0.4;
/** Of one who has died while Redis hung time and again, before a lease from the last time on would be over. */
const STUTTERED_MS = LEASE_MS * 0.25;

/** How much of a run is without faults. */
export interface Pace {
  /** For how long nothing is wrong before anything is. */
  readonly wellMs: number;
  /** Which part of the time may be excused, from 0 to 1. */
  readonly mostExcused: number;
}

/** Routers in processes of their own, a real Redis, thousands of phones, and what goes wrong. */
export class ChaosWorld {
  readonly faultCounts = new Map<string, number>();
  /** Changes that a router had to tell, and how many there were. */
  compared = 0;
  heard = 0;
  agreements = 0;
  private redisBusy: Promise<void> = Promise.resolve();

  private constructor(
    private readonly seed: number,
    private readonly truth: Truth,
    private readonly links: LinkProcess,
    private readonly excuses: Excuses,
    private readonly redis: FaultyRedis,
    readonly channels: ChannelObserver,
    readonly judge: Judge,
    private readonly agreement: Agreement,
    readonly fleet: Fleet,
  ) {}

  /** `program`: the file that each router runs. */
  static async start(seed: number, program: string): Promise<ChaosWorld> {
    const links = new LinkProcess();
    const excuses = new Excuses();
    const truth = new Truth(USERS);
    const redis = await FaultyRedis.start(links, excuses);
    let fleet: Fleet | undefined;
    const current = (): Life[] => fleet?.current ?? [];
    const judge = new Judge(truth, excuses, current);
    const channels = new ChannelObserver(redis.observersPort, judge.fail, (update) => judge.onChange(update));
    await channels.start();
    fleet = await Fleet.start(redis, { seed, program, truth, links, excuses, observer: judge });
    const agreement = new Agreement(truth, excuses, redis, channels, current);
    return new ChaosWorld(seed, truth, links, excuses, redis, channels, judge, agreement, fleet);
  }

  /**
   * Phones come and go. One fault at a time alternates with many at once; after each everything agrees. Where more of the time
   * was excused than may be, phones come and go a while longer, and nothing is wrong.
   */
  async run(ms: number, { wellMs, mostExcused }: Pace): Promise<void> {
    const { judge, fleet } = this;
    const plan = new Plan(this.seed, Fleet.size, USERS);
    const end = Date.now() + ms;
    let isOver = false;
    fleet.goToWork();
    // Until there are phones that have been there for a while.
    await sleep(FILLS_MS);
    const asking = judge.askAllAlong(random(this.seed + 1), () => isOver);
    for (let round = 1; judge.isFine && Date.now() < end; round += 1) {
      fleet.goToWork();
      await sleep(wellMs);
      if (round % (WINDOWS + 1) === 0) await this.rage(plan);
      else await this.window(plan.window());
    }
    while (judge.isFine && this.shareExcused() > mostExcused && Date.now() < end + ms) {
      fleet.goToWork();
      await sleep(WORKS_MS);
      await this.agree('nothing', QUIET_MS);
    }
    isOver = true;
    await asking;
    for (const life of fleet.lives) {
      const { wrong, compared, heard } = this.agreement.compareHistory(life);
      this.failAll(wrong);
      this.compared += compared;
      this.heard += heard;
    }
  }

  /** One router is killed, and all others leave cleanly, so that every change that must be published is known. */
  async assertEndings(): Promise<void> {
    const { fleet, judge } = this;
    if (this.excuses.hadLosses(Date.now() - ASSERTED_MS)) await sleep(ASSERTED_MS);
    judge.isCalm = true;
    const [victim, ...others] = fleet.current as [Life, ...Life[]];
    const elsewhere = new Set(others.flatMap(({ holding }) => Array.from(holding.users)));
    const alone = Array.from(victim.holding.users).filter((user) => !elsewhere.has(user));
    this.failAll(
      await this.agreement.changes('node-down', alone, () => fleet.happen({ kind: 'kill', router: 0, ms: 0 })),
    );
    await fleet.ready();
    const leaves = (): Promise<unknown> => Promise.all(others.map((life) => life.operate(life.holding.closeAll())));
    const { connected } = this.truth;
    this.failAll(await this.agreement.changes('disconnect', connected, async () => void (await leaves())));
    const { length } = this.channels.history;
    await sleep(LEASE_MS / 2);
    this.failAll(await this.agreement.differences());
    if (this.channels.history.length > length) judge.fail('changes are told although nothing happens');
  }

  /** Nobody is connected: what a router holds is what it held when it had just started, and code that ran since. */
  async assertMemory(toleranceBytes: number): Promise<string[]> {
    return Promise.all(
      this.fleet.current.map(async ({ name, process, heapAtStart }) => {
        const until = Date.now() + LEASE_MS * 4;
        let bytes = Number.POSITIVE_INFINITY;
        while (bytes > heapAtStart + toleranceBytes && Date.now() < until) {
          bytes = (await process.ask<'heap'>({ kind: 'heap' }).answer).bytes;
        }
        const shown = `${name} ${megabytes(heapAtStart)} -> ${megabytes(bytes)}`;
        if (bytes > heapAtStart + toleranceBytes) this.judge.fail(`memory is not back: ${shown}`);
        return shown;
      }),
    );
  }

  /** All routers leave; nothing of them stays. */
  async assertNothingLeft(): Promise<void> {
    const { control } = this.redis;
    for (const life of this.fleet.current) await life.close(0);
    const left = await control.keys('presence:user:*');
    if (left.length > 0) this.judge.fail(`keys of nobody: ${left.slice(0, 5)}`);
    for (const [key, size] of [
      ['lease', await control.zcard('presence:lease:{0}')],
      ['nodes', await control.hlen('presence:nodes:{0}')],
      ['grace', await control.zcard('presence:grace:{0}')],
    ] as const) {
      if (size > 0) this.judge.fail(`${size} left in ${key}`);
    }
  }

  async end(): Promise<void> {
    await this.fleet.end();
    this.links.kill();
    this.channels.close();
    await this.redis.remove();
  }

  /** How much of the time of routers was excused, from 0 to 1. */
  shareExcused(): number {
    return this.excuses.shareOf(
      this.fleet.lives.map(({ holding, readyAt, process }) => ({
        holding,
        from: readyAt === 0 ? Number.POSITIVE_INFINITY : readyAt,
        to: Math.min(process.endedAt, Date.now()),
      })),
      USERS,
    );
  }

  private async window(fault: Fault): Promise<void> {
    await this.happen(fault);
    await this.agree(nameOf(fault), 'what' in fault ? EVICTED_MS : QUIET_MS);
    await this.redis.removeReplaced();
  }

  private async rage(plan: Plan): Promise<void> {
    const happening: Array<Promise<void>> = [];
    for (const { afterMs, fault } of plan.rage(RAGING)) {
      await sleep(afterMs);
      happening.push(this.happen(fault));
    }
    await Promise.all(happening);
    await this.agree('the rage', QUIET_MS);
  }

  /** Phones rest until everything agrees with the truth. From then on nothing is excused any more. */
  private async agree(what: string, withinMs: number): Promise<void> {
    const { judge, fleet } = this;
    if (!judge.isFine) return;
    await fleet.ready();
    await fleet.restFromWork();
    const until = Date.now() + withinMs;
    let agreedAt: number | undefined;
    let found: string[];
    for (;;) {
      const at = Date.now();
      found = await this.agreement.differences();
      if (found.length > 0 ? at >= until : agreedAt !== undefined) break;
      agreedAt = found.length > 0 ? undefined : at;
      // What the next heartbeat finds out may look well before.
      await sleep(found.length > 0 ? LOOK_MS : BEAT_MS);
    }
    this.failAll(found.map((difference) => `after ${what}: ${difference}`));
    if (!judge.isFine) return;
    this.excuses.settle(agreedAt as number);
    judge.settle();
    this.failAll(await this.agreement.wrongLastSeen());
    this.agreements += 1;
    if (process.env['CHAOS_LOG'] !== undefined) console.log(Date.now(), `agreed after ${what}`);
  }

  private async happen(fault: Fault): Promise<void> {
    const name = nameOf(fault);
    this.faultCounts.set(name, (this.faultCounts.get(name) ?? 0) + 1);
    if (process.env['CHAOS_LOG'] !== undefined) console.log(Date.now(), JSON.stringify(fault));
    try {
      if ('router' in fault && fault.kind !== 'stutter') return await this.fleet.happen(fault);
      // What befalls Redis comes one after the other.
      const done = this.redisBusy.then(() => this.befall(fault));
      this.redisBusy = done.catch(() => undefined);
      await done;
    } catch (error) {
      this.judge.fail(`${name} failed: ${(error as Error).stack}`);
    }
  }

  private async befall(fault: Fault): Promise<void> {
    const { redis, channels, judge } = this;
    if (fault.kind === 'flush') await redis.flush(() => judge.leaving);
    else if (fault.kind === 'hang') await redis.hang(fault.ms);
    else if (fault.kind === 'restart') await redis.restart(fault, channels, () => judge.leaving);
    else if ('what' in fault) await redis.take(fault, judge.leaving, judge.userIds);
    else if (fault.kind === 'kill-clients') await redis.killClients(fault.type);
    else if (fault.kind === 'forge') await redis.forge(fault.users, channels);
    else if (fault.kind === 'failover') await redis.failOver(channels);
    else if (fault.kind === 'fleet') await this.dieWhole();
    else if (fault.kind === 'stutter') await this.stutter(fault);
  }

  /** Routers that come later never knew who was there; they need not tell that these have gone. */
  private async dieWhole(): Promise<void> {
    const users = new Set(this.judge.recordedOnline);
    const over = this.excuses.begin(['deaf'], { users });
    await this.fleet.dieWhole();
    over();
  }

  /** A lease is extended once where Redis was away, so that further outages do not keep a dead router alive. */
  private async stutter(fault: Extract<Fault, { kind: 'stutter' }>): Promise<void> {
    const victim = this.fleet.current[fault.router] as Life;
    const users = victim.holding.users;
    await this.fleet.happen(fault);
    await this.redis.stutter();
    await sleep(STUTTERED_MS);
    for (const user of users) {
      const { how, holding } = this.truth.leavings[user] ?? {};
      const isAlone = how === 'lost' && holding === victim.holding && this.truth.goneSince(user) !== undefined;
      if (!isAlone || this.channels.lastOf(userIdOf(user)) !== true) continue;
      this.judge.fail(`${victim.name} is dead for long, and nobody was told that ${userIdOf(user)} is offline`);
    }
  }

  private failAll(messages: readonly string[]): void {
    for (const message of messages) this.judge.fail(message);
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}
