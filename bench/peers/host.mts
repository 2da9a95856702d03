import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { WebSocketServer } from 'ws';
import { sleep, usedHeap } from '../measure.mjs';
import { BURST, type Open, type Peer, type Settings, type Users, userIdsOf } from './peer.mjs';

export interface Request {
  readonly id: number;
  readonly does: keyof typeof jobs;
  readonly users: Users;
}

/** What it took: wall time in milliseconds, CPU of this process in microseconds, delay of its event loop in milliseconds. */
export interface Measured {
  readonly value: number;
  readonly ms: number;
  readonly cpu: number;
  readonly delayP99: number;
}

export type Reply =
  | { readonly ready: true }
  | { readonly changed: ReadonlyArray<readonly [userId: string, online: boolean, at: number]> }
  | ({ readonly id: number } & Measured)
  | { readonly id: number; readonly failed: string };

const [name, settings] = process.argv.slice(2) as [string, string];
const send = (reply: Reply): unknown => process.send?.(reply);

/** How often somebody came or went. */
let changes = 0;
let changed: Array<[string, boolean, number]> = [];
const onChange = (userId: string, online: boolean): void => {
  changes += 1;
  changed.push([userId, online, Date.now()]);
  if (changed.length > 1) return;
  setTimeout(() => {
    send({ changed });
    changed = [];
  }, 20);
};

const { open } = (await import(`./${name}.mjs`)) as { open: Open };
const whole = JSON.parse(settings) as Settings;
const peer: Peer = await open(whole, onChange);
const jobs = {
  join: (users: string[]) => peer.join(users),
  sign: (users: string[]) => peer.sign(users),
  leave: (users: string[]) => peer.leave(users),
  joinBurst: (users: string[]) => peer.join(users, BURST),
  signBurst: (users: string[]) => peer.sign(users, BURST),
  leaveBurst: (users: string[]) => peer.leave(users, BURST),
  drop: (users: string[]) => (peer.drop ?? peer.leave)(users),
  silence: (users: string[]) => peer.silence?.(users),
  statuses: (users: string[]) => peer.statuses(users),
  // Every other one was never seen.
  half: (users: string[]) => peer.statuses(users.map((user, index) => (index % 2 === 0 ? user : `never_${user}`))),
  serve: () => peer.serve?.(),
  heap: () => usedHeap(),
  // In microseconds, since it began.
  cpu: () => process.cpuUsage().user + process.cpuUsage().system,
  timers: () => peer.timers?.(),
  listen: () => peer.listen?.() ?? listen(),
  change,
  // Milliseconds, as many as there are users.
  idle: (users: string[]) => sleep(users.length),
  close: (users: string[]) => peer.close(users.length),
};

/** Real sockets: users, and dashboards, who say no name. */
async function listen(): Promise<number> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
  await once(server, 'listening');
  server.on('connection', (socket, { url }) => {
    const userId = new URLSearchParams(url?.slice(2)).get('userId');
    if (userId) peer.attach?.(socket, userId);
    else peer.watch?.(socket);
  });
  if (peer.isPinging !== true) {
    setInterval(() => {
      for (const socket of server.clients) socket.ping();
    }, whole.pingIntervalMs).unref();
  }
  return (server.address() as AddressInfo).port;
}

/** Each comes and goes, one after the other; the dashboards are told. */
async function change(users: readonly string[]): Promise<void> {
  for (const user of users) {
    if (peer.change !== undefined) {
      peer.change(user);
    } else {
      const before = changes;
      await peer.join([user]);
      await untilTold(before + 1);
      await peer.leave([user]);
      await untilTold(before + 2);
    }
    await turn();
  }
}

async function untilTold(count: number): Promise<void> {
  while (changes < count) await turn();
}

process.on('message', async ({ id, does, users }: Request) => {
  const ids = userIdsOf(users);
  const delay = whole.watchesDelay ? monitorEventLoopDelay({ resolution: 1 }) : undefined;
  await turn();
  delay?.enable();
  const startedAt = performance.now();
  const before = process.cpuUsage();
  try {
    const value = Number((await jobs[does](ids)) ?? 0);
    const { user, system } = process.cpuUsage(before);
    const ms = performance.now() - startedAt;
    await turn();
    send({ id, value, ms, cpu: user + system, delayP99: (delay?.percentile(99) ?? 0) / 1e6 });
  } catch (error) {
    send({ id, failed: String(error) });
  }
  delay?.disable();
});
process.on('disconnect', () => process.exit());
send({ ready: true });
