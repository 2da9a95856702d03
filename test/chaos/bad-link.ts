import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/**
 * - `pass`: nothing is in the way
 * - `delay`: each byte comes later, in both directions
 * - `hold`: nothing comes, and all of it once the link is back; as when packets are lost and sent again
 * - `cut`: connections end, and new ones too
 */
export type LinkState = { readonly kind: 'pass' | 'hold' | 'cut' } | { readonly kind: 'delay'; readonly ms: number };

/** The link of one router to Redis, which can be bad. */
export class BadLink {
  private state: LinkState = { kind: 'pass' };
  private readonly sockets = new Set<Socket>();
  private readonly flows = new Set<Flow>();
  private readonly server: Server;

  private constructor(private target: number) {
    this.server = createServer((client) => this.join(client));
  }

  static async start(target: number): Promise<BadLink> {
    const link = new BadLink(target);
    link.server.listen(0, '127.0.0.1');
    await once(link.server, 'listening');
    return link;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** The name is that of another server by now; who is connected stays so. */
  leadTo(target: number): void {
    this.target = target;
  }

  become(state: LinkState): void {
    this.state = state;
    if (state.kind === 'cut') for (const socket of this.sockets) socket.destroy();
    for (const flow of this.flows) flow.become(state);
  }

  private join(client: Socket): void {
    if (this.state.kind === 'cut') {
      client.destroy();
      return;
    }
    const server = connect(this.target, '127.0.0.1');
    const ends = [client, server] as const;
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.setNoDelay(true);
      this.sockets.add(from);
      const flow = new Flow(to);
      flow.become(this.state);
      this.flows.add(flow);
      from.on('data', (chunk: Buffer) => flow.pass(chunk));
      from.on('error', () => undefined);
      from.on('close', () => {
        this.sockets.delete(from);
        // What was said before the end still arrives, and then the end.
        flow.end(() => this.flows.delete(flow));
        for (const end of ends) if (end !== to) end.destroy();
      });
    }
  }
}

/** One direction of one connection. Order is kept whatever the link becomes meanwhile. */
class Flow {
  private readonly waiting: Array<{ readonly chunk: Buffer | undefined; readonly dueAt: number }> = [];
  private delayMs = 0;
  private isHeld = false;
  private ended: (() => void) | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly to: Socket) {}

  become(state: LinkState): void {
    this.isHeld = state.kind === 'hold';
    this.delayMs = state.kind === 'delay' ? state.ms : 0;
    this.drain();
  }

  pass(chunk: Buffer | undefined): void {
    this.waiting.push({ chunk, dueAt: Date.now() + this.delayMs });
    this.drain();
  }

  end(ended: () => void): void {
    this.ended = ended;
    this.pass(undefined);
  }

  private drain(): void {
    clearTimeout(this.timer);
    if (this.isHeld) return;
    const now = Date.now();
    for (let next = this.waiting[0]; next !== undefined; next = this.waiting[0]) {
      if (next.dueAt > now) {
        this.timer = setTimeout(() => this.drain(), next.dueAt - now);
        return;
      }
      this.waiting.shift();
      if (next.chunk !== undefined) {
        if (!this.to.destroyed) this.to.write(next.chunk);
      } else {
        this.to.end();
        this.ended?.();
      }
    }
  }
}
