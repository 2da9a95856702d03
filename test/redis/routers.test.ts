import { Redis } from 'ioredis';
import { expect } from 'vitest';
import { describe, it, onTestFinished } from '../side-by-side';
import { Observer, RouterProcess } from './processes';
import type { Settings } from './router-process';
import { RedisServer } from './server';
import { sleep, until } from './wait';

// What users of older presence systems live with, each with real router processes on one real Redis.

/** Of routers that are to be found dead, or whose next beats are waited for. */
const LEASE_MS = 1_500;
/** Of the others: however busy the machine, it does not lapse. */
const LONG_LEASE_MS = 15_000;

/** A server, who listens to it and asks it, and routers that the test starts on it. */
async function redis() {
  const server = await RedisServer.start();
  onTestFinished(() => server.remove());
  const admin = new Redis({ port: server.port });
  admin.on('error', () => undefined);
  onTestFinished(() => admin.disconnect());
  const observer = await Observer.start(server.port);
  onTestFinished(() => observer.end());
  const routers: RouterProcess[] = [];
  onTestFinished(async () => {
    await Promise.all(routers.map((router) => router.end()));
    for (const { failures } of routers) expect(failures).toEqual([]);
  });
  async function start(count: number, options: Omit<Settings, 'port'> = {}): Promise<RouterProcess[]> {
    const settings = { port: server.port, leaseMs: LEASE_MS, graceMs: 0, ...options };
    const started = Array.from({ length: count }, () => new RouterProcess(settings));
    routers.push(...started);
    await Promise.all(started.map(({ ready }) => ready));
    return started;
  }
  const allHeard = (changes: number): Promise<void> =>
    until(`each heard ${changes} changes`, () => routers.every(({ heard }) => heard.length >= changes));
  return { server, admin, observer, routers, start, allHeard };
}

const usersOf = (count: number): string[] => Array.from({ length: count }, (_, index) => `acme_u${index}`);

describe('three routers on one Redis', () => {
  it('publish one expiry once', async () => {
    const { observer, routers, start, allHeard } = await redis();
    const [a] = (await start(3, { ttlMs: 1_000 })) as [RouterProcess];
    await a.attach('silent');
    await a.ask({ silence: 'silent' });
    await observer.saw('silent', 'offline timeout');
    await allHeard(2);
    await sleep(LEASE_MS);
    expect(observer.changes('silent')).toEqual(['online connect', 'offline timeout']);
    expect(observer.of('presence:offline', 'silent')).toHaveLength(1);
    for (const { heard } of routers) expect(heard.map(({ status }) => status)).toEqual(['online', 'offline']);
  });

  it('keep a user online whose other device closed, on another router', async () => {
    const { observer, start } = await redis();
    const [a, b, c] = (await start(3)) as [RouterProcess, RouterProcess, RouterProcess];
    await a.attach('two-devices');
    await b.attach('two-devices');
    await a.ask({ close: 'two-devices' });
    await sleep(LEASE_MS);
    expect(await c.statuses('two-devices')).toBe('online');
    await b.ask({ close: 'two-devices' });
    await observer.saw('two-devices', 'offline disconnect');
    expect(observer.changes('two-devices')).toEqual(['online connect', 'offline disconnect']);
  });

  it('have all users back after a flush, and none was published as offline', async () => {
    const { admin, observer, routers, start, allHeard } = await redis();
    const [a, b, c] = (await start(3)) as [RouterProcess, RouterProcess, RouterProcess];
    const users = usersOf(50);
    await a.attach(...users.slice(0, 25));
    await b.attach(...users.slice(25));
    // A join that is flushed before any router has received it leaves no trace.
    await allHeard(50);
    await admin.flushall();
    await until('all contract keys are back', async () => (await admin.keys('presence:user:*')).length === 50);
    expect(await c.statuses(...users)).toBe(users.map(() => 'online').join());
    await sleep(LEASE_MS);
    expect(observer.messages.filter(({ update }) => update.status === 'offline')).toEqual([]);
    for (const { heard } of routers) expect(heard).toHaveLength(50);
  });

  it('publish expiries after Redis was restarted, empty', async () => {
    const { server, admin, observer, start } = await redis();
    const [a] = (await start(3, { ttlMs: 2_500 })) as [RouterProcess];
    await server.stop();
    await server.start();
    await until('the observer listens again', async () => {
      const [, listeners] = (await admin.call('PUBSUB', 'NUMSUB', 'presence:updates').catch(() => [])) as [
        string,
        number,
      ];
      return listeners === 1;
    });
    await a.attach('silent');
    await a.ask({ silence: 'silent' });
    await observer.saw('silent', 'offline timeout');
    expect(observer.changes('silent')).toEqual(['online connect', 'offline timeout']);
  });

  it('never call KEYS, nor CONFIG, whatever dashboards ask', async () => {
    const { admin, observer, start } = await redis();
    const [a, b] = (await start(3)) as [RouterProcess, RouterProcess];
    await a.attach(...usersOf(100));
    await b.ask({ watch: true });
    await b.statuses(...usersOf(100));
    await a.ask({ close: 'acme_u1' });
    await observer.saw('acme_u1', 'offline disconnect');
    await sleep(LEASE_MS);
    const stats = await admin.info('commandstats');
    expect(stats).toMatch(/cmdstat_evalsha/);
    expect(stats).not.toMatch(/cmdstat_(keys|scan|config|flushall|smembers)/);
  });

  it('tell a dashboard on one what happens on another, and do not count it as a user', async () => {
    const { admin, start } = await redis();
    const [a, b] = (await start(2, { leaseMs: LONG_LEASE_MS })) as [RouterProcess, RouterProcess];
    await b.ask({ watch: true });
    await a.attach('u');
    await until('the dashboard router heard it', () => b.heard.length === 1);
    expect(await a.statuses('dashboard', 'u')).toBe('offline,online');
    expect(await admin.exists('presence:user:dashboard')).toBe(0);
  });

  it('leave nothing behind that does not expire, but last seen', async () => {
    const { admin, observer, start } = await redis();
    const [a] = (await start(1, { ttlMs: 20_000, leaseMs: LONG_LEASE_MS })) as [RouterProcess];
    await a.attach('u');
    expect(await admin.pttl('presence:user:u')).toBeGreaterThan(0);
    await a.ask({ close: 'u' });
    await observer.saw('u', 'offline disconnect');
    const left = await admin.keys('*');
    expect(left.filter((key) => key.includes('u') && key.startsWith('presence:user:'))).toEqual([]);
  });

  it('take any id for what it is', async () => {
    const { admin, observer, start } = await redis();
    const [a, b] = (await start(2, { leaseMs: LONG_LEASE_MS })) as [RouterProcess, RouterProcess];
    const odd = ['a:b', 'presence:user:x', '{slot}', '__proto__', '"quoted"', 'a,b', 'a~1', '👷🏽', '\u0000', '<img>'];
    await a.attach(...odd);
    expect(await b.statuses(...odd)).toBe(odd.map(() => 'online').join());
    for (const id of odd) expect(await admin.exists(`presence:user:${id}`)).toBe(1);
    await until('all are told', () => b.heard.length === odd.length);
    expect(new Set(b.heard.map(({ userId }) => userId))).toEqual(new Set(odd));
    for (const id of odd) await a.ask({ close: id });
    await until('all are told', () => b.heard.length === odd.length * 2);
    await observer.saw('a,b', 'offline disconnect');
    expect(observer.changes('a,b')).toEqual(['online connect', 'offline disconnect']);
    expect(await admin.keys('presence:user:*')).toEqual([]);
  });

  it('answer 200,000 ids in pieces, and others are served in between', async () => {
    const { admin, start } = await redis();
    const [a] = (await start(1, { leaseMs: LONG_LEASE_MS, commandTimeoutMs: 50_000 })) as [RouterProcess];
    let isAnswered = false;
    const bulk = a.ask({ bulk: 200_000 }).finally(() => {
      isAnswered = true;
    });
    let served = 0;
    while (!isAnswered) {
      await admin.ping();
      served += 1;
    }
    expect(await bulk).toBe(200_000);
    expect(served).toBeGreaterThan(200);
  });
});

describe('a router that', () => {
  it('is killed: its users go offline, once each, and a user of two routers stays', async () => {
    const { admin, observer, start } = await redis();
    const [dead, b, c] = (await start(3)) as [RouterProcess, RouterProcess, RouterProcess];
    const users = usersOf(200);
    await dead.attach(...users, 'both');
    await b.attach('both');
    dead.signal('SIGKILL');
    await until('all are offline', () => users.every((userId) => observer.changes(userId).length === 2));
    await sleep(LEASE_MS);
    for (const userId of users) expect(observer.changes(userId)).toEqual(['online connect', 'offline node-down']);
    expect(observer.changes('both')).toEqual(['online connect']);
    expect(await c.statuses('both', 'acme_u0')).toBe('online,offline');
    expect(await admin.keys('presence:user:*')).toEqual(['presence:user:both']);
  });

  it('stalls shorter than a lease: nobody sees it', async () => {
    const { admin, observer, start } = await redis();
    const leaseMs = LEASE_MS * 4;
    const [a] = (await start(1, { leaseMs })) as [RouterProcess];
    await a.attach('u');
    const [name] = (await admin.zrange('presence:lease:{0}', 0, -1)) as [string];
    const [b] = (await start(1, { leaseMs })) as [RouterProcess];
    const lapsesAt = () => admin.zscore('presence:lease:{0}', name);
    const before = await lapsesAt();
    await until('it has just beaten', async () => (await lapsesAt()) !== before);
    a.signal('SIGSTOP');
    await sleep(leaseMs / 2);
    a.signal('SIGCONT');
    // Longer than the rest of its lease, and the time until another router would have noticed its end.
    await sleep(leaseMs);
    expect(await b.statuses('u')).toBe('online');
    expect(observer.changes('u')).toEqual(['online connect']);
  });

  it('stalls longer than a lease: it is reaped, learns that, and registers its remaining users again', async () => {
    const { observer, start } = await redis();
    const [a, b] = (await start(2)) as [RouterProcess, RouterProcess];
    await a.attach('u', 'v');
    a.signal('SIGSTOP');
    await observer.saw('u', 'offline node-down');
    a.signal('SIGCONT');
    await observer.saw('u', 'online resync');
    await observer.saw('v', 'online resync');
    expect(await b.statuses('u', 'v')).toBe('online,online');
    await a.ask({ close: 'v' });
    await observer.saw('v', 'offline disconnect');
    expect(observer.changes('v')).toEqual([
      'online connect',
      'offline node-down',
      'online resync',
      'offline disconnect',
    ]);
  });

  it('shuts down with a handover: who reappears elsewhere is no event, and the process ends by itself', async () => {
    const { observer, start } = await redis();
    const [old, next] = (await start(2)) as [RouterProcess, RouterProcess];
    await old.attach('moves', 'stays-away');
    await old.ask({ shutDown: 3_000 });
    expect(await old.exited()).toBe(0);
    await next.attach('moves');
    await observer.saw('stays-away', 'offline timeout');
    await sleep(LEASE_MS);
    expect(observer.changes('moves')).toEqual(['online connect']);
    expect(await next.statuses('moves', 'stays-away')).toBe('online,offline');
  });
});
