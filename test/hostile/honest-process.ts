import { once } from 'node:events';
import { createHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { createPresenceClient, type PresenceClient } from 'voiceping-presence/client';
import { WebSocket } from 'ws';
import { until } from '../redis/wait';
import { obey, settings } from './child';
import { AUDIO } from './frames';

// Honest phones that call each other, and honest dashboards that watch them, as a process of its own. Who speaks and who
// hears are in one process, so that one clock tells how long a frame was under way.

export interface HonestSettings {
  readonly port: number;
  readonly phones: number;
  /** Of them the first watches everybody, the others the phones by name. */
  readonly dashboards: number;
  /** How often each phone that speaks sends a frame. */
  readonly everyMs: number;
}

const HEADER = 13;
const FRAME_BYTES = 80;
const TICK_MS = 10;

const { port, phones: count, dashboards: watching, everyMs } = settings<HonestSettings>();
const url = `ws://127.0.0.1:${port}`;
const phones: WebSocket[] = [];
const dashboards: PresenceClient[] = [];
const delays = createHistogram();
const loop = monitorEventLoopDelay({ resolution: 5 });
/** What a dashboard told of a phone, other than that it is online; how often it lost its router. */
const wrong: string[] = [];
const closed: string[] = [];
let sent = 0;
let received = 0;
let beganAt = 0n;
/** The number of the phone that has left. */
let left = -1;

function listen(phone: WebSocket, index: number): void {
  phone.binaryType = 'nodebuffer';
  phone.on('message', (data: Buffer) => {
    if (data[0] !== AUDIO) return;
    const sentAt = data.readBigUInt64BE(HEADER - 8);
    if (sentAt < beganAt) return;
    received += 1;
    delays.record(process.hrtime.bigint() - sentAt || 1n);
  });
  phone.on('close', (code) => {
    if (index !== left) closed.push(`phone${index} ${code}`);
  });
  phone.on('error', () => undefined);
}

function speak(from: number): void {
  const frame = Buffer.alloc(FRAME_BYTES);
  frame[0] = AUDIO;
  // The other one of the pair.
  frame.writeUInt32BE(from ^ 1, 1);
  frame.writeBigUInt64BE(process.hrtime.bigint(), HEADER - 8);
  sent += 1;
  phones[from]?.send(frame);
}

let timer: NodeJS.Timeout | undefined;
const isOnline = (index: number) => (dashboard: PresenceClient) =>
  dashboard.getStatus(`phone${index}`)?.status === 'online';

const commands = {
  async connect(): Promise<void> {
    for (let from = 0; from < count; from += 50) {
      const some = Array.from({ length: Math.min(50, count - from) }, (_, index) => {
        const phone = new WebSocket(`${url}/phone${from + index}`, { perMessageDeflate: false });
        listen(phone, from + index);
        phones.push(phone);
        return once(phone, 'open');
      });
      await Promise.all(some);
    }
    const names = Array.from({ length: Math.min(count, 1_000) }, (_, index) => `phone${index}`);
    for (let index = 0; index < watching; index += 1) {
      const ids = index === 0 ? (true as const) : names;
      const dashboard = createPresenceClient({ url: `${url}/dashboard${index}`, ids, WebSocket });
      dashboards.push(dashboard);
      await until('all phones are shown', () => names.every((_, phone) => isOnline(phone)(dashboard)));
      dashboard.onChange((changed) => {
        for (const { userId, status } of changed) {
          if (/^phone/.test(userId) && status !== 'online' && userId !== `phone${left}`) wrong.push(userId);
        }
      });
      dashboard.onConnectionChange(({ state }) => {
        if (state !== 'live') closed.push(`dashboard${index} ${state}`);
      });
    }
  },
  call(): void {
    let frames = 0;
    let next = 0;
    let at = performance.now();
    timer = setInterval(() => {
      const now = performance.now();
      // Spread over time, as calls are. In each pair the two take turns.
      frames = Math.min(frames + ((count / 2) * (now - at)) / everyMs, count);
      at = now;
      for (; frames >= 1; frames -= 1) {
        speak(next);
        next = (next + 2) % count;
        if (next === 0) next = 1;
        else if (next === 1) next = 0;
      }
    }, TICK_MS);
    loop.enable();
  },
  /** Counts from now on. */
  begin(): void {
    delays.reset();
    loop.reset();
    beganAt = process.hrtime.bigint();
    sent = 0;
    received = 0;
  },
  report() {
    const ms = (percent: number): number => delays.percentile(percent) / 1e6;
    return {
      sent,
      p50: ms(50),
      p99: ms(99),
      max: delays.max / 1e6,
      own: loop.percentile(99) / 1e6,
      wrong,
      closed,
      missing: dashboards.map((dashboard) => phones.filter((_, index) => !isOnline(index)(dashboard)).length),
    };
  },
  /** Gives how many frames never came. */
  async hangUp(): Promise<number> {
    clearInterval(timer);
    await until('every frame has come', () => received === sent, 5_000).catch(() => undefined);
    return sent - received;
  },
  /** A phone leaves, and every dashboard says so: gives how long that took. */
  async leave(index: number): Promise<number> {
    left = index;
    const at = performance.now();
    phones[index]?.close(1000);
    await until(`phone${index} is shown offline`, () => !dashboards.some(isOnline(index)), 5_000);
    return performance.now() - at;
  },
};
export type HonestCommands = typeof commands;
obey(commands);
