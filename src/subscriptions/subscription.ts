import type { Connection } from '../connections/connection';
import { SOCKET_PORT, type SocketPort, type WithSocketPort } from '../connections/socket-port';
import type { PresenceUpdate } from '../public/types';

/** What a socket wants to hear of. @internal */
export type Interest = 'all' | Set<string>;

/** An update that could not be sent yet. @internal */
export interface Pending {
  readonly update: PresenceUpdate;
  readonly lastSeen: number | null;
  readonly cursor: string | undefined;
}

/** A snapshot that is owed. Whoever changes what is watched makes a new one, and the old one ends where it is. @internal */
export interface Snapshot {
  /** Of these users, of those who have changed since a cursor, or of everybody. */
  readonly wanted: { readonly ids: Set<string> } | { readonly since: string | undefined };
  /** A cursor that is ahead of this router is not waited for any longer. */
  readonly until: number;
  /** Those not shown yet; for all users, the walk through who is online. Not known before it has begun. */
  ids: Set<string> | IterableIterator<string> | undefined;
  /** Of which everything is in it. */
  cursor: string | undefined;
  isResumed: boolean;
  isReading: boolean;
  /** How many users are read at once. */
  atOnce: number;
  /** Frames of it that were sent. */
  part: number;
  /** More has changed meanwhile than is kept: all since its cursor is owed after it. */
  isOverrun: boolean;
}

/** What one socket hears. @internal */
export interface Subscription {
  readonly connection: Connection;
  /** Takes presence in place of frames. */
  readonly sink: SocketPort | undefined;
  /** All users, or these. */
  interest: Interest;
  /** It has asked with a frame: it is told cursors, and how it called that request, if it did. */
  request: { readonly name: number | undefined } | undefined;
  snapshot: Snapshot | undefined;
  /** The latest update a user that could not be sent yet: the snapshot is not out, or the socket is slow. */
  readonly pending: Map<string, Pending>;
  /** Up to where it has been told. */
  cursor: string | undefined;
  isToldStale: boolean;
  /** The number of the last change, of those that are kept back, of which a snapshot has told. */
  shownUpTo: number;
}

/** @internal */
export function newWatcher(connection: Connection, interest: Interest): Subscription {
  return {
    connection,
    sink: (connection.socket as WithSocketPort)[SOCKET_PORT],
    interest,
    request: undefined,
    snapshot: undefined,
    pending: new Map(),
    cursor: undefined,
    isToldStale: false,
    shownUpTo: 0,
  };
}
