import type { PresenceStatus, PresenceUpdate } from '../public/types';

/**
 * A socket that is no `ws` socket takes presence its own way, instead of frames. Registered, since each CommonJS entry
 * bundles its own copy of this.
 * @internal
 */
export const SOCKET_PORT: unique symbol = Symbol.for('voiceping-presence.sink') as never;

/** @internal */
export interface SocketPort {
  update(update: PresenceUpdate & { readonly lastSeen: string | null }): void;
  snapshot(users: readonly PresenceStatus[]): void;
  stale?(stale: boolean, asOf: string): void;
}

/** @internal */
export interface WithSocketPort {
  readonly [SOCKET_PORT]?: SocketPort;
}
