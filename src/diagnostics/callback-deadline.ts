import type { Clock } from '../public/clock';
import { PresenceError } from '../public/errors';
import { atDeadline } from './call-timeout';

/** A function of the caller did not answer in time. @internal */
export class CallbackTimeout extends PresenceError {
  constructor(name: string, ms: number) {
    super('ERR_PRESENCE_CALLBACK', `${name} did not answer within ${ms} ms`);
  }
}

/**
 * Resolves to the result of a function of the caller. Rejects with a `CallbackTimeout` after `ms`, and with any error that
 * the function throws. A later result is ignored.
 *
 * @param name - the name of the function in the error
 * @internal
 */
export function withCallbackDeadline<T>(
  clock: Clock,
  ms: number,
  name: string,
  call: () => T | Promise<T>,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const cancel = atDeadline(clock, ms, () => reject(new CallbackTimeout(name, ms)));
    new Promise<T>((answer) => answer(call())).then(
      (value) => {
        cancel();
        resolve(value);
      },
      (error: unknown) => {
        cancel();
        reject(error);
      },
    );
  });
}
