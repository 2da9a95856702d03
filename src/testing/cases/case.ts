import type { PresenceOp } from '../../stores/port';
import type { Router, World } from '../conformance-world';
import type { ConformanceHook, ConformancePart } from '../store-backend';

/** A case of the suite, before it is given a backend. @internal */
export interface Case {
  readonly name: string;
  /** The hook of the backend that the case needs. */
  readonly needs?: ConformanceHook;
  /** The optional part of the store that it is about. */
  readonly part?: ConformancePart;
  readonly check: (world: World) => Promise<void>;
}

/** @internal */
export const join = (userId: string, ageMs = 0): PresenceOp => ({ kind: 'join', userId, ageMs, reassert: false });

/** @internal */
export const rejoin = (userId: string): PresenceOp => ({ kind: 'join', userId, ageMs: 0, reassert: true });

/** @internal */
export const leave = (userId: string, ageMs = 0): PresenceOp => ({
  kind: 'leave',
  userId,
  ageMs,
  reason: 'disconnect',
});

/** @internal */
export const drop = (userId: string, graceMs: number, ageMs = 0): PresenceOp => ({
  kind: 'drop',
  userId,
  ageMs,
  graceMs,
});

/** `u-0`, `u-1`, and so on. @internal */
export const idsOf = (count: number, prefix = 'u'): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}-${index}`);

/**
 * Waits until the feed of every router has received a change of a user. Returns the number of gaps of each so far, since a
 * feed that has just been opened may report one.
 * @internal
 */
export async function listen(world: World, userId: string): Promise<Map<Router, number>> {
  const { routers } = world;
  await (routers[0] as Router).apply(join(userId));
  await world.arrive(() => routers.every(({ told }) => told.some((update) => update.userId === userId)));
  await world.arrive();
  return new Map(routers.map((router) => [router, router.gaps] as const));
}
