import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { createPresence, type Identity, type PresenceUpdate } from 'voiceping-presence';
import { type FakeSocket, fakeSocket } from 'voiceping-presence/testing';
import { attachPresence } from 'voiceping-presence/ws';
import { type WebSocket, WebSocketServer } from 'ws';
import { obey, settings } from './child';
import { AUDIO } from './frames';

// A router as a process of its own: sockets of `ws`, presence with its defaults, and calls that are relayed. Whose socket
// it is stands in the path: see `identify`.

export interface RouterSettings {
  /** Whether clients may ask by frame. */
  readonly authorizeWatch: boolean;
}

const MAX_PAYLOAD = 300 * 1_024;

const { authorizeWatch } = settings<RouterSettings>();
const phones = new Map<number, WebSocket>();
/** Users without a network, who do nothing but answer pings. */
const others = new Map<string, FakeSocket>();
const changes: PresenceUpdate[] = [];
const errors: { [stage: string]: number } = {};
const closes: { [code: number]: number } = {};
let frames = 0;
let relayed = 0;
let decisions = 0;
let highestRss = 0;
let cpuAt = process.cpuUsage();
let loopAt = performance.eventLoopUtilization();
const loop = monitorEventLoopDelay({ resolution: 5 });
loop.enable();

const presence = createPresence({
  onError(_error, { stage }) {
    errors[stage] = (errors[stage] ?? 0) + 1;
  },
  ...(authorizeWatch && {
    authorizeWatch: ({ userId }: Identity) => {
      decisions += 1;
      return String(userId).startsWith('dashboard');
    },
  }),
});
presence.onUpdate((update) => {
  if (!update.userId.startsWith('hostile')) changes.push(update);
});

/** `/phone7`, `/hostile7`, `/dashboard7`; `/null7` and `/never7` are nobody. */
async function identify(url: string): Promise<Identity | null> {
  const userId = url.slice(1);
  if (userId.startsWith('null')) return null;
  if (userId.startsWith('never')) return new Promise(() => undefined);
  if (userId.startsWith('throws')) throw new Error('the service of identities is away');
  return { userId, track: !userId.startsWith('dashboard') };
}

const server = createServer();
const wss = new WebSocketServer({ server, maxPayload: MAX_PAYLOAD });
wss.on('connection', (socket, { url = '' }) => {
  const phone = /^\/phone(\d+)$/.exec(url);
  if (phone !== null) phones.set(Number(phone[1]), socket);
  socket.on('error', () => undefined);
  socket.on('close', (code) => {
    closes[code] = (closes[code] ?? 0) + 1;
  });
  socket.on('message', (data: Buffer, isBinary: boolean) => {
    frames += 1;
    // A call, from one phone to another: whom it is for stands behind the type.
    if (phone === null || !isBinary || data[0] !== AUDIO) return;
    const callee = phones.get(data.readUInt32BE(1));
    if (callee === undefined) return;
    relayed += 1;
    callee.send(data);
  });
});
attachPresence(presence, wss, { identify: ({ url = '' }) => identify(url) });

setInterval(() => {
  highestRss = Math.max(highestRss, process.memoryUsage.rss());
}, 20).unref();

const commands = {
  async listen(): Promise<number> {
    await presence.ready();
    await new Promise<void>((resolve) => server.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 }, resolve));
    return (server.address() as AddressInfo).port;
  },
  /** So many users more, without a network. */
  async populate(count: number): Promise<void> {
    const attachments = Array.from({ length: count }, (_, index) => {
      const socket = fakeSocket();
      others.set(`other${index}`, socket);
      return presence.attachToSocket(socket, { userId: `other${index}` });
    });
    await Promise.all(attachments.map(({ ready }) => ready));
  },
  leave(userId: string): void {
    others.get(userId)?.close();
  },
  async statuses(userIds: string[]): Promise<Array<string | undefined>> {
    const statuses = await presence.getStatuses(userIds);
    return userIds.map((userId) => statuses[userId]?.status);
  },
  /** After all that is garbage is gone. */
  memory(): { heap: number; rss: number; highestRss: number } {
    for (let times = 0; times < 5; times += 1) global.gc?.();
    const { heapUsed: heap, rss, external } = process.memoryUsage();
    return { heap: heap + external, rss, highestRss };
  },
  /** Forgets what was until now. */
  begin(): void {
    changes.length = 0;
    highestRss = process.memoryUsage.rss();
    cpuAt = process.cpuUsage();
    loopAt = performance.eventLoopUtilization();
    loop.reset();
    for (const code of Object.keys(closes)) delete closes[Number(code)];
    frames = 0;
    relayed = 0;
    decisions = 0;
  },
  report() {
    const { user, system } = process.cpuUsage(cpuAt);
    const busy = performance.eventLoopUtilization(loopAt).utilization;
    const sockets = wss.clients.size;
    const cpuMs = (user + system) / 1_000;
    const [p99, max] = [loop.percentile(99) / 1e6, loop.max / 1e6];
    return { changes, errors, closes, frames, relayed, decisions, sockets, cpuMs, busy, p99, max };
  },
};
export type RouterCommands = typeof commands;
obey(commands);
