import { fork } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { decode, encode } from '@msgpack/msgpack';
import { createPresence, memoryStore, type Presence, type SocketLike } from 'voiceping-presence';
import { type WebSocket, WebSocketServer } from 'ws';
import { cpuOf, inTurn, print, type Result, usedHeap } from './measure.mjs';

// Dashboards: what a change costs that they watch, and one that they do not; a busy fleet; one that stalls; one that comes back.

/** Counts what it is sent. */
class Sink extends EventEmitter implements SocketLike {
  readonly readyState = 1;
  bufferedAmount = 0;
  frames = 0;
  bytes = 0;
  last: Uint8Array = new Uint8Array();
  stalls = false;
  send(data: Uint8Array): void {
    this.frames += 1;
    this.bytes += data.length;
    this.last = data;
    // One that stalls keeps what it is given.
    if (this.stalls) this.bufferedAmount += data.length;
  }
  ping(): void {}
  terminate(): void {}
}

function result(what: string, value: number, bound: number, unit: string): Result {
  return { what, measured: `${value.toFixed(2)} ${unit}`, bound: `${bound} ${unit}`, met: value <= bound };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function users(presence: Presence, count: number): Promise<Sink[]> {
  const sockets = Array.from({ length: count }, () => new Sink());
  const attachments = sockets.map((socket, user) => presence.attachToSocket(socket, { userId: `u${user}` }));
  await Promise.all(attachments.map(({ ready }) => ready));
  return sockets;
}

/** A change to 1,000 dashboards on real sockets, against a bare loop; and with 1,000 more that do not watch it. */
async function oneChange(): Promise<Result[]> {
  const watchers = 1_000;
  const wss = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
  await once(wss, 'listening');
  const child = fork(new URL('dashboards.mts', import.meta.url), {
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
    result('a change to 1,000 dashboards, against a loop of ws.send', ratio, 1.15, '×'),
    // What noise there is between two runs of the same.
    result('with 1,000 others that do not watch it, against the same loop', withOthers.ratio, 1.2, '×'),
  ];
}

/** 100,000 users, 1,000 changes a second, 1,000 dashboards that watch 500 each. */
async function busyFleet(): Promise<Result[]> {
  const presence = createPresence({ graceMs: 0, store: memoryStore() });
  const count = 100_000;
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
  return [result(what, cpu / 1_000_000 / seconds, 1, 'cores')];
}

/** What a dashboard that takes nothing makes the router hold, while everybody comes and goes: beside one that takes all. */
async function stalled(): Promise<Result[]> {
  const held = async (stalls: boolean): Promise<number> => {
    const presence = createPresence({ graceMs: 0, authorizeWatch: () => true });
    const sockets = await users(presence, 20_000);
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
  return [result('held for a stalled dashboard, through 80,000 changes', (a - b) / 1_024, 64, 'kB')];
}

/** Of 20,000 users 1 % change while a dashboard is away. */
async function resumed(): Promise<Result[]> {
  const presence = createPresence({ graceMs: 0, authorizeWatch: () => true });
  const sockets = await users(presence, 20_000);
  const ask = async (cursor: string | undefined): Promise<Sink> => {
    const socket = new Sink();
    presence.attachToSocket(socket, { userId: 'd', track: false });
    socket.emit('message', encode({ messageType: 33, ids: true, ...(cursor === undefined ? {} : { cursor }) }));
    for (let times = 0; times < 300; times += 1) await turn();
    return socket;
  };
  const first = await ask(undefined);
  const { cursor } = decode(first.last) as { cursor: string };
  for (let user = 0; user < 200; user += 1) sockets[user * 100]?.emit('close', 1000);
  await turn();
  const again = await ask(cursor);
  await presence.close();
  const share = (100 * again.bytes) / first.bytes;
  return [result('resume with 1 % changed, of the bytes of a snapshot', share, 5, '%')];
}

print([...(await oneChange()), ...(await busyFleet()), ...(await stalled()), ...(await resumed())]);
process.exit();
