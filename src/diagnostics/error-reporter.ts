import type { Clock } from '../public/clock';
import { isPresenceError, PresenceError, type PresenceErrorCode, shown } from '../public/errors';
import type { ErrorContext, ErrorStage, HealthProblem, PresenceOptions } from '../public/types';
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
  delivery: 'ERR_PRESENCE_CALLBACK',
};

const STAGES: ReadonlySet<string> = new Set(Object.keys(CODES));

/** The message of a value that a function of the caller threw, which need not be an Error. @internal */
export function messageOf(error: unknown): string {
  try {
    return error instanceof Error ? error.message : String(error);
  } catch {
    return 'a value without a message';
  }
}

/**
 * Calls a function of the caller. Errors that it throws, or rejects with, go to `failed`.
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
  // A callback returned an invalid value. Its TypeError is for a caller who can catch it; `onError` takes a PresenceError.
  return error instanceof TypeError ? new PresenceError(error.code, error.message, error) : error;
}

/** @internal */
export interface FailuresOptions {
  readonly clock: Clock;
  /** A failure of the store is over once it was not reported for so long while heartbeats succeeded. */
  readonly quietMs: number;
  /** The same time for `refresh`, which is called seldom. */
  readonly ttlMs: number;
  readonly onError: PresenceOptions['onError'];
  /** `undefined`: nothing is logged. */
  readonly log: FailureLog | undefined;
}

/** What a failure concerns, where it concerns a single one. */
type Concern = Omit<ErrorContext, 'stage'>;

/** The failures of one delivery. @internal */
export interface DeliveryFailures {
  report(error: unknown): void;
  worked(): void;
  /** This router has nothing more to do with it. */
  forget(): void;
}

/** A failure that lasts until the operation succeeds again. */
interface Problem {
  readonly stage: ErrorStage;
  error: PresenceError;
  readonly since: number;
  lastAt: number;
  /** The kinds under which it was logged; they may change during an outage. */
  readonly kinds: Set<string>;
  /** Heartbeats failed too, so one line about the return of the store is enough. */
  isOutage: boolean;
}

/** Stages whose failures are single events, and no lasting problems. */
const PASSING: readonly ErrorStage[] = ['repair', 'release'];

/** Stages that report their own recovery. They may be tried too seldom to conclude it from silence. */
const LASTING: readonly ErrorStage[] = ['resync', 'apply', 'delivery'];

/** Deliveries that fail have a kind of their own in the log; those beyond this number share one. */
const MOST_NAMED_DELIVERIES = 16;

/** Reports background failures to the caller, by `onError`, by `health()` and in the log. Nothing else does. @internal */
export class Failures {
  /** By stage; those of a delivery by its name, too. */
  private readonly problems = new Map<string, Problem>();
  private foreignLayout: string | undefined;

  constructor(private readonly options: FailuresOptions) {}

  readonly report = (said: ErrorStage, error: unknown, userId?: string): void => {
    this.fail(said, error, userId === undefined ? {} : { userId });
  };

  /** An operation that had failed has succeeded. */
  readonly worked = (stage: ErrorStage): void => this.end(stage, `${stage} works again`);

  deliveryOf(delivery: string): DeliveryFailures {
    const key = keyOf('delivery', { delivery });
    return {
      report: (error) => this.fail('delivery', error, { delivery }),
      worked: () => this.end(key, `the delivery ${shown(delivery)} works again`),
      forget: () => void this.problems.delete(key),
    };
  }

  private fail(said: ErrorStage, error: unknown, concern: Concern): void {
    const { onError, log: lines } = this.options;
    // A store of the caller may report an unknown stage.
    const stage: ErrorStage = STAGES.has(said) ? said : 'store';
    const reported = toPresenceError(stage, error);
    const { kind, code } = reported;
    const key = keyOf(stage, concern);
    const name = kind === undefined || kind === 'other' ? this.kindOf(stage, key) : kind;
    const isLasting = CODES[stage] === 'ERR_PRESENCE_STORE' || stage === 'delivery';
    if (isLasting && !PASSING.includes(stage)) this.keep(stage, key, reported, name);
    // Every call to the store fails with this error until an operator acts, so it is reported once.
    if (code === 'ERR_PRESENCE_LAYOUT') {
      if (reported.message === this.foreignLayout) return;
      this.foreignLayout = reported.message;
    }
    const { userId, delivery } = concern;
    const user = userId === undefined ? '' : `, user ${shown(userId)}`;
    const of = delivery === undefined ? '' : ` ${shown(delivery)}`;
    lines?.failed(name, `${reported.message} (${kind === undefined ? '' : `${kind}, `}stage ${stage}${of}${user})`);
    if (onError === undefined) {
      log.failure(stage, reported.message);
      return;
    }
    callGuarded(
      () => onError(reported, { stage, ...concern }),
      (thrown) => log.failure('onError', messageOf(thrown)),
    );
  }

  private end(key: string, text: string): void {
    const problem = this.problems.get(key);
    if (problem === undefined) return;
    this.problems.delete(key);
    if (problem.isOutage && key !== 'beat') return;
    const kinds = new Set(problem.kinds);
    if (key === 'beat') {
      for (const [other, { stage, kinds: more }] of this.problems) {
        for (const kind of more) kinds.add(kind);
        // Failures that the outage caused are over with it; any other is reported again.
        if (!LASTING.includes(stage)) this.problems.delete(other);
      }
    }
    const what = key === 'beat' ? 'the store is back' : text;
    const seconds = (this.options.clock.now() - problem.since) / 1_000;
    this.options.log?.over(kinds, `${what} after ${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`);
  }

  /** A heartbeat has succeeded. `isStanding`: whether the store itself still lists a problem of the stage. */
  heard(isStanding: (stage: ErrorStage) => boolean): void {
    const { clock, quietMs, ttlMs } = this.options;
    this.worked('beat');
    const now = clock.now();
    for (const { stage, lastAt } of this.problems.values()) {
      const quiet = stage === 'refresh' ? ttlMs : quietMs;
      // A negative time means that the clock was set back.
      if (now - lastAt >= 0 && now - lastAt < quiet) continue;
      if (!LASTING.includes(stage) && !isStanding(stage)) this.worked(stage);
    }
  }

  /** The current problems, without those whose stages the store itself lists in `except`. */
  list(except: readonly HealthProblem[]): HealthProblem[] {
    const problems: HealthProblem[] = [];
    const isOutage = this.problems.has('beat');
    for (const { stage, error, since } of this.problems.values()) {
      // While heartbeats fail, every other problem follows from that one.
      if ((isOutage && stage !== 'beat') || except.some((problem) => problem.stage === stage)) continue;
      const { code, message } = error;
      problems.push({ stage, code, message, since: new Date(since).toISOString() });
    }
    return problems;
  }

  private kindOf(stage: ErrorStage, key: string): string {
    if (stage !== 'delivery') return key;
    const failing = Array.from(this.problems.keys()).filter((other) => this.problems.get(other)?.stage === stage);
    const before = failing.includes(key) ? failing.indexOf(key) : failing.length;
    return before < MOST_NAMED_DELIVERIES ? key : stage;
  }

  private keep(stage: ErrorStage, key: string, error: PresenceError, kind: string): void {
    const now = this.options.clock.now();
    let problem = this.problems.get(key);
    if (problem === undefined) {
      problem = { stage, error, since: now, lastAt: now, kinds: new Set(), isOutage: false };
      this.problems.set(key, problem);
    }
    problem.error = error;
    problem.lastAt = now;
    problem.kinds.add(kind);
    // A failure that is reported after heartbeats have recovered is a problem of its own.
    problem.isOutage = this.problems.has('beat');
    if (stage === 'beat') for (const other of this.problems.values()) other.isOutage = true;
  }
}

function keyOf(stage: ErrorStage, { delivery }: Concern): string {
  return delivery === undefined ? stage : `${stage} ${delivery}`;
}
