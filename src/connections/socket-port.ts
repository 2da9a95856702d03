import type { PresenceStatus, PresenceUpdate } from '../public/types';

/**
 * The key of a port by which a socket takes presence in its own form instead of frames, such as the events of socket.io. The
 * symbol is registered, since each CommonJS entry bundles its own copy of this module.
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
