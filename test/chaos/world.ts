import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import type { PresenceUpdate } from 'voiceping-presence';
import { Layout } from '../../src/stores/redis/layout';
import { random } from '../random';
import { layoutOf } from '../redis/layout';
import { RedisServer } from '../redis/server';
import { sleep, until } from '../redis/wait';
import { type DeletedKey, type Fault, faults } from './faults';
import { LinkProcess } from './link-process';
import { ChannelObserver, compareHistories, MARKS, type Mark, UpdateObserver } from './observers';
import { GRACE_MS, LEASE_MS, PING_MS, TTL_MS, userIdOf } from './protocol';
import { RouterGone, RouterProcess } from './router-process';
import { type Batch, Holding, type Leaving, Truth } from './truth';

const ROUTERS = 4;
const USERS = 8_000;
/** Connections that each router has when all is well. */
const CONNECTIONS = 1_500;
const OPERATIONS = 40;
const BATCH_EVERY_MS = 40;
/** After a fault a router is well again: it has beaten, and asserted anew whom it holds. */
const RECOVERY_MS = LEASE_MS * 2;
/** It has read what it missed, and once more a lease later, of whom the first reading left a doubt. */
const REREAD_MS = LEASE_MS * 4;
/** A lost record has been found, and where no router asserts it, its user is told offline: a dozen leases, as README says. */
const FOUND_MS = LEASE_MS * 12;
/** Clocks and queues of processes that share two cores. */
const SLACK_MS = 1_000;
/** As long as the worst there is in faults.ts: a link that is held, behind a Redis that hangs. */
const WORST_MS = 7_000;
/** By then a user who has left is offline, whatever became of the router. */
const LINGER_MS = Math.max(GRACE_MS, 1_500) + LEASE_MS * 2 + SLACK_MS;
/** Leases, a whole sweep of four leases, another lease for what that finds, and keys that nobody renews any more. */
const CALM_MS = LEASE_MS * 8 + TTL_MS + 5_000;

/** Takes keys and says so, in one step; of a bucket with those who are in it. */
const TAKE = `
  local users = {}
  for _, key in ipairs(KEYS) do
    if string.find(key, ':b:', 1, true) then
      for _, user in ipairs(redis.call('HKEYS', key)) do users[#users + 1] = user end
    end
    redis.call('DEL', key)
  end
  redis.call('PUBLISH', ARGV[1], cjson.encode({ lost = ARGV[2], userIds = users }))`;

/** A router from its start to its end. */
interface Life {
  readonly name: string;
  readonly process: RouterProcess;
  readonly holding: Holding;
  readonly observer: UpdateObserver;
  readyAt: number;
  heapAtStart: number;
  work: Promise<void>;
}

interface Slot {
  readonly index: number;
  /** The port of its link to Redis. */
  readonly link: number;
  generation: number;
  life: Life;
  /** Faults of one router come one after the other. */
  busy: Promise<void>;
}

/**
 * A time in which something was wrong, with a router or with all. `impaired`: it could not speak to Redis, or what it had
 * said was lost. `away`: nobody could speak to Redis, but nothing is lost. `deaf`: it may have missed changes that cannot
 * be told one by one any more.
 */
interface Trouble {
  readonly holding: Holding | undefined;
  readonly effect: 'impaired' | 'away' | 'deaf';
  readonly from: number;
  to: number;
}

/** Routers in processes of their own, a real Redis, thousands of phones, and what goes wrong. */
export class ChaosWorld {
  readonly violations: string[] = [];
  readonly errors = new Map<string, number>();
  readonly faultCounts = new Map<string, number>();
  readonly truth = new Truth(USERS);
  readonly lives: Life[] = [];
  operations = 0;
  queried = 0;
  compared = 0;
  private readonly slots: Slot[] = [];
  private readonly troubles: Trouble[] = [];
  /** Whose records were taken away; whoever has no router then is told offline when all have had the time to assert. */
  private readonly losses: Array<{ readonly userIds: Set<string>; readonly from: number; readonly to: number }> = [];
  /** When Redis was stopped. Killed while it stands, it has kept its last steps, and told nobody outside. */
  private readonly hangs: number[] = [];
  private readonly links = new LinkProcess();
  private readonly layout = new Layout('presence:', false);
  private readonly userOf = new Map<string, number>();
  private redisBusy: Promise<void> = Promise.resolve();
  private isWorking = false;
  private isCalm = false;

  private constructor(
    private readonly seed: number,
    private readonly server: RedisServer,
    private readonly directory: string,
    private readonly control: Redis,
    readonly channels: ChannelObserver,
  ) {
    for (let user = 0; user < USERS; user += 1) this.userOf.set(userIdOf(user), user);
  }

  static async start(seed: number): Promise<ChaosWorld> {
    const directory = mkdtempSync(join(tmpdir(), 'presence-chaos-'));
    // Of two directories the last one counts, and this one can be emptied.
    const server = await RedisServer.start('--dir', directory, '--appendonly', 'yes', '--appendfsync', 'always');
    const address = { host: '127.0.0.1', port: server.port };
    const control = new Redis({ ...address, connectionName: 'chaos-control', retryStrategy: () => 20 });
    control.on('error', () => undefined);
    let world: ChaosWorld | undefined;
    const channels = new ChannelObserver(
      server.port,
      (message) => world?.fail(message),
      (update) => world?.assertNotConnected(update),
    );
    await channels.start();
    world = new ChaosWorld(seed, server, directory, control, channels);
    for (let index = 0; index < ROUTERS; index += 1) {
      const link = await world.links.start(server.port);
      const slot = { index, link, generation: 0, busy: Promise.resolve() };
      world.slots.push({ ...slot, life: world.live(slot) });
    }
    await Promise.all(world.slots.map(({ life }) => until('the routers are ready', () => life.readyAt > 0, 20_000)));
    return world;
  }

  /** Phones come and go, and things go wrong. */
  async rage(ms: number): Promise<void> {
    this.goToWork();
    const plan = faults(random(this.seed), ROUTERS, USERS);
    const end = Date.now() + ms;
    const asking = this.askAllAlong(end);
    while (this.violations.length === 0) {
      const { afterMs, fault } = plan.next().value;
      const now = Date.now();
      await sleep(Math.min(afterMs, Math.max(0, end - now)));
      if (now + afterMs >= end) break;
      this.begin(fault);
    }
    await asking;
    await Promise.all([this.redisBusy, ...this.slots.map(({ busy }) => busy)]);
    await Promise.all(
      this.slots.map(({ life }) => until('the routers are ready again', () => life.readyAt > 0, CALM_MS)),
    );
  }

  /** Nothing goes wrong any more while phones come and go; then nothing happens at all, until everything agrees. */
  async calmDown(): Promise<void> {
    const recovered = Math.max(...this.troubles.map(({ to }) => to).filter(Number.isFinite), Date.now());
    await until('the last trouble is over', () => Date.now() > recovered + SLACK_MS, WORST_MS + REREAD_MS * 2);
    this.isCalm = true;
    const { operations } = this;
    await until('some more work is done', () => this.operations > operations + 12_000, 60_000);
    await this.restFromWork();
    let found: string[] = [];
    await until(
      'everything agrees with the truth',
      async () => {
        found = await this.differences();
        return found.length === 0;
      },
      CALM_MS,
    ).catch(() => this.failAll(found));
    if (this.violations.length > 0) return;
    await this.silence();
    await this.assertAgreed();
    for (const life of this.lives) this.assertHistory(life);
  }

  /** One router is killed, and all others leave cleanly: what has to be told then is known to the last change. */
  async assertEndings(): Promise<void> {
    const [victim, ...others] = this.slots as [Slot, ...Slot[]];
    const elsewhere = new Set(others.flatMap(({ life }) => Array.from(life.holding.users)));
    const alone = Array.from(victim.life.holding.users).filter((user) => !elsewhere.has(user));
    await this.assertChanges('node-down', alone, () => this.kill(victim.life));
    victim.life = this.live(victim);
    await until('the router is back', () => victim.life.readyAt > 0, CALM_MS);

    const connected = this.truth.connected;
    await this.assertChanges('disconnect', connected, async () => {
      await Promise.all(others.map(({ life }) => this.operate(life, life.holding.closeAll())));
    });
    const found = await this.differences();
    this.failAll(found);
    if (found.length === 0) await this.assertAgreed();
  }

  /** Nobody is connected: what a router holds is what it held when it had just started, and code that ran since. */
  async assertMemory(toleranceBytes: number): Promise<string[]> {
    return Promise.all(
      this.slots.map(async ({ life }) => {
        let bytes = 0;
        await until(
          'memory is back',
          async () => {
            bytes = (await life.process.ask<'heap'>({ kind: 'heap' }).answer).bytes;
            return bytes < life.heapAtStart + toleranceBytes;
          },
          LEASE_MS * 4,
        ).catch(() => this.fail(`${life.name} held ${life.heapAtStart} bytes when it had started, and now ${bytes}`));
        return `${life.name} ${megabytes(life.heapAtStart)} -> ${megabytes(bytes)}`;
      }),
    );
  }

  /** All routers leave; nothing of them stays. */
  async assertNothingLeft(): Promise<void> {
    for (const { life } of this.slots) await this.close(life, 0);
    const left = await this.control.keys('presence:user:*');
    if (left.length > 0) this.fail(`keys of nobody: ${left.slice(0, 5)}`);
    for (const [key, size] of [
      ['lease', await this.control.zcard('presence:lease:{0}')],
      ['nodes', await this.control.hlen('presence:nodes:{0}')],
      ['grace', await this.control.zcard('presence:grace:{0}')],
    ] as const) {
      if (size > 0) this.fail(`${size} left in ${key}`);
    }
  }

  async end(): Promise<void> {
    this.isWorking = false;
    // Nothing is said of processes that end here.
    for (const { process } of this.lives) await process.kill();
    this.links.kill();
    this.channels.close();
    this.control.disconnect();
    await this.server.remove();
    rmSync(this.directory, { recursive: true, force: true });
  }

  fail(message: string): void {
    if (this.violations.length < 20) this.violations.push(message);
  }

  private failAll(messages: readonly string[]): void {
    for (const message of messages) this.fail(message);
  }

  // Routers and their work.

  private live(slot: Omit<Slot, 'life' | 'busy'>): Life {
    const { index, link, generation } = slot;
    const name = `router ${index}.${generation}`;
    // Dice of its own: what phones do there must not depend on when others are served.
    const dice = random(this.seed ^ Math.imul(index * 1_000 + generation + 1, 0x9e3779b1));
    const observer = new UpdateObserver(name, (message) => this.fail(message));
    const holding = new Holding(this.truth, dice, { router: index, routers: ROUTERS }, CONNECTIONS);
    const batches = new Map<number, Batch>();
    const process = new RouterProcess(link, index % 2 === 0 ? 'client' : 'itself', (report) => {
      if (report.kind === 'updates') {
        for (const update of report.updates) {
          observer.hear(update);
          if (update.reason === 'resync' && update.status === 'offline') this.assertNoGhostOffline(update.userId, life);
        }
      } else if (report.kind === 'held') {
        holding.held(batches.get(report.number) ?? [], report.places);
        batches.delete(report.number);
      } else if (report.kind === 'error') {
        this.errors.set(report.stage, (this.errors.get(report.stage) ?? 0) + 1);
        if (this.isCalm) this.fail(`${name} when nothing was wrong: ${report.message}`);
      } else {
        this.fail(`${name}: ${report.message}`);
      }
    });
    const life: Life = {
      name,
      process,
      holding,
      observer,
      readyAt: 0,
      heapAtStart: 0,
      work: Promise.resolve(),
    };
    this.lives.push(life);
    this.batches.set(life, batches);
    void this.getReady(life);
    if (this.isWorking) life.work = this.work(life);
    return life;
  }

  private readonly batches = new WeakMap<Life, Map<number, Batch>>();

  private async getReady(life: Life): Promise<void> {
    try {
      life.heapAtStart = (await life.process.ask<'heap'>({ kind: 'heap' }).answer).bytes;
      await life.process.ask<'ready'>({ kind: 'ready' }).answer;
      life.readyAt = Date.now();
    } catch (error) {
      if (!(error instanceof RouterGone)) this.fail(`${life.name} is not ready: ${error}`);
    }
  }

  private goToWork(): void {
    this.isWorking = true;
    for (const { life } of this.slots) life.work = this.work(life);
  }

  private async restFromWork(): Promise<void> {
    this.isWorking = false;
    await Promise.all(this.slots.map(({ life }) => life.work));
  }

  private async work(life: Life): Promise<void> {
    while (this.isWorking && life.process.endedAt === Number.POSITIVE_INFINITY) {
      const pause = sleep(BATCH_EVERY_MS);
      await this.operate(life, life.holding.draw(OPERATIONS));
      await pause;
    }
  }

  private async operate(life: Life, batch: Batch): Promise<void> {
    const { number, answer } = life.process.ask<'operate'>({
      kind: 'operate',
      operations: batch.map(({ operation }) => operation),
    });
    this.batches.get(life)?.set(number, batch);
    try {
      const { at } = await answer;
      life.holding.acknowledge(batch, at);
      this.operations += batch.length;
    } catch (error) {
      if (!(error instanceof RouterGone)) this.fail(`${life.name}: ${error}`);
    }
  }

  private async kill(life: Life): Promise<void> {
    this.trouble(life.holding, 'impaired');
    life.holding.lose();
    await life.process.kill();
  }

  private async close(life: Life, handoverMs: number): Promise<void> {
    this.trouble(life.holding, 'impaired');
    life.holding.lose();
    life.process.endedAt = Date.now();
    try {
      await life.process.ask<'close'>({ kind: 'close', handoverMs }).answer;
    } catch (error) {
      this.fail(`${life.name} did not close: ${error}`);
    }
    await life.process.kill();
  }

  // Faults.

  private begin(fault: Fault): void {
    const name = fault.kind === 'delete' ? `delete ${fault.what}` : fault.kind;
    this.faultCounts.set(name, (this.faultCounts.get(name) ?? 0) + 1);
    if (process.env['CHAOS_LOG'] !== undefined) console.log(Date.now(), JSON.stringify(fault));
    const happen = (): Promise<void> =>
      this.happen(fault).catch((error) => this.fail(`${name} failed: ${error.stack}`));
    if ('router' in fault) {
      const slot = this.slots[fault.router] as Slot;
      slot.busy = slot.busy.then(happen);
    } else {
      this.redisBusy = this.redisBusy.then(happen);
    }
  }

  private async happen(fault: Fault): Promise<void> {
    if (fault.kind === 'flush') return this.flush();
    if (fault.kind === 'hang') return this.hang(fault.ms);
    if (fault.kind === 'restart') return this.restart(fault);
    if (fault.kind === 'delete') return this.delete(fault.what, fault.users);
    if (fault.kind === 'kill-clients') return this.killClients(fault.type);

    const slot = this.slots[fault.router] as Slot;
    const { life, link } = slot;
    if (fault.kind === 'kill' || fault.kind === 'shut-down') {
      if (fault.kind === 'kill') await this.kill(life);
      else await this.close(life, fault.handoverMs);
      if (fault.kind === 'kill') await sleep(fault.ms);
      slot.generation += 1;
      slot.life = this.live(slot);
      return;
    }
    const over = this.trouble(life.holding, 'impaired', ...(fault.kind === 'cut' ? (['deaf'] as const) : []));
    if (fault.kind === 'stop') life.process.stop();
    else if (fault.kind === 'delay') await this.links.become(link, { kind: 'delay', ms: fault.byMs });
    else await this.links.become(link, { kind: fault.kind });
    await sleep(fault.ms);
    if (fault.kind === 'stop') life.process.goOn();
    else await this.links.become(link, { kind: 'pass' });
    over();
  }

  /** Nobody is out of reach of Redis for it, but what was said last may be gone. */
  private async flush(): Promise<void> {
    const over = this.trouble(undefined, 'impaired', 'deaf');
    const mark: Mark = { lost: 'everything', userIds: [] };
    await this.control.multi().flushall().publish(MARKS, JSON.stringify(mark)).exec();
    over();
  }

  private async delete(what: DeletedKey, users: readonly number[]): Promise<void> {
    const ids = users.map(userIdOf);
    await layoutOf(this.control, this.layout);
    const partition = this.layout.partitions[0] as Layout['partitions'][number];
    const keys: string[] = [];
    if (what === 'user') keys.push(...ids.map((id) => this.layout.userKey(id)));
    else if (what === 'bucket') keys.push(...ids.map((id) => partition.bucketKey(this.layout.place(id).bucket)));
    else keys.push(`presence:${what}:{0}`);
    const isForgetful = what === 'meta' || what === 'log';
    const over = this.trouble(undefined, ...(isForgetful ? (['deaf'] as const) : []));
    // Of a bucket whole users are lost, as in a flush.
    const overToo = this.trouble(undefined, ...(what === 'bucket' ? (['impaired', 'deaf'] as const) : []));
    const from = Date.now();
    await this.control.eval(TAKE, keys.length, ...keys, MARKS, what === 'meta' ? 'versions' : 'users');
    if (what === 'bucket') {
      const taken = new Set(keys);
      const userIds = Array.from(this.userOf.keys()).filter((id) =>
        taken.has(partition.bucketKey(this.layout.place(id).bucket)),
      );
      this.losses.push({ userIds: new Set(userIds), from, to: Date.now() + FOUND_MS });
    }
    over();
    overToo(LEASE_MS * 4);
  }

  private async killClients(type: 'pubsub' | 'normal'): Promise<void> {
    const over = this.trouble(undefined, type === 'pubsub' ? 'deaf' : 'away');
    const clients = String(await this.control.call('CLIENT', 'LIST', 'TYPE', type));
    for (const line of clients.split('\n')) {
      if (line === '' || line.includes(' name=chaos-')) continue;
      const [, id] = /^id=(\d+)/.exec(line) ?? [];
      await this.control.call('CLIENT', 'KILL', 'ID', String(id));
    }
    over();
  }

  private async hang(ms: number): Promise<void> {
    const over = this.trouble(undefined, 'away');
    this.hangs.push(Date.now());
    this.server.pause();
    await sleep(ms);
    this.server.resume();
    over();
  }

  private async restart({ signal, empty, ms }: Extract<Fault, { kind: 'restart' }>): Promise<void> {
    const over = this.trouble(undefined, empty ? 'impaired' : 'away', 'deaf');
    if (empty) this.channels.expectLoss();
    await this.server.stop(signal);
    if (empty) rmSync(join(this.directory, 'appendonlydir'), { recursive: true });
    await until('it is known that Redis is away', () => !this.channels.isHearing);
    await sleep(ms);
    await this.server.start();
    await until('the observer is back', () => this.channels.isHearing && this.control.status === 'ready');
    over();
  }

  /** Returns what ends it: from then on it takes a while yet to be over, and that much more. */
  private trouble(holding: Holding | undefined, ...effects: Array<Trouble['effect']>): (moreMs?: number) => void {
    const from = Date.now();
    const troubles = effects.map((effect): Trouble => ({ holding, effect, from, to: Number.POSITIVE_INFINITY }));
    this.troubles.push(...troubles);
    return (moreMs = 0) => {
      for (const trouble of troubles) {
        trouble.to = Date.now() + moreMs + (trouble.effect === 'deaf' ? REREAD_MS : RECOVERY_MS);
      }
    };
  }

  private isTroubled(holding: Holding, effect: Trouble['effect'], from: number, to: number): boolean {
    return this.troubles.some(
      (trouble) =>
        trouble.effect === effect &&
        (trouble.holding === undefined || trouble.holding === holding) &&
        trouble.from <= to &&
        this.endOf(trouble, ['away']) >= from,
    );
  }

  /** Whoever is about to get well needs Redis for it: while others' trouble keeps it away, that goes on. */
  private endOf({ holding, to }: Trouble, effects: ReadonlyArray<Trouble['effect']>): number {
    let until = to;
    for (const other of this.troubles) {
      const concerns = other.holding === undefined || other.holding === holding;
      if (concerns && effects.includes(other.effect) && other.from <= until && other.to > until) until = other.to;
    }
    return until;
  }

  /** Who was deaf finds out what was missed by asking; while that is not possible, it goes on. */
  private deafSpansOf(holding: Holding): Array<{ readonly from: number; readonly to: number }> {
    return this.troubles
      .filter((trouble) => trouble.effect === 'deaf' && (trouble.holding === undefined || trouble.holding === holding))
      .map((trouble) => ({
        from: trouble.from,
        to: this.endOf({ ...trouble, holding }, ['impaired', 'away', 'deaf']),
      }));
  }

  // What must hold.

  /** Connected to a router that is well, and the store has known it for a while: nothing excuses "offline". */
  private isSteady(user: number, excuses: ReadonlyArray<Trouble['effect']> = ['impaired', 'away']): boolean {
    const since = Date.now() - SLACK_MS;
    return this.slots.some(({ life: { holding } }) => {
      const heldSince = holding.steadySince(user);
      if (heldSince === undefined || heldSince > since) return false;
      return !excuses.some((effect) => this.isTroubled(holding, effect, since, Date.now()));
    });
  }

  /** Nobody has had a connection for so long that a grace is over, and a dead router's lease. */
  private isGone(user: number): boolean {
    const gone = this.truth.goneSince(user);
    const since = Date.now() - LINGER_MS;
    if (gone === undefined || gone > since) return false;
    // Whatever befell one router: when Redis is well, nobody waits for that router.
    return !this.troubles.some(({ holding, effect, to }) => holding === undefined && effect !== 'deaf' && to > since);
  }

  private assertNotConnected(update: PresenceUpdate): void {
    // After Redis was away every router gets a whole lease to say that it is alive.
    if (update.status === 'offline' && this.isSteady(this.userOf.get(update.userId) as number, ['impaired'])) {
      this.fail(`offline on the channels is one who is connected: ${JSON.stringify(update)}`);
    }
  }

  private assertNoGhostOffline(userId: string, life: Life): void {
    const now = Date.now();
    const since = now - RECOVERY_MS;
    if (this.isTroubled(life.holding, 'impaired', since, now) || this.isTroubled(life.holding, 'away', since, now))
      return;
    if (this.isSteady(this.userOf.get(userId) as number)) {
      this.fail(`${life.name} found ${userId} offline, who is connected`);
    }
  }

  /** All along, some routers are asked about some users. */
  private async askAllAlong(end: number): Promise<void> {
    const dice = random(this.seed + 1);
    while (Date.now() < end && this.violations.length === 0) {
      const pause = sleep(200);
      const { life } = dice.pick(this.slots);
      const users = Array.from({ length: 400 }, () => dice.below(USERS));
      const steady = users.filter((user) => this.isSteady(user));
      const gone = users.filter((user) => this.isGone(user));
      try {
        const askedAt = Date.now();
        const statuses = await life.process.ask<'statuses'>({ kind: 'statuses', userIds: users.map(userIdOf) }).answer;
        // An answer that was long on its way says what was true then.
        const isFresh = Date.now() - askedAt < SLACK_MS;
        for (const [index, { status, userId }] of statuses.entries()) {
          const user = users[index] as number;
          if (!isFresh) continue;
          if (steady.includes(user) && this.isSteady(user)) {
            this.queried += 1;
            if (status === 'offline') this.fail(`${life.name} says ${userId} is offline, who is connected`);
          }
          if (gone.includes(user) && this.isGone(user)) {
            this.queried += 1;
            if (status === 'online') this.fail(`${life.name} says ${userId} is online, who is gone`);
          }
        }
      } catch {
        // A router that is gone, or cannot reach Redis, says so.
      }
      await pause;
    }
  }

  /** Whatever does not agree with the truth: every router's answers, and Redis' own keys. */
  private async differences(): Promise<string[]> {
    const found: string[] = [];
    const differ = (message: string): unknown => found.length < 10 && found.push(message);
    const users = Array.from({ length: USERS }, (_, user) => user);
    const connected = new Set(this.truth.connected.map(userIdOf));
    const statusOf = (userId: string): string => (connected.has(userId) ? 'online' : 'offline');

    const keys = await this.keysOfUsers();
    for (const userId of connected) {
      const ttl = keys.get(userId);
      if (ttl === undefined) differ(`${userId} is online, and has no key`);
      else if (ttl <= 0 || ttl > TTL_MS) differ(`the key of ${userId} lives for ${ttl} ms`);
    }
    for (const userId of keys.keys()) if (!connected.has(userId)) differ(`${userId} is offline, and has a key`);

    for (const { life } of this.slots) {
      const { process, name, observer } = life;
      try {
        const statuses = await process.ask<'statuses'>({ kind: 'statuses', userIds: users.map(userIdOf) }).answer;
        for (const { userId, status } of statuses) {
          if (status !== statusOf(userId)) differ(`${name} says ${userId} is ${status}`);
          const last = observer.lastOf(userId)?.status ?? statusOf(userId);
          if (last !== statusOf(userId)) differ(`${name} told last that ${userId} is ${last}`);
        }
        const { userIds, count } = await process.ask<'list'>({ kind: 'list' }).answer;
        if (count !== connected.size) differ(`${name} counts ${count} online, and there are ${connected.size}`);
        const listed = new Set(userIds);
        if (listed.size !== userIds.length) differ(`${name} lists ${userIds.length - listed.size} twice`);
        for (const userId of listed) if (!connected.has(userId)) differ(`${name} lists ${userId}, who is offline`);
        for (const userId of connected) if (!listed.has(userId)) differ(`${name} does not list ${userId}`);
      } catch (error) {
        differ(`${name}: ${error}`);
      }
    }
    return found;
  }

  private async keysOfUsers(): Promise<Map<string, number>> {
    const prefix = this.layout.userKey('');
    const keys: string[] = [];
    for (let cursor = '0'; ; ) {
      const [next, some] = await this.control.scan(cursor, 'MATCH', `${prefix}*`, 'COUNT', 5_000);
      keys.push(...some);
      cursor = next;
      if (cursor === '0') break;
    }
    const ttls = await this.control.pipeline(keys.map((key) => ['pttl', key])).exec();
    return new Map(keys.map((key, index) => [key.slice(prefix.length), Number(ttls?.[index]?.[1])]));
  }

  private async assertAgreed(): Promise<void> {
    for (const { life } of this.slots) {
      const ids = Array.from({ length: USERS }, (_, user) => userIdOf(user));
      const statuses = await life.process.ask<'statuses'>({ kind: 'statuses', userIds: ids }).answer;
      for (const [user, { status, lastSeen }] of statuses.entries()) {
        const wrong = status === 'offline' ? this.wrongLastSeen(user, lastSeen) : undefined;
        if (wrong === undefined) continue;
        const told = this.channels.history.filter(({ userId }) => userId === userIdOf(user)).slice(-6);
        const how = JSON.stringify(told.map(({ timestamp, status, reason }) => [timestamp, status, reason]));
        this.fail(`${life.name} says ${userIdOf(user)} was last seen ${lastSeen}: ${wrong}; told was ${how}`);
      }
    }
  }

  private wrongLastSeen(user: number, lastSeen: string | null): string | undefined {
    const leaving = this.truth.leavings[user];
    if (leaving === undefined) return lastSeen === null ? undefined : 'and never came';
    const { at, how } = leaving;
    // Who came and went before the store could be told is no event, and was not seen by it.
    const known = this.truth.knownLeavings[user];
    if (known === undefined) return undefined;
    // Redis has lost it together with everything else, and nobody was there any more to say it again.
    if (lastSeen === null) {
      return this.channels.lastOf(userIdOf(user)) === false ? `left at ${at}, and it was told` : undefined;
    }
    const isWell = (left: Leaving): boolean =>
      !(['impaired', 'away'] as const).some((effect) =>
        this.isTroubled(left.holding, effect, left.at - SLACK_MS, left.at + SLACK_MS),
      );
    const earliest = known.at - (known.how === 'close' && isWell(known) ? SLACK_MS : PING_MS * 2 + WORST_MS);
    const latest = at + (isWell(leaving) ? SLACK_MS : WORST_MS);
    const seen = Date.parse(lastSeen);
    if (seen >= earliest && seen <= latest) return undefined;
    return `${known.how} at ${new Date(known.at).toISOString()}, and ${how} at ${new Date(at).toISOString()}`;
  }

  /** None twice and none missing, of what a router could hear. */
  private assertHistory({ name, holding, observer, readyAt, process }: Life): void {
    if (readyAt === 0) return;
    const { deafSpans } = this.channels;
    const from = readyAt + SLACK_MS;
    // The last that it told may not have come here any more; and of one that stood still, or was out of reach, until just
    // before, nothing that happened since.
    const { endedAt } = process;
    const lastWell = this.troubles
      .filter((trouble) => trouble.holding === holding && trouble.effect === 'impaired' && trouble.from < endedAt)
      .filter((trouble) => trouble.to - RECOVERY_MS > endedAt - SLACK_MS)
      .reduce((least, trouble) => Math.min(least, trouble.from), endedAt);
    const to = lastWell - SLACK_MS;
    const deaf = this.deafSpansOf(holding);
    const { missing, invented, compared } = compareHistories(this.channels.history, observer.history, {
      tell: (at, userId) =>
        at > from &&
        at < to &&
        !deaf.some((span) => at > span.from - SLACK_MS && at < span.to + SLACK_MS) &&
        !this.losses.some((loss) => loss.userIds.has(userId) && at > loss.from - SLACK_MS && at < loss.to + SLACK_MS),
      say: (at) =>
        !deafSpans.some((span) => at > span.from - SLACK_MS && at < span.to + SLACK_MS) &&
        !this.hangs.some((from) => Math.abs(at - from) < SLACK_MS),
    });
    this.compared += compared;
    for (const update of missing.slice(0, 3)) {
      const told = observer.history.filter(({ userId }) => userId === update.userId).slice(-4);
      this.fail(`${name} did not tell ${JSON.stringify(update)}; last it told ${JSON.stringify(told)}`);
    }
    for (const update of invented.slice(0, 3)) this.fail(`${name} alone told ${JSON.stringify(update)}`);
  }

  /** What happens makes exactly these users go offline, once each, for this reason; every router tells so. */
  private async assertChanges(reason: string, users: readonly number[], happen: () => Promise<void>): Promise<void> {
    const sources = [
      { name: 'the channels', history: this.channels.history },
      ...this.slots.map(({ life }) => ({ name: life.name, history: life.observer.history })),
    ].map((source) => ({ ...source, from: source.history.length }));
    const survivors = new Set(['the channels']);
    await happen();
    for (const { life } of this.slots) {
      if (life.process.endedAt === Number.POSITIVE_INFINITY) survivors.add(life.name);
    }
    const expected = users.map((user) => `${userIdOf(user)} offline ${reason}`).sort();
    for (const { name, history, from } of sources) {
      if (!survivors.has(name)) continue;
      const tellers = () => history.slice(from).map((told) => `${told.userId} ${told.status} ${told.reason}`);
      await until('', () => history.length >= from + expected.length, LEASE_MS * 2 + SLACK_MS).catch(() => undefined);
      const told = tellers().sort();
      const wrong = told.find((line, index) => line !== expected[index]) ?? expected[told.length];
      if (wrong !== undefined || told.length !== expected.length) {
        this.fail(`${name} told ${told.length} of ${expected.length} changes (${reason}), and wrong is: ${wrong}`);
      }
    }
    await this.silence();
    for (const { name, history, from } of sources) {
      if (survivors.has(name) && history.length > from + expected.length) this.fail(`${name} told more (${reason})`);
    }
  }

  /** Nothing happens, so nothing is told for longer than anything may be due. */
  private async silence(): Promise<void> {
    await until('nothing is told any more', () => Date.now() - this.channels.heardAt > LEASE_MS * 2, CALM_MS).catch(
      () => this.fail('changes are told although nothing happens'),
    );
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}
