import { decode, encode } from '@msgpack/msgpack';
import type { WebSocketLike } from 'voiceping-presence/client';

/** A request as a client sends it, and when. */
export interface Request {
  readonly ids: true | string[];
  readonly cursor?: string;
  readonly request: number;
  readonly at: number;
}

type Handler = ((event?: unknown) => void) | null | undefined;

/** The router's end of a WebSocket, which a test plays. */
export class FakeWebSocket implements WebSocketLike {
  binaryType = '';
  readyState = 0;
  onopen: Handler;
  onmessage: Handler;
  onclose: Handler;
  onerror: Handler;
  isClosedByClient = false;
  readonly requests: Request[] = [];

  send(data: Uint8Array): void {
    if (this.readyState !== 1) throw new Error('it is not open');
    this.requests.push({ ...(decode(data) as Omit<Request, 'at'>), at: Date.now() });
  }

  close(): void {
    this.isClosedByClient = true;
    this.readyState = 3;
  }

  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  /** Whatever a WebSocket could give. */
  deliver(data: unknown): void {
    this.onmessage?.({ data });
  }

  say(frame: unknown): void {
    const { buffer, byteOffset, byteLength } = encode(frame, { ignoreUndefined: true });
    this.deliver(buffer.slice(byteOffset, byteOffset + byteLength));
  }

  /** Answers the last request with everything. */
  answer(users: ReadonlyArray<readonly [string, 'online' | 'offline']> = [], cursor: string | undefined = 'e.1'): void {
    this.say({
      messageType: 32,
      users: users.map(([userId, status]) => ({ userId, status, lastSeen: null })),
      request: this.last.request,
      part: 0,
      more: false,
      resumed: false,
      cursor,
    });
  }

  end(code = 1006, reason = ''): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  get last(): Request {
    return this.requests[this.requests.length - 1] as Request;
  }
}

/** Where a client connects to; nothing happens but what the test does. */
export function fakeRouter() {
  const sockets: FakeWebSocket[] = [];
  const connectedAt: number[] = [];
  return {
    sockets,
    connectedAt,
    WebSocket: class extends FakeWebSocket {
      constructor() {
        super();
        sockets.push(this);
        connectedAt.push(Date.now());
      }
    },
    /** The latest. */
    get socket(): FakeWebSocket {
      return sockets[sockets.length - 1] as FakeWebSocket;
    },
  };
}
