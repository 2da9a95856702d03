import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';

export interface Balancer {
  readonly port: number;
  close(): void;
}

/** Gives each new connection to the next router, as a load balancer in front of them does. */
export async function startBalancer(port: number, host: string, routers: () => readonly number[]): Promise<Balancer> {
  let turn = 0;
  const server: Server = createServer((client) => {
    const ports = routers();
    turn += 1;
    const chosen = ports[turn % ports.length];
    if (chosen === undefined) {
      client.destroy();
      return;
    }
    const router = connect(chosen, '127.0.0.1');
    client.pipe(router).pipe(client);
    for (const [one, other] of [
      [client, router],
      [router, client],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  server.listen(port, host);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    close: () => void server.close(),
  };
}
