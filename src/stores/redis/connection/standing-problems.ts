import { type Clock, systemClock } from '../../../public/clock';
import type { ErrorStage } from '../../../public/types';
import type { StoreProblem } from '../../port';

/** A problem that nobody has met for so long is over. */
const OVER_MS = 600_000;
/** What was reported is not reported again for so long. */
const QUIET_MS = 60_000;
const MOST_KEYS = 1_000;

/** What is wrong for longer than one call, as `health()` and the log say it; each is reported once. @internal */
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

  /** It goes on until it is cleared, or nobody has said so for ten minutes. */
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

  /** Something in these keys was not ours, and was deleted. */
  junk(keys: readonly string[]): void {
    const now = this.clock.now();
    for (const key of keys) {
      if ((this.quietUntil.get(key) ?? 0) > now) continue;
      if (this.quietUntil.size >= MOST_KEYS) this.quietUntil.clear();
      this.quietUntil.set(key, now + QUIET_MS);
      this.report('repair', new Error(`in ${key} was something that is not presence's, and was deleted`));
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

/** What a user of Redis lacks who may not do this on a channel. @internal */
export function lackingChannel(what: 'publish on' | 'subscribe to', channel: string, consequence: string): string {
  const prefix = channel.slice(0, channel.indexOf(':') + 1);
  return `the Redis user may not ${what} ${channel}: its ACL lacks &${prefix}*; ${consequence}`;
}

/** What mends a client that stays with the wrong server, and is not ours to end. @internal */
export function trappedClient(answer: string): string {
  const [word] = /READONLY|MASTERDOWN|NOREPLICAS/.exec(answer) ?? [];
  const mends = `give it a retryStrategy, and reconnectOnError: (error) => error.message.includes('${word}')`;
  return `the Redis client stays with a server that takes no writes (${word}), since it would not connect anew by itself: ${mends}`;
}
