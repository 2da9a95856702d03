import { fork } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { encode } from '@msgpack/msgpack';
import {
  createPresence,
  memoryStore,
  type PresenceOptions,
  type PresenceStore,
  type SocketLike,
} from 'voiceping-presence';
import { type WebSocket, WebSocketServer } from 'ws';
import { cpuOf, inTurn, print, type Result, usedHeap } from './measure.mjs';

/** The least a socket can be, so that what is measured is the library. */
class BareSocket extends EventEmitter implements SocketLike {
  readonly readyState = 1;
  readonly bufferedAmount = 0;
  send(_data: Uint8Array): void {}
  ping(): void {}
  terminate(): void {}
}

/** The system's clock, which counts how many timers are set at once. */
function countingClock() {
  const timers = new Set<unknown>();
  let most = 0;
  const clock: NonNullable<PresenceOptions['clock']> = {
    now: Date.now,
    setTimeout(run, ms) {
      const timer = setTimeout(() => {
        timers.delete(timer);
        run();
      }, ms).unref();
      most = Math.max(most, timers.add(timer).size);
      return timer;
    },
    clearTimeout(timer) {
      timers.delete(timer);
      clearTimeout(timer as NodeJS.Timeout);
    },
  };
  return { clock, most: () => most };
}

/** Takes everything and keeps nothing: what is left is what the router itself holds. */
const forgetfulStore: PresenceStore = {
  beat: async () => ({ known: true }),
  apply: async () => ({ known: true }),
  refresh: async () => ({ known: true, missing: [] }),
  release: async () => undefined,
  read: async () => ({ now: 0, users: [] }),
  list: async () => ({ now: 0, users: [], cursor: null }),
  count: async () => 0,
  subscribe: () => () => undefined,
};

async function heapOfASocket(store: PresenceStore): Promise<{ bytes: number; timers: number }> {
  const count = 100_000;
  const { clock, most } = countingClock();
  const presence = createPresence({ clock, store });
  await presence.ready();
  const sockets = Array.from({ length: count }, () => new BareSocket());
  const ids = sockets.map((_, index) => `acme_u${index}`);
  const before = usedHeap();
  const attachments = sockets.map((socket, index) => presence.attachToSocket(socket, { userId: ids[index] as string }));
  await attachments[count - 1]?.ready;
  const bytes = (usedHeap() - before) / count;
  attachments.length = 0;
  await presence.close();
  return { bytes, timers: most() };
}

async function memoryOfASocket(): Promise<Result[]> {
  const { bytes, timers } = await heapOfASocket(forgetfulStore);
  const embedded = await heapOfASocket(memoryStore());
  return [
    {
      what: 'heap of an attached socket, beyond the socket',
      measured: `${Math.round(bytes)} bytes`,
      bound: '700 bytes',
      met: bytes <= 700,
    },
    {
      what: 'the same with its user in the memory store',
      measured: `${Math.round(embedded.bytes)} bytes`,
      bound: '',
      met: true,
    },
    {
      what: 'timers at once for 100,000 sockets',
      measured: String(timers),
      bound: 'none of their own',
      met: timers < 20,
    },
  ];
}

function listen(): void {}

async function voice(): Promise<Result> {
  const frames = 200_000;
  const frame = Buffer.from(encode([1, 3, 'acme_u1', 'acme_u2', Buffer.alloc(160, 7)]));
  const presence = createPresence();
  await presence.ready();
  const attached = new BareSocket();
  const bare = new BareSocket();
  for (const socket of [attached, bare]) socket.on('message', listen);
  presence.attachToSocket(attached, { userId: 'acme_u1' });
  const through = (socket: BareSocket) =>
    cpuOf(() => {
      for (let count = 0; count < frames; count += 1) socket.emit('message', frame, true);
    });
  await inTurn(
    3,
    () => through(attached),
    () => through(bare),
  );
  const { a, b } = await inTurn(
    15,
    () => through(attached),
    () => through(bare),
  );
  await presence.close();
  const spent = (a - b) / frames;
  return {
    what: 'a voice frame that passes an attached socket',
    measured: `${spent.toFixed(3)} µs in the library`,
    bound: '0.3 µs',
    met: spent <= 0.3,
  };
}

async function fanOut(): Promise<Result[]> {
  const watchers = 1_000;
  const updates = 50;
  const wss = new WebSocketServer({ port: 0, perMessageDeflate: false });
  await once(wss, 'listening');
  const dashboards = fork(fileURLToPath(new URL('./dashboards.mts', import.meta.url)), {
    env: { ...process.env, PORT: String((wss.address() as AddressInfo).port), COUNT: String(watchers) },
    execArgv: ['--import', 'tsx'],
  });
  while (wss.clients.size < watchers) await once(wss, 'connection');
  const sockets = Array.from(wss.clients) as WebSocket[];

  const presence = createPresence();
  await presence.ready();
  for (const socket of sockets) presence.attachToSocket(socket, { userId: 'dash', track: false, watch: true });
  let told = 0;
  presence.onUpdate(() => {
    told += 1;
  });
  const phone = new BareSocket();
  // The very bytes that the library sends.
  let frame: Uint8Array = new Uint8Array();
  const tap = new BareSocket();
  tap.send = (data: Uint8Array) => {
    frame = data;
  };
  const tapped = presence.attachToSocket(tap, { userId: 'tap', track: false, watch: ['acme_u1'] });
  await presence.attachToSocket(phone, { userId: 'acme_u1' }).detach();
  const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

  await nextTurn();
  await tapped.detach();

  const byLibrary = () =>
    cpuOf(async () => {
      for (let count = 0; count < updates; count += 2) {
        const attachment = presence.attachToSocket(phone, { userId: 'acme_u1' });
        await nextTurn();
        await attachment.detach();
        await nextTurn();
      }
    });
  const byHand = () =>
    cpuOf(async () => {
      for (let count = 0; count < updates; count += 1) {
        for (const socket of sockets) socket.send(frame);
        await nextTurn();
      }
    });
  await inTurn(3, byLibrary, byHand);
  const before = told;
  const rounds = 15;
  const { a, b, ratio } = await inTurn(rounds, byLibrary, byHand);
  const exact = told - before === rounds * updates;
  await presence.close();
  dashboards.kill();
  wss.close();
  return [
    {
      what: 'one update to 1,000 watching sockets, against a loop of ws.send',
      measured: `${ratio.toFixed(3)} × (${(a / updates).toFixed(0)} µs against ${(b / updates).toFixed(0)} µs)`,
      bound: '1.15 ×',
      met: ratio <= 1.15 && exact,
    },
  ];
}

const results = [...(await memoryOfASocket()), await voice(), ...(await fanOut())];
print(results);
console.log(`medians of alternating runs; voice and fan-out by CPU time..`);
