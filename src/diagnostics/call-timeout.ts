import type { Clock } from '../public/clock';
import { isPresenceError, PresenceError } from '../public/errors';
import { storeFailure, withoutArguments } from './store-failure';

const KNOWN: readonly string[] = ['ERR_PRESENCE_OPTIONS', 'ERR_PRESENCE_LAYOUT', 'ERR_PRESENCE_CLOSED'];

/** A timer is later than this only where this process stood still, or the clock was set forward. */
const LATE_MS = 100;
/** Within this time a process that runs again reads what its sockets received meanwhile. */
const TURN_MS = 20;

/**
 * Calls `run` after `ms`, and returns a function that cancels the call. Timers run before sockets are read, so after this
 * process has stood still it waits a moment longer, for answers that have arrived meanwhile.
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
 * Resolves to the store's answer. Rejects with `ERR_PRESENCE_STORE` once the store has failed (which includes that it throws
 * synchronously), or has answered nothing for `ms`. A call that takes several answers calls `onAnswer` at each, which starts
 * the time anew.
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
        // Misuse that only the store can detect, such as an invalid cursor, keeps its code; so do data of another version.
        const isKnown = isPresenceError(error) && KNOWN.includes(error.code);
        reject(isKnown ? error : storeError('the store failed', error));
      },
    );
  });
}

/** @internal An `ERR_PRESENCE_STORE` with its cause: `the store failed: WRONGPASS invalid username-password pair`. */
export function storeError(what: string, cause: unknown): PresenceError {
  const { kind, words } = storeFailure(cause);
  return new PresenceError('ERR_PRESENCE_STORE', `${what}: ${words}`, withoutArguments(cause), kind);
}
