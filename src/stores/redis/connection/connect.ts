// Renamed, since the banners of bundles import it under its own name.
import { createRequire as requireFrom } from 'node:module';
import { storeFailure } from '../../../diagnostics/store-failure';
import { backoffMs } from '../../../public/backoff';
import { optionError, shown } from '../../../public/errors';
import type { RedisLike } from './client';

/** The address of a Redis, for a store that opens its own connections. The names are those of ioredis. */
export interface RedisConnectionOptions {
  /** `redis://user:password@host:6379/0`, or `rediss://` for TLS; instead of host, port, username, password and db. */
  url?: string;
  /** The host name. @default 'localhost' */
  host?: string;
  /** The port. @default 6379 */
  port?: number;
  /** The ACL user. */
  username?: string;
  /** The password. */
  password?: string;
  /** The number of the database. @default 0 */
  db?: number;
  /** TLS: `true`, or the options of Node's `tls.connect`. @default false */
  tls?: boolean | object;
  /** The sentinels, which find the master by its `name`. */
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

/** A connection that is being opened is given up after the server was silent for this long. */
const SILENCE_MS = 10_000;
/** The waits before the connections of a store are opened again. */
const RECONNECTS = { leastMs: 100, mostMs: 1_000 };
/** How long a Sentinel may take to answer. Without it, one that hangs would be waited for for ever, and no other one asked. */
const SENTINEL_MS = 2_000;
/** How long a connection may take to close. It is short, since closing keeps the process alive. */
const GOODBYE_MS = 100;
/** The longest wait before a server that is loading its data is asked again. It keeps the process alive, too. */
const LOADING_MS = 1_000;
/** @internal */
export const MAX_DB = 1_000_000;

/** @throws TypeError `ERR_PRESENCE_OPTIONS` @internal */
export function checkConnection(options: RedisConnectionOptions): void {
  const { url, port, db, tls, sentinels } = options;
  for (const key of ['url', 'host', 'username', 'password', 'name', 'sentinelPassword'] as const) {
    const value = options[key];
    // The message must not show the value, which may be a secret.
    if (value !== undefined && typeof value !== 'string')
      throw optionError(`${key} is a ${typeof value}; it is a string`);
  }
  checkHost(options.host, 'host', 'give it as url', 'give it as port');
  if (url !== undefined) {
    // The message must not show the value, which may contain a password.
    if (!/^rediss?:\/\/[^\s]+$/.test(url))
      throw optionError('url is not a URL of Redis; it is redis://host:6379 or rediss://host:6379');
    const other = (['host', 'port', 'sentinels'] as const).find((key) => options[key] !== undefined);
    if (other !== undefined) throw optionError(`url and ${other} are both given; give one of them`);
  }
  checkInteger('port', port, 1, 65_535);
  checkInteger('db', db, 0, MAX_DB);
  if (tls !== undefined && typeof tls !== 'boolean' && (typeof tls !== 'object' || tls === null)) {
    throw optionError(`tls is ${shown(tls)}; it is true, false, or the options of tls.connect`);
  }
  if (sentinels !== undefined && (!Array.isArray(sentinels) || sentinels.length === 0 || options.name === undefined)) {
    throw optionError(
      `sentinels is ${shown(sentinels)}; it is a list of { host, port }, and name is that of their master`,
    );
  }
}

/** Rejects an address in place of a host name, with which a client would never connect. @internal */
export function checkHost(host: string | undefined, name: string, asUrl: string, asPort: string): void {
  // The message must not show the value, since a URL may contain a password.
  if (host?.includes('://')) throw optionError(`${name} is a URL; ${asUrl}`);
  // A host with two colons is an IPv6 address.
  if (host !== undefined && /^[^:]*:\d+$/.test(host))
    throw optionError(`${name} is ${shown(host)}, with a port; ${asPort}`);
}

function checkInteger(name: string, value: unknown, min: number, max: number): void {
  if (value === undefined || (Number.isInteger(value) && (value as number) >= min && (value as number) <= max)) return;
  throw optionError(`${name} is ${shown(value)}; it is an integer from ${min} to ${max}`);
}

/**
 * The `retryStrategy` of ioredis: how long to wait after `times` failed attempts in a row. It uses the real clock, as the sockets
 * of ioredis do.
 * @internal
 */
export function reconnectMs(times: number): number {
  return backoffMs(times - 1, RECONNECTS, Math.random);
}

/** Creates the client of a store that opens its own connections. @throws TypeError where ioredis is not installed @internal */
export function connect({ url, tls, ...rest }: RedisConnectionOptions): RedisLike {
  const options = {
    ...rest,
    // The store of a disabled presence must not connect.
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
 * Opens a connection for messages to the server of a client. ioredis must not do on it what can reject a promise that nobody
 * handles, which would end the process. Options of the caller that are about commands do not apply to it.
 * @internal
 */
export function connectForMessages(client: RedisLike): RedisLike {
  const ofLink = {
    // ioredis would subscribe again after each lost connection, with a promise that cannot be handled.
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
      // A sharded message stays on one master instead of being sent through the whole Cluster.
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
 * Keeps an error listener on the connections to shards. When slots move, a Cluster removes all listeners from the connection that
 * it gives up, and the server sends a `sunsubscribe` that no client has requested. If that arrives after the listeners were
 * removed, ioredis emits an error, which would end the process.
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
      // A listener that is added at once would be removed with the rest.
      if (event === 'error' && listener === ignore) Promise.resolve().then(() => connection.on('error', ignore));
    });
  }
}

/** Gives up a connection that the server has accepted and then does not answer. ioredis would wait for ever. */
function giveUpSilence(client: RedisLike): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = (): void => clearTimeout(timer as never);
  const watch = (): void => {
    stop();
    const { stream } = client as Inside;
    const read = stream?.bytesRead;
    timer = setTimeout(() => {
      if (client.status !== 'connect') return;
      // A server that is loading its data answers so now and then.
      if (stream?.bytesRead === read) client.disconnect(true);
      else watch();
    }, SILENCE_MS);
    timer.unref();
  };
  client.on('connect', watch);
  client.on('ready', stop);
  client.on('close', stop);
}

/** The last error of the connection of each client. */
const reasons = new WeakMap<RedisLike, string>();

/** @internal */
export function reasonOf(client: RedisLike): string | undefined {
  return reasons.get(client);
}

/** Ignores `error` events of a client, since calls that fail report them, and unrefs its sockets. @internal */
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
      `a store without a client needs ioredis: npm install ioredis (${(error as Error).message}). In a bundle that does not include it, pass client: new Redis(...)`,
    );
  }
  return loaded.default ?? loaded;
}

/** The build renames it to `require` at the end, so that the bundler of this package does not resolve it. */
declare const bundlersRequire: (name: string) => { default?: RedisConstructor } & RedisConstructor;

/** Requires ioredis in a form that bundlers recognize, so that a bundled server includes it. */
function requireIoredis(): { default?: RedisConstructor } & RedisConstructor {
  try {
    return bundlersRequire('ioredis');
  } catch (error) {
    // An ES module of Node has no `require`, and CommonJS no `import.meta.url`.
    const here = import.meta.url as string | undefined;
    if (!(error instanceof ReferenceError) || here === undefined) throw error;
    return requireFrom(here)('ioredis');
  }
}
