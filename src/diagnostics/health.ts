import type { ErrorStage, Health, HealthProblem } from '../public/types';

/** What a presence knows of itself. Times are milliseconds since the epoch. @internal */
export interface Vitals {
  readonly isClosed: boolean;
  /** When the store was heard last; `null` where it never was. */
  readonly asOf: string | null;
  readonly startedAt: number;
  /** Since when everybody is being read for the first time, and has not been yet. */
  readonly pendingSince: number | undefined;
  /** Since when changes may have been missed that are not known yet. */
  readonly missedSince: number | undefined;
  /** What the store says of itself, and what has failed. */
  readonly problems: readonly HealthProblem[];
}

/** What `health()` gives. @internal */
export function healthOf({ isClosed, asOf, startedAt, pendingSince, missedSince, problems: found }: Vitals): Health {
  const problems = found.slice();
  const has = (stage: ErrorStage): boolean => problems.some((problem) => problem.stage === stage);
  const pending = (stage: ErrorStage, message: string, since: number | undefined): void => {
    if (since === undefined || has('beat') || has(stage)) return;
    problems.push({ stage, code: 'ERR_PRESENCE_STORE', message, since: new Date(since).toISOString() });
  };
  pending('beat', 'the store has not answered yet', asOf === null ? startedAt : undefined);
  pending('resync', 'who is online is being read for the first time', pendingSince);
  pending('resync', 'what was missed is being read', missedSince);
  if (isClosed) return { status: 'closed', asOf, problems };
  if (has('beat') || has('resync')) return { status: 'stale', asOf, problems };
  return { status: problems.length > 0 ? 'degraded' : 'ok', asOf, problems };
}
