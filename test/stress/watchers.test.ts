import { expect, it } from 'vitest';
import {
  createPresence,
  type Presence,
  type PresenceStatus,
  type PresenceStore,
  type StoredPage,
} from 'voiceping-presence';
import { type FakeClock, type FakeSocket, fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { readFrame, SNAPSHOT, UPDATE, watchFrame } from '../../src/client/codec';
import { createView, type View } from '../../src/client/view';
import { faultyStore } from '../core/faulty-store';
import { type Random, random } from '../random';

const RUNS = Number(process.env['WATCHER_RUNS'] ?? 100);
const OPERATIONS = 1_000;
const USERS = Array.from({ length: 8 }, (_, index) => `u${index}`);

interface Frame {
  messageType: number;
  fromId: string;
  status: 'online' | 'offline';
  version: number;
  users: PresenceStatus[];
}

/** A dashboard, and what somebody who believes its frames sees. */
class Dashboard {
  readonly socket: FakeSocket = fakeSocket();
  readonly view = new Map<string, string>();
  private readonly versions = new Map<string, number>();
  private read = 0;

  constructor(
    readonly attachment: { watch(ids: boolean | string[]): void },
    public interest: true | string[],
    socket: FakeSocket,
  ) {
    this.socket = socket;
  }

  watches(userId: string): boolean {
    return this.interest === true || this.interest.includes(userId);
  }

  look(fail: (message: string) => void): void {
    const frames = this.socket.frames as Frame[];
    for (; this.read < frames.length; this.read += 1) {
      const frame = frames[this.read] as Frame;
      if (frame.messageType === 32) {
        for (const { userId, status } of frame.users) this.view.set(userId, status);
        continue;
      }
      if (frame.messageType === 34) continue;
      const { fromId, status, version } = frame;
      if (!this.watches(fromId)) fail(`a frame of ${fromId}, whom nobody asked for`);
      const before = this.versions.get(fromId) ?? 0;
      if (version <= before) fail(`${fromId} went from version ${before} to ${version}`);
      this.versions.set(fromId, version);
      this.view.set(fromId, status);
    }
  }
}

/** A dashboard that asks with frames, is cut, and goes on where it was, on whichever router. */
class Asking {
  readonly view: View;
  resumed = 0;
  moves = 0;
  presence: Presence | undefined;
  private socket: FakeSocket | undefined;
  private read = 0;

  constructor(ids: true | string[]) {
    this.view = createView(ids);
  }

  connect(presence: Presence): void {
    this.cut();
    this.moves += 1;
    this.socket = fakeSocket();
    this.presence = presence;
    this.read = 0;
    presence.attachToSocket(this.socket, { userId: 'asks', track: false });
    this.ask();
  }

  cut(): void {
    this.look();
    this.socket?.close();
    this.socket = undefined;
  }

  /** What has been sent and not looked at yet arrives after it. */
  turn(ids: true | string[]): void {
    this.view.watch(ids);
    this.ask();
  }

  /** It takes nothing for a while. */
  stall(bytes: number): void {
    if (this.socket !== undefined) this.socket.bufferedAmount = bytes;
  }

  look(): void {
    const { socket, view } = this;
    if (socket === undefined) return;
    for (; this.read < socket.sent.length; this.read += 1) {
      const said = readFrame(socket.sent[this.read]);
      if (said?.kind === UPDATE) view.update(said);
      if (said?.kind !== SNAPSHOT) continue;
      view.show(said);
      if (said.resumed === true) this.resumed += 1;
    }
  }

  get isConnected(): boolean {
    return this.socket?.readyState === 1;
  }

  private ask(): void {
    if (this.socket === undefined) return;
    this.view.asked = (this.view.asked + 1) % 128;
    this.socket.receive(watchFrame(this.view.ids, this.view.cursor, this.view.asked));
  }
}

/** Routers on one store, each behind a link of its own that fails, hangs, loses answers, goes deaf, and heals. */
class World {
  readonly clock: FakeClock = fakeClock();
  readonly shared = faultyStore(this.clock.now);
  readonly routers: Array<{
    presence: Presence;
    link: Link;
    phones: Set<{ socket: FakeSocket; userId: string }>;
    dashboards: Set<Dashboard>;
  }> = [];

  readonly asking: Asking[] = [];

  constructor(
    private readonly dice: Random,
    private readonly fail: (message: string) => void,
  ) {
    for (let count = 0; count < 3; count += 1) this.start();
    for (let count = 0; count < 6; count += 1) this.asking.push(new Asking(this.interest()));
  }

  start(): void {
    const link = new Link(this.shared.store, this.clock, this.dice, this.fail);
    const presence = createPresence({
      clock: this.clock,
      store: link.store,
      ttlMs: 60_000,
      graceMs: 3_000,
      leaseMs: 6_000,
      authorizeWatch: () => true,
      onError: () => undefined,
    });
    this.routers.push({ presence, link, phones: new Set(), dashboards: new Set() });
  }

  async step(): Promise<void> {
    const { dice } = this;
    const router = dice.pick(this.routers);
    const phone = dice.pick(Array.from(router.phones));
    const dashboard = dice.pick(Array.from(router.dashboards));
    const asking = dice.pick(this.asking) as Asking;
    const move = dice.next();
    if (move < 0.05) asking.connect(router.presence);
    else if (move < 0.08) asking.cut();
    else if (move < 0.09) asking.turn(this.interest());
    else if (move < 0.12) asking.stall(dice.pick([0, 100_000]));
    else if (move < 0.15) asking.look();
    const roll = dice.next();
    if (roll < 0.25) {
      const joins = { socket: fakeSocket(), userId: dice.pick(USERS) };
      router.phones.add(joins);
      joins.socket.on('close', () => router.phones.delete(joins));
      router.presence.attachToSocket(joins.socket, { userId: joins.userId });
    } else if (roll < 0.27) {
      if (phone === undefined) return;
      phone.userId = dice.pick(USERS);
      router.presence.attachToSocket(phone.socket, { userId: phone.userId });
    } else if (roll < 0.28) {
      if (phone !== undefined) phone.socket.answersPings = false;
    } else if (roll < 0.45) {
      phone?.socket[dice.pick(['close', 'drop'] as const)]();
    } else if (roll < 0.5) {
      if (router.dashboards.size < 6) this.open(router);
    } else if (roll < 0.52) {
      dashboard?.socket.close();
    } else if (roll < 0.6) {
      if (dashboard !== undefined) this.turn(dashboard);
    } else if (roll < 0.66) {
      if (dashboard !== undefined) dashboard.socket.bufferedAmount = dice.pick([0, 100_000]);
    } else if (roll < 0.7) {
      router.link.breakDown();
    } else if (roll < 0.75) {
      router.link.heal();
    } else if (roll < 0.77) {
      router.link.delayMs = dice.pick([0, 0, 300, 1_500, 3_000]);
    } else if (roll < 0.775) {
      this.shared.link.flush();
      this.shared.link.hear();
    } else if (roll < 0.777) {
      this.routers.splice(this.routers.indexOf(router), 1);
      for (const each of this.asking) if (each.presence === router.presence) each.cut();
      void router.presence.close({ handoverMs: dice.pick([0, 2_000]) });
      this.start();
    } else if (roll < 0.97) {
      await this.clock.advance(dice.below(dice.chance(0.2) ? 2_500 : 120));
    } else if (roll < 0.98) {
      await this.clock.advance(dice.below(12_000));
    } else {
      await this.clock.settle();
    }
    for (const { dashboards } of this.routers) {
      for (const each of dashboards) if (dice.chance(0.1)) each.look(this.fail);
    }
  }

  /** All faults end, and a minute passes: everybody must be right. */
  async settle(): Promise<void> {
    for (const { link, dashboards, phones } of this.routers) {
      link.heal();
      link.delayMs = 0;
      for (const { socket } of dashboards) socket.bufferedAmount = 0;
      for (const { socket } of phones) socket.answersPings = true;
    }
    for (const asking of this.asking) {
      asking.stall(0);
      if (!asking.isConnected) asking.connect((this.dice.pick(this.routers) as World['routers'][number]).presence);
    }
    await this.clock.advance(60_000);
    for (const asking of this.asking) {
      asking.look();
      for (const userId of asking.view.ids === true ? USERS : asking.view.ids) {
        const truth = this.isConnected(userId) ? 'online' : 'offline';
        const seen = asking.view.users.get(userId)?.status ?? (asking.view.ids === true ? 'offline' : 'nothing');
        if (seen !== truth) this.fail(`${userId} is ${truth}, and a dashboard that asks sees ${seen}`);
      }
    }
    for (const { presence, dashboards } of this.routers) {
      const statuses = await presence.getStatuses(USERS);
      for (const userId of USERS) {
        const truth = this.isConnected(userId) ? 'online' : 'offline';
        if (statuses[userId]?.status !== truth) this.fail(`a query says that ${userId} is not ${truth}`);
        for (const dashboard of dashboards) {
          dashboard.look(this.fail);
          if (!dashboard.watches(userId)) continue;
          const seen = dashboard.view.get(userId) ?? (dashboard.interest === true ? 'offline' : 'nothing');
          if (seen !== truth) this.fail(`${userId} is ${truth}, and a dashboard sees ${seen}`);
        }
      }
    }
  }

  async end(): Promise<void> {
    for (const { presence } of this.routers) void presence.close();
    await this.clock.advance(5_000);
    if (this.clock.timers > 0) this.fail(`${this.clock.timers} timers are left`);
  }

  private isConnected(userId: string): boolean {
    return this.routers.some(({ phones }) => Array.from(phones).some((phone) => phone.userId === userId));
  }

  private interest(): true | string[] {
    return this.dice.chance(0.4) ? true : USERS.filter(() => this.dice.chance(0.5));
  }

  private open(router: World['routers'][number]): void {
    const socket = fakeSocket();
    const interest = this.interest();
    const attachment = router.presence.attachToSocket(socket, { userId: 'dash', track: false, watch: interest });
    const dashboard = new Dashboard(attachment, interest, socket);
    router.dashboards.add(dashboard);
    socket.on('close', () => router.dashboards.delete(dashboard));
  }

  private turn(dashboard: Dashboard): void {
    dashboard.look(this.fail);
    dashboard.interest = this.interest();
    // What it does not watch any more it knows nothing of.
    for (const userId of dashboard.view.keys()) if (!dashboard.watches(userId)) dashboard.view.delete(userId);
    dashboard.attachment.watch(dashboard.interest);
  }
}

class Link {
  delayMs = 0;
  readonly store: PresenceStore;
  private state: 'up' | 'down' | 'hangs' | 'lost' = 'up';
  private deaf = false;
  private readonly gaps = new Set<() => void>();
  /** The versions of the changes that are on their way. */
  private readonly coming: number[] = [];
  private callsAt = 0;
  private calls = 0;

  constructor(
    behind: PresenceStore,
    private readonly clock: FakeClock,
    private readonly dice: Random,
    private readonly fail: (message: string) => void,
  ) {
    // A feed that is late is late by the same for everything, as on one connection.
    const lagMs = dice.chance(0.4) ? 20 + dice.below(400) : 0;
    const later = (run: () => void): void => {
      if (lagMs === 0) run();
      else clock.setTimeout(run, lagMs);
    };
    this.store = {
      beat: (node) => this.through(() => behind.beat(node)),
      apply: (node, ops) => this.through(() => behind.apply(node, ops)),
      refresh: (node, signs) => this.through(() => behind.refresh(node, signs)),
      release: (node) => this.through(() => behind.release(node)),
      read: (ids) => this.through(() => behind.read(ids)),
      list: (page) => this.through(async () => this.withTold(await behind.list(page))),
      count: () => this.through(() => behind.count()),
      subscribe: (feed) => {
        const gap = () => later(() => feed.onGap());
        this.gaps.add(gap);
        const unsubscribe = behind.subscribe({
          onTransition: (update, lastSeen) => {
            if (this.deaf) return;
            this.coming.push(update.version);
            later(() => {
              this.coming.shift();
              if (!this.deaf) feed.onTransition(update, lastSeen);
            });
          },
          onDue: (inMs) => feed.onDue(inMs),
          onGap: gap,
          onLost: (isLost) => feed.onLost(isLost),
          onError: (stage, error) => feed.onError(stage, error),
        });
        return () => {
          this.gaps.delete(gap);
          unsubscribe();
        };
      },
    };
  }

  breakDown(): void {
    this.state = this.dice.pick(['down', 'hangs', 'lost'] as const);
    if (this.dice.chance(0.6)) this.deaf = true;
  }

  heal(): void {
    this.state = 'up';
    if (!this.deaf) return;
    this.deaf = false;
    for (const gap of this.gaps) gap();
  }

  /** A feed that is late says how far it has come, as every store must. */
  private withTold(page: StoredPage): StoredPage {
    const { sequence } = page;
    const [next] = this.coming;
    return sequence === undefined || next === undefined ? page : { ...page, sequence: { ...sequence, told: next - 1 } };
  }

  private async through<T>(call: () => Promise<T>): Promise<T> {
    this.calls = this.callsAt === this.clock.now() ? this.calls + 1 : 1;
    this.callsAt = this.clock.now();
    if (this.calls > 1_000) this.fail('the store is called in a hot loop');
    if (this.state === 'down') throw new Error('connect ECONNREFUSED');
    if (this.state === 'hangs') return new Promise<T>(() => undefined);
    const answer = await call();
    if (this.state === 'lost') return new Promise<T>(() => undefined);
    if (this.delayMs > 0) {
      await new Promise<void>((resolve) => this.clock.setTimeout(resolve, this.dice.below(this.delayMs)));
    }
    return answer;
  }
}

/**
 * `SEED=1234 WATCHER_RUNS=1 npx vitest run test/stress/watchers` replays one run; a failure names its seed.
 */
it(`${RUNS} times ${OPERATIONS} faults, and every dashboard ends up with the truth`, async () => {
  const { seed } = random();
  console.log(`seed ${seed}`);
  let resumed = 0;
  let moves = 0;
  for (let run = 0; run < RUNS; run += 1) {
    const dice = random(seed + run);
    let operations = 0;
    // Kept, not thrown: where the core calls, it would catch it.
    const failures: string[] = [];
    const world = new World(dice, (message) =>
      failures.push(`${message} (operation ${operations}, SEED=${dice.seed})`),
    );
    for (; operations < OPERATIONS && failures.length === 0; operations += 1) {
      await world.step();
      if (operations % 250 === 249) await world.settle();
    }
    await world.end();
    for (const asking of world.asking) {
      resumed += asking.resumed;
      moves += asking.moves;
    }
    expect(failures.slice(0, 3)).toEqual([]);
  }
  console.log(`${moves} connections of dashboards that ask, ${resumed} of which went on where they were`);
  expect(moves).toBeGreaterThan(RUNS * 50);
  expect(resumed).toBeGreaterThan(RUNS * 10);
}, 300_000);
