import assert from 'node:assert/strict';
import type { PresenceUpdate } from '../public/types';
import type { PresenceOp, PresenceStore, StoredStatus, StoreNode } from '../stores/port';
import type { StoreBackend } from './store-backend';

/** The lease of routers that die in a case, and the grace of users who drop: short, so that a suite on a real server is quick. */
const LEASE_MS = 1_500;
const GRACE_MS = 900;
/** The lease of the other routers, which must not lapse even on a busy machine. */
const LONG_LEASE_MS = 600_000;
const TTL_MS = 60_000;
const BEATS_A_LEASE = 5;
/** How often a busy machine is given another moment. No router beats meanwhile: changes must arrive without a beat. */
const MORE_ARRIVALS = 50;

/** A case took longer than it may, by the clock of the store, so its failure proves nothing about the store. */
export class OutOfTime extends Error {}

/** A router of a case. */
export interface Router {
  readonly node: StoreNode;
  readonly store: PresenceStore;
  /** The changes that its feed received. */
  readonly told: PresenceUpdate[];
  /** For each change, the last seen that came with it. */
  readonly toldSeen: number[];
  readonly dues: number[];
  /** How often its feed was called because changes may have been missed. */
  gaps: number;
  /** Whether it beats. */
  alive: boolean;
  /** The time before its last beat, by the clock of the store. */
  beatAt: number;
  /** Applies operations; fails where the router has lost its lease. */
  apply(...ops: PresenceOp[]): Promise<void>;
}

/** The routers of a case on its backend, and the time by the clock of the store. */
export class World {
  readonly routers: Router[] = [];
  readonly failures: string[] = [];
  readonly graceMs: number;
  readonly leaseMs: number;
  /** A beat came so late that a lease may have lapsed or been extended, so that a failure from now on proves nothing. */
  isLate = false;
  private readonly unsubscribes: Array<() => void> = [];

  constructor(
    private readonly backend: StoreBackend,
    /** The factor by which all times are lengthened for a busy machine. */
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

  /** Two routers that open the empty backend at the same moment. */
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

  /** A router with a short lease, which is dead soon after its last beat. */
  mortal(ttlMs: number = TTL_MS): Promise<Router> {
    return this.router(this.leaseMs, ttlMs);
  }

  /** The time by the clock of the store. */
  async now(): Promise<number> {
    const [{ store }] = this.routers as [Router];
    const { now } = await store.read(['nobody']);
    return now;
  }

  /** Throws `OutOfTime` where more than `ms` have passed since `since`, so that the next assertion need not hold. */
  within(since: number, ms: number, now: number): void {
    if (now - since >= ms) throw new OutOfTime(`${now - since} ms have passed, and the case allows ${ms}`);
  }

  /** The first beat of a router that is new, or was taken for dead. */
  async beginToBeat(router: Router): Promise<void> {
    router.beatAt = await this.now();
    router.alive = true;
    assert.equal((await router.store.beat(router.node)).known, false, 'the first beat makes the lease');
  }

  /** Fails where the store does not know a router that has beaten in time. */
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

  /** All living routers beat. */
  beat(): Promise<void> {
    return this.beatOf(this.routers.filter(({ alive }) => alive));
  }

  /** The living routers with a short lease, and one of the others: some router must beat, and more would only cost time. */
  private steady(): Router[] {
    const living = this.routers.filter(({ alive }) => alive);
    const [first, ...others] = living.filter(({ node }) => node.leaseMs >= LONG_LEASE_MS);
    return living.filter((router) => router === first || !others.includes(router));
  }

  /** Beats, and notes where a beat came late: after more than half a lease the store concludes that it was away itself. */
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
   * Lets the lease of a router lapse unnoticed: the others beat until shortly before. Returns the time at which they stopped.
   * For half a lease from then on, the store does not conclude that it was away itself.
   */
  async lapse(router: Router): Promise<number> {
    await this.beat();
    router.alive = false;
    await this.pass(router.node.leaseMs * 0.75);
    const since = await this.now();
    this.within(router.beatAt, router.node.leaseMs, since);
    // The time is not read after this, since the store might then notice the lapse.
    await this.backend.standStill(router.node.leaseMs * 0.3);
    return since;
  }

  /** Lets time pass in which no router beats. */
  async standStill(ms: number): Promise<void> {
    // A lease can be extended once between two beats of its router.
    await this.beat();
    await this.backend.standStill(ms);
    const now = await this.now();
    for (const router of this.routers) router.beatAt = now;
  }

  /** Waits for changes to arrive, on a busy machine until `isThere` says so. */
  async arrive(isThere: () => boolean = () => true): Promise<void> {
    await this.backend.arrive();
    for (let more = 0; more < MORE_ARRIVALS && !isThere(); more += 1) await this.backend.arrive();
  }

  /** The backend loses all data. */
  async lose(): Promise<void> {
    await this.backend.lose?.();
  }

  /** Saves the state of the backend. Returns a function that restores it. */
  async setBack(): Promise<() => Promise<void>> {
    return (await this.backend.setBack?.()) ?? (async () => undefined);
  }

  /** Cuts the feed of a router from all changes. Returns a function that reconnects it. */
  async cutFeed({ store }: Router): Promise<() => Promise<void>> {
    return (await this.backend.cutFeed?.(store)) ?? (async () => undefined);
  }

  end(): void {
    for (const unsubscribe of this.unsubscribes) unsubscribe();
  }

  /** Every living router received exactly these changes, in this order for each user. */
  async assertChanges(expected: string[]): Promise<void> {
    await this.arrive(() => this.routers.every(({ alive, told }) => !alive || told.length >= expected.length));
    for (const { alive, told } of this.routers) {
      if (alive) assert.deepEqual(byUser(told.map(line)), byUser(expected));
    }
  }

  /** The user is online in a grace of `graceMs`, which began after `since`. */
  async assertInGrace(router: Router, userId: string, since: number, graceMs: number): Promise<void> {
    const { now, users } = await router.store.read([userId]);
    this.within(since, graceMs, now);
    assert.equal(users[0]?.online, true);
  }

  private get shortestLeaseMs(): number {
    return Math.min(...this.routers.map(({ node }) => node.leaseMs));
  }
}

/** A change in the notation of the cases. */
export function line({ userId, status, reason }: PresenceUpdate): string {
  return `${userId} ${status} ${reason}`;
}

function byUser(lines: string[]): string[] {
  const user = (text: string): string => text.slice(0, text.indexOf(' '));
  return lines.slice().sort((one, other) => (user(one) < user(other) ? -1 : Number(user(one) > user(other))));
}

/** Reads users, in the order of their ids. */
export async function readUsers(router: Router, userIds: readonly string[]): Promise<StoredStatus[]> {
  const { now, users } = await router.store.read(userIds);
  assert.ok(Number.isFinite(now), 'an answer says what time it is');
  return users;
}

/** Whether a user is online, by the store of a router. */
export async function isOnline(router: Router, userId: string): Promise<boolean> {
  const [entry] = await readUsers(router, [userId]);
  assert.equal(entry?.userId, userId);
  return entry.online;
}
