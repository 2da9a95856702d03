import { withDeadline } from '../diagnostics/call-timeout';
import type { Clock } from '../public/clock';
import { PresenceError } from '../public/errors';

const PAUSE_MS = 50;

/**
 * Repeats a query while the store is not sure of its answer: after a loss of data, until routers have registered their users
 * again. Rejects after `ms`.
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
    // Longer than the whole wait: the clock was set back.
    if (leftMs <= 0 || leftMs > ms) throw unsure();
    answer = await withDeadline(clock, leftMs, ask).catch((error: PresenceError) => {
      // The rest of the time was too short for one more answer, so the doubt is the reason and not a slow store.
      throw error.kind === 'slow' ? unsure() : error;
    });
  }
  return answer;
}

function unsure(): PresenceError {
  const message =
    'the store has lost data, or has only just come back, and not every router has registered its users again: ' +
    'users who are missing may be online';
  return new PresenceError('ERR_PRESENCE_STORE', message, undefined, 'other');
}
