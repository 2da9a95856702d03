import { Redis } from 'ioredis';
import { expect } from 'vitest';
import type { PresenceOp, PresenceStore, RouterDescription, StoreNode } from 'voiceping-presence';
import { type RedisLike, redisStore } from 'voiceping-presence/redis';
import { Keyspace, type Partition } from '../../src/stores/redis/keyspace';
import { keysOnly } from '../stores/keys-only';
import { RedisServer } from './server';
import { until } from './wait';

// A store on a real server, step by step. Tests write the end of a lease or a grace into Redis instead of waiting for it,
// so that they depend on no timing.

export const HOUR_MS = 3_600_000;
export const NODE = { leaseMs: 60_000, ttlMs: 90_000 };

export const join = (userId: string, ageMs = 0): PresenceOp => ({ kind: 'join', userId, ageMs, reassert: false });
export const rejoin = (userId: string): PresenceOp => ({ kind: 'join', userId, ageMs: 0, reassert: true });
export const leave = (userId: string, ageMs = 0): PresenceOp => ({
  kind: 'leave',
  userId,
  ageMs,
  reason: 'disconnect',
});
export const drop = (userId: string, graceMs: number): PresenceOp => ({ kind: 'drop', userId, ageMs: 0, graceMs });

let prefixes = 0;

/** Routers on data of their own, and what only an administrator sees. */
export class Rig {
  readonly prefix: string;
  readonly failures: string[] = [];
  private readonly clients: Redis[] = [];
  private readonly ends: Array<() => void> = [];

  constructor(
    private readonly server: RedisServer,
    readonly admin: Redis,
  ) {
    prefixes += 1;
    this.prefix = `p${prefixes}:`;
  }

  key(name: string): string {
    return `${this.prefix}${name}:{0}`;
  }

  async router(
    nodeId: string,
    {
      client = keysOnly(new Redis({ port: this.server.port }), { ran: new Set(), undeclared: this.failures }),
      retentionMs = HOUR_MS,
      says,
    }: { client?: Redis; retentionMs?: number; says?: RouterDescription } = {},
  ) {
    this.clients.push(client);
    const store: PresenceStore = redisStore({ client: client as RedisLike, prefix: this.prefix, retentionMs });
    const told: string[] = [];
    const versions: number[] = [];
    let lost = 0;
    const unsubscribe = store.subscribe({
      onTransition: ({ userId, status, reason, version }) => {
        told.push(`${userId} ${status} ${reason}`);
        versions.push(version);
      },
      onGap: () => undefined,
      onDue: () => undefined,
      onLost: () => {
        lost += 1;
      },
      onError: (stage, error) => this.failures.push(`${stage}: ${error}`),
    });
    this.ends.push(unsubscribe);
    const node: StoreNode = { nodeId, ...NODE, ...(says && { router: says }) };
    const router = {
      node,
      store,
      told,
      versions,
      lost: () => lost,
      beat: () => store.beat(node),
      apply: (...ops: PresenceOp[]) => store.apply(node, ops),
      refresh: (...signs: Array<{ userId: string; ageMs: number }>) => store.refresh(node, signs),
      async status(userId: string) {
        const [user] = (await store.read([userId])).users;
        if (user === undefined) throw new Error('no answer');
        return user;
      },
      isOnline: async (userId: string) => (await router.status(userId)).online,
    };
    await router.beat();
    return router;
  }

  /** The time by the clock of the server. */
  async now(): Promise<number> {
    const [seconds, micros] = await this.admin.time();
    return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  }

  /** Lets the leases of this router lapse unnoticed. */
  async die(...nodeIds: string[]): Promise<void> {
    const past = (await this.now()) - 1;
    for (const tag of await this.admin.zrange(this.key('lease'), 0, -1)) {
      if (nodeIds.includes(tag.split('~')[0] as string)) await this.admin.zadd(this.key('lease'), past, tag);
    }
  }

  /** A lease that has lapsed is taken away once all of its users are. */
  reaped(nodeId: string): Promise<void> {
    return until(`${nodeId} is reaped`, async () => (await this.admin.zscore(this.key('lease'), nodeId)) === null);
  }

  /** All keys of these data are gone. */
  async flush(): Promise<void> {
    const keys = await this.admin.keys(`${this.prefix}*`);
    if (keys.length > 0) await this.admin.del(...keys);
  }

  /** Where users are kept. */
  async partition(): Promise<Partition> {
    const [epoch, seed] = await this.admin.hmget(this.key('meta'), 'epoch', 'seed');
    const partition = new Keyspace(this.prefix, false).partitions[0] as Partition;
    partition.learn(String(epoch), String(seed));
    return partition;
  }

  async bucketOf(userId: string): Promise<string> {
    const partition = await this.partition();
    return partition.bucketKey(partition.bucketOf(userId));
  }

  /** The next beat looks over everything, as after a loss. */
  async sweepNext(): Promise<void> {
    await this.admin.hset(this.key('meta'), 'lostAt', await this.now(), 'round', 0);
  }

  /** The next beat looks over the next 512 buckets, as if the last one was long ago. */
  async sweepMore(): Promise<void> {
    await this.admin.hset(this.key('meta'), 'swept', (await this.now()) - NODE.leaseMs);
  }

  /** All buckets are swept once, as in four leases; `turn` says which of them are examined. */
  async sweepAll(router: { beat(): Promise<unknown> }): Promise<void> {
    await this.admin.hset(this.key('meta'), 'sweep', 0);
    for (let from = 0; from < 4_096; from += 512) {
      await this.sweepMore();
      await router.beat();
    }
  }

  end(): void {
    for (const end of this.ends) end();
    for (const client of this.clients) client.disconnect();
  }
}

/** Rigs on one server, each with data of its own. Wants to be called before all tests; gives what is to be called after them. */
export async function startRigs() {
  const server = await RedisServer.start();
  const admin = new Redis({ port: server.port });
  return {
    server,
    admin,
    async on(run: (rig: Rig) => Promise<void>): Promise<void> {
      const rig = new Rig(server, admin);
      try {
        await run(rig);
        expect(rig.failures).toEqual([]);
      } finally {
        rig.end();
      }
    },
    async end(): Promise<void> {
      admin.disconnect();
      await server.remove();
    },
  };
}
