import type { PresenceStatus, UserId } from '../types';
import { readFrame, SNAPSHOT, UPDATE, WATCH, watchFrame } from './frames';
import { createView } from './view';

export type { PresenceStatus, UserId } from '../types';

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

/** What `createPresenceClient` takes. */
export interface PresenceClientOptions {
  /** The router: `wss://router.example`. */
  url: string;
  /** Its status endpoint, to show named ids before the socket is open. @default none */
  statusUrl?: string;
  /** Sent as the first subprotocol, as browsers can set no header, and to `statusUrl` as a bearer token. @default none */
  token?: string;
  /** The second subprotocol. @default 'web' */
  deviceId?: string;
  /** Whom to watch. @default true // everybody who is online */
  ids?: true | Iterable<UserId>;
  /** Where there is no global one, as in Node before 22: that of `ws`. @default the global one */
  WebSocket?: new (
    url: string,
    protocols?: string[],
  ) => WebSocketLike;
  /** The first wait before connecting again, at most; it doubles each time. @default 1_000 // 1 second */
  minBackoffMs?: number;
  /** No wait is longer. @default 30_000 // 30 seconds */
  maxBackoffMs?: number;
  /** A link on which nothing came for so long is asked whether it is alive. @default 30_000 // 30 seconds */
  probeMs?: number;
}

/** What is known of the connection, and so how old what is shown may be. */
export interface Connection {
  /**
   * - `connecting`: for the first time, or after a loss
   * - `live`: everything shown is true now
   * - `stale`: the router cannot hear its store, so changes may be missed
   * - `offline`: the connection is lost, and the next attempt is waited for
   * - `closed`: by `close()`
   */
  readonly state: 'connecting' | 'live' | 'stale' | 'offline' | 'closed';
  /** ISO 8601: what is shown was true then; `null` where nothing is. While `live`, that is when it became so. */
  readonly asOf: string | null;
  /** Why the router refuses to let these users be watched. */
  readonly refused?: string | undefined;
}

/** A live view of who is online. Made by `createPresenceClient`. */
export interface PresenceClient {
  /** What is known of the connection. Another object each time it changes. */
  readonly connection: Connection;
  /** The status of a user; `undefined` where nothing is known. The same object until it changes. */
  getStatus(id: UserId): PresenceStatus | undefined;
  /** Everybody who is known, in no order. */
  getAll(): PresenceStatus[];
  /** Replaces whom it watches. @throws TypeError for a lone string, which would be a list of letters */
  watch(ids: true | Iterable<UserId>): void;
  /**
   * Calls `listener` with whoever has changed, once a frame. What it throws is an uncaught error, and no other listener
   * misses anything. Returns the function that ends it.
   */
  onChange(listener: (changed: readonly PresenceStatus[]) => void): () => void;
  /** Calls `listener` whenever `connection` changes. Returns the function that ends it. */
  onConnectionChange(listener: (connection: Connection) => void): () => void;
  /** Ends it for good. */
  close(): void;
}

const OPEN = 1;

/**
 * The dashboard's side: connects to a router, shows who is online, and goes on where it was after each loss. The router
 * must allow it to watch, by `authorizeWatch`; what a router sends by itself (`watch: true` in the identity) it
 * understands as well, without resuming.
 *
 * Between attempts it waits a random time up to a bound that doubles, so that a thousand dashboards do not come back in
 * the same second ("full jitter", M. Brooker, Exponential Backoff And Jitter).
 *
 * @throws TypeError where there is no WebSocket, and for a url or a list of ids that is none
 *
 * @example
 * const client = createPresenceClient({ url: 'wss://router.example', token, ids: ['acme_u1', 'acme_u2'] });
 * client.onChange((changed) => changed.forEach(({ userId, status }) => paint(userId, status)));
 * client.onConnectionChange(({ state, asOf }) => (bar.textContent = state === 'live' ? '' : `showing state of ${asOf}`));
 */
export function createPresenceClient(options: PresenceClientOptions): PresenceClient {
  const global = globalThis as Globals;
  const { url, statusUrl, token, deviceId = 'web', WebSocket = global.WebSocket as never } = options;
  const { minBackoffMs = 1_000, maxBackoffMs = 30_000, probeMs = 30_000 } = options;
  if (!/^wss?:\/\//.test(url)) throw new TypeError(`url is ${url}; it is ws:// or wss://`);
  if (typeof WebSocket !== 'function') throw new TypeError(`WebSocket is ${WebSocket}; it is that of ws`);

  const view = createView(toIds(options.ids ?? true));
  const changeListeners = new Set<(changed: readonly PresenceStatus[]) => void>();
  const connectionListeners = new Set<(connection: Connection) => void>();
  let connection: Connection = { state: 'connecting', asOf: null };
  let socket: WebSocketLike | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let attempts = 0;
  let heardAt: string | undefined;

  function become(state: Connection['state'], refused?: string, asOf?: string): void {
    if (connection.state === state && connection.refused === refused && !asOf) return;
    const isKnown = state === 'live' || connection.state === 'live';
    connection = { state, asOf: asOf ?? (isKnown ? now() : connection.asOf), refused };
    for (const listener of connectionListeners) call(() => listener(connection));
  }

  function tell(changed: readonly PresenceStatus[]): void {
    if (changed.length > 0) for (const listener of changeListeners) call(() => listener(changed));
  }

  function later(run: () => void, ms: number): void {
    clearTimeout(timer);
    // What is no number would be no wait at all.
    timer = setTimeout(run, ms >= 0 ? ms : 1_000);
  }

  function connect(): void {
    become('connecting');
    try {
      socket = new WebSocket(url, token ? [token, deviceId] : []);
      socket.binaryType = 'arraybuffer';
      socket.onopen = ask;
      socket.onmessage = ({ data }: { data: unknown }) => hear(data);
      socket.onerror = () => undefined;
      socket.onclose = () => lose();
      probeLater();
    } catch (error) {
      // A token that cannot be a subprotocol never becomes one.
      become('closed', String(error));
    }
  }

  /** Goes on where it was; from the start, if that is nowhere. */
  function ask(): void {
    if (socket?.readyState !== OPEN) return;
    view.asked = (view.asked + 1) & 127;
    socket.send(watchFrame(view.ids, view.cursor, view.asked));
  }

  function hear(data: unknown): void {
    const said = readFrame(data);
    if (!said) return;
    heardAt = now();
    probeLater();
    if (said.kind === UPDATE) {
      tell(view.update(said));
    } else if (said.kind === SNAPSHOT) {
      tell(view.show(said));
      if (said.more) return;
      attempts = 0;
      if (connection.state === 'connecting') become('live');
    } else if (said.kind === WATCH) become(connection.state, String(said.error));
    else if (said.stale) become('stale', undefined, said.asOf);
    else if (view.isWhole) become('live');
  }

  function lose(asOf?: string): void {
    socket = undefined;
    later(connect, Math.random() * Math.min(maxBackoffMs, minBackoffMs * 2 ** attempts));
    attempts += 1;
    // Last, for whoever hears it may end it for good.
    become('offline', undefined, connection.state === 'live' ? asOf : undefined);
  }

  /** Lets go of a socket that may be dead: its end may come much later, and is of no interest then. */
  function drop(): void {
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    socket = undefined;
  }

  /** Whoever hears nothing asks; whoever gets no answer to that connects anew. */
  function probeLater(isAsked = false): void {
    const probe = (): void => {
      if (isAsked || socket?.readyState !== OPEN) {
        drop();
        lose(heardAt);
        return;
      }
      // Without a cursor the answer would be everything.
      if (view.cursor) ask();
      probeLater(!!view.cursor);
    };
    later(probe, isAsked ? probeMs / 3 : probeMs);
  }

  /** Shows named ids at once, where the router can be asked over HTTP, until the socket shows what is true. */
  async function load(): Promise<void> {
    const { ids: userIds } = view;
    if (!statusUrl || userIds === true) return;
    const response = await fetch(statusUrl, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
      body: JSON.stringify({ userIds }),
    });
    const answer = (await response.json()) as { [id: string]: PresenceStatus };
    if (!response.ok || view.isWhole || connection.state === 'closed') return;
    for (const user of Object.values(answer)) view.users.set(user.userId, user);
    tell(getAll());
  }

  /** A browser knows when there is a network again. */
  const onOnline = (): unknown => connection.state === 'offline' && connect();

  const getAll = (): PresenceStatus[] => [...view.users.values()];

  global.addEventListener?.('online', onOnline);
  connect();
  // Where that fails the socket tells, a little later.
  load().catch(() => undefined);

  return {
    get connection() {
      return connection;
    },
    getStatus: (id) => view.users.get(String(id)),
    getAll,
    watch(ids) {
      view.watch(toIds(ids));
      ask();
    },
    onChange: (listener) => subscribe(changeListeners, listener),
    onConnectionChange: (listener) => subscribe(connectionListeners, listener),
    close() {
      global.removeEventListener?.('online', onOnline);
      clearTimeout(timer);
      drop();
      become('closed');
    },
  };
}

interface Globals {
  readonly WebSocket?: PresenceClientOptions['WebSocket'];
  addEventListener?(name: 'online', listener: () => unknown): void;
  removeEventListener?(name: 'online', listener: () => unknown): void;
}

function subscribe<Listener>(listeners: Set<Listener>, listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** What a listener throws is thrown where no other listener, nor the connection, is in its way. */
function call(listener: () => void): void {
  try {
    listener();
  } catch (error) {
    setTimeout(() => {
      throw error;
    });
  }
}

const now = (): string => new Date().toISOString();

function toIds(ids: true | Iterable<UserId>): string[] | true {
  if (ids === true) return ids;
  // A lone string would be a list of letters.
  if (typeof ids !== 'object') throw new TypeError(`ids is ${ids}; it is a list`);
  return [...new Set(Array.from(ids, String))];
}
