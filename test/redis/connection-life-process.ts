import type { EventEmitter } from 'node:events';
import Module from 'node:module';
import { Cluster as Cluster5, Redis as Redis5 } from 'ioredis';
import Redis4 from 'ioredis4';
import { Cluster as Cluster6, Redis as Redis6 } from 'ioredis6';
import { createPresence, type Presence } from 'voiceping-presence';
import { type RedisLike, type RedisStoreOptions, redisStore } from 'voiceping-presence/redis';
import { fakeSocket } from 'voiceping-presence/testing';
import { type Fate, Gate } from './gate';
import { sleep, until } from './wait';

// A process that lets many connections fail in every way at the same time. It reports uncaught errors, and ends without
// a signal: if it does not, a timer or a socket was left.

export interface Task {
  readonly kind: 'single' | 'sentinel' | 'cluster';
  /** Of the servers: one, a Sentinel and its master, or those of a Cluster. */
  readonly ports: readonly number[];
}

type Version = 4 | 5 | 6;

const { kind, ports }: Task = JSON.parse(process.argv[2] ?? '{}');
const clients = { 4: Redis4, 5: Redis5, 6: Redis6 as unknown as typeof Redis5 };
const clusters = { 5: Cluster5, 6: Cluster6 as unknown as typeof Cluster5 };

// A store without a client loads the package that is installed as ioredis when it is created.
let installed: Version = 5;
type Resolver = { _resolveFilename(name: string, ...rest: unknown[]): string };
const resolver = Module as unknown as Resolver;
const resolve = resolver._resolveFilename;
resolver._resolveFilename = (name, ...rest) =>
  resolve.call(Module, name === 'ioredis' && installed !== 5 ? `ioredis${installed}` : name, ...rest);

const uncaught: string[] = [];
const note = (what: string) => (error: unknown) => {
  const { stack, message } = error as Error;
  uncaught.push(`${what}: ${message}\n${String(stack)}`);
};
process.on('unhandledRejection', note('a rejection that nobody caught'));
process.on('uncaughtException', note('an exception that nobody caught'));
process.on('warning', (warning) => {
  if (warning.name !== 'ExperimentalWarning') note('a warning')(warning);
});

const problems: string[] = [];
const scenarios: Array<{ readonly name: string; run(): Promise<void> }> = [];
let serial = 0;

/** The store opens its own connections, or gets a client, perhaps with options. */
type How = 'own' | object;
/** Fails where a promise takes for ever. */
async function settled(what: string, promise: Promise<unknown> | undefined): Promise<void> {
  let isSettled = false;
  const settle = (): void => {
    isSettled = true;
  };
  promise?.then(settle, settle);
  if (promise !== undefined) await until(`${what} is settled`, () => isSettled, 20_000);
}

type Client = RedisLike & EventEmitter & { quit(): Promise<unknown> };

/** A router through gates of its own, to a prefix and as a user of its own. */
class Life {
  readonly prefix: string;
  readonly user: string;
  readonly gates: Gate[] = [];
  client: Client | undefined;
  presence: Presence | undefined;
  private listenersBefore = 0;

  constructor(
    private readonly version: Version,
    private readonly how: How,
  ) {
    serial += 1;
    this.prefix = `life-${process.pid}-${serial}:`;
    this.user = `user-${process.pid}-${serial}`;
  }

  async open(): Promise<void> {
    for (const port of ports) this.gates.push(await Gate.start(port));
    if (kind !== 'cluster') await admin.call('ACL', 'SETUSER', this.user, 'on', '>secret', '~*', '&*', '+@all');
  }

  /** At a command of whichever connection comes first. What it gives waits for that. */
  at(command: string, fate: Fate): () => Promise<void> {
    let isHit = false;
    for (const gate of this.gates) {
      void gate.at(command, fate).then(() => {
        isHit = true;
      });
    }
    return () => until(`${command} was sent`, () => isHit);
  }

  start(): void {
    const { prefix, how, version } = this;
    installed = version;
    if (how === 'own') this.attach(redisStore({ prefix, ...this.address() } as RedisStoreOptions));
    else {
      const client = this.connect(how);
      client.on('error', () => undefined);
      this.client = client;
      this.listenersBefore = count(client);
      this.attach(redisStore({ prefix, client }));
    }
  }

  /** Every connection is cut. */
  async lose(): Promise<void> {
    for (const gate of this.gates) gate.cut();
    if (kind !== 'cluster') await admin.call('CLIENT', 'KILL', 'USER', this.user);
  }

  /** Commands are answered, and messages arrive. */
  async works(): Promise<void> {
    const { presence, prefix } = this;
    await settled('ready()', (presence as Presence).ready());
    // Looked at seldom: there are many who wait for it at the same time.
    const isHeard = async (): Promise<boolean> => {
      await sleep(40);
      return (await listenersTo(prefix)) > 0;
    };
    await until(`${prefix} is listened to`, isHeard, 20_000);
  }

  async end(): Promise<void> {
    const at = Date.now();
    await settled('close()', this.presence?.close());
    const tookMs = Date.now() - at;
    if (tookMs > 6_000) problems.push(`close() took ${tookMs} ms`);
    if (this.client !== undefined) {
      const left = count(this.client) - this.listenersBefore;
      if (left > 0) problems.push(`${left} listeners are left on the client`);
      this.client.disconnect();
    }
    const isLeft = () => this.gates.some(({ pairs }) => pairs.size > 0);
    await until('no connection is left', () => !isLeft(), LEFT_MS).catch(async (error: Error) => {
      const clients = (await admin.client('LIST')) as string;
      const lines = clients.split('\n').filter((line) => line.includes(this.user));
      throw new Error(`${error.message}: ${this.client?.status}; ${lines.join('; ')}`);
    });
  }

  close(): void {
    for (const gate of this.gates) gate.close();
  }

  private attach(store: ReturnType<typeof redisStore>): void {
    this.presence = createPresence({
      store,
      leaseMs: kind === 'cluster' ? 3_000 : 1_500,
      ttlMs: 10_000,
      commandTimeoutMs: 1_000,
      onError: () => undefined,
    });
    this.presence.onUpdate(() => undefined);
    this.presence.attachToSocket(fakeSocket(), { userId: 'u' });
  }

  private address(): object {
    const [first] = this.gates;
    const login = { username: this.user, password: 'secret', db: 3 };
    if (kind === 'sentinel') return { ...login, name: 'presence', sentinels: [first?.address] };
    return { ...login, ...first?.address };
  }

  private connect(options: object): Client {
    const natMap: { [address: string]: object } = {};
    for (const [index, gate] of this.gates.entries()) {
      natMap[`127.0.0.1:${ports[index]}`] = gate.address;
    }
    if (kind === 'cluster') {
      const nodes = this.gates.map(({ address }) => address);
      return new clusters[this.version as 5 | 6](nodes, {
        natMap: natMap as never,
        redisOptions: { disconnectTimeout: 200 },
        ...options,
      }) as unknown as Client;
    }
    return new clients[this.version]({
      connectionName: 'router',
      disconnectTimeout: 200,
      ...this.address(),
      ...(kind === 'sentinel' ? { natMap, sentinelCommandTimeout: 500 } : {}),
      ...options,
    } as never) as unknown as Client;
  }
}

const EVENTS = ['ready', 'error', 'message', '+node', '-node'];
// ioredis gives a stream two seconds to say goodbye.
const LEFT_MS = 8_000;

// That of a connection which is on its way is its own.
const OF_CONNECT = 'connectionReadyHandler';
const count = (client: EventEmitter): number =>
  EVENTS.reduce((sum, event) => sum + client.listeners(event).filter(({ name }) => name !== OF_CONNECT).length, 0);

const admins = (kind === 'cluster' ? ports : ports.slice(-1)).map((port) => new Redis5({ port }));
const [admin] = admins as [Redis5];

async function listenersTo(prefix: string): Promise<number> {
  const sections = await Promise.all(
    admins.map((each) => each.call('PUBSUB', kind === 'cluster' ? 'SHARDCHANNELS' : 'CHANNELS', `${prefix}sync*`)),
  );
  return (sections as string[][]).reduce((sum, { length }) => sum + length, 0);
}

/** What a connection goes through, command by command. */
function stepsOf(version: Version, how: How): string[] {
  if (kind === 'sentinel')
    return ['connect', 'sentinel', 'sentinels', ...(how === 'own' ? [] : ['info', 'subscribe', 'eval|evalsha'])];
  if (kind === 'cluster') return ['connect', 'slots', 'info', 'ssubscribe', 'eval|evalsha', 'set'];
  // The other versions take their steps under clients that are handed in.
  if (how === 'own' && version !== 5) return ['info', 'subscribe'];
  return ['connect', 'auth|hello', 'select', 'client', 'info', 'subscribe', 'eval|evalsha'];
}

function scenario(version: Version, name: string, how: How, run: (life: Life) => Promise<void>): void {
  scenarios.push({
    name: `ioredis ${version}, ${how === 'own' ? 'own' : `handed in ${JSON.stringify(how)}`}: ${name}`,
    run: async () => {
      const life = new Life(version, how);
      await life.open();
      try {
        await run(life);
      } finally {
        await life.end().finally(() => life.close());
      }
    },
  });
}

const FATES: readonly Fate[] = kind === 'cluster' ? ['cut', 'hang'] : ['cut', 'answer lost', 'hang'];
const ways: How[] = kind === 'cluster' ? [{}] : ['own', {}];

function plan(version: Version): void {
  for (const how of ways) {
    for (const step of stepsOf(version, how)) {
      for (const fate of FATES) {
        if (step === 'connect' && fate === 'answer lost') continue;
        if (fate !== 'answer lost') {
          scenario(version, `${fate} at the first ${step}, then closed`, how, async (life) => {
            const hit = life.at(step, fate);
            life.start();
            await hit();
          });
        }
        scenario(version, `${fate} at ${step} after a loss, then closed`, how, async (life) => {
          life.start();
          await life.works();
          const hit = life.at(step, fate);
          await life.lose();
          await hit();
        });
      }
      if (!/subscribe$/.test(step)) continue;
      scenario(version, `cut at ${step} after a loss, works again, is closed`, how, async (life) => {
        life.start();
        await life.works();
        const hit = life.at(step, 'cut');
        await life.lose();
        await hit();
        await life.works();
      });
    }
    for (const [name, pass] of [
      ['at once', async () => undefined],
      ['on the next tick', () => new Promise<void>((done) => process.nextTick(done))],
      ['in the next turn', () => new Promise<void>((done) => setImmediate(done))],
      ['a little later', () => sleep(15)],
    ] as const) {
      scenario(version, `closed ${name}`, how, async (life) => {
        life.start();
        await pass();
      });
      scenario(version, `closed ${name} after a loss`, how, async (life) => {
        life.start();
        await life.works();
        await life.lose();
        await pass();
      });
    }
  }

  if (kind === 'single') {
    for (const how of version === 5 ? ways : [{}]) {
      // Rights that are taken away from a user that works; then the connections are lost.
      for (const rights of [
        '-subscribe',
        'resetchannels',
        '-info',
        '-select',
        '-evalsha',
        '-eval',
        '-client',
        '-hmget',
        'nocommands',
        'off',
        '>other <secret',
      ]) {
        scenario(version, `its user gets ${rights}`, how, async (life) => {
          life.start();
          await life.works();
          const [gate] = life.gates as [Gate];
          const { opened } = gate;
          await admin.call('ACL', 'SETUSER', life.user, ...rights.split(' '));
          gate.cut();
          await until('it has come back', () => gate.opened >= opened + 2);
        });
      }
    }
    const client = { close: (life: Life) => life.client?.disconnect(), quit: (life: Life) => life.client?.quit() };
    for (const options of [
      {},
      { enableAutoPipelining: true },
      { enableOfflineQueue: false },
      { enableReadyCheck: false },
      { commandTimeout: 1_000 },
      { maxRetriesPerRequest: 0 },
      { lazyConnect: true },
      { retryStrategy: null },
      { autoResendUnfulfilledCommands: false },
      { socketTimeout: 1_000 },
    ]) {
      scenario(version, 'hangs at subscribe after a loss, then closed', options, async (life) => {
        life.start();
        await life.works();
        const hit = life.at('subscribe', 'hang');
        life.gates[0]?.cut();
        // A client without retries has ended by that, and its messages come all the same.
        await hit();
      });
      if (version !== 5) continue;
      for (const [way, finish] of Object.entries(client)) {
        scenario(version, `its caller's ${way} comes first`, options, async (life) => {
          life.start();
          await life.works();
          // What a caller gets for a quit is the caller's to catch.
          Promise.resolve(finish(life)).catch(() => undefined);
        });
      }
    }
  }
}

const VERSIONS: { readonly [kind in Task['kind']]: readonly Version[] } = {
  single: [4, 5, 6],
  sentinel: [4, 6],
  cluster: [5, 6],
};
for (const version of VERSIONS[kind]) plan(version);

// Not all in the same moment: what is tested is order, not load.
const AT_ONCE = kind === 'cluster' ? 8 : 24;
const waiting = scenarios.slice();
async function work(): Promise<void> {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const { name, run } = next;
    const before = uncaught.length;
    await run().catch((error: Error) => problems.push(`${name}: ${error.message}`));
    if (uncaught.length > before) problems.push(`${name} (or beside it): ${uncaught.slice(before).join('\n')}`);
  }
}
async function live(): Promise<void> {
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  for (const each of admins) each.disconnect();
  setTimeout(
    () => process.stderr.write(`left behind: ${process.getActiveResourcesInfo().join(', ')}\n`),
    4_000,
  ).unref();
  process.send?.({ scenarios: scenarios.length, problems: problems.concat(uncaught) }, () => process.disconnect());
}
void live();
