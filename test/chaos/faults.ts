import { type Random, random } from '../random';
import { HANDOVER_MS, LEASE_MS } from './protocol';

/** What can go wrong. `router` is the number of the one it happens to. */
export type Fault =
  | { readonly kind: 'kill'; readonly router: number; readonly ms: number }
  | { readonly kind: 'stop'; readonly router: number; readonly ms: number }
  | { readonly kind: 'shut-down'; readonly router: number; readonly handoverMs: number }
  | { readonly kind: 'far'; readonly router: number; readonly ms: number }
  | { readonly kind: 'hold' | 'cut' | 'sever'; readonly router: number; readonly ms: number }
  | { readonly kind: 'kill-clients'; readonly type: 'pubsub' | 'normal' }
  | { readonly kind: 'delete' | 'junk'; readonly what: DeletedKey; readonly users: readonly number[] }
  | { readonly kind: 'forge'; readonly users: readonly number[] }
  | { readonly kind: 'flush' | 'failover' | 'fleet' }
  | { readonly kind: 'hang'; readonly ms: number }
  | { readonly kind: 'stutter'; readonly router: number }
  | { readonly kind: 'restart'; readonly signal: 'SIGTERM' | 'SIGKILL'; readonly empty: boolean; readonly ms: number };

/** Keys of the store by their names; `user` and `bucket` are those of some users. */
export type DeletedKey = 'user' | 'bucket' | 'lease' | 'nodes' | 'meta' | 'grace' | 'count' | 'log';

/** Seeds in a row that see all windows. */
const SEEDS = 3;
/** Whatever takes several leases takes too long where these are long. */
const IS_SHORT = LEASE_MS <= 2_000;
const LONGEST_HANG_MS = Math.min(LEASE_MS * 1.5, 3_000);

/** What happens in a run, and in which order: it follows from the seed, and not from the time that anything takes. */
export class Plan {
  private readonly dice: Random;
  private readonly windows: Array<() => Fault>;
  private next = 0;

  constructor(
    seed: number,
    private readonly routers: number,
    private readonly users: number,
  ) {
    this.dice = random(seed);
    // Dealt to some seeds in a row, so that together they see all of them.
    const deck = shuffled(this.deck(), random(seed - (seed % SEEDS)));
    const first = Math.floor((deck.length * (seed % SEEDS)) / SEEDS);
    this.windows = deck.slice(first).concat(deck.slice(0, first));
  }

  /** One fault, alone. */
  window(): Fault {
    const { windows, next } = this;
    this.next += 1;
    return (windows[next % windows.length] as () => Fault)();
  }

  /** Many faults at once, of which at most one concerns all users. */
  rage(count: number): Array<{ readonly afterMs: number; readonly fault: Fault }> {
    const { dice } = this;
    const ofOne = this.ofOneRouter();
    const faults = Array.from({ length: count }, () => dice.pick(ofOne)());
    const ofAll = this.ofAll();
    faults[dice.below(count)] = dice.pick(ofAll)();
    return faults.map((fault) => ({ afterMs: this.between(100, 700), fault }));
  }

  private between(low: number, high: number): number {
    return Math.round(low + this.dice.next() * (high - low));
  }

  private router(): number {
    return this.dice.below(this.routers);
  }

  private someUsers(most: number): number[] {
    return Array.from({ length: most }, () => this.dice.below(this.users));
  }

  private ofOneRouter(): Array<() => Fault> {
    return [
      () => ({ kind: 'kill', router: this.router(), ms: this.between(0, 1_000) }),
      () => ({ kind: 'stop', router: this.router(), ms: this.between(LEASE_MS * 1.2, LEASE_MS * 1.6) }),
      () => ({ kind: 'stop', router: this.router(), ms: this.between(200, 900) }),
      () => ({ kind: 'shut-down', router: this.router(), handoverMs: this.dice.chance(0.6) ? HANDOVER_MS : 0 }),
      () => ({ kind: 'far', router: this.router(), ms: this.between(1_500, 3_000) }),
      () => ({ kind: 'hold', router: this.router(), ms: this.between(300, 2_500) }),
      () => ({ kind: 'cut', router: this.router(), ms: this.between(0, 2_500) }),
      () => ({ kind: 'sever', router: this.router(), ms: this.between(0, 1_500) }),
    ];
  }

  private ofAll(): Array<() => Fault> {
    const { dice } = this;
    const taken = (kind: 'delete' | 'junk', what: DeletedKey): Fault => ({ kind, what, users: this.someUsers(40) });
    const signal = (): 'SIGTERM' | 'SIGKILL' => dice.pick(['SIGTERM', 'SIGKILL']);
    return [
      () => ({ kind: 'kill-clients', type: 'pubsub' }),
      () => ({ kind: 'kill-clients', type: 'normal' }),
      () => taken('delete', 'user'),
      () => taken('delete', 'meta'),
      () => taken('delete', dice.pick(['lease', 'nodes', 'count', 'log'])),
      () => taken('junk', dice.pick(['lease', 'nodes', 'meta', 'count', 'log'])),
      () => ({ kind: 'forge', users: this.someUsers(40) }),
      () => ({ kind: 'flush' }),
      () => ({ kind: 'hang', ms: this.between(LEASE_MS * 0.3, LONGEST_HANG_MS) }),
      () => ({ kind: 'restart', signal: signal(), empty: false, ms: this.between(0, 1_500) }),
      () => ({ kind: 'restart', signal: signal(), empty: true, ms: this.between(0, 1_000) }),
    ];
  }

  private deck(): Array<() => Fault> {
    const slow: Array<() => Fault> = [
      () => ({ kind: 'delete', what: 'bucket', users: this.someUsers(40) }),
      () => ({ kind: 'junk', what: 'bucket', users: this.someUsers(40) }),
      () => ({ kind: 'delete', what: 'grace', users: [] }),
      () => ({ kind: 'fleet' }),
      () => ({ kind: 'stutter', router: this.router() }),
    ];
    const deck = [...this.ofOneRouter(), ...this.ofAll(), (): Fault => ({ kind: 'failover' })];
    return IS_SHORT ? deck.concat(slow) : deck;
  }
}

export function nameOf(fault: Fault): string {
  if ('what' in fault) return `${fault.kind} ${fault.what}`;
  if (fault.kind === 'restart') return fault.empty ? 'restart empty' : 'restart';
  return fault.kind === 'kill-clients' ? `kill ${fault.type}` : fault.kind;
}

function shuffled<T>(items: readonly T[], dice: Random): T[] {
  const left = items.slice();
  return items.map(() => left.splice(dice.below(left.length), 1)[0] as T);
}
