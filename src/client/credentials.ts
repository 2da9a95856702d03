import { createTimer } from './timer';
import type { TokenSource } from './types';

/** The token by which a router identifies this client, and its source. @internal */
export interface Credentials {
  /** The token of the latest attempt; `undefined` where there is none. */
  readonly token: string | undefined;
  /**
   * Gets a token for an attempt. `use` is called with it, at once unless the source returns a promise; or `fail`, where the source
   * fails or does not answer in time. A later call cancels this one.
   */
  ask(use: (token: string | undefined) => void, fail: () => void): void;
  /** The machine has slept: a token that is awaited must come soon. */
  hurry(): void;
  /** Cancels the call of `ask` that is pending. */
  forget(): void;
  /**
   * The type of the source. A `string` is the same token at each attempt; only a `function` can be called without an attempt to
   * connect.
   */
  readonly kind: string;
  replace(source: TokenSource): void;
}

/**
 * @param tokenMs - how long to wait for a token
 * @param answerMs - how long to wait for it after the machine has slept
 * @param onError - the source has failed
 * @internal
 */
export function createCredentials(
  source: TokenSource | undefined,
  tokenMs: number,
  answerMs: number,
  onError: (error: unknown) => void,
): Credentials {
  const later = createTimer();
  let asked = 0;
  let token: string | undefined;
  /** Ends the wait for a token that does not come; `undefined` also once the wait was shortened, which happens only once. */
  let onLate: (() => void) | undefined;

  function forget(): void {
    asked += 1;
    onLate = undefined;
    later();
  }

  return {
    get token() {
      return token;
    },
    ask(use, fail) {
      forget();
      const mine = asked;
      let given: string | undefined | PromiseLike<string | undefined>;
      const once =
        <T>(run: (value: T) => void) =>
        (value: T): void => {
          if (mine !== asked) return;
          forget();
          run(value);
        };
      const take = once((value: string | undefined) => {
        token = value;
        use(value);
      });
      const refuse = once((error: unknown) => {
        onError(error);
        fail();
      });
      // The token may never come.
      onLate = fail;
      later(fail, tokenMs);
      try {
        given = typeof source === 'function' ? source() : source;
      } catch (error) {
        refuse(error);
        return;
      }
      const promise = given as PromiseLike<string | undefined> | undefined;
      if (typeof promise?.then === 'function') promise.then(take, refuse);
      else take(given as string | undefined);
    },
    hurry() {
      if (onLate) later(onLate, answerMs);
      onLate = undefined;
    },
    forget,
    get kind() {
      return typeof source;
    },
    replace(other) {
      source = other;
    },
  };
}
