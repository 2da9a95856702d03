import { once } from 'node:events';
import { createServer, type Server as HttpServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { decode } from '@msgpack/msgpack';
import { Server as SocketIoServer } from 'socket.io';
import { io as connectTo } from 'socket.io-client';
import { describe, expect, it, type TestContext, vi } from 'vitest';
import { type Clock, createPresence } from 'voiceping-presence';
import { attachPresence as attachSocketIo } from 'voiceping-presence/socket.io';
import { fakeSocket } from 'voiceping-presence/testing';
import { attachPresence } from 'voiceping-presence/ws';
import { WebSocket, WebSocketServer } from 'ws';
import ws5 from 'ws5';
import ws6 from 'ws6';
import ws7 from 'ws7';

// A dashboard that also hears voice: most of what is unsent on its socket was sent by the router itself.

/** A minute takes a second. */
const SPEED = 60;
/** What the link lets through in a real second. */
const RATE = 4_000_000;
/** More than the kernel takes. */
const BURST_BYTES = 8_000_000;
const CHUNK_BYTES = 16_384;

const VERSIONS = [
  { version: 5, Server: ws5.Server },
  { version: 6, Server: ws6.Server },
  { version: 7, Server: ws7.Server },
  { version: 8, Server: WebSocketServer },
];

function quickClock(): Clock {
  const start = Date.now();
  return {
    now: () => start + (Date.now() - start) * SPEED,
    setTimeout: (run, ms) => setTimeout(run, ms / SPEED).unref(),
    clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
  };
}

/** A link to a server that lets through so much a second, and nothing while it is stopped. */
class ThrottledLink {
  isStopped = false;
  private readonly sockets = new Set<Socket>();
  private readonly server = createTcpServer((down) => this.join(down));

  static async start(http: HttpServer): Promise<ThrottledLink> {
    const link = new ThrottledLink((http.address() as AddressInfo).port);
    link.server.listen(0, '127.0.0.1');
    await once(link.server, 'listening');
    return link;
  }

  private constructor(private readonly target: number) {}

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }

  private join(down: Socket): void {
    const up = connect(this.target, '127.0.0.1');
    for (const socket of [down, up]) {
      this.sockets.add(socket);
      socket.on('error', () => undefined);
    }
    down.pipe(up);
    let allowed = 0;
    let at = Date.now();
    const timer = setInterval(() => {
      const now = Date.now();
      allowed = this.isStopped ? 0 : Math.min(RATE / 4, allowed + ((now - at) * RATE) / 1_000);
      at = now;
      while (allowed > 0 && up.readableLength > 0) {
        const chunk: Buffer = up.read(Math.min(up.readableLength, Math.ceil(allowed)));
        allowed -= chunk.length;
        down.write(chunk);
      }
    }, 5);
    up.on('readable', () => undefined);
    up.on('close', () => {
      clearInterval(timer);
      down.destroy();
    });
    down.on('close', () => up.destroy());
  }
}

type OnEnd = TestContext['onTestFinished'];

async function world(onEnd: OnEnd) {
  const http = createServer();
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const link = await ThrottledLink.start(http);
  const errors: string[] = [];
  const presence = createPresence({
    clock: quickClock(),
    ttlMs: 86_400_000,
    pingIntervalMs: false,
    commandTimeoutMs: 600_000,
    onError: (error, { stage }) => errors.push(`${stage}: ${error.message}`),
  });
  onEnd(async () => {
    await presence.close();
    link.close();
    http.close();
  });
  return { http, link, presence, errors };
}

/** Sends voice from now on: so much at once, then as much as the link lets through, so that what is unsent does not get less. */
function speak(onEnd: OnEnd, send: (voice: Buffer) => void): void {
  for (let sent = 0; sent < BURST_BYTES; sent += CHUNK_BYTES) send(Buffer.alloc(CHUNK_BYTES));
  let at = Date.now();
  const timer = setInterval(() => {
    const now = Date.now();
    send(Buffer.alloc(Math.ceil(((now - at) * RATE) / 1_000)));
    at = now;
  }, 5);
  onEnd(() => clearInterval(timer));
}

async function dashboardOn(onEnd: OnEnd, { Server }: { Server: typeof WebSocketServer }) {
  const parts = await world(onEnd);
  const wss = new Server({ server: parts.http });
  attachPresence(parts.presence, wss, { identify: () => ({ userId: 'dash', track: false, watch: true }) });
  const arrived = once(wss, 'connection') as Promise<[WebSocket]>;
  const client = new WebSocket(`ws://127.0.0.1:${parts.link.port}`);
  const closed: number[] = [];
  const shown: string[] = [];
  client.on('close', (code) => closed.push(code));
  client.on('message', (data: Buffer) => {
    if (data[0] === 0) return;
    const { messageType, fromId } = decode(data) as { messageType: number; fromId?: string };
    shown.push(fromId ?? String(messageType));
  });
  onEnd(() => client.terminate());
  const [socket] = await arrived;
  socket.on('error', () => undefined);
  await vi.waitFor(() => expect(shown).toEqual(['32']), 10_000);
  return { ...parts, socket, shown, closed };
}

const connectPhone = ({ presence }: { presence: ReturnType<typeof createPresence> }, userId: string) =>
  presence.attachToSocket(fakeSocket(), { userId });

describe.concurrent.each(VERSIONS)('a dashboard on a busy link, on ws $version,', (version) => {
  // It was closed: what is unsent was measured, and that stays where it is while voice flows.
  it('is shown what changes while it takes what it is sent', { timeout: 60_000 }, async ({ onTestFinished: onEnd }) => {
    const parts = await dashboardOn(onEnd, version);
    const { socket, shown, closed, errors } = parts;
    speak(onEnd, (voice) => socket.send(voice));
    connectPhone(parts, 'first');
    await vi.waitFor(() => expect(shown).toEqual(['32', 'first']), 40_000);
    // Half a minute of the presence is half a second.
    expect([closed, errors]).toEqual([[], []]);
  });

  it('is closed with 4008 once nothing gets through any more', { timeout: 60_000 }, async ({
    onTestFinished: onEnd,
  }) => {
    const parts = await dashboardOn(onEnd, version);
    const { socket, link, errors } = parts;
    link.isStopped = true;
    const closed = once(socket, 'close');
    while (socket.bufferedAmount < 100_000) {
      socket.send(Buffer.alloc(CHUNK_BYTES));
      await new Promise(setImmediate);
    }
    connectPhone(parts, 'first');
    // It never hears why: nothing gets through.
    await closed;
    expect(errors).toEqual(['send: send failed: a socket has taken nothing for too long, and is closed']);
  });
});

it.concurrent('a dashboard on a busy link, on socket.io, is shown what changes', { timeout: 60_000 }, async ({
  onTestFinished: onEnd,
}) => {
  const parts = await world(onEnd);
  const { http, presence, link, errors } = parts;
  const io = new SocketIoServer(http, { transports: ['websocket'], pingTimeout: 60_000 });
  attachSocketIo(presence, io, { identify: () => ({ userId: 'dash', track: false, watch: true }) });
  const client = connectTo(`http://127.0.0.1:${link.port}`, { transports: ['websocket'], reconnection: false });
  onEnd(() => {
    client.disconnect();
    void io.close();
  });
  const shown: string[] = [];
  client.on('presence:snapshot', () => shown.push('snapshot'));
  client.on('presence:update', ({ userId }: { userId: string }) => shown.push(userId));
  await vi.waitFor(() => expect(shown).toEqual(['snapshot']), 10_000);
  const [socket] = Array.from(io.sockets.sockets.values());
  speak(onEnd, (voice) => socket?.emit('voice', voice));
  connectPhone(parts, 'first');
  await vi.waitFor(() => expect(shown).toEqual(['snapshot', 'first']), 40_000);
  expect([errors, client.connected]).toEqual([[], true]);
});
