import { LEASE_MS } from './protocol';
import type { Holding } from './truth';

/**
 * What may follow from a fault for the users whom it concerns:
 * - `unreachable`: the router cannot speak to Redis. Queries may reject, and leaves there are not published
 * - `doubtful`: routers have to register their users in Redis again. Queries may reject meanwhile
 * - `deaf`: the router is disconnected from messages. Changes may be missed, and published later all at once
 * - `lost`: Redis has lost users. Their routers register them again
 * - `forged`: a router may have accepted a forged change, and corrects it later
 */
export type Effect = 'unreachable' | 'doubtful' | 'deaf' | 'lost' | 'forged';

/** What is made good once a fault is over takes no longer. */
const SETTLES_MS: { readonly [effect in Effect]: number } = {
  unreachable: LEASE_MS * 2,
  doubtful: LEASE_MS * 2,
  deaf: LEASE_MS * 4,
  lost: LEASE_MS * 12,
  forged: LEASE_MS * 4,
};

/** The users whom a fault concerns: the phones of one router, some users, or all. */
export interface Concerned {
  readonly holding?: Holding | undefined;
  readonly users?: ReadonlySet<string>;
}

interface Excuse extends Concerned {
  readonly effect: Effect;
  readonly from: number;
  /** When the fault itself was over. */
  overAt: number;
  to: number;
}

/**
 * All that excuses anything. Each lasts from the beginning of its fault until everything was found to agree; while the
 * next faults prevent that, for so many leases.
 */
export class Excuses {
  private readonly all: Excuse[] = [];

  /** Returns what says that the fault is over. `settlesMs`: where less is enough afterwards. */
  begin(effects: readonly Effect[], concerned: Concerned = {}, settlesMs = Number.POSITIVE_INFINITY): () => void {
    const from = Date.now();
    const excuses = effects.map(
      (effect): Excuse => ({
        ...concerned,
        effect,
        from,
        overAt: Number.POSITIVE_INFINITY,
        to: Number.POSITIVE_INFINITY,
      }),
    );
    this.all.push(...excuses);
    return () => {
      const overAt = Date.now();
      for (const excuse of excuses) {
        const to = overAt + Math.min(SETTLES_MS[excuse.effect], settlesMs);
        Object.assign(excuse, { overAt, to });
      }
    };
  }

  /** Since then everything has agreed: nothing is excused any more but by what is still going on. */
  settle(at: number): void {
    for (const excuse of this.all) if (excuse.overAt <= at) excuse.to = Math.min(excuse.to, at);
  }

  /** Whether any of these effects concerned the router, or the user, in that time. */
  has(effects: readonly Effect[], { from, to }: Span, holding?: Holding, userId?: string): boolean {
    return this.all.some(
      (excuse) =>
        effects.includes(excuse.effect) &&
        excuse.from <= to &&
        concerns(excuse, holding, userId) &&
        this.endOf(excuse) >= from,
    );
  }

  /** When any of these effects concerned the router; some of them concern only some users. */
  spans(
    effects: readonly Effect[],
    holding: Holding,
  ): Array<Span & { readonly users: ReadonlySet<string> | undefined }> {
    return this.all
      .filter((excuse) => effects.includes(excuse.effect))
      .filter((excuse) => excuse.users !== undefined || concerns(excuse, holding))
      .map((excuse) => ({ from: excuse.from, to: this.endOf(excuse), users: excuse.users }));
  }

  /** How long of that time no router could reach Redis. */
  awayMs({ from, to }: Span): number {
    const away = this.all
      .filter(({ effect, holding }) => effect === 'unreachable' && holding === undefined)
      .map((excuse) => ({ from: Math.max(from, excuse.from), to: Math.min(to, excuse.overAt) }));
    return lengthOf(away);
  }

  /** Since when a router, which ended then, had not been able to say anything. */
  silentSince(holding: Holding, endedAt: number, slackMs: number): number {
    return this.all
      .filter((excuse) => excuse.effect === 'unreachable' && concerns(excuse, holding))
      .filter(({ from, overAt }) => from < endedAt && overAt > endedAt - slackMs)
      .reduce((least, { from }) => Math.min(least, from), endedAt);
  }

  /** Whether routers have registered users again since then. */
  hadLosses(since: number): boolean {
    return this.all.some(({ effect, to }) => (effect === 'lost' || effect === 'doubtful') && to > since);
  }

  /** How much of the time of routers was excused, in whatever respect, from 0 to 1. */
  shareOf(lives: ReadonlyArray<Span & { readonly holding: Holding }>, users: number): number {
    let whole = 0;
    let excused = 0;
    for (const { from, to, holding } of lives) {
      if (to <= from) continue;
      whole += to - from;
      const spans = this.all
        .filter((excuse) => excuse.users === undefined && concerns(excuse, holding))
        .map((excuse) => ({ from: Math.max(from, excuse.from), to: Math.min(to, this.endOf(excuse)) }));
      excused += lengthOf(spans);
      for (const excuse of this.all) {
        const span = Math.min(to, excuse.to) - Math.max(from, excuse.from);
        if (excuse.users !== undefined && span > 0) excused += (span * excuse.users.size) / users;
      }
    }
    return whole === 0 ? 1 : excused / whole;
  }

  /** Recovery needs Redis: it waits while another fault keeps Redis away. */
  private endOf({ holding, to }: Excuse): number {
    let until = to;
    for (const other of this.all) {
      const isInTheWay = other.effect === 'unreachable' && concerns(other, holding);
      if (isInTheWay && other.from <= until && other.to > until) until = other.to;
    }
    return until;
  }
}

export interface Span {
  readonly from: number;
  readonly to: number;
}

function concerns(excuse: Excuse, holding?: Holding, userId?: string): boolean {
  if (excuse.users !== undefined) return userId !== undefined && excuse.users.has(userId);
  return excuse.holding === undefined || excuse.holding === holding;
}

/** Of what lies in any of these. */
function lengthOf(spans: readonly Span[]): number {
  let length = 0;
  let end = Number.NEGATIVE_INFINITY;
  for (const { from, to } of spans.slice().sort((a, b) => a.from - b.from)) {
    if (to > Math.max(end, from)) length += to - Math.max(end, from);
    end = Math.max(end, to);
  }
  return length;
}
