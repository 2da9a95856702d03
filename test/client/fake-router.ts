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
  /** When it was asked whether it is there, and nothing else. */
  readonly pings: number[] = [];
  protocols: readonly string[] = [];

  send(data: Uint8Array): void {
    if (this.readyState !== 1) throw new Error('it is not open');
    const request = decode(data) as Omit<Request, 'at'>;
    if (request.request === -1) {
      if (!('ids' in request)) this.pings.push(Date.now());
    } else this.requests.push({ ...request, at: Date.now() });
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

  /** What a router answers to that. */
  pong(): void {
    this.say({ messageType: 33, error: 'ids is true, false, or a list', code: 'malformed', request: -1 });
  }

  say(frame: unknown): void {
    const { buffer, byteOffset, byteLength } = encode(frame, { ignoreUndefined: true });
    this.deliver(buffer.slice(byteOffset, byteOffset + byteLength));
  }

  /** Answers the last request with everything; a cursor of `null` is none. */
  answer(users: ReadonlyArray<readonly [string, 'online' | 'offline']> = [], cursor: string | null = 'e.1'): void {
    this.say({
      messageType: 32,
      users: users.map(([userId, status]) => ({ userId, status, lastSeen: null })),
      request: this.last.request,
      part: 0,
      more: false,
      resumed: false,
      cursor: cursor ?? undefined,
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
      constructor(_url: string, protocols: readonly string[] = []) {
        super();
        this.protocols = protocols;
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
