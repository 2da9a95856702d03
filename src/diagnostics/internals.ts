import { type Clock, systemClock } from '../public/clock';
import type { ErrorStage, Presence, SocketLike } from '../public/types';

/**
 * What a presence shares with its adapters. Registered, since each CommonJS entry bundles its own copy of this.
 * @internal
 */
export const INTERNALS: unique symbol = Symbol.for('voiceping-presence.internals') as never;

/** @internal */
export interface Internals {
  readonly clock: Clock;
  /** How long a function of the caller's may take. */
  readonly callbackTimeoutMs: number;
  /** Hands a background failure to `onError`. */
  report(stage: ErrorStage, error: unknown, userId?: string): void;
  /** Closes a socket that was not attached, and terminates it a little later. */
  closeSocket(socket: SocketLike, code: number, reason: string): void;
  /** Calls `listener` when the presence is closed. Returns the function that ends it. */
  onClose(listener: () => void): () => unknown;
}

/** @internal */
export interface WithInternals {
  readonly [INTERNALS]?: Internals;
}

/** Of a presence that is disabled, or of a caller's own object in its place. */
const NONE: Internals = {
  clock: systemClock,
  callbackTimeoutMs: 2_000,
  report: () => undefined,
  closeSocket: () => undefined,
  onClose: () => () => undefined,
};

/** Whether a presence watches over sockets: one that is disabled does not. @internal */
export function isActive(presence: Presence): boolean {
  return (presence as Presence & WithInternals)[INTERNALS] !== undefined;
}

/** @internal */
export function internalsOf(presence: Presence): Internals {
  return (presence as Presence & WithInternals)[INTERNALS] ?? NONE;
}

/**
 * Hands a failure in an adapter to the `onError` of its presence.
 * @internal
 */
export function reportTo(presence: Presence, stage: ErrorStage, error: unknown): void {
  internalsOf(presence).report(stage, error);
}
