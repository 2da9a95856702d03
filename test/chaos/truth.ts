import type { Random } from '../random';
import { GRACE_MS, type Operation, SLACK_MS } from './protocol';

/** How a connection of a user ended, as the parent saw it. */
export interface Leaving {
  readonly at: number;
  /** It was not sooner than that: a process may stand still in between. */
  readonly begunAt: number;
  readonly how: 'close' | 'drop' | 'lost';
  readonly holding: Holding;
  /** Since when the store was known to hold the connection. */
  readonly heldSince: number | undefined;
}

/** One connection of a phone to a router. */
interface PhoneConnection {
  readonly user: number;
  /** Since when the store is known to hold it. */
  heldSince: number | undefined;
}

/** What is sent to a router together. */
export type Batch = ReadonlyArray<{ readonly operation: Operation; readonly connection: PhoneConnection }>;

/** Some stay away for minutes, since a user who comes back at once hides a loss. */
const isResident = (user: number): boolean => user % 3 === 0;
const RESIDENT_LEAVES = 0.03;

/**
 * Who is connected where: what was acknowledged, and nothing that any router believes. A router that was killed has lost
 * its connections with it.
 */
export class Truth {
  /** The last one of each user. */
  readonly leavings: Array<Leaving | undefined> = [];
  /** Of connections of which the store knew only. */
  readonly knownLeavings: Array<Leaving | undefined> = [];
  /** When a router last could not say that the user had left. */
  readonly unsaidAt: Float64Array;
  /** When a connection of the user was last on its way to a router. */
  readonly openedAt: Float64Array;
  /** The latest time at which the store may have learned of a connection of the user, during the connection or after it. */
  readonly lateUntil: Float64Array;
  private readonly acknowledged: Int32Array;
  private readonly planned: Int32Array;

  constructor(readonly users: number) {
    this.acknowledged = new Int32Array(users);
    this.planned = new Int32Array(users);
    this.unsaidAt = new Float64Array(users);
    this.openedAt = new Float64Array(users);
    this.lateUntil = new Float64Array(users);
  }

  /** Since when no router has, or is about to have, a connection of the user; undefined where one has. */
  goneSince(user: number): number | undefined {
    if (this.acknowledged[user] !== 0 || this.planned[user] !== 0) return undefined;
    return this.leavings[user]?.at ?? 0;
  }

  get connected(): number[] {
    const users: number[] = [];
    for (const [user, count] of this.acknowledged.entries()) if (count > 0) users.push(user);
    return users;
  }

  /** Sent to a router. */
  plan(user: number, by: number): void {
    this.planned[user] = (this.planned[user] as number) + by;
    if (by > 0) this.openedAt[user] = Date.now();
  }

  arrive({ user }: PhoneConnection): void {
    this.acknowledged[user] = (this.acknowledged[user] as number) + 1;
    this.openedAt[user] = Date.now();
  }

  leave({ user, heldSince }: PhoneConnection, { how, at, begunAt, holding }: Omit<Leaving, 'heldSince'>): void {
    this.acknowledged[user] = (this.acknowledged[user] as number) - 1;
    const leaving = { at, begunAt, how, holding, heldSince };
    this.leavings[user] = leaving;
    if (heldSince !== undefined) this.knownLeavings[user] = leaving;
    // It is said to have come and gone when its router can say so.
    else this.lateUntil[user] = at + GRACE_MS;
    if (holding.isUnwell) this.unsaidAt[user] = at;
  }
}

/** The connections that one router process has, from its start to its end. */
export class Holding {
  /** The router cannot tell the store who has left. */
  isUnwell = false;
  /** One user a connection, as they will be once all that was sent is done. */
  private readonly residents: number[] = [];
  private readonly movers: number[] = [];
  /** The same by user, the oldest first. */
  private readonly byUser = new Map<number, PhoneConnection[]>();
  private readonly acknowledged = new Set<PhoneConnection>();
  private latest: Array<{ readonly user: number; readonly at: number }> = [];
  private isOver = false;

  constructor(
    private readonly truth: Truth,
    private readonly dice: Random,
    /** Users whose home is here; now and then another user, or a second device, comes too. */
    private readonly home: { readonly router: number; readonly routers: number },
    private readonly target: number,
  ) {}

  /** What phones do next. It follows from the dice and from what they did before, so that a seed replays it. */
  draw(count: number): Batch {
    const { dice, residents, movers, target } = this;
    return Array.from({ length: count }, () => {
      const filled = (residents.length + movers.length) / target;
      const opens = filled < 0.8 ? 0.9 : filled < 1 ? 0.65 : 0.4;
      if (movers.length === 0 || dice.chance(opens)) return this.open(this.someone());
      const list = residents.length > 0 && dice.chance(RESIDENT_LEAVES) ? residents : movers;
      const place = dice.below(list.length);
      const user = list[place] as number;
      const last = list.pop() as number;
      if (place < list.length) list[place] = last;
      return this.end(user, dice.chance(0.65) ? 'close' : 'drop');
    });
  }

  /** Everybody leaves. */
  closeAll(): Batch {
    return this.residents
      .splice(0)
      .concat(this.movers.splice(0))
      .map((user) => this.end(user, 'close'));
  }

  acknowledge(batch: Batch, at: number, begunAt = at): void {
    if (this.isOver) return;
    this.latest = this.latest.filter((leaving) => leaving.at > at - SLACK_MS);
    for (const { operation, connection } of batch) {
      const [does, user] = operation;
      if (does === 'open') {
        this.acknowledged.add(connection);
        this.truth.arrive(connection);
      } else {
        this.acknowledged.delete(connection);
        this.truth.leave(connection, { how: does, at, begunAt, holding: this });
        this.latest.push({ user, at });
      }
    }
  }

  held(batch: Batch, places: readonly number[]): void {
    const heldSince = Date.now();
    for (const place of places) {
      const { connection } = batch[place] as Batch[number];
      connection.heldSince = heldSince;
      this.truth.lateUntil[connection.user] = heldSince;
    }
  }

  /** From now on leaves here, and those just before, may stay unknown. */
  fallIll(): void {
    this.isUnwell = true;
    for (const { user } of this.latest) this.truth.unsaidAt[user] = Date.now();
  }

  /** Since when the store has held a connection whose end was not recorded; undefined where there is none. */
  steadySince(user: number): number | undefined {
    if (this.isOver) return undefined;
    return this.byUser.get(user)?.find(({ heldSince }) => heldSince !== undefined)?.heldSince;
  }

  /** Users with a connection here. */
  get users(): Set<number> {
    return new Set(Array.from(this.acknowledged, ({ user }) => user));
  }

  /** The process is about to end, and all of its connections with it. */
  lose(): void {
    this.fallIll();
    this.isOver = true;
    const at = Date.now();
    for (const [user, connections] of this.byUser) {
      this.truth.plan(user, -connections.length);
      // Also users of calls that were not acknowledged: the store may have recorded them.
      this.truth.leavings[user] = { at, begunAt: at, how: 'lost', holding: this, heldSince: undefined };
      this.truth.unsaidAt[user] = at;
    }
    for (const connection of this.acknowledged) {
      this.truth.leave(connection, { how: 'lost', at, begunAt: at, holding: this });
    }
  }

  private someone(): number {
    const { dice, home, truth } = this;
    const user = dice.below(truth.users);
    if (dice.chance(0.12)) return user;
    const moved = user - (user % home.routers) + home.router;
    return moved < truth.users ? moved : user;
  }

  private open(drawn: number): Batch[number] {
    const isTooMany = isResident(drawn) && this.residents.length >= this.target / 2;
    const user = isTooMany ? (drawn + 1) % this.truth.users : drawn;
    const connection: PhoneConnection = { user, heldSince: undefined };
    (isResident(user) ? this.residents : this.movers).push(user);
    this.truth.plan(user, 1);
    const own = this.byUser.get(user);
    if (own === undefined) this.byUser.set(user, [connection]);
    else own.push(connection);
    return { operation: ['open', user], connection };
  }

  private end(user: number, does: 'close' | 'drop'): Batch[number] {
    const own = this.byUser.get(user) as PhoneConnection[];
    const connection = own.shift() as PhoneConnection;
    if (own.length === 0) this.byUser.delete(user);
    this.truth.plan(user, -1);
    return { operation: [does, user], connection };
  }
}
