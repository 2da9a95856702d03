import { checkedClock, checkedMs, checkFunctions, checkNoLookalike } from '../../config/validation';
import type { Clock } from '../../public/clock';
import { checkNames, optionError, shown } from '../../public/errors';
import { checkedLog } from '../log-options';
import type { PresenceStore } from '../port';
import type { RedisLike } from './connection/client';
import { CONNECTION_NAMES, checkConnection, connect, type RedisConnectionOptions } from './connection/connect';
import { Keyspace } from './keyspace';
import { RedisStore, type RedisStoreSettings } from './redis-store';

const MONTH_MS = 2_592_000_000;

/** The options of `redisStore`: a client, or the address of a Redis; and settings of the store. */
export interface RedisStoreOptions extends RedisConnectionOptions {
  /**
   * An ioredis `Redis` or `Cluster`, 4.28 to 6 (a Cluster: 5.9.2 to 6). You close it. For messages, the store opens a second
   * connection with its `duplicate()`, replaces it when it is dead, and closes it when the presence is closed.
   * Where the server no longer accepts writes (READONLY, for example after a failover behind a DNS name), the store disconnects the
   * client so that it connects again. If its `retryStrategy` does not do that, an error names the remedy.
   */
  client?: RedisLike;
  /** The prefix of all keys and channels. The default is that of the VoicePing router's presence guide. @default 'presence:' */
  prefix?: string;
  /** How long "last seen" of a user who is offline is remembered. @default 2_592_000_000 // 30 days */
  retentionMs?: number;
  /** Whether changes are published on `presence:online`, `presence:offline` and `presence:updates`. @default true */
  publish?: boolean;
  /**
   * How many of the last changes `presence.changes` can give; 50 to 150 bytes each. Where the routers of a fleet disagree, each of
   * them warns, and the largest number counts. @default 100_000
   */
  logChanges?: number;
  /** How long a change can be given, in milliseconds. Where routers disagree, the longest time counts. @default 604_800_000 // 7 days */
  logMs?: number;
  /**
   * The clock for the time-outs of the store; for tests. Last seen and the ends of leases are by the clock of Redis.
   * @default the system's
   */
  clock?: Clock;
}

/**
 * A store on Redis 5 or later, exact for any number of routers. It uses the client that it is given, or opens its own connections,
 * which it closes when the presence is closed.
 *
 * Last seen is exact to ten milliseconds while a user is online, and to a millisecond afterwards. The store needs neither
 * CONFIG nor keyspace events. It survives flushes, restarts, failovers and evictions: the routers register their connected users
 * again.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS` that names the option and the rule
 * @throws TypeError `ERR_PRESENCE_OPTIONS` without a client where ioredis is not installed
 *
 * @example
 * const presence = createPresence({ store: redisStore({ client: new Redis('redis://localhost:6379') }) });
 */
export function redisStore(options: RedisStoreOptions = {}): PresenceStore {
  if (typeof options === 'string') {
    throw optionError(`the options are ${shown(options)}; an object is wanted: redisStore({ url })`);
  }
  checkNoLookalike('options', options, 'it is an object', {
    'an ioredis client': 'redisStore({ client })',
    'a client of the package redis': 'redisStore({ client }), with a client of ioredis',
  });
  checkNames(options, [
    'client',
    'prefix',
    'retentionMs',
    'publish',
    'logChanges',
    'logMs',
    'clock',
    ...CONNECTION_NAMES,
  ]);
  const {
    client,
    prefix = 'presence:',
    retentionMs,
    publish = true,
    logChanges,
    logMs,
    clock,
    ...connection
  } = options;
  if (typeof publish !== 'boolean') throw optionError(`publish is ${shown(publish)}; it is true or false`);
  const settings: RedisStoreSettings = {
    prefix,
    retentionMs: checkedRetention(retentionMs),
    publish,
    clock: checkedClock(clock),
    log: checkedLog({ logChanges, logMs }),
  };
  if (client === undefined) {
    checkConnection(connection);
    // Checks the prefix before anything connects.
    new Keyspace(prefix, false);
    return new RedisStore(connect(connection), settings, () => connect(connection));
  }
  const both = CONNECTION_NAMES.find((name) => options[name] !== undefined);
  if (both !== undefined) throw optionError(`client and ${both} are both given; a client knows where to connect`);
  const rule = 'it is an ioredis Redis or Cluster';
  checkNoLookalike('client', client, rule, { 'a client of the package redis': 'npm install ioredis' });
  checkFunctions('client', client, CLIENT_FUNCTIONS, rule, {
    'a function': `${rule}: is a new missing, as in new Redis()?`,
    'a store': `${rule}, and this is what createPresence({ store }) takes`,
  });
  const { keyPrefix } = (client.options ?? {}) as { keyPrefix?: string };
  if (keyPrefix !== undefined && keyPrefix !== '') {
    throw optionError(`the client has the keyPrefix ${shown(keyPrefix)}; give a prefix to redisStore instead`);
  }
  return new RedisStore(client, settings, undefined);
}

const CLIENT_FUNCTIONS: ReadonlyArray<keyof RedisLike> = [
  'evalsha',
  'eval',
  'xrange',
  'mget',
  'hmget',
  'pipeline',
  'duplicate',
  'subscribe',
  'disconnect',
  'on',
  'removeListener',
];

function checkedRetention(value: unknown): number {
  if (value === undefined) return MONTH_MS;
  // A retention may be longer than a timer can be.
  if (typeof value === 'number' && value > 2_147_483_647) return value;
  return checkedMs('retentionMs', value, 0, MONTH_MS);
}
