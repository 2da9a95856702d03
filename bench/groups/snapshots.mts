import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Redis } from 'ioredis';
import { type Attachment, createPresence, memoryStore, type PresenceStore } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { type WebSocket, WebSocketServer } from 'ws';
import { RedisServer } from '../../test/redis/server';
import { median, sleep } from '../measure.mjs';
import { Call, callRouter } from '../peers/call.mjs';
import { Clients } from '../peers/clients.mjs';
import { arrive, BareSocket } from '../peers/peer.mjs';
import type { Section } from '../report.mjs';
import type { VoiceReport } from '../voice.mjs';

/** What one opening of all dashboards takes. */
interface Opening {
  /** CPU of the router, in milliseconds. */
  readonly cpu: number;
  /** Until all of them have everything, in milliseconds. */
  readonly ms: number;
  readonly delayP99: number;
  readonly delayWorst: number;
  readonly voice: VoiceReport;
}

/** All dashboards open at once, as after a router has died, while two phones talk. */
export async function run(quick: boolean): Promise<Section[]> {
  const rounds = quick ? 3 : 5;
  const scale = quick ? 0.1 : 1;
  const storms = [
    { id: 'wide', users: 20_000 * scale, dashboards: 200, store: 'embedded' },
    { id: 'deep', users: 100_000 * scale, dashboards: 20, store: 'embedded' },
    { id: 'redis', users: 20_000 * scale, dashboards: 50, store: 'Redis' },
  ] as const;
  const rows: Array<[string, ...number[]]> = [];
  const figures: { [name: string]: number } = {};
  for (const { id, users, dashboards, store } of storms) {
    const ours: Opening[] = [];
    const floor: Opening[] = [];
    const storm = await Storm.start(users, dashboards, store);
    for (let round = -1; round < rounds; round += 1) {
      const one = await storm.open();
      const other = await storm.sendPlainly();
      if (round >= 0) {
        ours.push(one);
        floor.push(other);
      }
    }
    await storm.end();
    const of = (all: readonly Opening[], what: (one: Opening) => number): number => median(all.map(what));
    const cpuVsFloor = median(ours.map(({ cpu }, round) => cpu / (floor[round]?.cpu ?? Number.NaN)));
    const timeVsFloor = median(ours.map(({ ms }, round) => ms / (floor[round]?.ms ?? Number.NaN)));
    const worst = (what: (one: Opening) => number): number => Math.max(...ours.map(what));
    const name = `${users.toLocaleString('en')} online, ${dashboards} dashboards, ${store}`;
    rows.push([
      name,
      of(ours, ({ cpu }) => cpu),
      cpuVsFloor,
      of(ours, ({ ms }) => ms),
      timeVsFloor,
      of(ours, ({ delayP99 }) => delayP99),
      worst(({ delayWorst }) => delayWorst),
      worst(({ voice }) => voice.worst),
    ]);
    figures[`${id}Cpu`] = cpuVsFloor;
    figures[`${id}Time`] = timeVsFloor;
    figures[`${id}DelayP99`] = of(ours, ({ delayP99 }) => delayP99);
    figures[`${id}DelayWorst`] = worst(({ delayWorst }) => delayWorst);
    figures[`${id}Voice`] = worst(({ voice }) => voice.worst);
  }
  return [
    {
      id: 'snapshots',
      title: 'All dashboards open at once',
      text: `Dashboards on real WebSockets are attached in one turn of the event loop, and each is sent everybody who is online; two phones talk through the same router meanwhile. The floor is a loop of ws.send of the same frames to the same sockets. Medians of ${rounds} alternating rounds; of the delay of the event loop, and of the voice frames, the worst of all rounds.`,
      columns: [
        '',
        'CPU of the router, ms',
        '× floor',
        'until all are whole, ms',
        '× floor ',
        'delay p99, ms',
        'worst delay, ms',
        'worst voice frame, ms',
      ],
      rows,
      figures,
    },
  ];
}

class Storm {
  private frames: Uint8Array[] = [];
  private received = 0;

  private constructor(
    private readonly presence: ReturnType<typeof createPresence>,
    private readonly sockets: readonly WebSocket[],
    private readonly clients: Clients,
    private readonly call: Call,
    private readonly ends: Array<() => unknown>,
  ) {}

  static async start(users: number, dashboards: number, kind: 'embedded' | 'Redis'): Promise<Storm> {
    const ends: Array<() => unknown> = [];
    let store: PresenceStore = memoryStore();
    if (kind === 'Redis') {
      const redis = await RedisServer.start();
      const client = new Redis({ port: redis.port });
      store = redisStore({ client });
      ends.push(
        () => client.disconnect(),
        () => redis.remove(),
      );
    }
    const presence = createPresence({ store, roster: true });
    ends.unshift(() => presence.close());
    await presence.ready();
    const attachments: Attachment[] = [];
    await arrive(
      Array.from({ length: users }, (_, user) => `acme_u${user}`),
      (userId) => attachments.push(presence.attachToSocket(new BareSocket(), { userId })),
    );
    await Promise.all(attachments.map(({ ready }) => ready));
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const sockets: WebSocket[] = [];
    const takeCall = callRouter();
    server.on('connection', (socket, { url }) => {
      if (!takeCall(socket, url)) sockets.push(socket);
    });
    const clients = await Clients.start();
    await clients.connect({ port, from: 0, count: dashboards, kind: 'dashboard', protocol: 'ws' });
    const call = await Call.start(port);
    ends.push(
      () => call.end(),
      () => clients.end(),
      () => server.close(),
    );
    return new Storm(presence, sockets, clients, call, ends);
  }

  /** All dashboards are attached at once. */
  async open(): Promise<Opening> {
    const [first] = this.sockets as [WebSocket];
    const frames: Uint8Array[] = [];
    const { send } = first;
    first.send = ((data: Uint8Array) => {
      frames.push(data);
      (send as (frame: Uint8Array) => void).call(first, data);
    }) as typeof send;
    const attachments: Attachment[] = [];
    const opening = await this.measure(this.frames.length || undefined, () => {
      for (const socket of this.sockets) {
        attachments.push(this.presence.attachToSocket(socket, { userId: 'dash', track: false, watch: true }));
      }
    });
    first.send = send;
    this.frames = frames;
    await Promise.all(attachments.map((attachment) => attachment.detach()));
    return opening;
  }

  /** The same bytes to the same sockets, as plainly as can be. */
  sendPlainly(): Promise<Opening> {
    return this.measure(this.frames.length, () => {
      for (const frame of this.frames) for (const socket of this.sockets) socket.send(frame);
    });
  }

  async end(): Promise<void> {
    for (const end of this.ends) await end();
  }

  private async measure(frames: number | undefined, run: () => void): Promise<Opening> {
    await sleep(1_500);
    await this.call.report();
    global.gc?.();
    await sleep(100);
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const startedAt = performance.timeOrigin + performance.now();
    const before = process.cpuUsage();
    run();
    const expected = frames === undefined ? Number.POSITIVE_INFINITY : this.received + frames * this.sockets.length;
    this.received = await this.clients.untilMessages(expected);
    if (frames !== undefined && this.received !== expected) throw new Error(`${this.received} frames, not ${expected}`);
    const ms = (await this.clients.count()).lastAt - startedAt;
    const { user, system } = process.cpuUsage(before);
    delay.disable();
    const voice = await this.call.report();
    return {
      cpu: (user + system) / 1_000,
      ms,
      delayP99: delay.percentile(99) / 1e6,
      delayWorst: delay.max / 1e6,
      voice,
    };
  }
}
