import type { Clock } from '../public/clock';
import { isPresenceError, PresenceError, type PresenceErrorCode, shown } from '../public/errors';
import type { ErrorStage, HealthProblem, PresenceOptions } from '../public/types';
import { storeError } from './call-timeout';
import type { FailureLog } from './failure-log';
import { log } from './log';

const CODES: { readonly [stage in ErrorStage]: PresenceErrorCode } = {
  beat: 'ERR_PRESENCE_STORE',
  apply: 'ERR_PRESENCE_STORE',
  refresh: 'ERR_PRESENCE_STORE',
  release: 'ERR_PRESENCE_STORE',
  resync: 'ERR_PRESENCE_STORE',
  snapshot: 'ERR_PRESENCE_STORE',
  query: 'ERR_PRESENCE_STORE',
  subscribe: 'ERR_PRESENCE_STORE',
  publish: 'ERR_PRESENCE_STORE',
  reap: 'ERR_PRESENCE_STORE',
  sweep: 'ERR_PRESENCE_STORE',
  repair: 'ERR_PRESENCE_STORE',
  fork: 'ERR_PRESENCE_STORE',
  store: 'ERR_PRESENCE_STORE',
  ping: 'ERR_PRESENCE_SOCKET',
  send: 'ERR_PRESENCE_SOCKET',
  terminate: 'ERR_PRESENCE_SOCKET',
  listener: 'ERR_PRESENCE_CALLBACK',
  identify: 'ERR_PRESENCE_CALLBACK',
  authorize: 'ERR_PRESENCE_CALLBACK',
};

const STAGES: ReadonlySet<string> = new Set(Object.keys(CODES));

/** Of what a function of the caller's threw, which may be anything. */
function messageOf(error: unknown): string {
  try {
    return error instanceof Error ? error.message : String(error);
  } catch {
    return 'something that is no error';
  }
}

/**
 * Calls what a caller has handed in. What it throws, or rejects with, goes to `failed` and nowhere else.
 * @internal
 */
export function callGuarded(run: () => unknown, failed: (error: unknown) => void): void {
  try {
    const result = run() as PromiseLike<unknown> | undefined;
    if (typeof result?.then === 'function') result.then(undefined, failed);
  } catch (error) {
    failed(error);
  }
}

function toPresenceError(stage: ErrorStage, error: unknown): PresenceError {
  const code = CODES[stage];
  if (!isPresenceError(error)) {
    if (code === 'ERR_PRESENCE_STORE') return storeError(`${stage} failed`, error);
    return new PresenceError(code, `${stage} failed: ${messageOf(error)}`, error);
  }
  // What a callback gave was misuse, which is a TypeError where the caller is there to catch it.
  return error instanceof TypeError ? new PresenceError(error.code, error.message, error) : error;
}

/** @internal */
export interface FailuresOptions {
  readonly clock: Clock;
  /** What a store has said once, and not for so long while heartbeats got through, is over. */
  readonly quietMs: number;
  /** Of `refresh`, which is seldom. */
  readonly ttlMs: number;
  readonly onError: PresenceOptions['onError'];
  /** Where lines for people go; none where nobody wants any. */
  readonly log: FailureLog | undefined;
}

/** Something that is wrong until it works again. */
interface Problem {
  error: PresenceError;
  readonly since: number;
  lastAt: number;
  /** As of log lines; an outage that goes on may be of several. */
  readonly kinds: Set<string>;
  /** Heartbeats failed, too: that they get through again says what there is to say. */
  isOutage: boolean;
}

/** What happens once. */
const PASSING: readonly ErrorStage[] = ['repair', 'release'];

/** Of these it is known when they work again; until then they may be tried seldom. */
const LASTING: readonly ErrorStage[] = ['resync', 'apply'];

/** The one way by which background failures reach the caller: `onError`, `health()`, and lines for people. @internal */
export class Failures {
  private readonly problems = new Map<ErrorStage, Problem>();
  private foreignLayout: string | undefined;

  constructor(private readonly options: FailuresOptions) {}

  readonly report = (said: ErrorStage, error: unknown, userId?: string): void => {
    const { onError, log: lines } = this.options;
    // A store of the caller's may say anything.
    const stage: ErrorStage = STAGES.has(said) ? said : 'store';
    const reported = toPresenceError(stage, error);
    const { kind, code } = reported;
    const name = kind === undefined || kind === 'other' ? stage : kind;
    if (CODES[stage] === 'ERR_PRESENCE_STORE' && !PASSING.includes(stage)) this.keep(stage, reported, name);
    // It does not go by itself, and is met by everything that asks the store: it is said once.
    if (code === 'ERR_PRESENCE_LAYOUT') {
      if (reported.message === this.foreignLayout) return;
      this.foreignLayout = reported.message;
    }
    const user = userId === undefined ? '' : `, user ${shown(userId)}`;
    lines?.failed(name, `${reported.message} (${kind === undefined ? '' : `${kind}, `}stage ${stage}${user})`);
    if (onError === undefined) {
      log.failure(stage, reported.message);
      return;
    }
    callGuarded(
      () => onError(reported, userId === undefined ? { stage } : { stage, userId }),
      (thrown) => log.failure('onError', messageOf(thrown)),
    );
  };

  /** What failed has worked. */
  readonly worked = (stage: ErrorStage): void => {
    const problem = this.problems.get(stage);
    if (problem === undefined) return;
    this.problems.delete(stage);
    if (problem.isOutage && stage !== 'beat') return;
    const kinds = new Set(problem.kinds);
    if (stage === 'beat') {
      for (const [name, other] of this.problems) {
        for (const kind of other.kinds) kinds.add(kind);
        // What failed for want of a store is over with that, or says so again.
        if (!LASTING.includes(name)) this.problems.delete(name);
      }
    }
    const what = stage === 'beat' ? 'the store is back' : `${stage} works again`;
    const seconds = (this.options.clock.now() - problem.since) / 1_000;
    this.options.log?.over(kinds, `${what} after ${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`);
  };

  /** A heartbeat has got through. `isStanding`: whether the store still says so itself. */
  heard(isStanding: (stage: ErrorStage) => boolean): void {
    const { clock, quietMs, ttlMs } = this.options;
    this.worked('beat');
    const now = clock.now();
    for (const [stage, { lastAt }] of this.problems) {
      const quiet = stage === 'refresh' ? ttlMs : quietMs;
      // Before zero: the clock was set back.
      if (now - lastAt >= 0 && now - lastAt < quiet) continue;
      if (!LASTING.includes(stage) && !isStanding(stage)) this.worked(stage);
    }
  }

  /** What is wrong now, without the stages of which the store says so itself. */
  list(except: readonly HealthProblem[]): HealthProblem[] {
    const problems: HealthProblem[] = [];
    const isOutage = this.problems.has('beat');
    for (const [stage, { error, since }] of this.problems) {
      // While nothing gets through, that is the one thing which is wrong.
      if ((isOutage && stage !== 'beat') || except.some((problem) => problem.stage === stage)) continue;
      const { code, message } = error;
      problems.push({ stage, code, message, since: new Date(since).toISOString() });
    }
    return problems;
  }

  private keep(stage: ErrorStage, error: PresenceError, kind: string): void {
    const now = this.options.clock.now();
    let problem = this.problems.get(stage);
    if (problem === undefined) {
      problem = { error, since: now, lastAt: now, kinds: new Set(), isOutage: false };
      this.problems.set(stage, problem);
    }
    problem.error = error;
    problem.lastAt = now;
    problem.kinds.add(kind);
    // One that goes on when heartbeats get through again is one of its own.
    problem.isOutage = this.problems.has('beat');
    if (stage === 'beat') for (const other of this.problems.values()) other.isOutage = true;
  }
}
