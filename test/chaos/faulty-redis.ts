import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { Keyspace } from '../../src/stores/redis/keyspace';
import { layoutOf } from '../redis/layout';
import { RedisServer } from '../redis/server';
import { sleep, until } from '../redis/wait';
import { type ChannelObserver, MARKS, type Mark } from './channel-observer';
import type { Effect, Excuses } from './excuses';
import type { DeletedKey, Fault } from './faults';
import type { LinkProcess } from './link-process';
import { LEASE_MS, userIdOf } from './protocol';

/** Takes keys and says so, in one step; of a bucket with those who are in it. Leaves something else there, if wanted. */
const TAKE = `
  local users = {}
  for _, key in ipairs(KEYS) do
    if string.find(key, ':b:', 1, true) then
      for _, user in ipairs(redis.call('HKEYS', key)) do users[#users + 1] = user end
    end
    redis.call('DEL', key)
    if ARGV[3] == 'junk' then redis.call('RPUSH', key, 'junk') end
  end
  redis.call('PUBLISH', ARGV[1], cjson.encode({ lost = ARGV[2], userIds = users }))`;

/** The loss that a key causes, for all users; that of a bucket and of the graces concerns only some. */
const EFFECTS: { readonly [key in DeletedKey]: readonly Effect[] } = {
  user: [],
  bucket: [],
  grace: [],
  log: ['deaf'],
  lease: ['doubtful'],
  nodes: ['doubtful'],
  meta: ['doubtful', 'deaf'],
  count: ['doubtful', 'deaf'],
};

/** It is hung so often, for this part of a lease each, and works for that part in between. */
const STUTTER = { times: 3, hangs: 0.7, works: 0.45 };

/** When everything was lost each router finds out at its next heartbeat, and has asserted soon after that whom it holds. */
const ASSERTED_BY_MS = LEASE_MS;
/** Less than a grace. */
const LEAVERS_EVERY_MS = 500;

const directoryOf = (): string => mkdtempSync(join(tmpdir(), 'presence-chaos-'));

/** A server whose data can be taken away while it is down. */
function serverIn(directory: string): Promise<RedisServer> {
  // Of two directories the last one counts.
  const kept = ['--dir', directory, '--appendonly', 'yes', '--appendfsync', 'always'];
  return RedisServer.start(...kept, '--repl-diskless-sync-delay', '0');
}

/** A real Redis, by a name that may lead to another one later, and all that can happen to it. */
export class FaultyRedis {
  /** Links that lead to it: those of the routers, and then the one that no fault touches. */
  private readonly routerLinks: number[] = [];
  private readonly keyspace = new Keyspace('presence:', false);
  private replaced: { readonly server: RedisServer; readonly directory: string } | undefined;

  private constructor(
    private server: RedisServer,
    private directory: string,
    private readonly links: LinkProcess,
    private readonly ownLink: number,
    readonly control: Redis,
    private readonly excuses: Excuses,
  ) {}

  static async start(links: LinkProcess, excuses: Excuses): Promise<FaultyRedis> {
    const directory = directoryOf();
    const server = await serverIn(directory);
    const link = await links.start(server.port);
    const control = new Redis({ port: link, connectionName: 'chaos-control', retryStrategy: () => 20 });
    control.on('error', () => undefined);
    return new FaultyRedis(server, directory, links, link, control, excuses);
  }

  /** The address for observers. */
  get observersPort(): number {
    return this.ownLink;
  }

  async linkOfRouter(): Promise<number> {
    const link = await this.links.start(this.server.port);
    this.routerLinks.push(link);
    return link;
  }

  async remove(): Promise<void> {
    this.control.disconnect();
    await this.removeReplaced();
    await this.server.remove();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** The time to live of the presence key of each user who has one. */
  async keysOfUsers(): Promise<Map<string, number>> {
    const prefix = this.keyspace.userKey('');
    const keys: string[] = [];
    for (let cursor = '0'; ; ) {
      const [next, some] = await this.control.scan(cursor, 'MATCH', `${prefix}*`, 'COUNT', 5_000);
      keys.push(...some);
      cursor = next;
      if (cursor === '0') break;
    }
    const ttls = await this.control.pipeline(keys.map((key) => ['pttl', key])).exec();
    return new Map(keys.map((key, index) => [key.slice(prefix.length), Number(ttls?.[index]?.[1])]));
  }

  /** Nobody is out of reach of Redis for it, but what was said last may be gone. `leaving`: who has just left. */
  async flush(leaving: () => Iterable<string>): Promise<void> {
    const over = this.excuses.begin(['doubtful', 'deaf', 'lost'], {}, ASSERTED_BY_MS);
    const mark: Mark = { lost: 'everything', userIds: [] };
    await this.control.multi().flushall().publish(MARKS, JSON.stringify(mark)).exec();
    over();
    await this.excuseLeavers(leaving);
  }

  /** `leaving`: who has just left, and is in grace. `all`: everybody there is. */
  async take(
    fault: Extract<Fault, { what: DeletedKey }>,
    leaving: Iterable<string>,
    all: Iterable<string>,
  ): Promise<void> {
    const { kind, what, users } = fault;
    const ids = users.map(userIdOf);
    await layoutOf(this.control, this.keyspace);
    const partition = this.keyspace.partitions[0] as Keyspace['partitions'][number];
    const bucketOf = (id: string): string => partition.bucketKey(partition.bucketOf(id));
    const keys: string[] = [];
    if (what === 'user') keys.push(...ids.map((id) => this.keyspace.userKey(id)));
    // Also the first and the last one, where a walk may have mistakes.
    else if (what === 'bucket')
      keys.push(...[0, partition.buckets - 1].map((n) => partition.bucketKey(n)), ...ids.map(bucketOf));
    else keys.push(`presence:${what}:{0}`);
    // Two users may share a bucket.
    const taken = new Set(keys);
    const lost = new Set(what === 'grace' ? leaving : Array.from(all).filter((id) => taken.has(bucketOf(id))));
    const over = this.excuses.begin(EFFECTS[what]);
    const overToo = lost.size > 0 ? this.excuses.begin(['lost', 'deaf'], { users: lost }) : () => undefined;
    const mark: Mark['lost'] = what === 'meta' ? 'versions' : 'users';
    await this.control.eval(TAKE, taken.size, ...taken, MARKS, mark, kind);
    over();
    overToo();
  }

  /** A message that no router has sent, under the number that comes next. */
  async forge(users: readonly number[], channels: ChannelObserver): Promise<void> {
    const over = this.excuses.begin(['deaf', 'forged']);
    channels.expectLeaps(LEASE_MS * 8);
    const [epoch, seq] = await this.control.hmget('presence:meta:{0}', 'epoch', 'seq');
    const changes = users.map((user) => [userIdOf(user), 0, Date.now(), 'timeout']);
    const message = { e: epoch, n: Number(seq) + 1, t: Date.now(), u: changes };
    await this.control.publish('presence:sync:{0}', JSON.stringify(message));
    over();
  }

  async killClients(type: 'pubsub' | 'normal'): Promise<void> {
    const over = this.excuses.begin([type === 'pubsub' ? 'deaf' : 'unreachable']);
    const clients = String(await this.control.call('CLIENT', 'LIST', 'TYPE', type));
    for (const line of clients.split('\n')) {
      if (line === '' || line.includes(' name=chaos-')) continue;
      const [, id] = /^id=(\d+)/.exec(line) ?? [];
      await this.control.call('CLIENT', 'KILL', 'ID', String(id));
    }
    over();
  }

  async hang(ms: number): Promise<void> {
    const over = this.excuses.begin(['unreachable']);
    this.server.pause();
    await sleep(ms);
    this.server.resume();
    over();
  }

  /** Redis hangs again before the users of dead routers could be published as offline. */
  async stutter(): Promise<void> {
    for (let time = 1; time <= STUTTER.times; time += 1) {
      await this.hang(LEASE_MS * STUTTER.hangs);
      await sleep(LEASE_MS * STUTTER.works);
    }
  }

  async restart(
    { signal, empty, ms }: Extract<Fault, { kind: 'restart' }>,
    channels: ChannelObserver,
    leaving: () => Iterable<string>,
  ): Promise<void> {
    const effects: Effect[] = empty ? ['unreachable', 'deaf', 'doubtful', 'lost'] : ['unreachable', 'deaf'];
    const over = this.excuses.begin(effects, {}, empty ? ASSERTED_BY_MS : undefined);
    if (empty) channels.expectLoss();
    await this.server.stop(signal);
    if (empty) rmSync(join(this.directory, 'appendonlydir'), { recursive: true });
    await until('it is known that Redis is away', () => !channels.isHearing);
    await sleep(ms);
    await this.server.start();
    await until('the observer is back', () => channels.isHearing && this.control.status === 'ready');
    over();
    if (empty) await this.excuseLeavers(leaving);
  }

  /** A user who leaves around the loss of everything may stay online on all routers until they have read all users. */
  private async excuseLeavers(leaving: () => Iterable<string>): Promise<void> {
    const users = new Set<string>();
    const over = this.excuses.begin(['lost', 'deaf'], { users });
    const until = Date.now() + ASSERTED_BY_MS;
    for (;;) {
      for (const user of leaving()) users.add(user);
      if (Date.now() >= until) break;
      await sleep(LEAVERS_EVERY_MS);
    }
    over();
  }

  /** Its name is that of its replica by now. It is still there, at the end of every link, and takes no writes any more. */
  async failOver(channels: ChannelObserver): Promise<void> {
    const directory = directoryOf();
    const next = await serverIn(directory);
    const follower = new Redis(next.port);
    await follower.replicaof('127.0.0.1', this.server.port);
    follower.disconnect();
    const isFollowing = async (): Promise<boolean> =>
      /slave0:.*state=online/.test(await this.control.info('replication'));
    await until('the replica follows', isFollowing, 30_000);

    const over = this.excuses.begin(['unreachable', 'deaf']);
    await this.control.call('FAILOVER', 'TIMEOUT', '10000');
    const isReplica = async (): Promise<boolean> => (await this.control.info('replication')).includes('role:slave');
    await until('the roles are changed', isReplica, 20_000);
    this.replaced = { server: this.server, directory: this.directory };
    this.server = next;
    this.directory = directory;
    for (const link of [...this.routerLinks, this.ownLink]) await this.links.lead(link, next.port);
    await this.links.become(this.ownLink, { kind: 'cut' });
    await until('it is known that Redis is another one', () => !channels.isHearing);
    await this.links.become(this.ownLink, { kind: 'pass' });
    await until('the observer is back', () => channels.isHearing && this.control.status === 'ready');
    // When it ends it need not wait for the other one; before Redis 7 it does not.
    await this.control.config('SET', 'shutdown-timeout', '0').catch(() => undefined);
    over();
  }

  /** Whoever has not found the new one by now has to. */
  async removeReplaced(): Promise<void> {
    const { replaced } = this;
    this.replaced = undefined;
    if (replaced === undefined) return;
    await replaced.server.remove();
    rmSync(replaced.directory, { recursive: true, force: true });
  }
}
