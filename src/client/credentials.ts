import type { TokenSource } from './types';

/** The token by which a router identifies this client, and its source. @internal */
export interface Credentials {
  /** The token of the latest attempt; `undefined` where there is none. */
  readonly token: string | undefined;
  /** Whether the source has been called and has not answered. */
  readonly isAsking: boolean;
  /** Gets a token for an attempt. `use` is called at once, unless the source returns a promise. A later call cancels this one. */
  ask(use: (token: string | undefined) => void, fail: (error: unknown) => void): void;
  /** Cancels the call of `ask` that is pending. */
  forget(): void;
  /** Whether the next attempt may have another token: not where the token is a fixed string. */
  readonly canChange: boolean;
  /** Whether the source is a function, which can be called without an attempt to connect. */
  readonly canAsk: boolean;
  replace(source: TokenSource): void;
}

/** @internal */
export function createCredentials(source: TokenSource | undefined): Credentials {
  let asked = 0;
  let token: string | undefined;
  let isAsking = false;
  const isThenable = (value: unknown): value is PromiseLike<string | undefined> =>
    typeof (value as PromiseLike<string> | undefined)?.then === 'function';
  return {
    get token() {
      return token;
    },
    get isAsking() {
      return isAsking;
    },
    ask(use, fail) {
      asked += 1;
      const mine = asked;
      isAsking = true;
      const once = (run: () => void): void => {
        if (mine !== asked) return;
        isAsking = false;
        run();
      };
      const take = (value: string | undefined): void =>
        once(() => {
          token = value;
          use(value);
        });
      let given: string | undefined | PromiseLike<string | undefined>;
      try {
        given = typeof source === 'function' ? source() : source;
      } catch (error) {
        once(() => fail(error));
        return;
      }
      if (isThenable(given)) given.then(take, (error) => once(() => fail(error)));
      else take(given);
    },
    forget() {
      asked += 1;
      isAsking = false;
    },
    get canChange() {
      return typeof source !== 'string';
    },
    get canAsk() {
      return typeof source === 'function';
    },
    replace(other) {
      source = other;
    },
  };
}
