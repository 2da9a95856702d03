import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { Cluster, type ClusterOptions } from 'ioredis';
import type { RedisCluster } from './cluster';
import { sleep } from './wait';

/** A server far away: what goes either way takes half a round trip, and a connection takes one to be made. */
export class FarServer {
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    private readonly target: number,
    private readonly roundTripMs: number,
  ) {
    server.on('connection', (client) => this.join(client));
  }

  static async start(target: number, roundTripMs: number): Promise<FarServer> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new FarServer(server, target, roundTripMs);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }

  private join(client: Socket): void {
    const upstream = connect(this.target, '127.0.0.1');
    // Here the client is connected at once: what it sends then has the handshake before it.
    const handshakeUntil = Date.now() + this.roundTripMs;
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.sockets.add(from);
      from.setNoDelay(true);
      let before = Promise.resolve();
      from.on('data', (chunk) => {
        const at = Math.max(Date.now(), handshakeUntil) + this.roundTripMs / 2;
        // In order, also where timers are not.
        before = before.then(() => sleep(at - Date.now())).then(() => void to.write(chunk));
      });
      from.on('error', () => undefined);
      from.on('close', () => {
        this.sockets.delete(from);
        to.destroy();
      });
    }
  }
}

/** A Cluster far away. ioredis needs a `natMap`, since nodes announce the addresses that they use among themselves. */
export class FarCluster {
  private constructor(
    private readonly links: readonly FarServer[],
    private readonly natMap: NonNullable<ClusterOptions['natMap']>,
  ) {}

  static async start({ nodes }: RedisCluster, roundTripMs: number): Promise<FarCluster> {
    const links: FarServer[] = [];
    const natMap: { [address: string]: { host: string; port: number } } = {};
    for (const { host, port } of nodes) {
      const link = await FarServer.start(port, roundTripMs);
      links.push(link);
      natMap[`${host}:${port}`] = { host, port: link.port };
    }
    return new FarCluster(links, natMap);
  }

  client(options: ClusterOptions = {}): Cluster {
    const nodes = this.links.map(({ port }) => ({ host: '127.0.0.1', port }));
    return new Cluster(nodes, { ...options, natMap: this.natMap });
  }

  close(): void {
    for (const link of this.links) link.close();
  }
}
