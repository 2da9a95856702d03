import type { PresenceStore } from '../stores/port';
import type { Clock } from './clock';
import type { PresenceError, PresenceErrorCode } from './errors';

/**
 * An id of a user: 1 to 256 bytes of UTF-8, or a finite integer, which becomes its decimal string.
 * Any such string is just an id: `__proto__`, `a:b`, `{x}`, emoji.
 */
export type UserId = string | number;

/** The only two statuses there are. */
export type Status = 'online' | 'offline';

/**
 * Why a status changed.
 *
 * - `connect`: the first connection of the user, on any router
 * - `disconnect`: a clean close of the last one, `detach()`, or `close()` of the presence
 * - `timeout`: grace, handover or ttl ran out
 * - `node-down`: the router that held the user is dead
 * - `resync`: found out, or set right, after this router or the store had been away
 */
export type UpdateReason = 'connect' | 'disconnect' | 'timeout' | 'node-down' | 'resync';

/** One user's presence, as queries, the status handler and snapshots give it. */
export interface PresenceStatus {
  /** The id, a number as its decimal string. */
  userId: string;
  /** Online while at least one connection of the user is alive, or a grace runs. */
  status: Status;
  /** ISO 8601, time of the last activity; `null` when the user was never seen. */
  lastSeen: string | null;
}

/** One change of one user's status. Each happens once, whatever the number of routers. */
export interface PresenceUpdate {
  /** Whose status changed. */
  userId: string;
  /** What it is now. */
  status: Status;
  /** ISO 8601, by the store's clock. */
  timestamp: string;
  /** Grows with every change; of two updates the one with the larger version is newer. */
  version: number;
  /** Why it changed. */
  reason: UpdateReason;
}

/** Whose socket it is, and what it wants to hear. */
export interface Identity {
  /** Whose socket it is. */
  userId: UserId;
  /** Kept for the caller's own use; two phones of one model share one, so it is never a key. */
  deviceId?: string;
  /**
   * Whether the socket makes its user online. `false`: a dashboard, not a user.
   * @default true
   */
  track?: boolean;
  /**
   * `false`: no presence frames. `true`: those of all users. A list: only those of these.
   * @default false
   */
  watch?: boolean | Iterable<UserId>;
  /**
   * When its credentials end, as a `Date` or in milliseconds since the epoch: the socket is closed then with 4001, which
   * is a drop with grace. A number below 1e11 is taken for seconds, and throws.
   * @default never
   */
  expiresAt?: Date | number;
}

/** One socket under the eye of a presence. */
export interface Attachment {
  /** As a string, also where a number was given. */
  readonly userId: string;
  /** Unique to this attachment, across routers. */
  readonly connectionId: string;
  /** Resolves once the store holds the connection, or once that is moot. Never rejects: see `onError`. */
  readonly ready: Promise<void>;
  /** Records activity that the library cannot see by itself. */
  touch(): void;
  /**
   * Replaces what the socket watches, and sends it a snapshot of the ids that are new.
   * @throws TypeError `ERR_PRESENCE_INVALID_ID`
   */
  watch(ids: boolean | Iterable<UserId>): void;
  /**
   * Lets go of the socket, as a clean close would; the socket itself stays open.
   * Resolves once the store knows, at the latest after `commandTimeoutMs`. Idempotent, never rejects.
   */
  detach(): Promise<void>;
  /**
   * New credentials, which end later, or sooner: replaces `expiresAt` of the identity.
   * @throws TypeError `ERR_PRESENCE_OPTIONS` for a time that is none, or is in seconds
   */
  expireAt(at: Date | number): void;
}

/**
 * What `ws` 5 to 8 share of a server-side socket. `on` and `removeListener` are those of an EventEmitter;
 * heard are `message` (with the frame first: bytes of any kind, a list of them, or a Blob), `ping`, `pong` and `close` (with
 * the close code first).
 */
export interface SocketLike {
  /** 0 connecting, 1 open, 2 closing, 3 closed. */
  readonly readyState: number;
  /** Bytes that were handed to `send` and have not left yet. */
  readonly bufferedAmount: number;
  /** Adds a listener. */
  // biome-ignore lint/suspicious/noExplicitAny: what a listener is called with differs between versions of ws
  on(event: string, listener: (...args: any[]) => void): unknown;
  /** Takes away a listener that was added. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  removeListener(event: string, listener: (...args: any[]) => void): unknown;
  /** Sends a binary frame. */
  send(data: Uint8Array): void;
  /** Sends a ping, and calls `sent` once that has left, if it can: so is seen that a slow socket takes what it is sent. */
  ping(sent?: (error?: Error) => void): void;
  /** Ends the connection without a close. */
  terminate(): void;
  /** Closes it, with a code and a reason; `terminate` follows after five seconds. */
  close?(code?: number, reason?: string): unknown;
  /** Reads nothing more from it. Called for a socket that was closed because it asks without an end. */
  pause?(): void;
}

/**
 * Where a background failure arose.
 *
 * | stage | what was under way |
 * | --- | --- |
 * | `beat` | a heartbeat of this router to the store |
 * | `apply`, `refresh`, `release` | telling the store who came and went, who is alive, and that this router has left |
 * | `resync` | reading everybody, at first and after something may have been missed |
 * | `snapshot`, `query` | reading what a dashboard is shown, or what somebody has asked for |
 * | `subscribe`, `publish` | hearing other routers, and telling whoever listens on the guide's channels |
 * | `reap`, `sweep`, `repair` | cleaning up after routers that are dead, after losses, and after somebody else's writes |
 * | `fork` | `besideFork` |
 * | `store` | whatever else a store has to say |
 * | `ping`, `send`, `terminate` | a socket |
 * | `listener`, `identify`, `authorize` | a function of the caller's |
 */
export type ErrorStage =
  | 'beat'
  | 'apply'
  | 'refresh'
  | 'release'
  | 'resync'
  | 'snapshot'
  | 'query'
  | 'subscribe'
  | 'publish'
  | 'reap'
  | 'sweep'
  | 'repair'
  | 'fork'
  | 'store'
  | 'ping'
  | 'send'
  | 'terminate'
  | 'listener'
  | 'identify'
  | 'authorize';

/** Where a background failure arose, and for whom; see `onError`. */
export interface ErrorContext {
  /** What was under way. */
  stage: ErrorStage;
  /** Whom it concerned, where it concerned one. */
  userId?: string;
}

/** What a stranger may cost. */
export interface PresenceLimits {
  /** PRESENCE_WATCH frames that one connection may send a second, on average; each one above is refused. @default 5 */
  watchRequestsPerSecond?: number;
  /** So many at once, where it has sent none for a while. Who sends as many again that are refused is closed with 4029. @default 10 */
  watchRequestBurst?: number;
  /** How long `authorizeWatch`, and `authorize` of a status handler, may take: then the request is refused. @default commandTimeoutMs */
  callbackTimeoutMs?: number;
  /** So many changes of one user a dashboard is told a second; of more it is told the latest. `onUpdate` hears all. @default 4 */
  updatesPerUserPerSecond?: number;
}

/** Where lines for people go. Each function is called with one string; `pino`, `winston` and `console` fit as they are. */
export interface Logger {
  /** What is worth a line and no failure. */
  info?(line: string): unknown;
  /** A failure is over. */
  warn(line: string): unknown;
  /** A failure. */
  error(line: string): unknown;
}

/** This router, for people. */
export interface RouterOptions {
  /** What logs call it. 1 to 256 bytes. @default `${hostname}:${pid}` */
  name?: string;
  /** Where it can be reached. 1 to 256 bytes. */
  address?: string;
}

/** Durations are milliseconds. Every value that breaks a rule throws `ERR_PRESENCE_OPTIONS` at once. */
export interface PresenceOptions {
  /** Where presence is kept. @default memoryStore() */
  store?: PresenceStore;
  /** `false`: attachments do nothing and queries reject. @default true */
  enabled?: boolean;
  /** Offline this long after the last activity. At least 1_000. @default 360_000 // 6 minutes */
  ttlMs?: number;
  /**
   * How often a socket is pinged. At least 100, and less than `ttlMs`; half of it or less is wise.
   * `false`: the router sends its own pings.
   * @default Math.min(120_000, ttlMs / 3) // 2 minutes
   */
  pingIntervalMs?: number | false;
  /** An unclean drop that is back within it is no event; a clean close is at once. @default 8_000 // 8 seconds */
  graceMs?: number;
  /** A router silent this long is dead, and its users go offline. At least 1_000. @default 15_000 // 15 seconds */
  leaseMs?: number;
  /** `guide`: MessagePack maps. `router`: the arrays of the existing router. @default 'guide' */
  wire?: 'guide' | 'router';
  /** A query rejects once the store has answered none of its calls for so long. @default 2_000 // 2 seconds */
  commandTimeoutMs?: number;
  /** A socket without activity for `ttlMs` is terminated, so that its phone comes back. @default true */
  terminateDeadSockets?: boolean;
  /**
   * May this client watch these users, or all (`true`), as it asks with a PRESENCE_WATCH frame? `identity` is what its
   * socket was attached with. Only `true` lets it; what it throws is a refusal, and reaches `onError`.
   * @default none: whoever asks is refused
   */
  authorizeWatch?: (identity: Identity, ids: string[] | true) => boolean | Promise<boolean>;
  /** A PRESENCE_WATCH frame with more ids is refused, as is one of more than 256 KiB. @default 1_000 */
  maxWatchIds?: number;
  /** What a stranger may cost. */
  limits?: PresenceLimits;
  /** Where background failures go; they never throw into the router. @default they are logged: see `logger` */
  onError?: (error: PresenceError, context: ErrorContext) => void;
  /**
   * Gets a line for each kind of failure, with its cause, at most once a minute; one when it is over; and one at the start.
   * What it throws, or rejects with, is lost. `false`: no lines.
   * @default none where there is an `onError`, else lines about failures go to `process.stderr`
   */
  logger?: Logger | false;
  /** This router, for people. */
  router?: RouterOptions;
  /** The source of time; tests hand in a fake one. @default the system's */
  clock?: Clock;
}

/** Whether a presence hears its store. */
export interface Health {
  /**
   * `stale`: changes may be missed, since no heartbeat gets through or everybody could not be read yet. Nobody goes offline
   * for it.
   * `degraded`: heartbeats get through, and something else fails: see `problems`.
   * `disabled`: by `enabled: false`.
   */
  status: 'ok' | 'degraded' | 'stale' | 'disabled' | 'closed';
  /**
   * ISO 8601 by the clock of the store: when it was heard last, at least every third of a lease. `null` where it never was.
   */
  asOf: string | null;
  /** What is wrong now; empty where nothing is. While no heartbeat gets through that is the one problem of the router. */
  problems: HealthProblem[];
}

/** Something that is wrong for longer than one call. */
export interface HealthProblem {
  /** Where, as of `onError`. */
  stage: ErrorStage;
  /** As of the error that was reported. */
  code: PresenceErrorCode;
  /** What is wrong, and what follows. */
  message: string;
  /** ISO 8601 by the clock of this router: when it began. */
  since: string;
}

/** A page of users who are online; `cursor` is `null` on the last one. */
export interface OnlinePage {
  /** At most `limit` of them. */
  users: PresenceStatus[];
  /** For the next page. */
  cursor: string | null;
}

/** Presence of one router. Made by `createPresence`. */
export interface Presence {
  /** This router instance; another one after a restart. */
  readonly nodeId: string;
  /**
   * Resolves once the store is reached and this node holds its lease.
   * Waits as long as that takes; rejects only once closed (`ERR_PRESENCE_CLOSED`).
   */
  ready(): Promise<void>;
  /**
   * Watches over a socket. Never throws for a store that is down. A second call for the same socket replaces the
   * first; one for a socket that is closed, or while disabled or closed, gives an attachment that does nothing.
   *
   * @throws TypeError for a socket or an identity that is none
   */
  attachToSocket(socket: SocketLike, identity: Identity): Attachment;
  /**
   * One entry an id, also for those never seen. The map has no prototype, so any id is just a key; `assert.deepStrictEqual`
   * and the like therefore want a copy of it: `{ ...statuses }`.
   *
   * @throws TypeError `ERR_PRESENCE_INVALID_ID`
   * @returns rejects with `ERR_PRESENCE_STORE`, once the store has failed, or answered none of the calls that this takes for
   * `commandTimeoutMs`, or for so long could not tell, after it had lost what it held, who is offline; with `ERR_PRESENCE_DISABLED`, `ERR_PRESENCE_CLOSED`
   */
  getStatuses(ids: Iterable<UserId>): Promise<{ [userId: string]: PresenceStatus }>;
  /**
   * Users who are online, a page at a time (`limit` 1 to 1_000, default 100). Who stays online all the while is on
   * exactly one page.
   *
   * @throws TypeError for a cursor that no page gave
   * @returns rejects as `getStatuses` does
   */
  listOnline(page?: { cursor?: string; limit?: number }): Promise<OnlinePage>;
  /** How many users are online. Rejects as `getStatuses` does. */
  countOnline(): Promise<number>;
  /** Whether the store is heard, at once and without asking it. */
  health(): Health;
  /**
   * Calls `listener` for every change, in order; with `ids` only for theirs.
   * What it throws, or rejects with, goes to `onError`. Returns the function that ends it.
   */
  onUpdate(listener: (update: PresenceUpdate) => void, options?: { ids?: Iterable<UserId> }): () => void;
  /**
   * Lets go of all sockets, which stay open; its users leave as by a clean close, or stay online for `handoverMs`
   * to reappear on another router. Those that watch are told PRESENCE_STALE, for nothing more is told them. Idempotent;
   * takes no longer than `commandTimeoutMs`, whatever the store does.
   */
  close(options?: { handoverMs?: number }): Promise<void>;
}
