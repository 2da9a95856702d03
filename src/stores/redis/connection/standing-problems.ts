import { type Clock, systemClock } from '../../../public/clock';
import type { ErrorStage } from '../../../public/types';
import type { StoreProblem } from '../../port';

/** A problem is over when it has not been set for this long. */
const OVER_MS = 600_000;
/** How long a key is not reported again. */
const QUIET_MS = 60_000;
const MOST_KEYS = 1_000;

/** Problems that last longer than one call, for `health()` and the log. Each is reported once. @internal */
export class StandingProblems {
  private readonly problems = new Map<
    ErrorStage,
    { readonly message: string; readonly since: number; until: number }
  >();
  private readonly quietUntil = new Map<string, number>();

  constructor(
    private readonly report: (stage: ErrorStage, error: Error) => void,
    private readonly clock: Clock = systemClock,
  ) {}

  /** A problem lasts until it is cleared, or was not set for ten minutes. */
  set(stage: ErrorStage, message: string, since?: number): void {
    const now = this.clock.now();
    const before = this.problems.get(stage);
    if (before?.message === message && before.until > now) {
      before.until = now + OVER_MS;
      return;
    }
    this.problems.set(stage, { message, since: since ?? now, until: now + OVER_MS });
    this.report(stage, new Error(message));
  }

  clear(stage: ErrorStage): void {
    this.problems.delete(stage);
  }

  /** Foreign data in these keys was deleted. */
  junk(keys: readonly string[]): void {
    const now = this.clock.now();
    for (const key of keys) {
      if ((this.quietUntil.get(key) ?? 0) > now) continue;
      if (this.quietUntil.size >= MOST_KEYS) this.quietUntil.clear();
      this.quietUntil.set(key, now + QUIET_MS);
      this.report('repair', new Error(`${key} contained data that is not of presence, which was deleted`));
    }
  }

  get list(): StoreProblem[] {
    const now = this.clock.now();
    const problems: StoreProblem[] = [];
    for (const [stage, { message, since, until }] of this.problems) {
      if (until > now) problems.push({ stage, message, since });
    }
    return problems;
  }
}

/** The error message for a Redis user whose ACL lacks a channel. @internal */
export function lackingChannel(what: 'publish on' | 'subscribe to', channel: string, consequence: string): string {
  const prefix = channel.slice(0, channel.indexOf(':') + 1);
  return `the Redis user may not ${what} ${channel}: its ACL lacks &${prefix}*; ${consequence}`;
}

/** The error message for a client of the caller that stays with the wrong server. @internal */
export function trappedClient(answer: string): string {
  const [word] = /READONLY|MASTERDOWN|NOREPLICAS/.exec(answer) ?? [];
  const mends = `give it a retryStrategy, and reconnectOnError: (error) => error.message.includes('${word}')`;
  return `the Redis client stays with a server that accepts no writes (${word}), since it would not connect again: ${mends}`;
}
