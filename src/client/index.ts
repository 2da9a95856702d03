import type { PresenceStatus, UserId } from '../types';
import { readFrame, type Said, SNAPSHOT, UPDATE, WATCH, watchFrame } from './frames';
import { backOffMs, createRequestPacer } from './request-pacer';
import { fetchStatuses } from './status-request';
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
   * - `closed`: by `close()`, or by a router that does not let this client in (close code 1008); `refused` says why then
   */
  readonly state: 'connecting' | 'live' | 'stale' | 'offline' | 'closed';
  /** ISO 8601: what is shown was true then; `null` where nothing is. While `live`, that is when it became so. */
  readonly asOf: string | null;
  /** Why the router refuses to let these users be watched; at most 256 characters. */
  readonly refused?: string | undefined;
  /**
   * The same for programs: `not-allowed`, `too-many-ids`, `malformed`, `unsupported`, or what a later router says; none from
   * an older one. After `too-many-requests` and `timeout` the client asks again by itself, and neither is shown.
   */
  readonly refusedCode?: string | undefined;
}

/** A live view of who is online. Made by `createPresenceClient`. */
export interface PresenceClient {
  /** What is known of the connection. Another object each time it changes. */
  readonly connection: Connection;
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
  onChange(listener: (changed: readonly PresenceStatus[]) => void): () => void;
  /** Calls `listener` whenever `connection` changes. Returns the function that ends it. */
  onConnectionChange(listener: (connection: Connection) => void): () => void;
  /** Ends it for good. */
  close(): void;
}

const OPEN = 1;
/** The router does not let this client in. */
const NOT_ALLOWED = 1008;
const TOO_MANY_REQUESTS = 4029;
/** A refusal that passes: the same request may be granted later. */
const PASSING = ['too-many-requests', 'timeout'];
/** After a connection that lasts so long, a close code 4029 counts as the first. */
const FORGIVEN_MS = 60_000;

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
  // Node before 12 has none.
  const global: Globals = typeof globalThis === 'object' ? (globalThis as Globals) : {};
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
  /** What it watches from its next request on. */
  let wanted: readonly string[] | true | undefined;
  /** Close codes 4029 in a row, where no connection lasted for long. */
  let floods = 0;
  let openedAt = 0;
  /** Whether a browser that has a network again may connect before the wait is over: not after 4029. */
  let mayHurry = true;
  /** Whether the next request is to find out if the link is alive. */
  let isProbing = false;
  const requests = createRequestPacer(sendRequest);

  function become(state: Connection['state'], { refused, refusedCode }: Refusal = {}, asOf?: string | null): void {
    const isSame = connection.refused === refused && connection.refusedCode === refusedCode;
    if (connection.state === state && isSame && !asOf) return;
    const isKnown = state === 'live' || connection.state === 'live';
    connection = { state, asOf: asOf ?? (isKnown ? now() : connection.asOf), refused, refusedCode };
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
    // A listener may have closed it.
    if (isClosed()) return;
    try {
      socket = new WebSocket(url, token ? [token, deviceId] : []);
      socket.binaryType = 'arraybuffer';
      socket.onopen = open;
      socket.onmessage = ({ data }: { data: unknown }) => hear(data);
      socket.onerror = () => undefined;
      socket.onclose = closed;
      probeLater();
    } catch (error) {
      // A token that cannot be a subprotocol never becomes one.
      end({ refused: String(error) });
    }
  }

  function open(): void {
    openedAt = Date.now();
    requests.restart();
  }

  function closed({ code, reason }: { readonly code?: unknown; readonly reason?: unknown } = {}): void {
    // Whoever could not be identified in time may be the next time.
    if (code !== NOT_ALLOWED || (typeof reason === 'string' && /try again$/.test(reason))) {
      lose(undefined, code === TOO_MANY_REQUESTS);
      return;
    }
    const why = typeof reason === 'string' ? reason.slice(0, 256) : '';
    end({ refused: why || 'this client is not allowed', refusedCode: 'not-allowed' });
  }

  /** Goes on where it was; from the start, if that is nowhere, or others are wanted. */
  function sendRequest(): boolean {
    if (socket?.readyState !== OPEN) return false;
    if (wanted) view.watch(wanted);
    wanted = undefined;
    view.asked = (view.asked + 1) & 127;
    socket.send(watchFrame(view.ids, view.cursor, view.asked));
    // Not from when it was wanted: it may have waited. Nor anew with each request.
    if (isProbing) later(giveUp, probeMs / 3);
    isProbing = false;
    return true;
  }

  function hear(data: unknown): void {
    const said = readFrame(data);
    // Junk is no answer: a link that carries nothing else is dead.
    if (!said) return;
    heardAt = now();
    probeLater();
    if (said.kind === UPDATE) {
      tell(view.update(said));
    } else if (said.kind === SNAPSHOT) {
      tell(view.show(said));
      if (said.more) return;
      attempts = 0;
      requests.settle();
      // The answer to an earlier request does not end the refusal of a later one.
      const isAnswer = (said.request ?? view.asked) === view.asked;
      become(connection.state === 'connecting' ? 'live' : connection.state, isAnswer ? {} : connection);
    } else if (said.kind === WATCH) refuse(said);
    else if (said.stale) become('stale', connection, said.asOf);
    else if (view.isWhole) become('live', connection);
  }

  function refuse({ error, code, request }: Extract<Said, { kind: typeof WATCH }>): void {
    // An earlier request was refused, and other ids are wanted now.
    if (requests.isDue || (request ?? view.asked) !== view.asked) return;
    if (code && PASSING.includes(code)) requests.backOff();
    else become(connection.state, { refused: error, refusedCode: code });
  }

  function lose(asOf?: string, isFlood = false): void {
    socket = undefined;
    if (Date.now() - openedAt > FORGIVEN_MS) floods = 0;
    const wait = Math.random() * Math.min(maxBackoffMs, minBackoffMs * 2 ** attempts);
    later(connect, isFlood ? Math.max(wait, backOffMs(floods)) : wait);
    attempts += 1;
    mayHurry = !isFlood;
    if (isFlood) floods += 1;
    // Last, for whoever hears it may end it for good.
    become('offline', {}, connection.state === 'live' ? asOf : undefined);
  }

  function end(refusal?: Refusal): void {
    global.removeEventListener?.('online', onOnline);
    clearTimeout(timer);
    requests.stop();
    drop();
    become('closed', refusal);
  }

  const isClosed = (): boolean => connection.state === 'closed';

  /** Lets go of a socket that may be dead: its end may come much later, and is of no interest then. */
  function drop(): void {
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    socket = undefined;
  }

  /** A link on which nothing came for `probeMs` is asked. Without an answer, the client connects anew. */
  function probeLater(): void {
    isProbing = false;
    later(probe, probeMs);
  }

  function probe(): void {
    if (socket?.readyState !== OPEN) giveUp();
    // Without a cursor the answer would be everything.
    else if (!view.cursor) probeLater();
    else {
      isProbing = true;
      requests.ask();
    }
  }

  function giveUp(): void {
    drop();
    lose(heardAt);
  }

  /** Shows named ids at once, where the router can be asked over HTTP, until the socket shows what is true. */
  async function load(): Promise<void> {
    if (!statusUrl || view.ids === true) return;
    const users = (await fetchStatuses(statusUrl, token, view.ids)).filter(view.isWatched);
    if (view.isWhole || isClosed()) return;
    for (const user of users) view.users.set(user.userId, user);
    tell(users);
  }

  /** A browser knows when there is a network again. */
  const onOnline = (): unknown => connection.state === 'offline' && mayHurry && connect();

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
      wanted = toIds(ids);
      requests.ask();
    },
    onChange: (listener) => subscribe(changeListeners, listener),
    onConnectionChange: (listener) => subscribe(connectionListeners, listener),
    close() {
      if (!isClosed()) end();
    },
  };
}

type Refusal = Pick<Connection, 'refused' | 'refusedCode'>;

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
