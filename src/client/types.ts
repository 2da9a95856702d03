import type { PresenceStatus, PresenceUpdate, UserId } from '../public/types';

/** What is used of a `WebSocket`: that of browsers and of Node 22, or that of `ws`. */
export interface WebSocketLike {
  /** `arraybuffer`. */
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
  /** Called when something fails; it closes then. */
  onerror: unknown;
}

/** The class of such. */
export type WebSocketClass = new (url: string, protocols?: string[]) => WebSocketLike;

/** A token, or what gives one; nothing where a cookie, or nobody, says who this is. */
export type TokenSource = string | (() => string | undefined | Promise<string | undefined>);

/** What `createPresenceClient` takes. */
export interface PresenceClientOptions {
  /** The router: `wss://router.example`. */
  url: string;
  /**
   * Its status endpoint, as `https://router.example/api/presence/status`. It shows named ids before the socket is open, and
   * says whether the token is refused where a browser cannot know: after two attempts without an open connection. @default none
   */
  statusUrl?: string;
  /**
   * Sent as the first subprotocol, as browsers can set no header, and to `statusUrl` as a bearer token. A function is called
   * at each attempt to connect, and at once when the router says that the token has ended; it may give a promise. @default none
   */
  token?: TokenSource;
  /** The second subprotocol. @default 'web' */
  deviceId?: string;
  /** Whom to watch. @default true // everybody who is online */
  ids?: true | Iterable<UserId>;
  /**
   * Where there is no global one, as in Node before 22: that of `ws`. Without any, and with `false`, as on a server that renders
   * pages, nothing is connected to. @default the global one
   */
  WebSocket?: WebSocketClass | false | undefined;
  /** The first wait before connecting again, at most; it doubles each time. @default 1_000 // 1 second */
  minBackoffMs?: number;
  /** No wait is longer. @default 30_000 // 30 seconds */
  maxBackoffMs?: number;
  /**
   * A link on which nothing came for so long is asked whether it is alive. An answer, to this and to every other request, is
   * waited for a third of it. @default 30_000 // 30 seconds, and 10 for an answer
   */
  probeMs?: number;
  /** Is told, once each, what whoever writes the page should know. `false` for silence. @default console */
  logger?: { warn(message: string): void } | false;
}

/** What is known of the connection, and so how old what is shown may be. */
export interface Connection {
  /**
   * - `connecting`: for the first time, or after a loss
   * - `live`: everything shown is true now
   * - `stale`: the router cannot hear its store, so changes may be missed
   * - `offline`: the connection is lost, and the next attempt, or another token, is waited for
   * - `closed`: by `close()`, or because the router refuses this client; `refused` says why then, and `reconnect()` or a new
   *   token is what helps
   */
  readonly state: 'connecting' | 'live' | 'stale' | 'offline' | 'closed';
  /** ISO 8601: what is shown was true then; `null` where nothing is. While `live`, that is when it became so. */
  readonly asOf: string | null;
  /** Why the router refuses this client, or to let these users be watched; at most 256 characters. */
  readonly refused?: string | undefined;
  /**
   * The same for programs. Of a client that is not let in: `unauthorized` (close code 4001, or a 401: another token may help)
   * or `not-allowed` (1008, or a 403). Of users who may not be watched: `not-allowed`, `too-many-ids`, `malformed`,
   * `unsupported`, or what a later router says; none from an older one. After `too-many-requests` and `timeout` the client
   * asks again by itself, and neither is shown.
   */
  readonly refusedCode?: string | undefined;
}

/** What has changed of a user. */
export interface PresenceChange extends PresenceStatus {
  /** Why, as in `PresenceUpdate`. Only where the router told the change itself: `undefined` for what a snapshot shows. */
  readonly reason?: PresenceUpdate['reason'] | undefined;
  /** Of two changes of a user the larger one is newer. Only where `reason` is. */
  readonly version?: number | undefined;
}

/** A live view of who is online. Made by `createPresenceClient`. */
export interface PresenceClient {
  /** What is known of the connection. Another object each time it changes. */
  readonly connection: Connection;
  /**
   * Resolves once everything has been shown for the first time. Rejects with an Error that says why where the client is closed
   * before, by `close()` or by a refusal; it is another promise after `reconnect()` then.
   */
  readonly ready: Promise<void>;
  /** The status of a user; `undefined` where nothing is known. The same object until it changes. */
  getStatus(id: UserId): PresenceStatus | undefined;
  /** Everybody who is known, in no order. */
  getAll(): PresenceStatus[];
  /**
   * Replaces whom it watches. However often it is called, the router is asked at most twice a second, for the latest.
   * @throws TypeError for a lone string, which would be a list of letters
   */
  watch(ids: true | Iterable<UserId>): void;
  /**
   * Calls `listener` with whoever has changed, once a frame. What it throws is an uncaught error, and no other listener
   * misses anything. Returns the function that ends it.
   */
  onChange(listener: (changed: readonly PresenceChange[]) => void): () => void;
  /** Calls `listener` whenever `connection` changes. Returns the function that ends it. */
  onConnectionChange(listener: (connection: Connection) => void): () => void;
  /**
   * Connects anew, whatever it was doing, with another token where one is given: for a client that was refused, and for whoever
   * knows that the link is of no use any more. Called by a listener of `onConnectionChange` it waits as after a loss. After
   * `close()` it does nothing.
   */
  reconnect(token?: TokenSource): void;
  /** Ends it for good. */
  close(): void;
}
