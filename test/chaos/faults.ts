import type { Random } from '../random';

/** What can go wrong. `router` is the number of the one it happens to. */
export type Fault =
  | { readonly kind: 'kill'; readonly router: number; readonly ms: number }
  | { readonly kind: 'stop'; readonly router: number; readonly ms: number }
  | { readonly kind: 'shut-down'; readonly router: number; readonly handoverMs: number }
  | { readonly kind: 'delay'; readonly router: number; readonly byMs: number; readonly ms: number }
  | { readonly kind: 'hold' | 'cut'; readonly router: number; readonly ms: number }
  | { readonly kind: 'kill-clients'; readonly type: 'pubsub' | 'normal' }
  | { readonly kind: 'delete'; readonly what: DeletedKey; readonly users: readonly number[] }
  | { readonly kind: 'flush' }
  | { readonly kind: 'hang'; readonly ms: number }
  | { readonly kind: 'restart'; readonly signal: 'SIGTERM' | 'SIGKILL'; readonly empty: boolean; readonly ms: number };

/** Keys of the store by their names; `user` and `bucket` are those of some users. */
export type DeletedKey = (typeof DELETED_KEYS)[number];

const DELETED_KEYS = ['user', 'bucket', 'lease', 'nodes', 'meta', 'grace', 'count', 'log'] as const;

export interface Planned {
  /** After the one before. */
  readonly afterMs: number;
  readonly fault: Fault;
}

/**
 * Faults without an end. They are dealt like cards, so that each kind comes before any comes again, and what comes
 * depends on the dice alone: not on the time that anything takes.
 */
export function* faults(dice: Random, routers: number, users: number): Generator<Planned, never> {
  const between = (low: number, high: number): number => low + dice.below(high - low);
  const router = (): number => dice.below(routers);
  const someUsers = (): number[] => Array.from({ length: between(1, 40) }, () => dice.below(users));
  const deletion = (what: DeletedKey): Fault => ({ kind: 'delete', what, users: someUsers() });
  const deck: ReadonlyArray<() => Fault> = [
    () => ({ kind: 'kill', router: router(), ms: between(0, 2_500) }),
    () => ({ kind: 'kill', router: router(), ms: 0 }),
    () => ({ kind: 'stop', router: router(), ms: between(200, 1_200) }),
    () => ({ kind: 'stop', router: router(), ms: between(1_800, 4_000) }),
    () => ({ kind: 'shut-down', router: router(), handoverMs: dice.chance(0.6) ? 1_500 : 0 }),
    () => ({ kind: 'delay', router: router(), byMs: between(20, 400), ms: between(500, 3_000) }),
    () => ({ kind: 'hold', router: router(), ms: between(300, 3_500) }),
    () => ({ kind: 'cut', router: router(), ms: between(0, 3_500) }),
    () => ({ kind: 'kill-clients', type: 'pubsub' }),
    () => ({ kind: 'kill-clients', type: 'normal' }),
    () => deletion('user'),
    () => deletion('bucket'),
    () => deletion(dice.pick(DELETED_KEYS)),
    () => deletion(dice.pick(DELETED_KEYS)),
    () => ({ kind: 'flush' }),
    () => ({ kind: 'hang', ms: between(300, 3_000) }),
    () => ({
      kind: 'restart',
      signal: dice.pick(['SIGTERM', 'SIGKILL']),
      empty: false,
      ms: between(0, 2_500),
    }),
    () => ({
      kind: 'restart',
      signal: dice.pick(['SIGTERM', 'SIGKILL']),
      empty: dice.chance(0.7),
      ms: between(0, 1_000),
    }),
  ];
  for (;;) {
    const cards = deck.slice();
    while (cards.length > 0) {
      const [card] = cards.splice(dice.below(cards.length), 1) as [() => Fault];
      yield { afterMs: between(100, 1_800), fault: card() };
    }
  }
}
