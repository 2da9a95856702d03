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

/** The one way by which background failures reach the caller; without `onError` they are logged. @internal */
export function toReport(
  onError: PresenceOptions['onError'],
): (stage: string, error: unknown, userId?: string) => void {
  return (stage, error, userId) => {
    const reported = isPresenceError(error)
      ? error
      : new PresenceError(codeOf(stage), `${stage} failed: ${messageOf(error)}`, error);
    if (onError === undefined) {
      log.failure(stage, reported.message);
      return;
    }
    try {
      onError(reported, userId === undefined ? { stage } : { stage, userId });
    } catch (thrown) {
      log.failure('onError', messageOf(thrown));
    }
  };
}
