import { type Clock, systemClock } from '../public/clock';
import type { ErrorStage, Presence, SocketLike, Transport } from '../public/types';

/**
 * The key of the functions that a presence shares with its adapters. The symbol is registered, since each CommonJS entry
 * bundles its own copy of this module.
 * @internal
 */
export const INTERNALS: unique symbol = Symbol.for('voiceping-presence.internals') as never;

/** @internal */
export interface Internals {
  readonly clock: Clock;
  /** How long a function of the caller may take. */
  readonly callbackTimeoutMs: number;
  /** Reports a background failure to `onError`. */
  report(stage: ErrorStage, error: unknown, userId?: string): void;
  /** Closes a socket that was not attached, and terminates it after five seconds. */
  closeSocket(socket: SocketLike | Transport, code: number, reason: string): void;
  /** Resolves to true when there may be changes in the log, and to false after `ms`. */
  untilChange(ms: number): Promise<boolean>;
  /** Calls `listener` when the presence is closed. Returns a function that removes the listener. */
  onClose(listener: () => void): () => unknown;
}

/** @internal */
export interface WithInternals {
  readonly [INTERNALS]?: Internals;
}

/** Used for a disabled presence, and for an object that a caller passes in place of one. */
const NONE: Internals = {
  clock: systemClock,
  callbackTimeoutMs: 2_000,
  report: () => undefined,
  closeSocket: () => undefined,
  untilChange: () => Promise.resolve(false),
  onClose: () => () => undefined,
};

/** Whether a presence tracks sockets. A disabled one does not. @internal */
export function isActive(presence: Presence): boolean {
  return (presence as Presence & WithInternals)[INTERNALS] !== undefined;
}

/** @internal */
export function internalsOf(presence: Presence): Internals {
  return (presence as Presence & WithInternals)[INTERNALS] ?? NONE;
}

/**
 * Reports a failure in an adapter to the `onError` of its presence.
 * @internal
 */
export function reportTo(presence: Presence, stage: ErrorStage, error: unknown): void {
  internalsOf(presence).report(stage, error);
}
