import assert from 'node:assert/strict';
import type { PresenceUpdate } from '../public/types';
import type { PresenceOp, PresenceStore, StoredStatus, StoreNode } from '../stores/port';
import type { StoreBackend } from './store-backend';

/** Of routers that die in a case, and of users who drop: short, so that a suite on a real server is quick. */
const LEASE_MS = 1_500;
const GRACE_MS = 900;
/** Of the other routers: it does not lapse, however busy the machine. */
const LONG_LEASE_MS = 600_000;
const TTL_MS = 60_000;
const BEATS_A_LEASE = 5;
/** How often a busy machine is given another moment: nobody beats meanwhile, so that no beat brings what should have come by itself. */
const MORE_ARRIVALS = 50;

/** By the clock of the store a case took longer than it may, so it proves nothing about the store. */
export class OutOfTime extends Error {}

/** One router of a case. */
export interface Router {
  readonly node: StoreNode;
  readonly store: PresenceStore;
  /** What its feed has told, and when each user was last seen, as told with it. */
  readonly told: PresenceUpdate[];
  readonly toldSeen: number[];
  readonly dues: number[];
  /** How often its feed has said that changes may have been missed. */
  gaps: number;
  /** Whether it beats. */
  alive: boolean;
  /** Before it had beaten the last time, by the clock of the store. */
  beatAt: number;
  /** Of a router that has its lease. */
  apply(...ops: PresenceOp[]): Promise<void>;
}

/** The routers of one case on its backend, and its time, which only the clock of the store tells. */
export class World {
  readonly routers: Router[] = [];
  readonly failures: string[] = [];
  readonly graceMs: number;
  readonly leaseMs: number;
  /** Routers beat so late that a lease may have lapsed, or that it was the store that was away: what fails now may be true. */
  isLate = false;
  private readonly unsubscribes: Array<() => void> = [];

  constructor(
    private readonly backend: StoreBackend,
    /** How many times as long everything takes as on a machine that keeps up. */
    scale: number,
  ) {
    this.graceMs = GRACE_MS * scale;
    this.leaseMs = LEASE_MS * scale;
  }

  async router(leaseMs: number = LONG_LEASE_MS, ttlMs: number = TTL_MS): Promise<Router> {
    const router = this.onStore(await this.backend.store(), leaseMs, ttlMs);
    await this.beginToBeat(router);
    return router;
  }

  /** Two that come to the empty backend in the same moment. */
  async twoAtOnce(): Promise<[Router, Router]> {
    const { backend } = this;
    const open = async (): Promise<PresenceStore> => backend.store();
    const [one, other] = await (backend.openTwo?.() ?? Promise.all([open(), open()]));
    const routers: [Router, Router] = [
      this.onStore(one, LONG_LEASE_MS, TTL_MS),
      this.onStore(other, LONG_LEASE_MS, TTL_MS),
    ];
    const answers = await Promise.all(
      routers.map((router) => {
        router.alive = true;
        return router.store.beat(router.node);
      }),
    );
    for (const { known } of answers) assert.equal(known, false, 'the first beat makes the lease');
    const now = await this.now();
    for (const router of routers) router.beatAt = now;
    return routers;
  }

  private onStore(store: PresenceStore, leaseMs: number, ttlMs: number): Router {
    const nodeId = `node-${this.routers.length + 1}-${Math.random().toString(36).slice(2)}`;
    const node = { nodeId, leaseMs, ttlMs };
    const told: PresenceUpdate[] = [];
    const toldSeen: number[] = [];
    const dues: number[] = [];
    const { failures } = this;
    const apply = async (...ops: PresenceOp[]) => this.expectKnown(router, await store.apply(node, ops));
    const router: Router = { node, store, told, toldSeen, dues, gaps: 0, alive: false, beatAt: 0, apply };
    const unsubscribe = store.subscribe({
      onTransition: (update, lastSeen) => {
        told.push(update);
        toldSeen.push(lastSeen);
      },
      onGap: () => {
        router.gaps += 1;
      },
      onDue: (inMs) => dues.push(inMs),
      onLost: () => undefined,
      onError: (stage, error) => failures.push(`${stage}: ${error}`),
    });
    this.unsubscribes.push(unsubscribe);
    this.routers.push(router);
    return router;
  }

  /** One that is found dead soon after it has stopped to beat. */
  mortal(ttlMs: number = TTL_MS): Promise<Router> {
    return this.router(this.leaseMs, ttlMs);
  }

  /** By the clock of the store. */
  async now(): Promise<number> {
    const [{ store }] = this.routers as [Router];
    const { now } = await store.read(['nobody']);
    return now;
  }

  /** What is asserted next holds for so long from `since` on. */
  within(since: number, ms: number, now: number): void {
    if (now - since >= ms) throw new OutOfTime(`${now - since} ms went by, where ${ms} are what it is about`);
  }

  /** One that is new, or was taken for dead. */
  async beginToBeat(router: Router): Promise<void> {
    router.beatAt = await this.now();
    router.alive = true;
    assert.equal((await router.store.beat(router.node)).known, false, 'the first beat makes the lease');
  }

  /** An answer to a router that has its lease, if it beat in time. */
  async expectKnown({ node, beatAt }: Router, { known }: { known: boolean }): Promise<void> {
    if (known) return;
    this.within(beatAt, node.leaseMs, await this.now());
    assert.fail('a router that beats in time keeps its lease');
  }

  async pass(ms: number): Promise<void> {
    const stepMs = this.leaseMs / BEATS_A_LEASE;
    await this.beat();
    for (let left = ms; left > 0; left -= stepMs) {
      await this.backend.pass(Math.min(left, stepMs), stepMs, () => this.beatOf(this.steady()));
    }
    await this.beat();
  }

  /** Of all who live. */
  beat(): Promise<void> {
    return this.beatOf(this.routers.filter(({ alive }) => alive));
  }

  /** Those whose lease would lapse, and one of the others: so that somebody beats, and a store has no more to do than it must. */
  private steady(): Router[] {
    const living = this.routers.filter(({ alive }) => alive);
    const [first, ...others] = living.filter(({ node }) => node.leaseMs >= LONG_LEASE_MS);
    return living.filter((router) => router === first || !others.includes(router));
  }

  /** In time: after more than half a lease it was the store that was away. */
  private async beatOf(living: readonly Router[]): Promise<void> {
    const isTimed = this.shortestLeaseMs < LONG_LEASE_MS;
    const began = isTimed ? await this.now() : 0;
    const answers = await Promise.all(living.map(({ store, node }) => store.beat(node)));
    if (isTimed) {
      const before = Math.max(...living.map(({ beatAt }) => beatAt));
      this.isLate = this.isLate || (await this.now()) - before >= this.shortestLeaseMs / 2;
    }
    for (const [index, router] of living.entries()) {
      await this.expectKnown(router, answers[index] as { known: boolean });
      router.beatAt = began;
    }
  }

  /**
   * The lease of a router lapses, and nobody notices: the others beat until shortly before. Gives the time at which they
   * stopped. For half a lease from then on nobody takes the store for one that was away.
   */
  async lapse(router: Router): Promise<number> {
    await this.beat();
    router.alive = false;
    await this.pass(router.node.leaseMs * 0.75);
    const since = await this.now();
    this.within(router.beatAt, router.node.leaseMs, since);
    // No question what time it is follows: a store may notice then.
    await this.backend.standStill(router.node.leaseMs * 0.3);
    return since;
  }

  /** Nobody beats. */
  async standStill(ms: number): Promise<void> {
    // A lease is given anew once from one beat of a router to its next.
    await this.beat();
    await this.backend.standStill(ms);
    const now = await this.now();
    for (const router of this.routers) router.beatAt = now;
  }

  /** Also what is slow: until all is there that should be. */
  async arrive(isThere: () => boolean = () => true): Promise<void> {
    await this.backend.arrive();
    for (let more = 0; more < MORE_ARRIVALS && !isThere(); more += 1) await this.backend.arrive();
  }

  /** Loses whatever the backend holds. */
  async lose(): Promise<void> {
    await this.backend.lose?.();
  }

  /** Notes what the backend holds; gives what puts it back. */
  async setBack(): Promise<() => Promise<void>> {
    return (await this.backend.setBack?.()) ?? (async () => undefined);
  }

  /** Nothing reaches the feed of a router any more; gives what mends that. */
  async cutFeed({ store }: Router): Promise<() => Promise<void>> {
    return (await this.backend.cutFeed?.(store)) ?? (async () => undefined);
  }

  end(): void {
    for (const unsubscribe of this.unsubscribes) unsubscribe();
  }

  /** This happened, and every router heard it. The order counts within each user. */
  async assertChanges(expected: string[]): Promise<void> {
    await this.arrive(() => this.routers.every(({ alive, told }) => !alive || told.length >= expected.length));
    for (const { alive, told } of this.routers) {
      if (alive) assert.deepEqual(byUser(told.map(line)), byUser(expected));
    }
  }

  /** A grace of so many milliseconds, which began after `since`, has not ended. */
  async assertInGrace(router: Router, userId: string, since: number, graceMs: number): Promise<void> {
    const { now, users } = await router.store.read([userId]);
    this.within(since, graceMs, now);
    assert.equal(users[0]?.online, true);
  }

  private get shortestLeaseMs(): number {
    return Math.min(...this.routers.map(({ node }) => node.leaseMs));
  }
}

/** A change as the cases write it. */
export function line({ userId, status, reason }: PresenceUpdate): string {
  return `${userId} ${status} ${reason}`;
}

function byUser(lines: string[]): string[] {
  const user = (text: string): string => text.slice(0, text.indexOf(' '));
  return lines.slice().sort((one, other) => (user(one) < user(other) ? -1 : Number(user(one) > user(other))));
}

/** What a store says of these users, in the order asked. */
export async function readUsers(router: Router, userIds: readonly string[]): Promise<StoredStatus[]> {
  const { now, users } = await router.store.read(userIds);
  assert.ok(Number.isFinite(now), 'an answer says what time it is');
  return users;
}

/** Whether a store says that a user is online. */
export async function isOnline(router: Router, userId: string): Promise<boolean> {
  const [entry] = await readUsers(router, [userId]);
  assert.equal(entry?.userId, userId);
  return entry.online;
}
