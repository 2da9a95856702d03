import { storeError } from './deadline';
import { isPresenceError, PresenceError, type PresenceErrorCode } from './errors';
import { log } from './log';
import type { PresenceOptions } from './types';

function codeOf(stage: string): PresenceErrorCode {
  if (/^(ping|send|terminate)$/.test(stage)) return 'ERR_PRESENCE_SOCKET';
  return /^(listener|identify|authorize)$/.test(stage) ? 'ERR_PRESENCE_CALLBACK' : 'ERR_PRESENCE_STORE';
}

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

function toPresenceError(stage: string, error: unknown): PresenceError {
  const code = codeOf(stage);
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
): (stage: string, error: unknown, userId?: string) => void {
  let foreignLayout: string | undefined;
  return (stage, error, userId) => {
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
