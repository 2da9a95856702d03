import { storeError } from './deadline';
import { isPresenceError, PresenceError, type PresenceErrorCode } from './errors';
import { log } from './log';
import type { ErrorStage, PresenceOptions } from './types';

const CODES: { readonly [stage in ErrorStage]: PresenceErrorCode } = {
  beat: 'ERR_PRESENCE_STORE',
  apply: 'ERR_PRESENCE_STORE',
  refresh: 'ERR_PRESENCE_STORE',
  release: 'ERR_PRESENCE_STORE',
  resync: 'ERR_PRESENCE_STORE',
  snapshot: 'ERR_PRESENCE_STORE',
  query: 'ERR_PRESENCE_STORE',
  subscribe: 'ERR_PRESENCE_STORE',
  publish: 'ERR_PRESENCE_STORE',
  reap: 'ERR_PRESENCE_STORE',
  sweep: 'ERR_PRESENCE_STORE',
  repair: 'ERR_PRESENCE_STORE',
  fork: 'ERR_PRESENCE_STORE',
  store: 'ERR_PRESENCE_STORE',
  ping: 'ERR_PRESENCE_SOCKET',
  send: 'ERR_PRESENCE_SOCKET',
  terminate: 'ERR_PRESENCE_SOCKET',
  listener: 'ERR_PRESENCE_CALLBACK',
  identify: 'ERR_PRESENCE_CALLBACK',
  authorize: 'ERR_PRESENCE_CALLBACK',
};

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Calls what a caller has handed in. What it throws, or rejects with, goes to `failed` and nowhere else.
 * @internal
 */
export function callGuarded(run: () => unknown, failed: (error: unknown) => void): void {
  try {
    const result = run() as PromiseLike<unknown> | undefined;
    if (typeof result?.then === 'function') result.then(undefined, failed);
  } catch (error) {
    failed(error);
  }
}

function toPresenceError(stage: ErrorStage, error: unknown): PresenceError {
  const code = CODES[stage];
  if (!isPresenceError(error)) {
    if (code === 'ERR_PRESENCE_STORE') return storeError(`${stage} failed`, error);
    return new PresenceError(code, `${stage} failed: ${messageOf(error)}`, error);
  }
  // What a callback gave was misuse, which is a TypeError where the caller is there to catch it.
  return error instanceof TypeError ? new PresenceError(error.code, error.message, error) : error;
}

/** The one way by which background failures reach the caller; without `onError` they are logged. @internal */
export function toReport(
  onError: PresenceOptions['onError'],
): (stage: ErrorStage, error: unknown, userId?: string) => void {
  let foreignLayout: string | undefined;
  return (said, error, userId) => {
    // A store of the caller's may say anything.
    const stage: ErrorStage = Object.hasOwn(CODES, said) ? said : 'store';
    const reported = toPresenceError(stage, error);
    // It does not go by itself, and is met by everything that asks the store: it is said once.
    if (reported.code === 'ERR_PRESENCE_LAYOUT') {
      if (reported.message === foreignLayout) return;
      foreignLayout = reported.message;
    }
    if (onError === undefined) {
      log.failure(stage, reported.message);
      return;
    }
    callGuarded(
      () => onError(reported, userId === undefined ? { stage } : { stage, userId }),
      (thrown) => log.failure('onError', messageOf(thrown)),
    );
  };
}
