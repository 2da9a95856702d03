import type { Random } from '../random';
import type { Operation } from './protocol';

/** How a user's last connection ended, as the parent saw it. */
export interface Leaving {
  readonly at: number;
  readonly how: 'close' | 'drop' | 'lost';
  readonly holding: Holding;
}

/** One connection of a phone to a router. */
interface PhoneConnection {
  readonly user: number;
  /** Since when the store is known to hold it. */
  heldSince: number | undefined;
}

/** What is sent to a router together. */
export type Batch = ReadonlyArray<{ readonly operation: Operation; readonly connection: PhoneConnection }>;

/**
 * Who is connected where: what was acknowledged, and nothing that any router believes. A router that was killed has lost
 * its connections with it.
 */
export class Truth {
  readonly leavings: Array<Leaving | undefined> = [];
  /** Of connections of which the store knew only. */
  readonly knownLeavings: Array<Leaving | undefined> = [];
  private readonly acknowledged: Int32Array;
  private readonly planned: Int32Array;

  constructor(readonly users: number) {
    this.acknowledged = new Int32Array(users);
    this.planned = new Int32Array(users);
  }

  /** Since when nobody has a connection of the user, or is about to; undefined where somebody is. */
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
  }

  arrive({ user }: PhoneConnection): void {
    this.acknowledged[user] = (this.acknowledged[user] as number) + 1;
  }

  leave({ user, heldSince }: PhoneConnection, leaving: Leaving): void {
    this.acknowledged[user] = (this.acknowledged[user] as number) - 1;
    this.leavings[user] = leaving;
    if (heldSince !== undefined) this.knownLeavings[user] = leaving;
  }
}

/** The connections that one router process has, from its start to its end. */
export class Holding {
  /** One entry a connection, as they will be once all that was sent is done. */
  private readonly planned: number[] = [];
  /** The same by user, the oldest first. */
  private readonly byUser = new Map<number, PhoneConnection[]>();
  private readonly acknowledged = new Set<PhoneConnection>();
  private isOver = false;

  constructor(
    private readonly truth: Truth,
    private readonly dice: Random,
    /** Users whose home is here; now and then somebody else comes too, or a second device. */
    private readonly home: { readonly router: number; readonly routers: number },
    private readonly target: number,
  ) {}

  /** What phones do next. It follows from the dice and from what they did before, so that a seed replays it. */
  draw(count: number): Batch {
    const { dice, planned, target } = this;
    return Array.from({ length: count }, () => {
      if (planned.length === 0 || dice.chance(planned.length < target ? 0.65 : 0.4)) return this.open(this.someone());
      const place = dice.below(planned.length);
      const user = planned[place] as number;
      const last = planned.pop() as number;
      if (place < planned.length) planned[place] = last;
      return this.end(user, dice.chance(0.65) ? 'close' : 'drop');
    });
  }

  /** Everybody leaves. */
  closeAll(): Batch {
    return this.planned.splice(0).map((user) => this.end(user, 'close'));
  }

  acknowledge(batch: Batch, at: number): void {
    if (this.isOver) return;
    for (const { operation, connection } of batch) {
      const [does] = operation;
      if (does === 'open') {
        this.acknowledged.add(connection);
        this.truth.arrive(connection);
      } else {
        this.acknowledged.delete(connection);
        this.truth.leave(connection, { at, how: does, holding: this });
      }
    }
  }

  held(batch: Batch, places: readonly number[]): void {
    const heldSince = Date.now();
    for (const place of places) {
      const { connection } = batch[place] as Batch[number];
      connection.heldSince = heldSince;
    }
  }

  /** Since when the store has held a connection that nobody has told to end; undefined where there is none. */
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
    this.isOver = true;
    const at = Date.now();
    for (const [user, connections] of this.byUser) {
      this.truth.plan(user, -connections.length);
      // Also who came in what was not acknowledged any more: the store may have heard of them.
      this.truth.leavings[user] = { at, how: 'lost', holding: this };
    }
    for (const connection of this.acknowledged) this.truth.leave(connection, { at, how: 'lost', holding: this });
  }

  private someone(): number {
    const { dice, home, truth } = this;
    const user = dice.below(truth.users);
    if (dice.chance(0.12)) return user;
    const moved = user - (user % home.routers) + home.router;
    return moved < truth.users ? moved : user;
  }

  private open(user: number): Batch[number] {
    const connection: PhoneConnection = { user, heldSince: undefined };
    this.planned.push(user);
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
