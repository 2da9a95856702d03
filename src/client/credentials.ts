import type { TokenSource } from './types';

/** Whom a router takes this client for. @internal */
export interface Credentials {
  /** The token of the latest attempt; `undefined` where there is none. */
  readonly token: string | undefined;
  /** Whether it has been asked, and not answered. */
  readonly isAsking: boolean;
  /** Asks for the token, at each attempt. `use` is called at once where it is at hand; neither is, once asked again. */
  ask(use: (token: string | undefined) => void, fail: (error: unknown) => void): void;
  /** What was asked for is of interest to nobody any more. */
  forget(): void;
  /** Whether it may have another token next time: a string is the same for ever. */
  readonly canChange: boolean;
  /** Whether it can be asked for one without an attempt. A cookie can not. */
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
