import type { Clock } from '../public/clock';
import { isPresenceError, PresenceError } from '../public/errors';
import { storeFailure, withoutArguments } from './store-failure';

const KNOWN: readonly string[] = ['ERR_PRESENCE_OPTIONS', 'ERR_PRESENCE_LAYOUT', 'ERR_PRESENCE_CLOSED'];

/** A timer is later than that only where this process stood still, or the clock was set forward. */
const LATE_MS = 100;
/** By then a process that goes on has read what it was sent meanwhile. */
const TURN_MS = 20;

/**
 * Calls `run` after `ms`, and gives what takes that back. Timers run before sockets are read: where this process stood still,
 * what was answered meanwhile is read first.
 * @internal
 */
export function atDeadline(clock: Clock, ms: number, run: () => void): () => void {
  const due = clock.now() + ms;
  let timer = clock.setTimeout(() => {
    if (clock.now() - due <= LATE_MS) run();
    else timer = clock.setTimeout(run, TURN_MS);
  }, ms);
  return () => clock.clearTimeout(timer);
}

/**
 * What the store answers, or an `ERR_PRESENCE_STORE` once the store has failed, or nothing has been answered for `ms`: a
 * call that takes several answers calls `onAnswer` at each, and has as long for the next. A store that throws at once is
 * one that has failed.
 * @internal
 */
export function withDeadline<T>(clock: Clock, ms: number, ask: (onAnswer: () => void) => Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let isOver = false;
    let cancel = (): void => undefined;
    const wait = (): void => {
      if (isOver) return;
      cancel();
      cancel = atDeadline(clock, ms, () => {
        isOver = true;
        reject(new PresenceError('ERR_PRESENCE_STORE', `the store did not answer within ${ms} ms`, undefined, 'slow'));
      });
    };
    const end = (): void => {
      isOver = true;
      cancel();
    };
    wait();
    new Promise<T>((answer) => answer(ask(wait))).then(
      (value) => {
        end();
        resolve(value);
      },
      (error: unknown) => {
        end();
        // Misuse that only the store can see, such as a foreign cursor, stays what it is; as do data of another version.
        const isKnown = isPresenceError(error) && KNOWN.includes(error.code);
        reject(isKnown ? error : storeError('the store failed', error));
      },
    );
  });
}

/** @internal An `ERR_PRESENCE_STORE` that says what, and why: `the store failed: WRONGPASS invalid username-password pair`. */
export function storeError(what: string, cause: unknown): PresenceError {
  const { kind, words } = storeFailure(cause);
  return new PresenceError('ERR_PRESENCE_STORE', `${what}: ${words}`, withoutArguments(cause), kind);
}
