import type { PresenceUpdate, UpdateReason } from '../../types';

/** What travels between routers, and stands in the log: changes of one partition, made in one step. @internal */
export interface Batch {
  /** Tells the data from those that were there before a loss. */
  readonly epoch: string;
  /** The version of the first change; each following one has the next. */
  readonly first: number;
  readonly changes: ReadonlyArray<{ readonly update: PresenceUpdate; readonly lastSeen: number }>;
}

/** Buckets of which users were lost; none are named where it may be all. @internal */
export interface Loss {
  readonly buckets: number[];
  /** How often that was found by now. */
  readonly times: number;
}

type Wire =
  | { readonly l: number[]; readonly k: number }
  | {
      readonly e: string;
      readonly n: number;
      readonly t: number;
      readonly u: ReadonlyArray<[string, 0 | 1, number, UpdateReason]>;
    };

/** Undefined for what no router of this kind has sent. @internal */
export function parseMessage(text: string): Batch | Loss | undefined {
  let wire: Wire;
  try {
    wire = JSON.parse(text);
  } catch {
    return undefined;
  }
  if ('l' in wire) return { buckets: wire.l, times: wire.k };
  if (!Array.isArray(wire.u)) return undefined;
  const timestamp = new Date(wire.t).toISOString();
  const changes = wire.u.map(([userId, online, lastSeen, reason], index) => {
    const status = online === 1 ? ('online' as const) : ('offline' as const);
    // Every listener of every presence is handed this one object.
    const update: PresenceUpdate = Object.freeze({
      userId,
      status,
      timestamp,
      version: wire.n + index,
      reason,
    });
    return { update, lastSeen };
  });
  return { epoch: wire.e, first: wire.n, changes };
}
