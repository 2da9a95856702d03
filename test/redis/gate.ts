import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** An address of its own: clients of other tests, whose servers have gone, still look for them on ports that are free by now. */
const HOST = process.platform === 'linux' ? '127.0.0.2' : '127.0.0.1';

/** What becomes of a connection on which a command is sent. */
export type Fate =
  /** It is cut before the command arrives. */
  | 'cut'
  /** It is cut in place of the answer. */
  | 'answer lost'
  /** Nothing arrives any more, neither there nor back; on later connections neither. */
  | 'hang';

/** A way to a Redis that reads along, and at a command lets something happen to the connection. */
export class Gate {
  readonly pairs = new Set<readonly [Socket, Socket]>();
  /** Those for messages, and those of them that are dead without a word. */
  private readonly listening = new Set<readonly [Socket, Socket]>();
  private readonly dead = new Set<readonly [Socket, Socket]>();
  /** Connections so far. */
  opened = 0;
  private rule: { readonly command: RegExp | undefined; readonly fate: Fate; readonly hit: () => void } | undefined;
  private hangs = false;

  private constructor(
    private readonly server: Server,
    /** Where new connections lead to. */
    public target: number,
  ) {
    server.on('connection', (client) => this.join(client));
  }

  static async start(target: number): Promise<Gate> {
    const server = createServer().listen(0, HOST);
    await once(server, 'listening');
    return new Gate(server, target);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** As ioredis takes it. */
  get address(): { host: string; port: number } {
    return { host: HOST, port: this.port };
  }

  /** At the next `command` of any connection, or at the next `connect`. Resolves once it has happened. */
  at(command: string, fate: Fate): Promise<void> {
    return new Promise((hit) => {
      const isConnect = command === 'connect';
      this.rule = { command: isConnect ? undefined : new RegExp(`\\r\\n(?:${command})\\r\\n`, 'i'), fate, hit };
    });
  }

  /** Existing connections for messages fall silent without an error; later ones work. */
  deafen(): void {
    for (const pair of this.listening) this.dead.add(pair);
  }

  /** All that are open, and none that comes later. */
  cut(): void {
    for (const [client, upstream] of this.pairs) for (const socket of [client, upstream]) socket.destroy();
  }

  close(): void {
    this.cut();
    this.server.close();
  }

  private join(client: Socket): void {
    this.opened += 1;
    const upstream = connect(this.target, '127.0.0.1');
    const pair = [client, upstream] as const;
    this.pairs.add(pair);
    let isDoomed = false;
    const suffer = (): Fate => {
      const { fate, hit } = this.rule as NonNullable<typeof this.rule>;
      this.rule = undefined;
      if (fate === 'hang') this.hangs = true;
      else if (fate === 'cut') for (const socket of pair) socket.destroy();
      else isDoomed = true;
      hit();
      return fate;
    };
    client.on('data', (chunk: Buffer) => {
      if (this.hangs || this.dead.has(pair)) return;
      const text = chunk.toString('latin1');
      if (/\r\ns?subscribe\r\n/i.test(text)) this.listening.add(pair);
      const at = this.rule?.command === undefined ? -1 : text.search(this.rule.command);
      // What was sent with the command, before it, arrives.
      const start = at < 0 ? chunk.length : Math.max(0, text.lastIndexOf('*', at));
      upstream.write(chunk.subarray(0, start));
      if (at >= 0 && suffer() === 'answer lost') upstream.write(chunk.subarray(start));
    });
    upstream.on('data', (chunk) => {
      if (isDoomed) for (const socket of pair) socket.destroy();
      else if (!this.hangs && !this.dead.has(pair)) client.write(chunk);
    });
    for (const socket of pair) {
      socket.on('error', () => undefined);
      socket.on('close', () => {
        for (const each of pair) each.destroy();
        this.pairs.delete(pair);
        this.listening.delete(pair);
        this.dead.delete(pair);
      });
    }
    if (this.rule !== undefined && this.rule.command === undefined) suffer();
  }
}
