import type { PresenceStore } from '../stores/port';
import type { Clock } from './clock';
import type { PresenceError, PresenceErrorCode } from './errors';

/**
 * The id of a user: 1 to 256 bytes of UTF-8, or a finite integer, which becomes its decimal string.
 * No string is special: `__proto__`, `a:b`, `{x}` and emoji are ordinary ids.
 */
export type UserId = string | number;

/** There are only these two statuses. */
export type Status = 'online' | 'offline';

/**
 * Why a status changed.
 *
 * - `connect`: the first connection of the user, on any router
 * - `disconnect`: a clean close of the last connection, `detach()`, or `close()` of the presence
 * - `timeout`: the grace, the handover or the TTL ran out
 * - `node-down`: the router that held the user is dead
 * - `resync`: discovered or corrected after this router had lost contact with the store, or the store had lost data
 */
export type UpdateReason = 'connect' | 'disconnect' | 'timeout' | 'node-down' | 'resync';

/** The presence of one user, as queries, the status handler and snapshots give it. */
export interface PresenceStatus {
  /** The id; a number becomes its decimal string. */
  userId: string;
  /** Online while at least one connection of the user is alive, or a grace runs. */
  status: Status;
  /** The time of the last activity, in ISO 8601; `null` for a user who was never seen. */
  lastSeen: string | null;
}

/** One change of one user's status. It is reported once, however many routers there are. */
export interface PresenceUpdate {
  /** The user whose status changed. */
  userId: string;
  /** The new status. */
  status: Status;
  /** The time of the change, in ISO 8601, by the store's clock. */
  timestamp: string;
  /** Grows with every change: of two updates of a user, the one with the larger version is newer. */
  version: number;
  /** Why it changed. */
  reason: UpdateReason;
}

/** The user of a socket, and the presence frames that it receives. */
export interface Identity {
  /** The user of the socket. */
  userId: UserId;
  /** For the caller's own use. It is never a key, since two phones of one model share it. */
  deviceId?: string;
  /**
   * Whether the socket makes its user online. `false`: a dashboard, not a user.
   * @default true
   */
  track?: boolean;
  /**
   * Which presence frames the socket receives. `false`: none. `true`: those of all users. A list: those of the users in it.
   * @default false
   */
  watch?: boolean | Iterable<UserId>;
  /**
   * When the credentials of the socket expire, as a `Date` or in milliseconds since the epoch. The socket is then closed with
   * 4001, which is a drop with grace. A number below 1e11 must be seconds by mistake, and throws.
   * @default never
   */
  expiresAt?: Date | number;
}

/** The handle of one attached socket. */
export interface Attachment {
  /** The id of the user, as a string. */
  readonly userId: string;
  /** Unique to this attachment among all routers. */
  readonly connectionId: string;
  /** Resolves once the store holds the connection, or once the connection is gone. Never rejects: see `onError`. */
  readonly ready: Promise<void>;
  /** Records activity that the library cannot observe on the socket. */
  touch(): void;
  /**
   * Replaces the list of users whom the socket watches, and sends it a snapshot of those who are new in the list.
   * @throws TypeError `ERR_PRESENCE_INVALID_ID`
   */
  watch(ids: boolean | Iterable<UserId>): void;
  /**
   * Detaches the socket, which counts as a clean close; the socket itself stays open.
   * Resolves once the store has acknowledged it, or after `commandTimeoutMs`. Idempotent; never rejects.
   */
  detach(): Promise<void>;
  /**
   * Replaces `expiresAt` of the identity, for a client that presented new credentials.
   * @throws TypeError `ERR_PRESENCE_OPTIONS` for a value that is not a time, or is in seconds
   */
  expireAt(at: Date | number): void;
}

/**
 * What a connection is sent through, where it has no `on`: the WebSockets of Bun, Deno, uWebSockets.js and the like. Whoever owns it
 * calls the functions of the attachment when something happens. An optional part that the runtime lacks is left out.
 */
export interface Transport {
  /** The number of bytes that were passed to `send` and have not left yet. Without it the connection never counts as slow. */
  readonly bufferedAmount?: number;
  /** Sends a binary frame. */
  send(data: Uint8Array): unknown;
  /** Sends a close frame with a code and a reason. */
  close(code?: number, reason?: string): unknown;
  /** Ends the connection without a close frame. Without it a connection that has timed out is closed. */
  terminate?(): unknown;
  /** Sends a ping, and calls `sent`, where it can, once the ping has left. Without it silence has to be broken by the client. */
  ping?(sent?: (error?: Error) => void): unknown;
}

/** The handle of one attached transport. Its functions never throw, and do nothing once it is closed or detached. */
export interface TransportAttachment extends Attachment {
  /** A frame came in: text, bytes of any kind, a list of them, or a Blob. */
  received(frame: unknown): void;
  /** A ping or a pong came in. */
  pinged(): void;
  /**
   * The connection has ended. 1006, 0 and no code stand for a connection that was lost, and give the user `graceMs` to come back; any
   * other code is a clean close (RFC 6455, section 7.4). Only the first call counts.
   */
  closed(code?: number): void;
}

/**
 * The part of a server-side socket that `ws` 5 to 8 have in common. `on` and `removeListener` are those of an EventEmitter.
 * The library listens to `message` (whose first argument is the frame: bytes of any kind, a list of them, or a Blob), `ping`,
 * `pong` and `close` (whose first argument is the close code).
 */
export interface SocketLike {
  /** 0 connecting, 1 open, 2 closing, 3 closed. */
  readonly readyState: number;
  /** The number of bytes that were passed to `send` and have not left yet. */
  readonly bufferedAmount: number;
  /** Adds a listener. */
  // biome-ignore lint/suspicious/noExplicitAny: the arguments of a listener differ between versions of ws
  on(event: string, listener: (...args: any[]) => void): unknown;
  /** Removes a listener. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  removeListener(event: string, listener: (...args: any[]) => void): unknown;
  /** Sends a binary frame. */
  send(data: Uint8Array): void;
  /** Sends a ping, and calls `sent`, where it can, once the ping has left: that shows whether a slow socket makes progress. */
  ping(sent?: (error?: Error) => void): void;
  /** Ends the connection without a close frame. */
  terminate(): void;
  /** Sends a close frame with a code and a reason. The library calls `terminate` five seconds later. */
  close?(code?: number, reason?: string): unknown;
  /** Stops reading. Called for a socket that was closed because it sent too many requests. */
  pause?(): void;
}

/**
 * The operation in which a background failure occurred.
 *
 * | stage | operation |
 * | --- | --- |
 * | `beat` | a heartbeat of this router to the store |
 * | `apply`, `refresh`, `release` | recording in the store who came and left, who is active, and that this router has left |
 * | `resync` | reading all users, at the start and after changes may have been missed |
 * | `snapshot`, `query` | reading statuses for a dashboard, or for a query |
 * | `subscribe`, `publish` | receiving changes from other routers, and publishing them on the channels of the presence guide |
 * | `reap`, `sweep`, `repair` | cleaning up after dead routers, after data loss, and after writes by other programs |
 * | `fork` | `besideFork`, the bridge to routers of the VoicePing fork |
 * | `store` | any other failure that a store reports |
 * | `ping`, `send`, `terminate` | a call to a socket |
 * | `listener`, `identify`, `authorize` | a call to a function of the caller |
 * | `delivery` | delivering changes: the handler has failed, or the store |
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
  | 'authorize'
  | 'delivery';

/** The operation in which a background failure occurred, and the user concerned; see `onError`. */
export interface ErrorContext {
  /** The operation that failed. */
  stage: ErrorStage;
  /** The user concerned; absent where the failure does not concern a single one. */
  userId?: string;
  /** The name of the delivery that failed; absent at other stages than `delivery`. */
  delivery?: string;
}

/** Limits on the resources that one client can use. */
export interface PresenceLimits {
  /** PRESENCE_WATCH frames that one connection may send a second, on average. More are refused. @default 5 */
  watchRequestsPerSecond?: number;
  /** PRESENCE_WATCH frames that it may send at once. After as many refusals it is closed with 4029. @default 10 */
  watchRequestBurst?: number;
  /** How long `authorizeWatch`, and `authorize` of a status handler, may take before the request is refused. @default commandTimeoutMs */
  callbackTimeoutMs?: number;
  /** Changes of one user that a dashboard is sent a second; the latest replaces the rest. `onUpdate` gets all. @default 4 */
  updatesPerUserPerSecond?: number;
}

/** Receives log lines. Each function is called with one string; `pino`, `winston` and `console` fit as they are. */
export interface Logger {
  /** Logs a normal event, such as the start. */
  info?(line: string): unknown;
  /** Logs that a failure is over. */
  warn(line: string): unknown;
  /** Logs a failure. */
  error(line: string): unknown;
}

/** How operators recognize this router. */
export interface RouterOptions {
  /** Its name in log lines. 1 to 256 bytes. @default `${hostname}:${pid}` */
  name?: string;
  /** The address at which it can be reached. 1 to 256 bytes. */
  address?: string;
}

/** The options of `createPresence`. Durations are milliseconds. An invalid value throws `ERR_PRESENCE_OPTIONS` at once. */
export interface PresenceOptions {
  /** The store that keeps presence. @default memoryStore() */
  store?: PresenceStore;
  /** `false`: attachments do nothing and queries reject. @default true */
  enabled?: boolean;
  /** How long a connection counts as alive after its last activity. At least 1_000. @default 360_000 // 6 minutes */
  ttlMs?: number;
  /**
   * How often each socket is pinged. At least 100 and less than `ttlMs`; at most half of it is recommended.
   * `false`: the library sends no pings, since the router sends its own.
   * @default Math.min(120_000, ttlMs / 3) // 2 minutes
   */
  pingIntervalMs?: number | false;
  /** How long a user stays online after a connection was lost; a clean close has no grace. @default 8_000 // 8 seconds */
  graceMs?: number;
  /** A router without a heartbeat for so long is dead; its users go offline. At least 1_000. @default 15_000 // 15 seconds */
  leaseMs?: number;
  /** Frames are the MessagePack maps of the presence guide, or the arrays of the VoicePing router. @default 'guide' */
  wire?: 'guide' | 'router';
  /** A query rejects once the store has answered none of its calls for this long. @default 2_000 // 2 seconds */
  commandTimeoutMs?: number;
  /** Whether a socket without activity for `ttlMs` is terminated, so that its phone reconnects. @default true */
  terminateDeadSockets?: boolean;
  /**
   * Whether the router keeps its own copy of who is online from the start, from which `isOnline` answers. Otherwise the first call
   * of `isOnline` begins it. It takes about 150 bytes of heap a user who is online, and all changes are received. @default false
   */
  roster?: boolean;
  /**
   * Decides whether a client may watch the users whom it asks for with a PRESENCE_WATCH frame, or all (`true`). `identity` is
   * the one with which its socket was attached. Only `true` permits it. An error is a refusal, and is reported to `onError`.
   * @default none: every request is refused
   */
  authorizeWatch?: (identity: Identity, ids: string[] | true) => boolean | Promise<boolean>;
  /** The most ids in a PRESENCE_WATCH frame. One with more is refused, as is one of more than 256 KiB. @default 1_000 */
  maxWatchIds?: number;
  /** Limits on the resources that one client can use. */
  limits?: PresenceLimits;
  /** Receives background failures, which never throw into the router. @default they are logged: see `logger` */
  onError?: (error: PresenceError, context: ErrorContext) => void;
  /**
   * Logs each kind of failure with its cause, at most once a minute; the end of a failure; and the start of the presence.
   * Errors that it throws are ignored. `false`: nothing is logged.
   * @default none where there is an `onError`; otherwise failures are logged to `process.stderr`
   */
  logger?: Logger | false;
  /** How operators recognize this router. */
  router?: RouterOptions;
  /** The source of time; tests pass a fake one. @default the system clock */
  clock?: Clock;
}

/** Whether a presence is in contact with its store. */
export interface Health {
  /**
   * `stale`: changes may be missed, since heartbeats fail or the users could not be read yet. Nobody goes offline because of
   * that.
   * `degraded`: heartbeats succeed and something else fails: see `problems`.
   * `disabled`: `enabled` is `false`.
   */
  status: 'ok' | 'degraded' | 'stale' | 'disabled' | 'closed';
  /** The time of the store's last answer to a heartbeat, in ISO 8601, by the store's clock; `null` before the first one. */
  asOf: string | null;
  /** The current problems. While heartbeats fail, the router lists that one only. */
  problems: HealthProblem[];
}

/** A problem that lasts longer than one call. */
export interface HealthProblem {
  /** The stage with which it was reported to `onError`. */
  stage: ErrorStage;
  /** The code of the reported error. */
  code: PresenceErrorCode;
  /** The problem, and its consequences. */
  message: string;
  /** When it began, in ISO 8601, by the clock of this router. */
  since: string;
}

/** A page of the users who are online. */
export interface OnlinePage {
  /** At most `limit` users. */
  users: PresenceStatus[];
  /** The cursor of the next page; `null` on the last one. */
  cursor: string | null;
}

/** How other routers and operators call a router. */
export interface RouterRef {
  /** The id of the router instance. */
  nodeId: string;
  /** Its name, see the option `router`. */
  name: string;
  /** Its address, see the option `router`; `null` where it has none. */
  address: string | null;
}

/** Changes in the order in which they happened, for each user; or, after a gap, who is online. */
export interface ChangeBatch {
  /** The changes. The same change always has the same `userId` and `version`. */
  changes: PresenceUpdate[];
  /** Where the next read goes on. It stays valid across restarts, and on every router. */
  cursor: string;
  /**
   * Whether changes are missing, since the log does not reach back to `since`, or the store has lost its data. Then `changes` is
   * empty and `users` lists who is online: whoever is not among them was offline when the listing began. The changes after the
   * listing follow without a further gap.
   */
  gap: boolean;
  /** Only with a gap: a page of the users who are online, at most 1,000. */
  users?: PresenceStatus[];
  /** Only with a gap: the number of the page, from 0. A listing that was not completed begins again with page 0. */
  part?: number;
  /** Only with a gap: when the page was read, in ISO 8601, by the clock of the store. */
  asOf?: string;
  /** `true` where a read with this cursor gives more at once: further pages of the listing, or further changes. */
  more?: boolean;
}

/** What `changes.read` is to give. */
export interface ReadChanges {
  /**
   * Where to go on: the `cursor` of a batch, or of a PRESENCE_UPDATE or PRESENCE_SNAPSHOT frame.
   * @default the oldest change in the log
   */
  since?: string;
  /** The most changes, 1 to 10,000. A page of a listing is not shortened. @default 500 */
  limit?: number;
  /** Only changes of these users. A batch may then be empty, and its cursor has moved on all the same. @default those of all users */
  ids?: Iterable<UserId>;
}

/**
 * Takes changes. The position moves once it has resolved. Where it rejects, or takes longer than `timeoutMs`, it is called again
 * with the same changes, after a growing wait of one second to one minute. An error may say `retryAfterMs`, the least wait in
 * milliseconds, and `ended: true`, that the receiver wants no more changes.
 */
export type ChangeHandler = (batch: ChangeBatch, context: DeliveryContext) => unknown;

/** How a batch came to its handler. */
export interface DeliveryContext {
  /**
   * A fencing token, which grows whenever a router takes the delivery over. A call of a router that stood still may arrive late: a sink that
   * keeps the greatest token with its data, and refuses a smaller one, is safe from it. See Martin Kleppmann, "How to do distributed
   * locking", 2016.
   */
  token: number;
}

/** How changes are delivered. */
export interface DeliverOptions {
  /** The most changes in one call, 1 to 1,000. @default 500 */
  batch?: number;
  /**
   * Where a delivery of a name begins that the store does not know yet: with what happens from now on; with the oldest change in the log;
   * or with a listing of who is online, as after a gap, and what happens after it.
   * @default 'now'
   */
  from?: 'now' | 'start' | 'listing';
  /** How long one call of the handler may take, in milliseconds. @default 30_000 // 30 seconds */
  timeoutMs?: number;
  /** Begins again where the receiver had ended the delivery. @default false */
  resume?: boolean;
}

/** The state of a delivery. */
export interface DeliveryInfo {
  /** Its name. */
  name: string;
  /** The router that delivers; `null` where none does at the moment. */
  router: RouterRef | null;
  /** Everything up to there was delivered. */
  cursor: string;
  /** How old the oldest change is that was not delivered, in milliseconds by the clock of this router; 0 where there is none. */
  lagMs: number;
  /** How many changes were not delivered. */
  lagChanges: number;
  /** Why the last attempt failed; `null` after one that succeeded. */
  lastError: string | null;
  /** Whether the receiver has ended it; `deliver` with `resume: true` begins it again. */
  ended: boolean;
}

/** Every change of every user, from the log that the store writes in the step that decides the change. */
export interface PresenceChanges {
  /**
   * Reads changes. From any router, as often as wanted.
   *
   * @throws nothing
   * @returns rejects like `getStatuses`; with `ERR_PRESENCE_OPTIONS` for a cursor that this store has not given; and with
   * `ERR_PRESENCE_UNSUPPORTED` where the store keeps no log
   *
   * @example
   * for (let since = load(); ; ) {
   *   const { changes, gap, users, cursor, more } = await presence.changes.read({ since });
   *   since = cursor;
   *   if (more !== true) break;
   * }
   */
  read(page?: ReadChanges): Promise<ChangeBatch>;
  /**
   * Delivers every change at least once, in order for each user, to one handler of the fleet: call it on every router, with the same
   * name. One of them delivers; another one takes over within a lease and a heartbeat of its death. The position is kept in the store.
   * What could not be delivered is never skipped in silence: a handler that is further behind than the log reaches gets a gap with
   * its listing.
   *
   * @param name - 1 to 64 of the characters `A-Z a-z 0-9 _ . : -`
   * @returns stops it on this router: resolves once the handler is done, and another router may go on. Never rejects
   * @throws TypeError `ERR_PRESENCE_OPTIONS`
   * @throws PresenceError `ERR_PRESENCE_UNSUPPORTED` where the store keeps no log
   *
   * @example
   * const stop = presence.changes.deliver('billing', async ({ changes }) => {
   *   for (const { userId, status, timestamp, version } of changes) await bill(userId, status, timestamp, version);
   * });
   */
  deliver(name: string, handler: ChangeHandler, options?: DeliverOptions): () => Promise<void>;
  /** The state of all deliveries of the fleet. Rejects like `read`. */
  deliveries(): Promise<DeliveryInfo[]>;
}

/** The presence of one router. Made by `createPresence`. */
export interface Presence {
  /** The id of this router instance; a restart gives a new one. */
  readonly nodeId: string;
  /**
   * Resolves once the store has been reached and this router holds its lease. It waits as long as that takes, and rejects only
   * once the presence is closed (`ERR_PRESENCE_CLOSED`).
   */
  ready(): Promise<void>;
  /**
   * Tracks the connection of a socket. Never throws because the store is down. A second call for the same socket replaces the
   * first. For a closed socket, or on a disabled or closed presence, it returns an attachment that does nothing.
   *
   * @throws TypeError for an invalid socket or identity
   */
  attachToSocket(socket: SocketLike, identity: Identity): Attachment;
  /**
   * The same for a transport without `on`: the caller passes on what happens, by the functions of the attachment.
   *
   * @throws TypeError for an invalid transport or identity
   *
   * @example
   * const attachment = presence.attach(transport, { userId: 'acme_u1' });
   * attachment.received(frame); // for each frame of the client; likewise pinged() and closed(code)
   */
  attach(transport: Transport, identity: Identity): TransportAttachment;
  /**
   * The statuses of users by their ids, with an entry for each id, also for users who were never seen. The map has no
   * prototype, so that any id can be a key; for `assert.deepStrictEqual` and the like, copy it: `{ ...statuses }`.
   *
   * @throws TypeError `ERR_PRESENCE_INVALID_ID`
   * @returns rejects with `ERR_PRESENCE_STORE` where the store has failed, has answered none of the calls for
   * `commandTimeoutMs`, or has lost data and could not tell for as long who is offline; with `ERR_PRESENCE_DISABLED` or
   * `ERR_PRESENCE_CLOSED` where the presence is disabled or closed
   */
  getStatuses(ids: Iterable<UserId>): Promise<{ [userId: string]: PresenceStatus }>;
  /**
   * The users who are online, a page at a time (`limit` 1 to 1_000, default 100). A user who stays online throughout is on
   * exactly one page.
   *
   * @throws TypeError for a cursor that no page gave
   * @returns rejects like `getStatuses`
   */
  listOnline(page?: { cursor?: string; limit?: number }): Promise<OnlinePage>;
  /**
   * Whether a user is online, at once and without a call to the store: from the router's own roster, which the option `roster` or
   * the first call of this function begins. False for a user who was never seen. `undefined` while that is not known: until
   * the roster is complete, while changes may have been missed (`health()` is degraded then), and where the presence is disabled or
   * closed. Then ask `getStatuses`, which always asks the store.
   *
   * @throws TypeError `ERR_PRESENCE_INVALID_ID`
   *
   * @example
   * const online = presence.isOnline('acme_u1') ?? (await presence.getStatuses(['acme_u1'])).acme_u1.status === 'online';
   */
  isOnline(id: UserId): boolean | undefined;
  /** The number of users who are online. Rejects like `getStatuses`. */
  countOnline(): Promise<number>;
  /** The health of the presence, at once and without a call to the store. */
  health(): Health;
  /**
   * Calls `listener` for every change, in order; with `ids`, only for changes of those users. Errors that the listener throws
   * are reported to `onError`. Returns a function that removes the listener.
   */
  onUpdate(listener: (update: PresenceUpdate) => void, options?: { ids?: Iterable<UserId> }): () => void;
  /** The changes of all users: read from the log, or delivered to a handler that must not miss any. */
  readonly changes: PresenceChanges;
  /**
   * Detaches all sockets, which stay open. Their users go offline as after a clean close, or stay online for `handoverMs` so
   * that they can reappear on another router. Sockets that watch are sent PRESENCE_STALE, since they get no further changes.
   * Idempotent; takes at most `commandTimeoutMs`, even where the store does not answer.
   */
  close(options?: { handoverMs?: number }): Promise<void>;
}
