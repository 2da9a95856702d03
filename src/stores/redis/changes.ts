import type { PresenceUpdate, UpdateReason } from '../../types';

/** What travels between routers, and stands in the log: changes of one partition, made in one step. @internal */
export interface Batch {
  /** Tells the data from those that were there before a loss. */
  readonly epoch: string;
  /** The version of the first change; each following one has the next. */
  readonly first: number;
  /** When, by the clock of the server, in milliseconds. */
  readonly at: number;
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

/** Undefined for what no router of this kind has sent: anybody may publish anything on a channel. @internal */
export function parseMessage(text: string): Batch | Loss | undefined {
  try {
    const wire: Wire = JSON.parse(text);
    if ('l' in wire) {
      return Array.isArray(wire.l) && Number.isInteger(wire.k) ? { buckets: wire.l, times: wire.k } : undefined;
    }
    const { e: epoch, n: first, t: at, u: told } = wire;
    if (typeof epoch !== 'string' || !Number.isInteger(first) || first < 1 || told.length === 0) return undefined;
    const timestamp = new Date(at).toISOString();
    const changes = told.map(([userId, online, lastSeen, reason], index) => {
      if (typeof userId !== 'string' || typeof lastSeen !== 'number') throw new TypeError('no change');
      const status = online === 1 ? ('online' as const) : ('offline' as const);
      // Every listener of every presence is handed this one object.
      const update: PresenceUpdate = Object.freeze({ userId, status, timestamp, version: first + index, reason });
      return { update, lastSeen };
    });
    return { epoch, first, at, changes };
  } catch {
    return undefined;
  }
}
