// By a name that the banners of bundles, which import the same, do not have.
import { createRequire as requireFrom } from 'node:module';
import { storeFailure } from '../../../diagnostics/store-failure';
import { backoffMs } from '../../../public/backoff';
import { optionError, shown } from '../../../public/errors';
import type { RedisLike } from './client';

/** How to reach a Redis, for a store that connects by itself. The names are those of ioredis. */
export interface RedisConnectionOptions {
  /** `redis://user:password@host:6379/0`, or `rediss://` for TLS; instead of host, port, username, password and db. */
  url?: string;
  /** Where it is. @default 'localhost' */
  host?: string;
  /** Its port. @default 6379 */
  port?: number;
  /** The user of an ACL. */
  username?: string;
  /** The password. */
  password?: string;
  /** The number of the database. @default 0 */
  db?: number;
  /** TLS: `true`, or the options of Node's `tls.connect`. @default false */
  tls?: boolean | object;
  /** Sentinels, where the master is found by `name`. */
  sentinels?: Array<{ host: string; port: number }>;
  /** The name of the master, for sentinels. */
  name?: string;
  /** The password of the sentinels themselves. */
  sentinelPassword?: string;
}

/** @internal */
export const CONNECTION_NAMES: ReadonlyArray<keyof RedisConnectionOptions> = [
  'url',
  'host',
  'port',
  'username',
  'password',
  'db',
  'tls',
  'sentinels',
  'name',
  'sentinelPassword',
];

/** A server that says nothing for so long while a connection to it is being made is given up. */
const SILENCE_MS = 10_000;
/** How the connections of a store come back. */
const RECONNECTS = { leastMs: 100, mostMs: 1_000 };
/** A Sentinel that takes questions and answers none would be asked for ever, and so would the next one never. */
const SENTINEL_MS = 2_000;
/** What a connection that was ended has for its goodbye; it keeps the process alive. */
const GOODBYE_MS = 100;
/** Where the server is loading its data it is asked again after so long; that keeps the process alive, too. */
const LOADING_MS = 1_000;
/** @internal */
export const MAX_DB = 1_000_000;

/** @throws TypeError `ERR_PRESENCE_OPTIONS` @internal */
export function checkConnection(options: RedisConnectionOptions): void {
  const { url, port, db, tls, sentinels } = options;
  for (const key of ['url', 'host', 'username', 'password', 'name', 'sentinelPassword'] as const) {
    const value = options[key];
    // Never the value: it may be a secret.
    if (value !== undefined && typeof value !== 'string')
      throw optionError(`${key} is a ${typeof value}; it is a string`);
  }
  checkHost(options.host, 'host', 'give it as url', 'give it as port');
  if (url !== undefined) {
    // Never the value: it may hold a password.
    if (!/^rediss?:\/\/[^\s]+$/.test(url))
      throw optionError('url is not one; it is redis://host:6379 or rediss://host:6379');
    const other = (['host', 'port', 'sentinels'] as const).find((key) => options[key] !== undefined);
    if (other !== undefined) throw optionError(`url and ${other} are both given; they say the same: give one`);
  }
  checkInteger('port', port, 1, 65_535);
  checkInteger('db', db, 0, MAX_DB);
  if (tls !== undefined && typeof tls !== 'boolean' && (typeof tls !== 'object' || tls === null)) {
    throw optionError(`tls is ${shown(tls)}; it is true, false, or the options of tls.connect`);
  }
  if (sentinels !== undefined && (!Array.isArray(sentinels) || sentinels.length === 0 || options.name === undefined)) {
    throw optionError(
      `sentinels is ${shown(sentinels)}; it is a list of { host, port }, and name says whom they watch`,
    );
  }
}

/** An address in the place of a host finds nobody, for ever. @internal */
export function checkHost(host: string | undefined, name: string, asUrl: string, asPort: string): void {
  // Never the value: a URL may hold a password.
  if (host?.includes('://')) throw optionError(`${name} is a URL; ${asUrl}`);
  // With two colons it is an address of IPv6.
  if (host !== undefined && /^[^:]*:\d+$/.test(host))
    throw optionError(`${name} is ${shown(host)}, with a port; ${asPort}`);
}

function checkInteger(name: string, value: unknown, min: number, max: number): void {
  if (value === undefined || (Number.isInteger(value) && (value as number) >= min && (value as number) <= max)) return;
  throw optionError(`${name} is ${shown(value)}; it is an integer from ${min} to ${max}`);
}

/**
 * When ioredis connects again, after `times` attempts in a row that have failed: its `retryStrategy`, by the real clock, as
 * are the sockets that it makes.
 * @internal
 */
export function reconnectMs(times: number): number {
  return backoffMs(times - 1, RECONNECTS, Math.random);
}

/** A client for a store that connects by itself. @throws TypeError where ioredis is not installed @internal */
export function connect({ url, tls, ...rest }: RedisConnectionOptions): RedisLike {
  const options = {
    ...rest,
    // One that nobody uses, of a presence that is disabled, connects to nothing.
    lazyConnect: true,
    ...(tls === undefined || tls === false ? {} : { tls: tls === true ? {} : tls }),
    keepAlive: SILENCE_MS,
    sentinelCommandTimeout: SENTINEL_MS,
    disconnectTimeout: GOODBYE_MS,
    maxLoadingRetryTime: LOADING_MS,
    retryStrategy: reconnectMs,
  };
  const Redis = loadIoredis();
  const client = url === undefined ? new Redis(options) : new Redis(url, options);
  quiet(client);
  giveUpSilence(client);
  return client;
}

type ClusterOptions = { readonly redisOptions?: object };

/**
 * A connection for messages to where a client is connected. What it does by itself must not fail unheard: it would end the
 * process. And what the caller has said of commands is not meant for it.
 * @internal
 */
export function connectForMessages(client: RedisLike): RedisLike {
  const ofLink = {
    // It would subscribe again after each loss, and keep the promise of that to itself.
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    enableAutoPipelining: false,
    maxRetriesPerRequest: null,
    reconnectOnError: null,
    commandTimeout: undefined,
    socketTimeout: undefined,
    disconnectTimeout: GOODBYE_MS,
    maxLoadingRetryTime: LOADING_MS,
  };
  const overrides = { lazyConnect: false, enableOfflineQueue: true, enableAutoPipelining: false };
  const duplicate = client.duplicate as (...args: unknown[]) => RedisLike;
  let own: RedisLike;
  if (client.isCluster === true) {
    const { redisOptions } = (client.options ?? {}) as ClusterOptions;
    own = duplicate.call(client, [], {
      ...overrides,
      clusterRetryStrategy: reconnectMs,
      // Each message stays on one master instead of going through the whole Cluster.
      shardedSubscribers: true,
      redisOptions: { ...redisOptions, ...ofLink },
    });
    own.on('+subscriber', () => quietShards(own));
  } else {
    own = duplicate.call(client, {
      ...ofLink,
      ...overrides,
      sentinelCommandTimeout: SENTINEL_MS,
      retryStrategy: reconnectMs,
    });
  }
  quiet(own);
  return own;
}

interface Shards {
  readonly shardedSubscribers?: {
    readonly shardedSubscribers?: ReadonlyMap<string, { getInstance(): ShardConnection | null }>;
  };
}

interface ShardConnection {
  on(event: string, listener: (...args: unknown[]) => void): unknown;
}

const quietened = new WeakSet<ShardConnection>();

/**
 * Where slots move, a Cluster takes all listeners off the connection to a shard that it gives up, and a server that moves a
 * slot says `sunsubscribe`, which nobody has asked for. Where that comes after the listeners have gone, the error would end
 * the process.
 */
function quietShards(cluster: RedisLike): void {
  const shards = (cluster as Shards).shardedSubscribers?.shardedSubscribers;
  for (const shard of Array.from(shards?.values() ?? [])) {
    const connection = shard.getInstance();
    if (connection === null || quietened.has(connection)) continue;
    quietened.add(connection);
    const ignore = (): void => undefined;
    connection.on('error', ignore);
    connection.on('removeListener', (event, listener) => {
      // What is added at once would be taken off with the rest.
      if (event === 'error' && listener === ignore) Promise.resolve().then(() => connection.on('error', ignore));
    });
  }
}

/** A server that takes the connection and then says nothing would be waited for as long as the connection stands. */
function giveUpSilence(client: RedisLike): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = (): void => clearTimeout(timer as never);
  const watch = (): void => {
    stop();
    const { stream } = client as Inside;
    const read = stream?.bytesRead;
    timer = setTimeout(() => {
      if (client.status !== 'connect') return;
      // One that is loading its data says so now and then.
      if (stream?.bytesRead === read) client.disconnect(true);
      else watch();
    }, SILENCE_MS);
    timer.unref();
  };
  client.on('connect', watch);
  client.on('ready', stop);
  client.on('close', stop);
}

/** What a client said last of its connection. */
const reasons = new WeakMap<RedisLike, string>();

/** @internal */
export function reasonOf(client: RedisLike): string | undefined {
  return reasons.get(client);
}

/** Failures are told by the calls that fail; and the sockets keep no process alive. @internal */
export function quiet(client: RedisLike): void {
  client.on('error', (error) => reasons.set(client, storeFailure(error).words));
  client.on('ready', () => reasons.delete(client));
  const inside = client as Inside;
  client.on('connecting', () => setImmediate(() => inside.stream?.unref?.()));
  client.on('connect', () => inside.stream?.unref?.());
  client.on('reconnecting', () => inside.reconnectTimeout?.unref?.());
}

interface Inside extends RedisLike {
  readonly stream?: Unrefable & { readonly bytesRead?: number };
  readonly reconnectTimeout?: Unrefable | null;
}

interface Unrefable {
  unref?(): void;
}

interface RedisConstructor {
  new (options: object): RedisLike;
  new (url: string, options: object): RedisLike;
}

function loadIoredis(): RedisConstructor {
  let loaded: { default?: RedisConstructor } & RedisConstructor;
  try {
    loaded = requireIoredis();
  } catch (error) {
    throw optionError(
      `a store that connects by itself needs ioredis: npm install ioredis (${(error as Error).message}). In a bundle that has not seen it, give client: new Redis(...)`,
    );
  }
  return loaded.default ?? loaded;
}

/** `require`, by a name that the build gives it in the end: this package's own bundler is not to look through it. */
declare const bundlersRequire: (name: string) => { default?: RedisConstructor } & RedisConstructor;

/** In the words that bundlers look for: a server in one file has ioredis only where its bundler has seen this. */
function requireIoredis(): { default?: RedisConstructor } & RedisConstructor {
  try {
    return bundlersRequire('ioredis');
  } catch (error) {
    // A module of Node has no `require`. CommonJS has no URL of its own.
    const here = import.meta.url as string | undefined;
    if (!(error instanceof ReferenceError) || here === undefined) throw error;
    return requireFrom(here)('ioredis');
  }
}
