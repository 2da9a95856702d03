import type { ErrorStage, Health, HealthProblem } from '../public/types';

/** The facts from which the health of a presence follows. Times are milliseconds since the epoch. @internal */
export interface Vitals {
  readonly isClosed: boolean;
  /** The time of the store's last answer, in ISO 8601; `null` before the first one. */
  readonly asOf: string | null;
  readonly startedAt: number;
  /** When the first reading of all users began; `undefined` once it is done. */
  readonly pendingSince: number | undefined;
  /** Since when changes may have been missed; `undefined` where none are missing. */
  readonly missedSince: number | undefined;
  /** The problems that the store itself lists, and those that were reported. */
  readonly problems: readonly HealthProblem[];
}

/** The result of `health()`. @internal */
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
