import {
  createPresence,
  memoryStore,
  type Presence,
  type PresenceStore,
  type PresenceUpdate,
} from 'voiceping-presence';
import { type FakeClock, type FakeSocket, fakeClock, fakeSocket } from 'voiceping-presence/testing';
import type { Random } from '../random';

const TTL_MS = 30_000;
const GRACE_MS = 4_000;
const LEASE_MS = 6_000;
/** A tick of the liveness wheel, the grid on which due things are gathered, and a little. */
const SLACK_MS = 1_500;

/** A clock of one process: stands still for it while it is stalled, and for ever once it is killed. */
interface ProcessClock {
  stalledUntil: number;
  killed: boolean;
}

interface Router {
  readonly presence: Presence;
  readonly process: ProcessClock;
  /** What its own listener heard, by user. */
  readonly heard: Map<string, PresenceUpdate[]>;
  readonly sockets: Set<Phone>;
  readonly startedAt: number;
}

interface Phone {
  readonly socket: FakeSocket;
  readonly userId: string;
  readonly router: Router;
  frozenAt: number | undefined;
}

/**
 * Routers, phones and a store on one fake clock, and beside them the truth: who holds a connection, who is in grace.
 * Faults are drawn from a seed. What `design.md` calls invariants is asserted all along.
 */
export class StressWorld {
  readonly clock: FakeClock = fakeClock();
  readonly store: PresenceStore = memoryStore({ now: this.clock.now });
  readonly routers = new Set<Router>();
  readonly log: PresenceUpdate[] = [];
  readonly errors: unknown[] = [];
  operations = 0;
  /** Until when a user may still be shown online although no phone of it is connected. */
  private readonly lingersUntil = new Map<string, number>();
  private readonly lastUpdate = new Map<string, PresenceUpdate>();
  private readonly users: string[];

  constructor(
    private readonly dice: Random,
    users: number,
  ) {
    this.users = Array.from({ length: users }, (_, index) => (index === 0 ? '__proto__' : `u:${index}`));
    this.store.subscribe({
      onTransition: (update) => this.observe(update),
      onGap: () => this.errors.push('gap'),
      onDue: () => undefined,
      onLost: () => undefined,
      onError: () => undefined,
    });
  }

  async start(): Promise<void> {
    // What has happened up to now is told to those who are there now.
    await this.clock.settle();
    const process: ProcessClock = { stalledUntil: 0, killed: false };
    const presence = createPresence({
      store: this.storeOf(process),
      clock: this.clockOf(process),
      ttlMs: TTL_MS,
      graceMs: GRACE_MS,
      leaseMs: LEASE_MS,
      onError: (error) => this.errors.push(error),
    });
    const heard = new Map<string, PresenceUpdate[]>();
    presence.onUpdate((update) => {
      const updates = heard.get(update.userId);
      if (updates === undefined) heard.set(update.userId, [update]);
      else updates.push(update);
    });
    const router = { presence, process, heard, sockets: new Set<Phone>(), startedAt: this.log.length };
    this.routers.add(router);
  }

  /** One random thing happens. */
  async step(): Promise<void> {
    this.operations += 1;
    const { dice } = this;
    const router = dice.pick(Array.from(this.routers));
    const phone = dice.pick(Array.from(router.sockets));
    const roll = dice.next();
    if (roll < 0.4) this.connect(router, dice.pick(this.users));
    else if (roll < 0.55) this.leave(phone, 'close');
    else if (roll < 0.75) this.leave(phone, 'drop');
    else if (roll < 0.8) this.freeze(phone);
    else if (roll < 0.9) this.talk(phone);
    else if (roll < 0.99) await this.pass(dice.below(200));
    else if (roll < 0.995) await this.pass(dice.below(3_000));
    else if (roll < 0.997) this.stall(router);
    else if (roll < 0.9985) this.kill(router);
    else await this.shutDown(router);
    while (this.routers.size < 3) await this.start();
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
  }

  /** All faults end, and everything that is due has happened. */
  async calm(): Promise<void> {
    await this.pass(TTL_MS + LEASE_MS * 3 + GRACE_MS + SLACK_MS * 2);
  }

  connected(userId: string): boolean {
    for (const { sockets } of this.routers) {
      for (const phone of sockets) if (phone.userId === userId && phone.frozenAt === undefined) return true;
    }
    return false;
  }

  /** What the store and every router say must lie between what is certain and what is possible. */
  async assertQueries(fail: (message: string) => void): Promise<void> {
    const router = Array.from(this.routers).find(({ process }) => process.stalledUntil <= this.clock.now());
    if (router === undefined) return;
    // What was attached or closed just now is on its way in this very turn.
    await this.clock.settle();
    const statuses = await router.presence.getStatuses(this.users);
    for (const userId of this.users) {
      const status = statuses[userId]?.status;
      const lingers = (this.lingersUntil.get(userId) ?? 0) > this.clock.now();
      if (status === 'online' && !this.connected(userId) && !lingers) fail(`${userId} is a ghost`);
      if (status === 'offline' && this.connectedSteadily(userId)) fail(`${userId} is connected, and shown offline`);
    }
  }

  /** Each user's changes alternate and their versions grow; each router heard every one of its time, once, in order. */
  assertHistory(fail: (message: string) => void): void {
    for (const { heard, startedAt } of this.routers) {
      const expected = new Map<string, string[]>();
      for (const { userId, version } of this.log.slice(startedAt)) {
        const versions = expected.get(userId);
        if (versions === undefined) expected.set(userId, [String(version)]);
        else versions.push(String(version));
      }
      for (const userId of this.users) {
        const told = (heard.get(userId) ?? []).map(({ version }) => version).join();
        const all = (expected.get(userId) ?? []).join();
        if (told !== all) fail(`a router heard ${told} of ${userId}, and there was ${all}`);
      }
    }
  }

  async assertSettled(fail: (message: string) => void): Promise<void> {
    for (const { presence } of this.routers) {
      const statuses = await presence.getStatuses(this.users);
      for (const userId of this.users) {
        const truth = this.connected(userId) ? 'online' : 'offline';
        if (statuses[userId]?.status !== truth) fail(`${userId} is ${truth}, and shown ${statuses[userId]?.status}`);
        const told = this.lastUpdate.get(userId)?.status ?? 'offline';
        if (told !== truth) fail(`${userId} is ${truth}, and the last update said ${told}`);
      }
    }
  }

  async end(): Promise<void> {
    for (const { presence } of this.routers) await presence.close();
    await this.clock.settle();
  }

  private observe(update: PresenceUpdate): void {
    const before = this.lastUpdate.get(update.userId);
    if ((before?.status ?? 'offline') === update.status) this.errors.push(`${update.userId} is ${update.status} twice`);
    const previous = this.log[this.log.length - 1];
    if (update.version !== (previous?.version ?? 0) + 1) this.errors.push(`version ${update.version} leaves a gap`);
    this.lastUpdate.set(update.userId, update);
    this.log.push(update);
  }

  private connect(router: Router, userId: string): void {
    if (this.isStalled(router)) return;
    const phone: Phone = { socket: fakeSocket(), userId, router, frozenAt: undefined };
    phone.socket.on('close', () => router.sockets.delete(phone));
    router.sockets.add(phone);
    router.presence.attachToSocket(phone.socket, { userId });
  }

  private leave(phone: Phone | undefined, how: 'close' | 'drop'): void {
    // The socket events of a stalled process are delivered when it wakes; here such a phone just stays.
    if (phone === undefined || this.isStalled(phone.router)) return;
    // Also for a clean close: another device of the user may be in its grace.
    this.linger(phone.userId, GRACE_MS + SLACK_MS);
    phone.socket[how]();
  }

  private freeze(phone: Phone | undefined): void {
    if (phone === undefined || phone.frozenAt !== undefined) return;
    phone.frozenAt = this.clock.now();
    phone.socket.answersPings = false;
    // Its router may stall, and then gives it more time.
    this.linger(phone.userId, TTL_MS * 2 + LEASE_MS * 3 + SLACK_MS);
  }

  private talk(phone: Phone | undefined): void {
    if (phone === undefined || phone.frozenAt !== undefined || this.isStalled(phone.router)) return;
    phone.socket.receive(Buffer.from([0x93, 1, 3, 0]));
  }

  private stall(router: Router): void {
    const ms = this.dice.below(LEASE_MS * 2);
    router.process.stalledUntil = Math.max(router.process.stalledUntil, this.clock.now() + ms);
    for (const { userId } of router.sockets) this.linger(userId, ms + LEASE_MS * 2 + GRACE_MS + SLACK_MS);
    this.pardon();
  }

  private kill(router: Router): void {
    router.process.killed = true;
    this.routers.delete(router);
    for (const { userId } of router.sockets) this.linger(userId, LEASE_MS * 2 + GRACE_MS + SLACK_MS);
    this.pardon();
  }

  /**
   * Where no router is awake nobody asks the store, which cannot know then who of them is dead: each has a whole lease once
   * one asks again, a beat after it has woken, and is found out a beat after that.
   */
  private pardon(): void {
    const now = this.clock.now();
    const wokenAt = Math.min(...Array.from(this.routers, ({ process }) => process.stalledUntil));
    if (this.routers.size === 0 || wokenAt <= now) return;
    const until = wokenAt + (LEASE_MS * 5) / 3 + SLACK_MS;
    for (const [userId, lingers] of this.lingersUntil) if (lingers > now) this.linger(userId, until - now);
  }

  private async shutDown(router: Router): Promise<void> {
    if (this.isStalled(router)) return;
    const handoverMs = this.dice.chance(0.5) ? 2_000 : 0;
    for (const { userId } of router.sockets) this.linger(userId, handoverMs + GRACE_MS + LEASE_MS + SLACK_MS);
    this.routers.delete(router);
    await router.presence.close({ handoverMs });
  }

  private linger(userId: string, ms: number): void {
    const until = this.clock.now() + ms;
    if (until > (this.lingersUntil.get(userId) ?? 0)) this.lingersUntil.set(userId, until);
  }

  private isStalled({ process }: Router): boolean {
    return process.stalledUntil > this.clock.now();
  }

  /** Connected on a router that has not been stalled for a while: nothing excuses "offline". */
  private connectedSteadily(userId: string): boolean {
    for (const { sockets, process } of this.routers) {
      if (process.stalledUntil + LEASE_MS > this.clock.now()) continue;
      for (const phone of sockets) if (phone.userId === userId && phone.frozenAt === undefined) return true;
    }
    return false;
  }

  /** Runs something as soon as a process is awake; never, if it was killed. */
  private whenAwake(process: ProcessClock, run: () => void): void {
    if (process.killed) return;
    const wait = process.stalledUntil - this.clock.now();
    if (wait > 0) this.clock.setTimeout(() => this.whenAwake(process, run), wait);
    else run();
  }

  /** The store as a process reaches it: one that stands still hears nothing until it wakes, one that was killed never. */
  private storeOf(process: ProcessClock): PresenceStore {
    const { store } = this;
    const unheard: Array<() => void> = [];
    const awake = (hear: () => void): void => {
      unheard.push(hear);
      if (unheard.length > 1) return;
      this.whenAwake(process, () => {
        for (const next of unheard.splice(0)) next();
      });
    };
    return {
      beat: (node) => store.beat(node),
      apply: (node, ops) => store.apply(node, ops),
      refresh: (node, signs) => store.refresh(node, signs),
      release: (node) => store.release(node),
      read: (ids) => store.read(ids),
      list: (page) => store.list(page),
      count: () => store.count(),
      subscribe: (feed) =>
        store.subscribe({
          onTransition: (update, lastSeen) => awake(() => feed.onTransition(update, lastSeen)),
          onGap: () => awake(() => feed.onGap()),
          onDue: (inMs) => awake(() => feed.onDue(inMs)),
          onLost: (isLost) => awake(() => feed.onLost(isLost)),
          onError: (stage, error) => awake(() => feed.onError(stage, error)),
        }),
    };
  }

  private clockOf(process: ProcessClock) {
    const { clock } = this;
    return {
      now: clock.now,
      setTimeout: (run: () => void, ms: number) => clock.setTimeout(() => this.whenAwake(process, run), ms),
      clearTimeout: clock.clearTimeout,
      random: clock.random,
    };
  }
}
