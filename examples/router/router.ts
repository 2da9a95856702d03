import { once } from 'node:events';
import { createServer, type IncomingMessage, STATUS_CODES } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { createPresence, type Identity, type Presence, type PresenceOptions } from 'voiceping-presence';
import { createStatusHandler } from 'voiceping-presence/http';
import { attachPresence } from 'voiceping-presence/ws';
import { WebSocketServer } from 'ws';
import { Calls } from './calls';
import { type Authentication, bearerIdentity, credentialsOf, identityOf } from './credentials';
import { servePage } from './pages';

/** An image of a chat is the largest frame there is. */
const MAX_FRAME_BYTES = 262_144;

/** Users whom the dashboard is told of without being asked: no more than this. */
const MAX_USERS = 10_000;

export interface RouterConfig {
  /** 0 for a free one. */
  port: number;
  /** With a secret, tokens are JWTs; without one, a token is the user id. */
  secretKey?: string | undefined;
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
  const authentication: Authentication = { secretKey: config.secretKey };
  const users = new Set(config.users);
  const identities = new WeakMap<IncomingMessage, Identity>();
  const calls = new Calls();

  // A dashboard may watch everybody; a phone nobody.
  const presence = createPresence({ authorizeWatch: ({ track }) => track === false, ...config.presence });
  const wss = new WebSocketServer({ noServer: true, maxPayload: MAX_FRAME_BYTES });
  attachPresence(presence, wss, { identify: (request: IncomingMessage) => identities.get(request) ?? null });

  const isAllowed = (request: IncomingMessage) =>
    authentication.secretKey === undefined || bearerIdentity(request.headers, authentication) !== undefined;
  const answerStatus = createStatusHandler(presence, { authorize: (request) => isAllowed(request) || 401 });

  wss.on('connection', (socket, request: IncomingMessage) => {
    socket.on('error', () => undefined);
    const { userId, track = true } = identities.get(request) ?? { userId: '', track: false };
    if (!track) return;
    if (users.size < MAX_USERS) users.add(String(userId));
    calls.add(String(userId), socket);
  });

  const server = createServer((request, response) => {
    const [path = '/'] = (request.url ?? '/').split('?');
    if (path === '/api/presence/status') return void answerStatus(request, response);
    if (path === '/api/users') {
      const allowed = isAllowed(request);
      response.writeHead(allowed ? 200 : 401, { 'content-type': 'application/json', 'cache-control': 'no-store' });
      return void response.end(JSON.stringify(allowed ? Array.from(users) : { error: 'Unauthorized' }));
    }
    void servePage(path, response);
  });

  server.on('upgrade', (request, socket: Duplex, head) => {
    // From here on the socket is ours, and so are its errors.
    socket.on('error', () => socket.destroy());
    const identity = identify(request, authentication);
    if (identity === undefined) {
      socket.once('finish', () => socket.destroy());
      socket.end(`HTTP/1.1 401 ${STATUS_CODES[401]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    identities.set(request, identity);
    wss.handleUpgrade(request, socket, head, (ws) => wss.emit('connection', ws, request));
  });

  let closing: Promise<void> | undefined;
  async function close(): Promise<void> {
    await presence.close();
    for (const socket of wss.clients) socket.terminate();
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }

  server.listen(config.port);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    presence,
    close() {
      closing = closing ?? close();
      return closing;
    },
  };
}

function identify(request: IncomingMessage, authentication: Authentication): Identity | undefined {
  const credentials = credentialsOf(request.headers);
  if (credentials === undefined) return undefined;
  try {
    return identityOf(credentials, authentication);
  } catch {
    return undefined;
  }
}
