import type { PresenceStatus, UserId } from '../types';
import { readFrame, type Said, watchFrame } from './frames';
import { View } from './view';

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
  readonly refused?: string;
}

/** A live view of who is online. Made by `createPresenceClient`. */
export interface PresenceClient {
  /** What is known of the connection. Another object each time it changes. */
  readonly connection: Connection;
  /** The status of a user; `undefined` where nothing is known. The same object until it changes. */
  getStatus(id: UserId): PresenceStatus | undefined;
  /** Everybody who is known, in no order. */
  getAll(): PresenceStatus[];
  /** Replaces whom it watches. */
  watch(ids: true | Iterable<UserId>): void;
  /** Calls `listener` with whoever has changed, once a frame. Returns the function that ends it. */
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
 * @throws TypeError where there is no WebSocket, or the url is none
 *
 * @example
 * const client = createPresenceClient({ url: 'wss://router.example', token, ids: ['acme_u1', 'acme_u2'] });
 * client.onChange((changed) => changed.forEach(({ userId, status }) => paint(userId, status)));
 * client.onConnectionChange(({ state, asOf }) => (bar.textContent = state === 'live' ? '' : `showing state of ${asOf}`));
 */
export function createPresenceClient(options: PresenceClientOptions): PresenceClient {
  return new Client(options);
}

type Listener<T> = (value: T) => void;
type Snapshot = Extract<Said, { kind: 'snapshot' }>;

class Client implements PresenceClient {
  connection: Connection = { state: 'connecting', asOf: null };
  private readonly view: View;
  private heardAt: string | undefined;
  private attempts = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private socket: WebSocketLike | undefined;
  private readonly changes = new Set<Listener<readonly PresenceStatus[]>>();
  private readonly connections = new Set<Listener<Connection>>();
  private readonly WebSocket: NonNullable<PresenceClientOptions['WebSocket']>;

  constructor(private readonly options: PresenceClientOptions) {
    const { url, WebSocket = (globalThis as { WebSocket?: unknown }).WebSocket, ids = true } = options;
    if (!/^wss?:\/\//.test(url)) throw new TypeError(`url is ${JSON.stringify(url)}; it begins with ws:// or wss://`);
    if (typeof WebSocket !== 'function') throw new TypeError('there is no global WebSocket; give one, as that of ws');
    this.WebSocket = WebSocket as NonNullable<PresenceClientOptions['WebSocket']>;
    this.view = new View(toIds(ids));
    this.globalEvents('addEventListener');
    this.connect();
    void this.load();
  }

  getStatus(id: UserId): PresenceStatus | undefined {
    return this.view.users.get(String(id));
  }

  getAll(): PresenceStatus[] {
    return Array.from(this.view.users.values());
  }

  watch(ids: true | Iterable<UserId>): void {
    this.view.watch(toIds(ids));
    this.ask();
  }

  onChange(listener: Listener<readonly PresenceStatus[]>): () => void {
    this.changes.add(listener);
    return () => this.changes.delete(listener);
  }

  onConnectionChange(listener: Listener<Connection>): () => void {
    this.connections.add(listener);
    return () => this.connections.delete(listener);
  }

  close(): void {
    if (this.connection.state === 'closed') return;
    this.globalEvents('removeEventListener');
    this.become('closed');
    clearTimeout(this.timer);
    this.drop();
  }

  private connect(): void {
    const { url, token, deviceId = 'web' } = this.options;
    clearTimeout(this.timer);
    this.become('connecting');
    let socket: WebSocketLike;
    try {
      socket = token === undefined ? new this.WebSocket(url) : new this.WebSocket(url, [token, deviceId]);
    } catch (error) {
      // A token that cannot be a subprotocol never becomes one.
      this.become('closed', `${error}`);
      return;
    }
    this.socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => this.ask();
    socket.onmessage = ({ data }: { data: unknown }) => this.hear(data);
    socket.onerror = () => undefined;
    socket.onclose = () => this.lose();
    this.probeLater();
  }

  /** Goes on where it was; from the start, if that is nowhere. */
  private ask(): void {
    if (this.socket?.readyState === OPEN) this.socket.send(watchFrame(this.view.ids, this.view.cursor));
  }

  private hear(data: unknown): void {
    const said = readFrame(data);
    if (said === undefined) return;
    this.heardAt = new Date().toISOString();
    this.probeLater();
    const { view } = this;
    if (said.kind === 'update') this.tell(view.update(said));
    else if (said.kind === 'snapshot') this.show(said);
    else if (said.kind === 'refused') this.become(this.connection.state, said.details);
    else if (said.stale) this.become('stale', undefined, said.asOf);
    else if (view.isWhole) this.become('live');
  }

  private show(said: Snapshot): void {
    this.tell(this.view.show(said));
    if (said.more === true) return;
    this.attempts = 0;
    if (this.connection.state === 'connecting') this.become('live');
  }

  private lose(asOf?: string): void {
    if (this.connection.state === 'closed') return;
    this.socket = undefined;
    this.view.lose();
    this.become('offline', undefined, this.connection.state === 'live' ? asOf : undefined);
    const { minBackoffMs = 1_000, maxBackoffMs = 30_000 } = this.options;
    const most = Math.min(maxBackoffMs, minBackoffMs * 2 ** this.attempts);
    this.attempts += 1;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), Math.random() * most);
  }

  /** Lets go of a socket that may be dead: its end may come much later, and is of no interest then. */
  private drop(): void {
    const { socket } = this;
    this.socket = undefined;
    if (socket === undefined) return;
    socket.onopen = null;
    socket.onmessage = null;
    socket.onclose = null;
    socket.close();
  }

  /** Whoever hears nothing asks; whoever gets no answer to that connects anew. */
  private probeLater(isAsked = false): void {
    const { probeMs = 30_000 } = this.options;
    clearTimeout(this.timer);
    this.timer = setTimeout(
      () => {
        if (isAsked || this.socket?.readyState !== OPEN) {
          this.drop();
          this.lose(this.heardAt);
          return;
        }
        // Without a cursor the answer would be everything.
        if (this.view.cursor !== undefined) this.ask();
        this.probeLater(this.view.cursor !== undefined);
      },
      isAsked ? probeMs / 3 : probeMs,
    );
  }

  /** Shows named ids at once, where the router can be asked over HTTP, until the socket shows what is true. */
  private async load(): Promise<void> {
    const { statusUrl, token } = this.options;
    const { ids } = this.view;
    if (statusUrl === undefined || ids === true) return;
    try {
      const response = await fetch(statusUrl, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
        body: JSON.stringify({ userIds: ids }),
      });
      const answer = (await response.json()) as { [id: string]: PresenceStatus };
      if (!response.ok || this.view.isWhole || this.connection.state === 'closed') return;
      for (const user of Object.values(answer)) this.view.users.set(user.userId, user);
      this.tell(this.getAll());
    } catch {
      // The socket tells, a little later.
    }
  }

  private become(state: Connection['state'], refused?: string, asOf?: string): void {
    const before = this.connection;
    const wasTrue = before.state === 'live';
    const isSame = before.state === state && before.refused === refused && asOf === undefined;
    if (isSame) return;
    const known = state === 'live' || wasTrue ? new Date().toISOString() : before.asOf;
    this.connection = { state, asOf: asOf ?? known, ...(refused === undefined ? {} : { refused }) };
    for (const listener of this.connections) listener(this.connection);
  }

  private tell(changed: readonly PresenceStatus[]): void {
    if (changed.length > 0) for (const listener of this.changes) listener(changed);
  }

  /** A browser knows when there is a network again. */
  private globalEvents(how: 'addEventListener' | 'removeEventListener'): void {
    type Listen = (name: string, run: () => void) => void;
    (globalThis as { addEventListener?: Listen; removeEventListener?: Listen })[how]?.('online', this.onOnline);
  }

  private readonly onOnline = (): void => {
    if (this.connection.state === 'offline') this.connect();
  };
}

function toIds(ids: true | Iterable<UserId>): string[] | true {
  return ids === true ? true : Array.from(new Set(Array.from(ids, String)));
}
