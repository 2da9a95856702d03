import { Redis } from 'ioredis';
import { freePort, RedisServer } from './server';
import { until } from './wait';

const SLOTS = 16_384;

/** A real Cluster of masters on free ports, with all slots spread over them, and replicas where wanted. */
export class RedisCluster {
  private constructor(
    readonly servers: readonly RedisServer[],
    readonly masters: number,
  ) {}

  /** `nodeTimeoutMs`: after so long without a word a node is taken for dead. */
  static async start(masters = 3, replicas = 0, nodeTimeoutMs = 15_000): Promise<RedisCluster> {
    const servers: RedisServer[] = [];
    for (let index = 0; index < masters + replicas; index += 1) {
      // A port of its own for the bus: the default one, 10,000 above, may not exist.
      const options = ['--cluster-enabled', 'yes', '--cluster-port', String(await freePort())];
      options.push('--cluster-node-timeout', String(nodeTimeoutMs), '--repl-diskless-sync-delay', '0');
      servers.push(await RedisServer.start(...options));
    }
    const cluster = new RedisCluster(servers, masters);
    await cluster.form();
    return cluster;
  }

  get nodes(): Array<{ host: string; port: number }> {
    return this.servers.map(({ port }) => ({ host: '127.0.0.1', port }));
  }

  /** Moves a slot with its keys from one master to another, as an operator's tool does. */
  async migrate(slot: number, from: number, to: number): Promise<void> {
    const [source, target] = [this.client(from), this.client(to)];
    const [sourceId, targetId] = [await source.cluster('MYID'), await target.cluster('MYID')];
    await target.cluster('SETSLOT', slot, 'IMPORTING', sourceId);
    await source.cluster('SETSLOT', slot, 'MIGRATING', targetId);
    for (;;) {
      const keys = (await source.cluster('GETKEYSINSLOT', slot, 100)) as unknown as string[];
      if (keys.length === 0) break;
      const { port } = this.servers[to] as RedisServer;
      await source.call('MIGRATE', '127.0.0.1', port, '', 0, 5_000, 'KEYS', ...keys);
    }
    for (const server of [target, source]) await server.cluster('SETSLOT', slot, 'NODE', targetId);
    for (const client of [source, target]) client.disconnect();
  }

  client(index: number): Redis {
    return new Redis({ port: this.servers[index]?.port ?? 0 });
  }

  async remove(): Promise<void> {
    for (const server of this.servers) await server.remove();
  }

  private async form(): Promise<void> {
    const clients = this.servers.map((_, index) => this.client(index));
    const buses: number[] = [];
    for (const [index, client] of clients.entries()) {
      if (index < this.masters) {
        const from = Math.floor((SLOTS * index) / this.masters);
        const to = Math.floor((SLOTS * (index + 1)) / this.masters) - 1;
        await client.call('CLUSTER', 'ADDSLOTSRANGE', from, to);
        await client.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
      }
      const bus = (await client.config('GET', 'cluster-port')) as unknown as string[];
      buses.push(Number(bus[1]));
    }
    // By gossip alone two of them may wait for long, and a handshake that gets lost is not tried again.
    const meet = async (): Promise<void> => {
      for (const [index, client] of clients.entries()) {
        for (const [other, { port }] of this.servers.entries())
          if (other > index) await client.call('CLUSTER', 'MEET', '127.0.0.1', port, buses[other] as number);
      }
    };
    const count = clients.length;
    let metAt = Number.NEGATIVE_INFINITY;
    await until('the nodes know each other', async () => {
      if (performance.now() - metAt > 2_000) {
        await meet();
        metAt = performance.now();
      }
      const infos = await Promise.all(clients.map((client) => client.call('CLUSTER', 'INFO') as Promise<string>));
      return infos.every((info) => info.includes(`cluster_known_nodes:${count}`));
    });
    const ids = await Promise.all(clients.map((client) => client.cluster('MYID')));
    for (const [index, client] of clients.entries()) {
      if (index >= this.masters) {
        await until('the replica follows', async () => {
          const followed = client.cluster('REPLICATE', ids[index - this.masters] as string);
          return (await followed.catch(() => undefined)) === 'OK';
        });
      }
    }
    await until('the cluster is whole', async () => {
      const infos = await Promise.all(clients.map((client) => client.call('CLUSTER', 'INFO') as Promise<string>));
      return infos.every((info) => info.includes('cluster_state:ok'));
    });
    await until('the replicas have the data', async () => {
      const infos = await Promise.all(clients.slice(this.masters).map((client) => client.info('replication')));
      return infos.every((info) => info.includes('master_link_status:up'));
    });
    for (const client of clients) client.disconnect();
  }
}
