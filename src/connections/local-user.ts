/**
 * How a user lost a connection. It is kept while others are alive, since the grace of a drop continues when another device
 * closes cleanly.
 * @internal
 */
export interface Departure {
  readonly ending: 'disconnect' | 'timeout' | 'drop';
  readonly at: number;
  readonly graceMs: number;
}

/** Shared by all users who have lost no connection. */
const NO_DEPARTURE: Departure = { ending: 'disconnect', at: 0, graceMs: 0 };

/** The rest of a grace; never more than the whole, even where the clock was set back. @internal */
export function graceLeft({ at, graceMs }: Departure, now: number): number {
  return Math.max(0, graceMs - Math.max(0, now - at));
}

/** What the store has acknowledged of a user. @internal */
export type Acknowledged =
  /** It does not hold the user for this router. */
  | 'absent'
  | 'held'
  /** A call has failed, and nobody knows whether the store has carried it out. */
  | 'unknown'
  /** It held the user, and may no longer: the next join registers the user again, and is not a connect. */
  | 'doubted';

/** The operation that is in flight. `lost-join`: the store has lost data since, perhaps including this join. @internal */
export type InFlight = 'nothing' | 'join' | 'leave' | 'lost-join';

/** The state after a call was acknowledged. `nothing`: it became uncertain during the call, which the answer does not settle. */
const AFTER: { readonly [sent in InFlight]: Acknowledged } = {
  nothing: 'unknown',
  join: 'held',
  leave: 'absent',
  'lost-join': 'doubted',
};

/** @internal A user of this router: how many connections are alive, and what the store has acknowledged. */
export class LocalUser {
  /** The number of connections that are alive. */
  alive = 0;
  /** The time of the last activity on any connection. */
  lastLife: number;
  /** The last activity that was reported to the store. */
  refreshedAt = 0;
  departure: Departure = NO_DEPARTURE;
  acknowledged: Acknowledged = 'absent';
  inFlight: InFlight = 'nothing';
  /** Called once the store has acknowledged the state of the user. */
  private waiting: Array<() => void> | undefined = undefined;

  constructor(
    readonly userId: string,
    now: number,
  ) {
    this.lastLife = now;
  }

  /** Whether the store has acknowledged the state of the user. */
  get isSettled(): boolean {
    return this.inFlight === 'nothing' && this.acknowledged === (this.alive > 0 ? 'held' : 'absent');
  }

  /** Resolves at the next `wake`. */
  woken(): Promise<void> {
    return new Promise((resolve) => {
      this.waiting = this.waiting ?? [];
      this.waiting.push(resolve);
    });
  }

  wake(): void {
    const { waiting } = this;
    this.waiting = undefined;
    if (waiting !== undefined) for (const resolve of waiting) resolve();
  }

  /** One more connection is alive; returns true for the first. A new connection ends a grace. */
  arrive(now: number): boolean {
    this.alive += 1;
    this.lastLife = now;
    this.departure = NO_DEPARTURE;
    return this.alive === 1;
  }

  /** One connection fewer is alive; returns true for the last. */
  depart(ending: Departure['ending'], now: number, graceMs: number): boolean {
    this.alive -= 1;
    const left = graceLeft(this.departure, now);
    if (ending === 'drop') this.departure = { ending, at: now, graceMs: Math.max(left, graceMs) };
    else if (this.alive === 0) this.departure = { ending, at: now, graceMs: left };
    return this.alive === 0;
  }

  /** A call with the present state of the user is sent. */
  send(): void {
    this.inFlight = this.alive > 0 ? 'join' : 'leave';
    if (this.alive > 0) this.refreshedAt = this.lastLife;
  }

  /** The store has acknowledged the call in flight. */
  acknowledge(): void {
    this.acknowledged = AFTER[this.inFlight];
    this.inFlight = 'nothing';
  }

  /** The state in the store is uncertain: a call has failed, or the store may have lost data. */
  doubt(): void {
    // A store that was sent nothing about the user cannot hold the user.
    if (this.acknowledged === 'absent' && this.inFlight === 'nothing') return;
    this.acknowledged = this.acknowledged === 'held' || this.acknowledged === 'doubted' ? 'doubted' : 'unknown';
    this.inFlight = 'nothing';
  }

  /** The store has lost data, perhaps after it had carried out the call in flight. */
  doubtInFlight(): void {
    if (this.inFlight === 'join') this.inFlight = 'lost-join';
  }
}
