import calculateSlot from 'cluster-key-slot';
import type { Cluster, Redis } from 'ioredis';
import type { RedisLike } from 'voiceping-presence/redis';

/** A key as the server can put it back. */
type Dumped = readonly [key: string, ttlMs: number, value: Buffer];

/** All that stores with one prefix keep on a server or a Cluster. */
export class RedisData {
  constructor(
    private readonly client: RedisLike,
    private readonly prefix: string,
  ) {}

  async delete(): Promise<void> {
    await this.onServers((server) => this.replace(server, []));
  }

  /** Gives what puts back the data as they are now. */
  async save(): Promise<() => Promise<void>> {
    const saved = await this.onServers(async (server) => [server, await this.dump(server)] as const);
    return async () => {
      await Promise.all(saved.map(([server, dumped]) => this.replace(server, dumped)));
    };
  }

  private onServers<T>(work: (server: Redis) => Promise<T>): Promise<T[]> {
    const { client } = this;
    const servers = client.isCluster === true ? (client as unknown as Cluster).nodes('master') : [client as Redis];
    return Promise.all(servers.map(work));
  }

  private async keys(server: Redis): Promise<string[]> {
    const keys = new Set<string>();
    for (let cursor = '0'; ; ) {
      const [next, found] = await server.scan(cursor, 'MATCH', `${this.prefix}*`, 'COUNT', 5_000);
      for (const key of found) keys.add(key);
      if (next === '0') return Array.from(keys);
      cursor = next;
    }
  }

  private async dump(server: Redis): Promise<Dumped[]> {
    const keys = await this.keys(server);
    const dumped = await Promise.all(
      keys.map(async (key): Promise<Dumped | undefined> => {
        const [value, ttlMs] = await Promise.all([server.dumpBuffer(key), server.pttl(key)]);
        return value === null ? undefined : [key, Math.max(0, ttlMs), value];
      }),
    );
    return dumped.filter((entry): entry is Dumped => entry !== undefined);
  }

  /** In one step, on a Cluster in one step for each slot. */
  private async replace(server: Redis, dumped: readonly Dumped[]): Promise<void> {
    const saved = new Map(dumped.map((entry) => [entry[0], entry] as const));
    const keys = new Set([...(await this.keys(server)), ...Array.from(saved.keys())]);
    const slots = new Map<number, string[]>();
    for (const key of keys) {
      const slot = this.client.isCluster === true ? calculateSlot(key) : 0;
      slots.set(slot, (slots.get(slot) ?? []).concat(key));
    }
    await Promise.all(
      Array.from(slots.values(), async (group) => {
        const step = server.multi().del(...group);
        for (const key of group) {
          const entry = saved.get(key);
          if (entry !== undefined) step.restore(key, entry[1], entry[2]);
        }
        const answers = await step.exec();
        for (const [error] of answers ?? []) if (error !== null) throw error;
      }),
    );
  }
}
