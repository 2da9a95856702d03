import { once } from 'node:events';
import { createServer, type IncomingMessage, STATUS_CODES } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { createPresence, type Presence, type PresenceOptions } from 'voiceping-presence';
import { createStatusHandler } from 'voiceping-presence/http';
import { type WebSocket, WebSocketServer } from 'ws';
import { maySee, mayWatch, type User } from './access';
import { Calls } from './calls';
import { bearerOf, chooseProtocol, credentialsOf } from './credentials';
import { KnownUsers } from './known-users';
import { Listeners } from './listeners';
import { isAllowedOrigin } from './origins';
import { servePage } from './pages';
import { type Authentication, userOf } from './tokens';

/** An image of a chat is the largest frame there is. */
const MAX_FRAME_BYTES = 262_144;

/** What a stranger may cost before it is known who that is. */
const HTTP_LIMITS = { maxHeaderSize: 16_384, headersTimeout: 10_000, requestTimeout: 30_000 };

export interface RouterConfig extends Authentication {
  /** 0 for a free one. */
  port: number;
  /** The address to listen on. @default '127.0.0.1' without a `secretKey`, else all */
  host?: string | undefined;
  /** Origins of pages, other than those of this router, that may connect: `https://desk.example`; `*` for any. @default none */
  allowedOrigins?: readonly string[];
  presence?: PresenceOptions;
  /** Users whom the dashboard lists although they have not connected yet. */
  users?: readonly string[];
}

export interface Router {
  readonly port: number;
  readonly presence: Presence;
  close(): Promise<void>;
}

/** A push-to-talk router: WebSocket and HTTP on one port, private calls, presence, and a dashboard. */
export async function startRouter(config: RouterConfig): Promise<Router> {
  const { allowedOrigins = [], secretKey } = config;
  const known = new KnownUsers();
  const listeners = new Listeners(known);
  const calls = new Calls();

  const presence = createPresence({
    authorizeWatch: (identity, userIds) => {
      // What the socket was attached with.
      const user = identity as User;
      listeners.remove(user);
      return mayWatch(user, userIds);
    },
    maxWatchIds: 10_000,
    ...config.presence,
  });

  for (const userId of config.users ?? []) known.add(userId);
  presence.onUpdate(({ userId }) => known.add(userId));
  // Where that fails, those become known whose status changes.
  learn(presence, known).catch(() => undefined);

  /** Who asks over HTTP; without authentication nobody needs a token for that. */
  const requester = ({ headers }: IncomingMessage) =>
    checked(bearerOf(headers) ?? (secretKey === undefined ? 'dashboard' : undefined), config);

  const answerStatus = createStatusHandler(presence, {
    cors: allowedOrigins.includes('*') ? true : allowedOrigins,
    authorize: (request, userIds) => {
      const user = requester(request);
      return user === undefined ? 401 : userIds.every((userId) => maySee(user, userId));
    },
  });

  const wss = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_FRAME_BYTES,
    handleProtocols: (offered, request) => chooseProtocol(offered, request.headers),
  });

  function welcome(socket: WebSocket, user: User): void {
    socket.on('error', () => undefined);
    const attachment = presence.attachToSocket(socket, user);
    if (user.track) calls.add(user, socket);
    else if (!user.seesAll) listeners.add(user, attachment, socket);
  }

  const server = createServer(HTTP_LIMITS, (request, response) => {
    const [path = '/'] = (request.url ?? '/').split('?');
    if (path === '/api/presence/status') return void answerStatus(request, response);
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return void response.writeHead(405, { allow: 'GET, HEAD' }).end();
    }
    if (path !== '/api/users') return void servePage(path, request, response);
    const user = requester(request);
    response.writeHead(user ? 200 : 401, { 'content-type': 'application/json', 'cache-control': 'no-store' });
    response.end(JSON.stringify(user ? known.visibleTo(user) : { error: 'Unauthorized' }));
  });

  server.on('upgrade', (request, socket: Duplex, head) => {
    // From here on the socket is ours, and so are its errors.
    socket.on('error', () => socket.destroy());
    if (!isAllowedOrigin(request.headers, allowedOrigins)) return refuse(socket, 403);
    const { token, deviceId } = credentialsOf(request.headers) ?? {};
    const user = checked(token, config);
    if (user === undefined) return refuse(socket, 401);
    wss.handleUpgrade(request, socket, head, (ws) =>
      welcome(ws, deviceId === undefined ? user : { ...user, deviceId }),
    );
  });

  let closing: Promise<void> | undefined;
  async function close(): Promise<void> {
    listeners.close();
    await presence.close();
    for (const socket of wss.clients) socket.terminate();
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }

  server.listen(config.port, config.host ?? (secretKey === undefined ? '127.0.0.1' : undefined));
  await once(server, 'listening').catch(async (error) => {
    listeners.close();
    await presence.close();
    throw error;
  });
  return {
    port: (server.address() as AddressInfo).port,
    presence,
    close() {
      closing = closing ?? close();
      return closing;
    },
  };
}

/** Who a token names, if it is good. */
function checked(token: string | undefined, authentication: Authentication): User | undefined {
  if (token === undefined) return undefined;
  try {
    return userOf(token, authentication);
  } catch {
    return undefined;
  }
}

function refuse(socket: Duplex, status: 401 | 403): void {
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

/** Those who are online already, on other routers of the same store. */
async function learn(presence: Presence, known: KnownUsers): Promise<void> {
  await presence.ready();
  let cursor: string | null = '';
  while (cursor !== null && !known.isFull) {
    const page = await presence.listOnline({ limit: 1_000, ...(cursor !== '' && { cursor }) });
    for (const { userId } of page.users) known.add(userId);
    cursor = page.cursor;
  }
}
