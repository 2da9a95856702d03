import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Redis } from 'ioredis';
import { type Attachment, createPresence, type Presence } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { WebSocketServer } from 'ws';
import { RedisServer } from '../../test/redis/server';
import { doneDuring, median, sleep } from '../measure.mjs';
import { Call, callRouter } from '../peers/call.mjs';
import { Clients } from '../peers/clients.mjs';
import { PeerNode } from '../peers/node.mjs';
import { arrive, BareSocket, userIdsOf } from '../peers/peer.mjs';
import type { Section } from '../report.mjs';

const DASHBOARDS = 200;
/** Phones come back within it. */
const BACK_MS = 5_000;
/** How often some of them come. */
const SLICE_MS = 50;
const LEASE_MS = 15_000;
/** For the router that dies, so that what is measured is the storm and not the wait for it. */
const SHORT_LEASE_MS = 3_000;

/** What a storm does to the router, and to those who talk through it. */
interface Storm {
  readonly seconds: number;
  /** CPU in milliseconds. */
  readonly node: number;
  readonly redis: number;
  readonly delayP99: number;
  readonly voiceP99: number;
  readonly voiceWorst: number;
  /** How many changes were published. */
  readonly told: number;
}

/** Everybody comes back, a router dies, Redis loses everything: while two hundred dashboards watch, and two phones talk. */
export async function run(quick: boolean): Promise<Section[]> {
  const rounds = quick ? 2 : 5;
  const scale = quick ? 0.05 : 1;
  const [lost, real, fleet, many] = [50_000 * scale, 1_000 * scale, 50_000 * scale, 250_000 * scale];
  const returns = await returnsOf(lost - real, real, rounds);
  const died = await diesOf(fleet / 20, quick ? 2 : 3);
  const flushed = await flushOf(many, quick ? 1 : 3);
  const shown = (count: number): string => count.toLocaleString('en');
  const row = (title: string, storms: readonly Storm[]): [string, ...number[]] => {
    const of = (what: keyof Storm): number => median(storms.map((storm) => storm[what]));
    const worst = Math.max(...storms.map(({ voiceWorst }) => voiceWorst));
    return [title, of('seconds'), of('node'), of('redis'), of('delayP99'), of('voiceP99'), worst, of('told')];
  };
  const rows = [
    row(`${shown(lost)} phones are lost and back, ${shown(real)} of them on real sockets`, returns),
    row(`one of twenty routers dies, with ${shown(fleet / 20)} users`, died),
    row(`Redis loses everything, with ${shown(many)} users on this router`, flushed),
  ];
  return [
    {
      id: 'reconnects',
      title: 'Everybody comes back, while two phones talk',
      text: `${DASHBOARDS} dashboards on real WebSockets watch everybody. Phones without a network are in the process of the router, which lets them in over ${BACK_MS / 1_000} s, and are joined by real ones. A voice frame goes every 20 ms from one phone to another through the same router: how much later than usual they came, 99th percentile, and the worst of all rounds. CPU and delays in milliseconds. Medians of ${rounds} rounds; of three where a router dies or Redis loses everything.`,
      columns: [
        '',
        'takes, s',
        'Node CPU, ms',
        'Redis CPU, ms',
        'delay p99, ms',
        'voice p99, ms',
        'worst voice frame, ms',
        'changes told',
      ],
      rows,
      figures: {
        voice: median(returns.map(({ voiceP99 }) => voiceP99)),
        told: Math.max(...returns.map(({ told }) => told)),
        diedVoice: median(died.map(({ voiceP99 }) => voiceP99)),
        flushVoice: median(flushed.map(({ voiceP99 }) => voiceP99)),
        flushTold: Math.max(...flushed.map(({ told }) => told)),
      },
    },
  ];
}

async function returnsOf(local: number, real: number, rounds: number): Promise<Storm[]> {
  const router = await Router.start(LEASE_MS);
  const phones = await Clients.start();
  const connect = (overMs: number) =>
    phones.connect({ port: router.port, from: local, count: real, kind: 'user', protocol: 'ws', overMs });
  await router.join({ from: 0, count: local });
  await connect(0);
  await router.watch();
  const storms: Storm[] = [];
  for (let round = 0; round < rounds; round += 1) {
    await sleep(2_000);
    storms.push(
      await router.measure(async () => {
        await Promise.all([router.drop(), phones.drop()]);
        await Promise.all([router.join({ from: 0, count: local }, BACK_MS), connect(BACK_MS)]);
      }),
    );
  }
  await phones.end();
  await router.end();
  return storms;
}

async function diesOf(each: number, rounds: number): Promise<Storm[]> {
  const router = await Router.start(SHORT_LEASE_MS);
  const settings = { redisPort: router.redisPort, leaseMs: SHORT_LEASE_MS };
  const usersOf = (index: number) => ({ from: index * each, count: each });
  await router.join(usersOf(0));
  const others = await Promise.all(Array.from({ length: 19 }, () => PeerNode.start('ours', settings)));
  for (const [index, other] of others.entries()) await other.ask('join', usersOf(index + 1));
  await router.watch();
  const storms: Storm[] = [];
  for (let round = 0; round < rounds; round += 1) {
    await sleep(2_000);
    const victim = others[round] as PeerNode;
    storms.push(
      await router.measure(async () => {
        await victim.kill();
        await router.untilTold(each);
      }),
    );
  }
  await Promise.all(others.map((other) => other.kill()));
  await router.end();
  return storms;
}

async function flushOf(users: number, rounds: number): Promise<Storm[]> {
  const router = await Router.start(LEASE_MS);
  await router.join({ from: 0, count: users });
  await router.watch();
  const storms: Storm[] = [];
  for (let round = 0; round < rounds; round += 1) {
    await sleep(5_000);
    storms.push(await router.measure(() => router.flush(users)));
  }
  await router.end();
  return storms;
}

/** The router under test, in this process. */
class Router {
  private readonly sockets = new Map<string, BareSocket>();
  private told = 0;
  private onTold = (): void => undefined;
  private call: Call | undefined;

  private constructor(
    readonly port: number,
    private readonly presence: Presence,
    private readonly server: RedisServer,
    private readonly redis: Redis,
    private readonly ends: Array<() => unknown>,
  ) {
    presence.onUpdate(() => {
      this.told += 1;
      this.onTold();
    });
  }

  static async start(leaseMs: number): Promise<Router> {
    const redisServer = await RedisServer.start();
    const client = new Redis({ port: redisServer.port });
    const presence = createPresence({ store: redisStore({ client }), leaseMs });
    await presence.ready();
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const takeCall = callRouter();
    server.on('connection', (socket, { url }) => {
      if (takeCall(socket, url)) return;
      const userId = new URLSearchParams(url?.slice(2)).get('userId');
      if (userId) presence.attachToSocket(socket, { userId });
      else presence.attachToSocket(socket, { userId: 'dash', track: false, watch: true });
    });
    const observer = new Redis({ port: redisServer.port });
    return new Router(port, presence, redisServer, observer, [
      () => server.close(),
      () => presence.close(),
      () => client.disconnect(),
      () => observer.disconnect(),
      () => redisServer.remove(),
    ]);
  }

  get redisPort(): number {
    return this.server.port;
  }

  /** Dashboards open, and the two phones begin to talk: once everybody is there, since each who comes is a frame to each dashboard. */
  async watch(): Promise<void> {
    const { port } = this;
    const dashboards = await Clients.start();
    await dashboards.connect({ port, from: 0, count: DASHBOARDS, kind: 'dashboard', protocol: 'ws' });
    const call = await Call.start(port);
    this.call = call;
    this.ends.unshift(
      () => call.end(),
      () => dashboards.end(),
    );
    // Their snapshots are sent.
    await sleep(3_000);
  }

  /** Phones come, at once or over some time; resolves once the store holds them all. */
  async join(users: Parameters<typeof userIdsOf>[0], overMs = 0): Promise<void> {
    const userIds = userIdsOf(users);
    const attachments: Attachment[] = [];
    const attach = (userId: string): void => {
      const socket = new BareSocket();
      this.sockets.set(userId, socket);
      attachments.push(this.presence.attachToSocket(socket, { userId }));
    };
    const slices = Math.max(1, Math.round(overMs / SLICE_MS));
    const each = Math.ceil(userIds.length / slices);
    const startedAt = performance.now();
    for (let slice = 0; slice < slices; slice += 1) {
      const waitMs = startedAt + slice * SLICE_MS - performance.now();
      if (waitMs > 0) await sleep(waitMs);
      await arrive(userIds.slice(slice * each, (slice + 1) * each), attach);
    }
    await Promise.all(attachments.map(({ ready }) => ready));
  }

  /** Their connections are lost. */
  drop(): Promise<void> {
    const sockets = Array.from(this.sockets.values());
    this.sockets.clear();
    return arrive(sockets, (socket) => socket.close(1006));
  }

  async untilTold(count: number): Promise<void> {
    const until = this.told + count;
    await new Promise<void>((resolve) => {
      this.onTold = () => {
        if (this.told >= until) resolve();
      };
    });
  }

  async flush(users: number): Promise<void> {
    await this.redis.flushall();
    while ((await this.redis.dbsize()) < users) await sleep(50);
  }

  async measure(run: () => Promise<void>): Promise<Storm> {
    global.gc?.();
    await sleep(200);
    await (this.call as Call).report();
    const { told } = this;
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const startedAt = performance.now();
    const before = process.cpuUsage();
    const { cpu } = await doneDuring(this.redis, run);
    const { user, system } = process.cpuUsage(before);
    const seconds = (performance.now() - startedAt) / 1_000;
    delay.disable();
    // What is still to be told comes soon.
    await sleep(1_000);
    const voice = await (this.call as Call).report();
    return {
      seconds,
      node: (user + system) / 1_000,
      redis: cpu / 1_000,
      delayP99: delay.percentile(99) / 1e6,
      voiceP99: voice.p99,
      voiceWorst: voice.worst,
      told: this.told - told,
    };
  }

  async end(): Promise<void> {
    for (const end of this.ends) await end();
  }
}
