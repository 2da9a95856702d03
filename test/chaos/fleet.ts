import { random } from '../random';
import { sleep, until } from '../redis/wait';
import type { Excuses } from './excuses';
import type { Fault } from './faults';
import type { FaultyRedis } from './faulty-redis';
import { Life, type LifeObserver } from './life';
import type { LinkProcess } from './link-process';
import { LEASE_MS, TTL_MS } from './protocol';
import { Holding, type Truth } from './truth';

const ROUTERS = 4;
/** Connections that each router has when all is well. */
const CONNECTIONS = 1_000;
/** Each way: a round trip of 300 ms, over which everything works. */
const FAR_MS = 150;
/** Before it breaks a link is slow, so that there are answers on their way. */
const SEVERED_MS = 100;
const STARTS_MS = LEASE_MS * 4 + 20_000;

type RouterFault = Extract<Fault, { router: number }>;

interface Slot {
  readonly index: number;
  /** The port of its link to Redis. */
  readonly link: number;
  generation: number;
  life: Life;
  /** Faults of one router come one after the other. */
  busy: Promise<void>;
}

export interface FleetParts {
  readonly seed: number;
  /** The file that each router runs. */
  readonly program: string;
  readonly truth: Truth;
  readonly links: LinkProcess;
  readonly excuses: Excuses;
  readonly observer: LifeObserver;
}

/** Some router processes, and what can befall them. */
export class Fleet {
  static readonly size = ROUTERS;
  readonly lives: Life[] = [];
  private readonly slots: Slot[] = [];
  private isWorking = false;

  private constructor(private readonly parts: FleetParts) {}

  static async start(redis: FaultyRedis, parts: FleetParts): Promise<Fleet> {
    const fleet = new Fleet(parts);
    for (let index = 0; index < ROUTERS; index += 1) {
      const slot = { index, link: await redis.linkOfRouter(), generation: 0, busy: Promise.resolve() };
      fleet.slots.push({ ...slot, life: fleet.live(slot) });
    }
    await fleet.ready();
    return fleet;
  }

  /** The routers that there are now. */
  get current(): Life[] {
    return this.slots.map(({ life }) => life);
  }

  get operations(): number {
    return this.lives.reduce((sum, { operations }) => sum + operations, 0);
  }

  async ready(): Promise<void> {
    await Promise.all(this.slots.map(({ busy }) => busy));
    await Promise.all(this.slots.map(({ life }) => until(`${life.name} is ready`, () => life.readyAt > 0, STARTS_MS)));
  }

  goToWork(): void {
    this.isWorking = true;
    for (const life of this.current) life.goToWork();
  }

  async restFromWork(): Promise<void> {
    this.isWorking = false;
    await Promise.all(this.current.map((life) => life.restFromWork()));
  }

  /** What happens to one router, after all else that was to happen to it. */
  happen(fault: RouterFault): Promise<void> {
    const slot = this.slots[fault.router] as Slot;
    const done = slot.busy.then(() => this.befall(slot, fault));
    slot.busy = done.catch(() => undefined);
    return done;
  }

  /** All routers die, and no phone comes back before the last activity is too old. */
  async dieWhole(): Promise<void> {
    await Promise.all(this.current.map((life) => life.kill()));
    await sleep(TTL_MS + 1_000);
    for (const slot of this.slots) this.replace(slot);
  }

  async end(): Promise<void> {
    this.isWorking = false;
    // Nothing is said of processes that end here.
    for (const { process } of this.lives) await process.kill();
  }

  private async befall(slot: Slot, fault: RouterFault): Promise<void> {
    const { life, link } = slot;
    if (fault.kind === 'kill' || fault.kind === 'stutter') {
      await life.kill();
      if (fault.kind === 'kill') await sleep(fault.ms);
      return this.replace(slot);
    }
    if (fault.kind === 'shut-down') {
      await life.close(fault.handoverMs);
      return this.replace(slot);
    }
    const { links, excuses } = this.parts;
    if (fault.kind === 'far') {
      await links.become(link, { kind: 'delay', ms: FAR_MS });
      await sleep(fault.ms);
      return links.become(link, { kind: 'pass' });
    }
    if (fault.kind === 'sever') {
      await links.become(link, { kind: 'delay', ms: SEVERED_MS });
      await sleep(SEVERED_MS * 4);
    }
    const isCut = fault.kind === 'cut' || fault.kind === 'sever';
    const over = excuses.begin(isCut ? ['unreachable', 'deaf'] : ['unreachable'], { holding: life.holding });
    life.holding.fallIll();
    if (fault.kind === 'stop') life.process.stop();
    else await links.become(link, { kind: isCut ? 'cut' : 'hold' });
    await sleep(fault.ms);
    if (fault.kind === 'stop') life.process.goOn();
    else await links.become(link, { kind: 'pass' });
    over();
    // Until it has had the time to say who left.
    await sleep(LEASE_MS / 3);
    life.holding.isUnwell = false;
  }

  private replace(slot: Slot): void {
    slot.generation += 1;
    slot.life = this.live(slot);
  }

  private live({ index, link, generation }: Omit<Slot, 'life' | 'busy'>): Life {
    const { seed, truth, observer, program } = this.parts;
    // Dice of its own: what phones do there must not depend on when others are served.
    const dice = random(seed ^ Math.imul(index * 1_000 + generation + 1, 0x9e3779b1));
    const holding = new Holding(truth, dice, { router: index, routers: ROUTERS }, CONNECTIONS);
    const connects = index % 2 === 0 ? 'client' : 'itself';
    const life = new Life(`router ${index}.${generation}`, holding, observer, program, link, connects);
    this.lives.push(life);
    if (this.isWorking) life.goToWork();
    return life;
  }
}
