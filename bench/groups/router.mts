import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { decode, encode } from '@msgpack/msgpack';
import {
  createPresence,
  memoryStore,
  type Presence,
  type PresenceOptions,
  type PresenceStore,
} from 'voiceping-presence';
import { type WebSocket, WebSocketServer } from 'ws';
import { cpuOf, inTurn, usedHeap } from '../measure.mjs';
import { BareSocket } from '../peers/peer.mjs';
import type { Section } from '../report.mjs';

// What the library costs inside a router, whatever the store.

interface Figure {
  readonly name: string;
  readonly what: string;
  readonly value: number;
  readonly unit: string;
}

export async function run(quick: boolean): Promise<Section[]> {
  const scale = quick ? 0.05 : 1;
  const found = [
    ...(await memoryOfASocket(100_000 * scale)),
    await voice(200_000 * scale),
    ...(await oneChange(1_000 * scale)),
    await busyFleet(100_000 * scale),
    await stalled(20_000 * scale),
    await resumed(20_000 * scale),
  ];
  return [
    {
      id: 'router',
      title: 'Inside a router',
      text: 'The embedded store, one process; CPU time, medians of alternating runs.',
      columns: ['', 'measured', 'unit'],
      rows: found.map(({ what, value, unit }) => [what, value, unit]),
      figures: Object.fromEntries(found.map(({ name, value }) => [name, value])),
    },
  ];
}

/** Counts what it is sent. */
class Sink extends BareSocket {
  frames = 0;
  bytes = 0;
  last: Uint8Array = new Uint8Array();
  stalls = false;
  override send(data: Uint8Array): void {
    this.frames += 1;
    this.bytes += data.length;
    this.last = data;
    // One that stalls keeps what it is given.
    if (this.stalls) this.bufferedAmount += data.length;
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function users(presence: Presence, count: number): Promise<Sink[]> {
  const sockets = Array.from({ length: count }, () => new Sink());
  const attachments = sockets.map((socket, user) => presence.attachToSocket(socket, { userId: `u${user}` }));
  await Promise.all(attachments.map(({ ready }) => ready));
  return sockets;
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

async function heapOfASocket(store: PresenceStore, count: number): Promise<{ bytes: number; timers: number }> {
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

async function memoryOfASocket(count: number): Promise<Figure[]> {
  const { bytes, timers } = await heapOfASocket(forgetfulStore, count);
  const embedded = await heapOfASocket(memoryStore(), count);
  return [
    { name: 'heap', what: 'heap of an attached socket, beyond the socket', value: bytes, unit: 'bytes' },
    { name: 'heapStored', what: 'the same, with its user in the memory store', value: embedded.bytes, unit: 'bytes' },
    { name: 'timers', what: `timers for ${count.toLocaleString('en')} sockets`, value: timers, unit: 'at once' },
  ];
}

function listen(): void {}

async function voice(frames: number): Promise<Figure> {
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
  return { name: 'voice', what: 'a voice frame that passes by', value: (a - b) / frames, unit: 'µs' };
}

/** A change to 1,000 dashboards on real sockets, against a bare loop; and with 1,000 more that do not watch it. */
async function oneChange(watchers: number): Promise<Figure[]> {
  const wss = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
  await once(wss, 'listening');
  const child = fork(new URL('../dashboards.mts', import.meta.url), {
    execArgv: ['--import', 'tsx'],
    env: { ...process.env, PORT: String((wss.address() as AddressInfo).port), COUNT: String(watchers * 2) },
  });
  while (wss.clients.size < watchers * 2) await once(wss, 'connection');
  const all = Array.from(wss.clients) as WebSocket[];
  const [watching, others] = [all.slice(0, watchers), all.slice(watchers)];
  const presence = createPresence({ graceMs: 0 });
  for (const socket of watching) presence.attachToSocket(socket, { userId: 'd', track: false, watch: ['u'] });
  const attachments = others.map((socket) => presence.attachToSocket(socket, { userId: 'd', track: false, watch: [] }));
  await turn();
  const frame = encode({
    messageType: 31,
    fromId: 'u',
    toId: '',
    status: 'online',
    timestamp: new Date().toISOString(),
    channelType: 1,
    version: 1_000,
    reason: 'connect',
  });
  const change = async (): Promise<void> => {
    const socket = new Sink();
    await presence.attachToSocket(socket, { userId: 'u' }).ready;
    await turn();
    socket.emit('close', 1000);
    await turn();
  };
  const loop = async (): Promise<void> => {
    for (let times = 0; times < 2; times += 1) {
      for (const socket of watching) socket.send(frame);
      await turn();
    }
  };
  const repeat = async (run: () => Promise<void>): Promise<void> => {
    for (let times = 0; times < 20; times += 1) await run();
  };
  for (const run of [change, loop]) await repeat(run);
  const measured = () =>
    inTurn(
      15,
      () => cpuOf(() => repeat(change)),
      () => cpuOf(() => repeat(loop)),
    );
  const { ratio } = await measured();
  // The others watch somebody, and not this one.
  for (const attachment of attachments) attachment.watch(['somebody else']);
  await turn();
  const withOthers = await measured();
  await presence.close();
  child.kill();
  wss.close();
  return [
    { name: 'change', what: `a change to ${watchers} dashboards, beside a loop of ws.send`, value: ratio, unit: '×' },
    {
      name: 'others',
      what: `the same with ${watchers} more that do not watch it`,
      value: withOthers.ratio,
      unit: '×',
    },
  ];
}

/** 100,000 users, 1,000 changes a second, 1,000 dashboards that watch 500 each. */
async function busyFleet(count: number): Promise<Figure> {
  const presence = createPresence({ graceMs: 0, store: memoryStore() });
  const sockets = await users(presence, count);
  const dashboards = Array.from({ length: 1_000 }, () => new Sink());
  for (const [index, socket] of dashboards.entries()) {
    const watch = Array.from({ length: 500 }, (_, place) => `u${(index * 97 + place * 199) % count}`);
    presence.attachToSocket(socket, { userId: `d${index}`, track: false, watch });
  }
  for (let times = 0; times < 20; times += 1) await turn();
  const before = dashboards.reduce((sum, { frames }) => sum + frames, 0);
  const seconds = 5;
  const cpu = await cpuOf(async () => {
    for (let change = 0; change < seconds * 1_000; change += 1) {
      const user = (change * 7_919) % count;
      sockets[user]?.emit('close', 1000);
      const socket = new Sink();
      sockets[user] = socket;
      await turn();
      presence.attachToSocket(socket, { userId: `u${user}` });
      if (change % 2 === 1) await turn();
    }
    await turn();
  });
  const frames = dashboards.reduce((sum, dashboard) => sum + dashboard.frames, 0) - before;
  await presence.close();
  const what = `1,000 leave and come back a second: ${Math.round(frames / seconds)} frames a second to 1,000 dashboards`;
  return { name: 'busy', what, value: cpu / 1_000_000 / seconds, unit: 'cores' };
}

/** What a dashboard that takes nothing makes the router hold, while everybody comes and goes: beside one that takes all. */
async function stalled(count: number): Promise<Figure> {
  const held = async (stalls: boolean): Promise<number> => {
    const presence = createPresence({ graceMs: 0, authorizeWatch: () => true });
    const sockets = await users(presence, count);
    const dashboard = new Sink();
    presence.attachToSocket(dashboard, { userId: 'd', track: false, watch: true });
    for (let times = 0; times < 100; times += 1) await turn();
    const storm = async (): Promise<void> => {
      for (const [user, socket] of sockets.entries()) {
        socket.emit('close', 1000);
        if (user % 500 === 499) await turn();
      }
      await turn();
      for (const user of sockets.keys()) {
        const socket = new Sink();
        sockets[user] = socket;
        presence.attachToSocket(socket, { userId: `u${user}` });
        if (user % 500 === 499) await turn();
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    };
    for (let times = 0; times < 3; times += 1) await storm();
    const before = usedHeap();
    dashboard.stalls = stalls;
    await storm();
    await storm();
    const bytes = usedHeap() - before + dashboard.bufferedAmount;
    await presence.close();
    return bytes;
  };
  await held(false);
  const { a, b } = await inTurn(
    3,
    () => held(true),
    () => held(false),
  );
  const what = `held for a stalled dashboard, through ${(count * 4).toLocaleString('en')} changes`;
  return { name: 'stalled', what, value: (a - b) / 1_024, unit: 'KiB' };
}

/** Of all users 1 % change while a dashboard is away. */
async function resumed(count: number): Promise<Figure> {
  const presence = createPresence({ graceMs: 0, authorizeWatch: () => true });
  const sockets = await users(presence, count);
  const ask = async (cursor: string | undefined): Promise<Sink> => {
    const socket = new Sink();
    presence.attachToSocket(socket, { userId: 'd', track: false });
    socket.emit('message', encode({ messageType: 33, ids: true, ...(cursor === undefined ? {} : { cursor }) }));
    for (let times = 0; times < 300; times += 1) await turn();
    return socket;
  };
  const first = await ask(undefined);
  const { cursor } = decode(first.last) as { cursor: string };
  for (let user = 0; user < count; user += 100) sockets[user]?.emit('close', 1000);
  await turn();
  const again = await ask(cursor);
  await presence.close();
  const share = (100 * again.bytes) / first.bytes;
  return { name: 'resume', what: 'a resume with 1 % changed, of the bytes of a snapshot', value: share, unit: '%' };
}
