import { WebSocket } from 'ws';

// A call between two phones, in a process of its own: a frame every 20 ms from one to the other, through the router.

export interface VoiceReport {
  /** How long frames took beyond the usual, in milliseconds. */
  readonly p99: number;
  readonly worst: number;
  readonly frames: number;
}

const FRAME_MS = 20;
const FRAME = Buffer.alloc(60, 7);
const connect = (name: string): Promise<WebSocket> =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${process.env['PORT']}/?voice=${name}`, { perMessageDeflate: false });
    socket.once('open', () => resolve(socket));
    socket.once('error', reject);
  });

const [speaker, listener] = [await connect('speaker'), await connect('listener')];
let delays: number[] = [];
listener.on('message', (data: Buffer) => delays.push(performance.now() - data.readDoubleBE(0)));
let due = performance.now();
setInterval(() => {
  while (performance.now() >= due) {
    due += FRAME_MS;
    const frame = Buffer.from(FRAME);
    frame.writeDoubleBE(performance.now());
    speaker.send(frame);
  }
}, 5);

process.on('message', () => {
  const sorted = delays.sort((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  process.send?.({ p99: at(0.99), worst: at(1), frames: sorted.length } satisfies VoiceReport);
  delays = [];
});
process.on('disconnect', () => process.exit());
process.send?.({ ready: true });
