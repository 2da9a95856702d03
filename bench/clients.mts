import { once } from 'node:events';
import { WebSocket } from 'ws';

// Phones and dashboards on real sockets, in a process of their own: they answer pings, and count what they are sent.

export type ClientsRequest =
  | {
      readonly id: number;
      readonly does: 'connect';
      readonly port: number;
      readonly from: number;
      readonly count: number;
      readonly kind: 'user' | 'dashboard';
      readonly protocol: 'ws' | 'socket.io';
      /** For so long they connect, some after the other; otherwise as soon as can be. */
      readonly overMs?: number;
    }
  | { readonly id: number; readonly does: 'close' | 'drop' | 'count' };

export interface ClientsReply {
  readonly id: number;
  readonly messages: number;
  /** When the last of them came, in milliseconds since the epoch. */
  readonly lastAt: number;
  readonly connected: number;
}

const AT_ONCE = 50;
let sockets: WebSocket[] = [];
let messages = 0;
let lastAt = 0;

process.on('message', async (request: ClientsRequest) => {
  if (request.does === 'connect') {
    const { port, from, count, kind, protocol, overMs = 0 } = request;
    const startedAt = performance.now();
    for (let at = 0; at < count; at += AT_ONCE) {
      const waitMs = startedAt + (overMs * at) / count - performance.now();
      if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
      const some = Array.from({ length: Math.min(AT_ONCE, count - at) }, (_, index) => from + at + index);
      await Promise.all(some.map((user) => connect(port, kind === 'user' ? `acme_u${user}` : '', protocol)));
    }
  } else if (request.does === 'close' || request.does === 'drop') {
    await Promise.all(
      sockets.map((socket) => {
        if (request.does === 'drop') socket.terminate();
        else socket.close(1000);
        return once(socket, 'close');
      }),
    );
  }
  sockets = sockets.filter(({ readyState }) => readyState === WebSocket.OPEN);
  process.send?.({ id: request.id, messages, lastAt, connected: sockets.length } satisfies ClientsReply);
});
process.on('disconnect', () => process.exit());
process.send?.({ ready: true });

async function connect(port: number, userId: string, protocol: 'ws' | 'socket.io'): Promise<void> {
  const isPlain = protocol === 'ws';
  const path = isPlain ? `/?userId=${userId}` : `/socket.io/?EIO=4&transport=websocket&userId=${userId}`;
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { perMessageDeflate: false });
  sockets.push(socket);
  if (isPlain) {
    socket.on('message', () => {
      messages += 1;
      lastAt = performance.timeOrigin + performance.now();
    });
    await once(socket, 'open');
    return;
  }
  // The least of engine.io and socket.io that a client has to speak.
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.on('message', (data) => {
      const packet = String(data);
      if (packet.startsWith('42')) messages += 1;
      else if (packet === '2') socket.send('3');
      else if (packet.startsWith('40')) resolve();
      else if (packet.startsWith('0')) socket.send('40');
    });
  });
}
