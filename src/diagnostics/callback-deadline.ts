import type { Clock } from '../public/clock';
import { PresenceError } from '../public/errors';
import { atDeadline } from './call-timeout';

/** A function of the caller's has not answered in time. @internal */
export class CallbackTimeout extends PresenceError {
  constructor(name: string, ms: number) {
    super('ERR_PRESENCE_CALLBACK', `${name} did not answer within ${ms} ms`);
  }
}

/**
 * What a function of the caller's gives, or a `CallbackTimeout` once `ms` have passed. What it throws at once is a
 * rejection, too. An answer that comes later is passed by.
 *
 * @param name - of the function, as an error says it
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
