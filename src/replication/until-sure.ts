import { withDeadline } from '../diagnostics/call-timeout';
import type { Clock } from '../public/clock';
import { PresenceError } from '../public/errors';

const PAUSE_MS = 50;

/**
 * Asks a store again while it is not sure of its answer, which it is not in the moment after it has lost what it held; for
 * `ms` at most, and rejects then.
 * @internal
 */
export async function untilSure<T>(
  clock: Clock,
  ms: number,
  ask: () => Promise<T>,
  isSure: (answer: T) => boolean,
): Promise<T> {
  const until = clock.now() + ms;
  let answer = await ask();
  while (!isSure(answer)) {
    await new Promise<void>((resolve) => {
      clock.setTimeout(resolve, Math.min(PAUSE_MS, ms / 4));
    });
    const leftMs = until - clock.now();
    // Further away than it ever was: the clock was set back.
    if (leftMs <= 0 || leftMs > ms) throw unsure();
    answer = await withDeadline(clock, leftMs, ask).catch((error: PresenceError) => {
      // What was left of the time was too short for one more answer. A timer may be a millisecond early.
      throw error.kind === 'slow' ? unsure() : error;
    });
  }
  return answer;
}

function unsure(): PresenceError {
  const message =
    'the store has lost what it held, or is back since a moment, and not every router has told it its users again: ' +
    'whoever is missing may be online';
  return new PresenceError('ERR_PRESENCE_STORE', message, undefined, 'other');
}
