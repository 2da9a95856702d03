import type { PresenceStatus, PresenceUpdate, UserId } from '../public/types';

/** The part of a `WebSocket` that is used: of that of browsers and of Node 22, or of that of `ws`. */
export interface WebSocketLike {
  /** Set to `arraybuffer`. */
  binaryType: string;
  /** 1 while open. */
  readonly readyState: number;
  /** Sends a binary frame. */
  send(data: Uint8Array): void;
  /** Closes it. */
  close(): void;
  /** Called when it is open. */
  onopen: unknown;
  /** Called with each frame. */
  onmessage: unknown;
  /** Called when it is closed, or could not be opened. */
  onclose: unknown;
  /** Called on an error; the socket closes then. */
  onerror: unknown;
}

/** A class of WebSockets, such as the global one or that of `ws`. */
export type WebSocketClass = new (url: string, protocols?: string[]) => WebSocketLike;

/** A token, or a function that returns one; the function returns `undefined` where a cookie identifies the client, or nothing. */
export type TokenSource = string | (() => string | undefined | Promise<string | undefined>);

/** The options of `createPresenceClient`. */
export interface PresenceClientOptions {
  /** The address of the router, such as `wss://router.example`. */
  url: string;
  /**
   * The address of its status endpoint, such as `https://router.example/api/presence/status`. The client loads listed ids from
   * it before the socket is open. After two attempts without an open connection, it asks the endpoint whether the token is
   * refused, since browsers do not report that. @default none
   */
  statusUrl?: string;
  /**
   * Sent as the first subprotocol, since browsers can set no headers, and to `statusUrl` as a bearer token. A function is
   * called at each attempt to connect, and at once when the router says that the token has expired; it may return a promise.
   * @default none
   */
  token?: TokenSource;
  /** Sent as the second subprotocol. @default 'web' */
  deviceId?: string;
  /** The users to watch. @default true // all users who are online */
  ids?: true | Iterable<UserId>;
  /**
   * The class of WebSockets: pass that of `ws` where there is no global one, as in Node before 22. Without any, or with `false`,
   * for example on a server that renders pages, the client does not connect. @default the global one
   */
  WebSocket?: WebSocketClass | false | undefined;
  /** The upper bound of the first wait before the client reconnects; it doubles each time. @default 1_000 // 1 second */
  minBackoffMs?: number;
  /** The longest wait. @default 30_000 // 30 seconds */
  maxBackoffMs?: number;
  /**
   * After this long without a frame, the client checks whether the connection is alive. It waits a third of this time, and at
   * most ten seconds, for the answer to any request. @default 30_000 // 30 seconds, and 10 for an answer
   */
  probeMs?: number;
  /** Logs problems that the author of the page should know, each once. `false`: nothing is logged. @default console */
  logger?: { warn(message: string): void } | false;
}

/** The state of the connection, and with it the age of the view. */
export interface Connection {
  /**
   * - `connecting`: for the first time, or after a loss
   * - `live`: the view is current
   * - `stale`: the router has lost contact with its store, so changes may be missed
   * - `offline`: the connection is lost; the client waits before the next attempt, or for another token
   * - `closed`: by `close()`, or because the router refuses this client. `refused` then says why; `reconnect()` or a new token
   *   can help
   */
  readonly state: 'connecting' | 'live' | 'stale' | 'offline' | 'closed';
  /** When the view was last current, in ISO 8601; `null` where it is empty. While `live`, the time at which it became so. */
  readonly asOf: string | null;
  /** Why the router refuses this client or its request; at most 256 characters. */
  readonly refused?: string | undefined;
  /**
   * The reason for programs. Where the client is refused: `unauthorized` (close code 4001, or status 401; another token may
   * help) or `not-allowed` (1008, or 403). Where the request is refused: `not-allowed`, `too-many-ids`, `malformed`,
   * `unsupported`, or a code of a later router; an older router gives none. `too-many-requests` and `timeout` never appear,
   * since the client then repeats its request.
   */
  readonly refusedCode?: string | undefined;
}

/** A change of a user in the view. */
export interface PresenceChange extends PresenceStatus {
  /** The reason, as in `PresenceUpdate`; `undefined` where the change comes from a snapshot. */
  readonly reason?: PresenceUpdate['reason'] | undefined;
  /** Of two changes of a user, the one with the larger version is newer; `undefined` where the change comes from a snapshot. */
  readonly version?: number | undefined;
}

/** A live view of who is online. Made by `createPresenceClient`. */
export interface PresenceClient {
  /** The state of the connection. Each change makes a new object. */
  readonly connection: Connection;
  /**
   * Resolves once the view is complete for the first time. Rejects with an Error that says why where the client is closed before
   * that, by `close()` or by a refusal; `reconnect()` then makes a new promise.
   */
  readonly ready: Promise<void>;
  /** The status of a user; `undefined` where it is not known. It is the same object until it changes. */
  getStatus(id: UserId): PresenceStatus | undefined;
  /** All users in the view, in no particular order. */
  getAll(): PresenceStatus[];
  /**
   * Replaces the users to watch. The client sends at most two requests a second, however often this is called, and then for the
   * latest users.
   * @throws TypeError for a string, which would be taken for a list of letters
   */
  watch(ids: true | Iterable<UserId>): void;
  /**
   * Calls `listener` with the users who have changed, at most once for each frame. An error of a listener becomes an uncaught
   * error, and does not keep others from being called. Returns a function that removes the listener.
   */
  onChange(listener: (changed: readonly PresenceChange[]) => void): () => void;
  /** Calls `listener` whenever `connection` changes. Returns a function that removes the listener. */
  onConnectionChange(listener: (connection: Connection) => void): () => void;
  /**
   * Connects again at once, with another token where one is given: for a client that was refused, or whose connection is known
   * to be useless. Called from a listener, it waits as after a loss. After `close()` it does nothing.
   */
  reconnect(token?: TokenSource): void;
  /** Closes the client for good. */
  close(): void;
}
