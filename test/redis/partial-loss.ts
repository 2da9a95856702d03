import type { Cluster, Redis } from 'ioredis';
import { createPresence, type Presence, type PresenceOptions, type PresenceStore } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { type FakeSocket, fakeSocket } from 'voiceping-presence/testing';
import { readFrame, SNAPSHOT, UPDATE } from '../../src/client/codec';
import { createView, type View } from '../../src/client/view';
import { LAYOUT } from '../../src/stores/redis/keyspace';
import { type Random, random } from '../random';
import { sleep, until } from './wait';

const LEASE_MS = 1_000;
/** As the operations page promises. */
const PROMISED_LEASES = 12;
const HANDOVER_MS = 1_500;
/** Everything happens from so long before the loss to so long after it. */
const AROUND_MS = 1_000;

/** Each kind of key of the layout: what its name has after the prefix. */
const KINDS = ['lease', 'nodes', 'meta', 'grace', 'count', 'log', 'b', 'user'] as const;
type Kind = (typeof KINDS)[number];

/** What is lost. */
export interface LostSet {
  readonly name: string;
  isLost(kind: Kind, dice: Random): boolean;
}

/** Each kind, all but each kind, everything, and halves. */
export const LOST_SETS: readonly LostSet[] = [
  ...KINDS.map((kind) => ({ name: `only ${kind}`, isLost: (other: Kind) => other === kind })),
  ...KINDS.map((kind) => ({ name: `all but ${kind}`, isLost: (other: Kind) => other !== kind })),
  { name: 'all', isLost: () => true },
  ...[1, 2, 3].map((part) => ({ name: `half ${part}`, isLost: (_: Kind, dice: Random) => dice.chance(0.5) })),
  { name: 'half of all but user', isLost: (kind: Kind, dice: Random) => kind !== 'user' && dice.chance(0.5) },
];

/** A server on which many fleets live, under different prefixes. */
export interface Server {
  readonly partitions: number;
  readonly admin: Redis | Cluster;
  connect(): Redis | Cluster;
  /** Of all masters. */
  keys(pattern: string): Promise<string[]>;
  end(): Promise<void>;
}

/** The events of a run with their times, for finding the cause of a failure. */
type Note = (text: string) => void;

class Router {
  readonly presence: Presence;
  /** The published statuses of each user, in order. */
  readonly told = new Map<string, string[]>();
  readonly dashboards: Array<{ readonly name: string; readonly view: View }> = [];
  readonly sockets = new Set<FakeSocket>();
  /** Whether its lease may have lapsed because the machine did not let it beat in time. */
  wasSlow = false;
  private readonly client: Redis | Cluster;
  private beatAt = Number.POSITIVE_INFINITY;

  constructor(
    readonly name: string,
    server: Server,
    prefix: string,
    private readonly options: PresenceOptions & { readonly leaseMs: number },
    note: Note,
  ) {
    this.client = server.connect();
    this.client.on('error', () => undefined);
    this.presence = createPresence({
      ...options,
      // Fleets that start, and compare, at the same time are slow; and one that dies is not waited for in the end.
      commandTimeoutMs: name === 'dying' ? 1_000 : 20_000,
      store: this.observed(redisStore({ client: this.client, prefix })),
      onError: (error, { stage }) => {
        if (name !== 'dying') note(`${name} reports ${stage}: ${error.message}`);
      },
    });
    this.presence.onUpdate(({ userId, status, reason, version }) => {
      note(`${name} tells ${userId} ${status} ${reason} ${version}`);
      const before = this.told.get(userId);
      if (before === undefined) this.told.set(userId, [status]);
      else before.push(status);
    });
  }

  /** Between two beats that are answered a lease is renewed once each. */
  private observed(store: PresenceStore): PresenceStore {
    const beat = store.beat.bind(store);
    store.beat = async (node, onAnswer) => {
      const startedAt = Date.now();
      const answer = await beat(node, onAnswer);
      if (Date.now() - this.beatAt > this.options.leaseMs) this.wasSlow = true;
      this.beatAt = startedAt;
      return answer;
    };
    return store;
  }

  /** From now on. */
  watchBeats(): void {
    this.wasSlow = Date.now() - this.beatAt > this.options.leaseMs / 2;
  }

  toldLast(userId: string): string {
    return this.told.get(userId)?.at(-1) ?? 'offline';
  }

  /** A dashboard that puts together what it is sent, as clients do. */
  watch(ids: readonly string[] | true): void {
    const view = createView(ids);
    const socket = fakeSocket();
    socket.send = (frame) => {
      const said = readFrame(frame);
      if (said?.kind === SNAPSHOT) view.show(said);
      if (said?.kind === UPDATE) view.update(said);
    };
    this.presence.attachToSocket(socket, { userId: 'dashboard', track: false, watch: ids });
    this.dashboards.push({ name: `a dashboard of ${ids === true ? 'all' : 'each'} on ${this.name}`, view });
  }

  get isWhole(): boolean {
    return this.dashboards.every(({ view }) => view.isWhole);
  }

  attach(userId: string): FakeSocket {
    const socket = fakeSocket();
    this.sockets.add(socket);
    this.presence.attachToSocket(socket, { userId });
    return socket;
  }

  /** It says nothing any more, as a process that is gone. */
  kill(): void {
    this.client.disconnect();
  }

  async end(): Promise<void> {
    await this.presence.close();
    this.client.disconnect();
  }
}

/**
 * Four routers and a few dozen users: while these join, leave, drop, come back, are handed over and lose their router, some
 * keys are lost. Two of the routers stay to the end: they have to be right, and to have published each change once.
 */
export class PartialLoss {
  problems: string[] = [];
  compared = 0;
  /** The machine was too busy for leases that short: nothing of what was promised within some leases could be. */
  wasTooSlow = false;
  private readonly dice: Random;
  private readonly history: string[] = [];
  private readonly startedAt = Date.now();
  private readonly acts: Array<readonly [atMs: number, run: () => unknown]> = [];
  private readonly users: string[] = [];
  /** Who is connected all the time. */
  private readonly steady = new Set<string>();
  private readonly sockets = new Map<string, Set<FakeSocket>>();

  constructor(
    private readonly server: Server,
    private readonly lost: LostSet,
    private readonly seed: number,
    private readonly prefix: string,
    private readonly leaseMs = LEASE_MS,
  ) {
    this.dice = random(seed);
  }

  async run(): Promise<void> {
    const { dice, server, prefix } = this;
    const timing = dice.pick([
      { ttlMs: 360_000, pingIntervalMs: 120_000 },
      { ttlMs: 360_000, pingIntervalMs: 300 },
      { ttlMs: 4_000, pingIntervalMs: 300 },
    ]);
    const options = { ...timing, graceMs: dice.pick([1_500, 3_000]), leaseMs: this.leaseMs };
    await this.begin(dice.pick([0, 0, 1, 2]));
    const router = (name: string) => new Router(name, server, prefix, options, this.note);
    const [a, b, handing, dying] = [router('a'), router('b'), router('handing'), router('dying')];
    const stay = [a, b] as const;
    try {
      await Promise.all([a, b, handing, dying].map(({ presence }) => presence.ready()));
      for (const one of stay) one.watch(true);
      await until('both routers know everybody', () => a.isWhole && b.isWhole, 30_000);
      this.cast(stay, handing, dying, options.graceMs);
      for (const one of stay) one.watch(this.users);
      const isTold = (userId: string): boolean => stay.every((one) => one.toldLast(userId) === 'online');
      await until('who is there is told', () => Array.from(this.sockets.keys()).every(isTold), 30_000);
      for (const one of stay) one.watchBeats();
      const losses = dice.chance(0.2) ? 2 : 1;
      for (let loss = 0; loss < losses; loss += 1) this.lose(AROUND_MS + loss * dice.below(AROUND_MS));
      const start = Date.now();
      await this.act(start);
      // The last loss, and the end of what was in grace by then.
      const lostAt = start + AROUND_MS * 2 + Math.max(HANDOVER_MS, options.graceMs);
      await sleep(Math.max(0, lostAt + PROMISED_LEASES * this.leaseMs - Date.now()));
      this.note('compared');
      await this.compare(stay);
      this.compareHistory(stay);
      this.wasTooSlow = stay.some(({ wasSlow }) => wasSlow);
    } finally {
      await Promise.all([a, b, handing, dying].map((one) => one.end()));
    }
    if (this.problems.length > 0) this.explain(JSON.stringify(options));
  }

  private readonly note: Note = (text) => this.history.push(`${Date.now() - this.startedAt} ms: ${text}`);

  /** The data were there before, and something was lost of them and found, so often, long ago. */
  private async begin(lost: number): Promise<void> {
    const { admin, partitions } = this.server;
    const metas = Array.from({ length: lost === 0 ? 0 : partitions }, (_, index) => `${this.prefix}meta:{${index}}`);
    const begun = { layout: LAYOUT, seed: '0123456789abcdef', epoch: '1700000000.1', lost };
    await Promise.all(metas.map((meta) => admin.hset(meta, begun)));
  }

  private async act(start: number): Promise<void> {
    for (const [atMs, run] of this.acts.sort(([at], [other]) => at - other)) {
      await sleep(Math.max(0, start + atMs - Date.now()));
      run();
    }
  }

  /** Who does what, drawn. */
  private cast(stay: readonly [Router, Router], handing: Router, dying: Router, graceMs: number): void {
    const { dice } = this;
    const [a, b] = stay;
    const some = (role: string, count: number, play: (userId: string) => void): void => {
      for (let index = 0; index < count; index += 1) {
        const userId = `${role}${index}`;
        this.users.push(userId);
        play(userId);
      }
    };
    const upTo = (most: number): number => dice.below(most + 1);
    const anyTime = (): number => dice.below(AROUND_MS * 2);
    const either = (): Router => dice.pick(stay);
    const act = (atMs: number, run: () => unknown): unknown => this.acts.push([atMs, run]);

    some('exodus', dice.chance(0.3) ? 20 : 0, (id) => {
      const socket = this.join(either(), id);
      const order = Number(id.slice(6));
      act(order * 100, () => this.part(id, socket, order % 2 === 0));
    });
    some('steady', upTo(3), (id) => {
      this.join(either(), id);
      this.steady.add(id);
    });
    some('twice', upTo(3), (id) => {
      this.join(a, id);
      const other = this.join(b, id);
      this.steady.add(id);
      act(anyTime(), () => this.part(id, other, dice.chance(0.5)));
    });
    some('leaver', upTo(4), (id) => {
      const socket = this.join(either(), id);
      act(anyTime(), () => this.part(id, socket, true));
    });
    some('dropper', upTo(4), (id) => {
      const socket = this.join(either(), id);
      act(anyTime(), () => this.part(id, socket, false));
    });
    some('returner', upTo(4), (id) => {
      const socket = this.join(either(), id);
      const at = anyTime();
      act(at, () => this.part(id, socket, false));
      act(at + dice.below(graceMs - 200), () => this.join(either(), id));
    });
    some('late', upTo(3), (id) => {
      const socket = this.join(either(), id);
      const at = anyTime();
      act(at, () => this.part(id, socket, dice.chance(0.5)));
      act(at + graceMs + dice.below(this.leaseMs), () => this.join(either(), id));
    });
    some('mover', upTo(3), (id) => {
      const socket = this.join(either(), id);
      const at = anyTime();
      act(at, () => this.part(id, socket, true));
      act(at + dice.pick([-50, 0, 50]), () => this.join(either(), id));
    });
    some('joiner', upTo(3), (id) => act(anyTime(), () => this.join(either(), id)));
    some('passer', upTo(3), (id) => {
      const [at, isClean] = [anyTime(), dice.chance(0.5)];
      act(at, () => {
        const socket = this.join(either(), id);
        setTimeout(() => this.part(id, socket, isClean), dice.below(500));
      });
    });
    const handsAt = anyTime();
    some('handed', upTo(4), (id) => {
      this.join(handing, id);
      if (dice.chance(0.5)) act(handsAt + dice.below(HANDOVER_MS), () => this.join(either(), id));
    });
    act(handsAt, () => {
      this.leaveAll(handing);
      void handing.presence.close({ handoverMs: HANDOVER_MS });
    });
    const diesAt = anyTime();
    some('bereft', upTo(4), (id) => {
      this.join(dying, id);
      if (dice.chance(0.5)) act(diesAt + dice.below(this.leaseMs * 2), () => this.join(either(), id));
    });
    act(diesAt, () => {
      this.leaveAll(dying);
      dying.kill();
    });
  }

  private join(router: Router, userId: string): FakeSocket {
    this.note(`${userId} joins ${router.name}`);
    const socket = router.attach(userId);
    const sockets = this.sockets.get(userId) ?? new Set();
    this.sockets.set(userId, sockets.add(socket));
    return socket;
  }

  private part(userId: string, socket: FakeSocket, isClean: boolean): void {
    this.note(`${userId} ${isClean ? 'leaves' : 'drops'}`);
    this.sockets.get(userId)?.delete(socket);
    if (isClean) socket.close();
    else socket.drop();
  }

  /** A router goes, with its users. */
  private leaveAll({ name, sockets }: Router): void {
    this.note(`${name} goes`);
    for (const own of this.sockets.values()) for (const socket of sockets) own.delete(socket);
  }

  /** In one step, or in a few, as by an eviction. */
  private lose(atMs: number): void {
    const { dice, server, prefix, lost } = this;
    const steps = dice.pick([1, 1, 3]);
    const kindOf = (key: string): Kind => KINDS.find((kind) => key.startsWith(`${prefix}${kind}:`)) as Kind;
    for (let step = 0; step < steps; step += 1) {
      this.acts.push([
        atMs + step * 70,
        async () => {
          const found = await server.keys(`${prefix}*`);
          const keys = found.filter(
            (key) => lost.isLost(kindOf(key), dice) && (step === steps - 1 || dice.chance(0.5)),
          );
          this.note(`lost: ${keys.join(' ')}`);
          // On a Cluster they are not all in one slot.
          if (server.partitions === 1 && keys.length > 0) await server.admin.del(...keys);
          else await Promise.all(keys.map((key) => server.admin.del(key)));
        },
      ]);
    }
  }

  private async compare(routers: readonly Router[]): Promise<void> {
    const { users } = this;
    const online = new Set(users.filter((id) => (this.sockets.get(id)?.size ?? 0) > 0));
    for (const router of routers) {
      const { name, presence, dashboards } = router;
      const statuses = await presence.getStatuses(users);
      const listed = await listAll(presence);
      for (const userId of users) {
        const is = (what: string, status: string | undefined): void =>
          this.expect(status === (online.has(userId) ? 'online' : 'offline'), `${what}: ${userId} is ${status}`);
        is(`${name} answers`, statuses[userId]?.status);
        is(`${name} lists`, listed.includes(userId) ? 'online' : 'offline');
        is(`${name} has told last`, router.toldLast(userId));
        for (const { name: dashboard, view } of dashboards) is(dashboard, view.users.get(userId)?.status ?? 'offline');
      }
      this.expect(listed.length === online.size, `${name} lists ${listed.join()}`);
      const count = await presence.countOnline();
      this.expect(count === online.size, `${name} counts ${count}, and not ${online.size}`);
    }
  }

  /** No change is published twice, and no user is published as offline while connected. */
  private compareHistory(routers: readonly Router[]): void {
    for (const { name, told } of routers) {
      for (const [userId, changes] of told) {
        for (const [index, status] of changes.entries()) {
          // A router publishes the leave of a user who came and went while it was disconnected, since last seen has changed.
          const wasTold = index > 0 || !this.sockets.has(userId);
          if (wasTold)
            this.expect(status !== (changes[index - 1] ?? 'offline'), `${name} told ${userId} ${changes.join()}`);
        }
        if (!this.steady.has(userId)) continue;
        this.expect(!changes.includes('offline'), `${name} told that ${userId} had left, who was there`);
      }
    }
  }

  private expect(holds: boolean, otherwise: string): void {
    this.compared += 1;
    if (!holds) this.problems.push(otherwise);
  }

  /** What happened to those about whom something is wrong, and to all. */
  private explain(options: string): void {
    const { problems, history, users, lost, seed, server } = this;
    const isWrong = (userId: string): boolean => problems.some((problem) => problem.split(' ').includes(userId));
    const others = users.filter((userId) => !isWrong(userId));
    problems.unshift(`${lost.name}, ${server.partitions} partitions, seed ${seed}, ${options}`);
    problems.push(...history.filter((line) => !others.some((userId) => line.split(' ').includes(userId))));
  }
}

async function listAll(presence: Presence): Promise<string[]> {
  const listed: string[] = [];
  let cursor: string | null = null;
  do {
    const page: Awaited<ReturnType<Presence['listOnline']>> = await presence.listOnline(
      cursor === null ? {} : { cursor },
    );
    for (const { userId } of page.users) listed.push(userId);
    cursor = page.cursor;
  } while (cursor !== null);
  return listed;
}
