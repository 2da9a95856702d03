import { encode } from '@msgpack/msgpack';
import { WebSocket } from 'ws';

const GROUP = 0;
const PRIVATE = 1;
const START = 1;
const STOP = 2;
const AUDIO = 3;
const CONNECTION = 4;

export interface PhoneOptions {
  url: string;
  userId: string;
  deviceId?: string;
  /** How long after a failure it connects again: always the same, without jitter, as the real one does. */
  reconnectMs?: number;
  /** It pings by itself, which the router's presence takes for a sign of life. */
  pingIntervalMs?: number;
}

/** A phone as far as a router can tell: one WebSocket, which comes back by itself. */
export class Phone {
  readonly userId: string;
  private socket: WebSocket | undefined;
  private timers: NodeJS.Timeout[] = [];
  private wanted = false;

  constructor(private readonly options: PhoneOptions) {
    this.userId = options.userId;
  }

  get isConnected(): boolean {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** Switches it on. */
  connect(): void {
    this.wanted = true;
    this.open();
  }

  /** Logs out: a clean close, and it stays away. */
  close(): void {
    this.wanted = false;
    this.clearTimers();
    this.socket?.close(1000);
  }

  /** Loses the network, without a close; it is back after `reconnectMs`, or after `awayMs` in a tunnel. */
  drop(awayMs = this.options.reconnectMs ?? 5_000): void {
    this.clearTimers();
    const { socket } = this;
    socket?.removeAllListeners('close');
    socket?.terminate();
    this.later(() => this.open(), awayMs);
  }

  /** Hangs: the connection stands, nothing is read and nothing answered. Until `thaw`, or until the router gives up. */
  freeze(): void {
    this.clearTimers();
    this.socket?.pause();
  }

  thaw(): void {
    this.socket?.resume();
    this.ping();
  }

  /** Calls somebody, and talks for some frames of 60 ms. */
  call(toId: string, frames = 20): void {
    this.send([PRIVATE, START, this.userId, toId, 'voice']);
    let left = frames;
    const talk = setInterval(() => {
      left -= 1;
      this.send(
        left > 0 ? [PRIVATE, AUDIO, this.userId, toId, new Uint8Array(160)] : [PRIVATE, STOP, this.userId, toId, null],
      );
      if (left <= 0) clearInterval(talk);
    }, 60);
    this.timers.push(talk);
  }

  private open(): void {
    // Bytes of UTF-8, since a header holds no more than Latin-1.
    const token = Buffer.from(this.userId).toString('latin1');
    const socket = new WebSocket(this.options.url, {
      headers: { voicepingtoken: token, deviceid: this.options.deviceId ?? 'Pixel 9' },
    });
    this.socket = socket;
    socket.on('open', () => {
      this.send([GROUP, CONNECTION, this.userId]);
      this.ping();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.clearTimers();
      if (this.wanted && this.socket === socket) this.later(() => this.open(), this.options.reconnectMs ?? 5_000);
    });
  }

  private send(frame: unknown[]): void {
    if (this.isConnected) this.socket?.send(encode(frame));
  }

  private ping(): void {
    const pinging = setInterval(() => {
      if (this.isConnected) this.socket?.ping();
    }, this.options.pingIntervalMs ?? 30_000);
    this.timers.push(pinging);
  }

  private later(run: () => void, ms: number): void {
    this.timers.push(setTimeout(run, ms));
  }

  private clearTimers(): void {
    for (const timer of this.timers.splice(0)) clearTimeout(timer);
  }
}
