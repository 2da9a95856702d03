import { checkedClock, checkedMs, checkFunctions, checkNoLookalike } from '../../config/validation';
import type { Clock } from '../../public/clock';
import { checkNames, optionError, shown } from '../../public/errors';
import type { PresenceStore } from '../port';
import type { RedisLike } from './connection/client';
import { CONNECTION_NAMES, checkConnection, connect, type RedisConnectionOptions } from './connection/connect';
import { Keyspace } from './keyspace';
import { RedisStore, type RedisStoreSettings } from './redis-store';

const MONTH_MS = 2_592_000_000;

/** What `redisStore` takes: a client, or how to reach a Redis; and the rest. */
export interface RedisStoreOptions extends RedisConnectionOptions {
  /**
   * An ioredis `Redis` or `Cluster`, 4.28 to 6 (a Cluster: 5.9.2 to 6). It stays yours to close. For messages the store
   * makes a second connection with its `duplicate()`, anew where that one is dead, and closes it when the presence is closed.
   * Where a server takes no writes any more (READONLY, as after a failover behind a DNS name) the client is disconnected
   * so that it connects again, if its `retryStrategy` does so; else an error says what mends it.
   */
  client?: RedisLike;
  /** What all keys and channels start with. The guide's contract is the default. @default 'presence:' */
  prefix?: string;
  /** How long "last seen" of a user who is offline is remembered. @default 2_592_000_000 // 30 days */
  retentionMs?: number;
  /** Whether changes are published on `presence:online`, `presence:offline` and `presence:updates`. @default true */
  publish?: boolean;
  /**
   * What the store waits by: how long for what it has asked, and for what should have been told. When users were seen, and when
   * a lease ends, Redis says by its own clock. For tests. @default the system's
   */
  clock?: Clock;
}

/**
 * Presence kept in Redis 5 or later: exact for any number of routers. A client may be handed in, or the store connects by
 * itself, and then ends its connections when the presence is closed.
 *
 * When a user who is online was last seen is kept by hundredths of a second, and when one who left was, by milliseconds.
 * Needs neither CONFIG nor keyspace events. Survives flushes, restarts, failovers and evictions: routers assert anew who
 * is connected.
 *
 * @throws TypeError `ERR_PRESENCE_OPTIONS` that names the option and the rule
 * @throws TypeError `ERR_PRESENCE_OPTIONS` where it is to connect by itself, and ioredis is not installed
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
  checkNames(options, ['client', 'prefix', 'retentionMs', 'publish', 'clock', ...CONNECTION_NAMES]);
  const { client, prefix = 'presence:', retentionMs, publish = true, clock, ...connection } = options;
  if (typeof publish !== 'boolean') throw optionError(`publish is ${shown(publish)}; it is true or false`);
  const settings: RedisStoreSettings = {
    prefix,
    retentionMs: checkedRetention(retentionMs),
    publish,
    clock: checkedClock(clock),
  };
  if (client === undefined) {
    checkConnection(connection);
    // Checked before anything connects.
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
  // May be longer than a timer can be.
  if (typeof value === 'number' && value > 2_147_483_647) return value;
  return checkedMs('retentionMs', value, 0, MONTH_MS);
}
