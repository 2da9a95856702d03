import { flag, setting as settingOf } from '../../config/env';
import { optionError, shown } from '../../public/errors';
import type { PresenceStore } from '../port';
import { checkHost, MAX_DB, type RedisConnectionOptions } from './connection/connect';
import { redisStore } from './options';

/**
 * A store on the Redis that environment variables name. An empty variable counts as not set.
 *
 * | variable | default |
 * | --- | --- |
 * | `REDIS_URL` | none; instead of the others: `redis://user:password@host:6379/0`, or `rediss://` for TLS |
 * | `REDIS_HOST` | localhost |
 * | `REDIS_PORT` | 6379 |
 * | `REDIS_USERNAME` | none |
 * | `REDIS_PASSWORD` | none |
 * | `REDIS_DB` | 0 |
 * | `REDIS_TLS` | false |
 *
 * @param env - `process.env` by default
 * @throws TypeError `ERR_PRESENCE_OPTIONS` that names the variable, the rule, and the value unless it may be a secret
 * @throws TypeError `ERR_PRESENCE_OPTIONS` where ioredis is not installed
 *
 * @example
 * const presence = createPresence({ ...optionsFromEnv(), store: redisStoreFromEnv() });
 */
export function redisStoreFromEnv(env: { [name: string]: string | undefined } = process.env): PresenceStore {
  return redisStore(connectionFromEnv(env));
}

/** @internal */
export function connectionFromEnv(env: { [name: string]: string | undefined }): RedisConnectionOptions {
  const setting = (name: string): string | undefined => settingOf(env, name);
  const url = setting('REDIS_URL');
  if (url !== undefined) {
    if (setting('REDIS_HOST') !== undefined) {
      throw optionError('REDIS_URL and REDIS_HOST are both set; set one of them');
    }
    if (!/^rediss?:\/\/[^\s]+$/.test(url)) {
      throw optionError('REDIS_URL is not a URL of Redis; it is redis://host:6379 or rediss://host:6379');
    }
    return { url };
  }
  const host = setting('REDIS_HOST') ?? 'localhost';
  checkHost(host, 'REDIS_HOST', 'set REDIS_URL instead', 'set REDIS_PORT');
  const options: RedisConnectionOptions = { host };
  const port = integer('REDIS_PORT', setting('REDIS_PORT'), 1, 65_535);
  const db = integer('REDIS_DB', setting('REDIS_DB'), 0, MAX_DB);
  const username = setting('REDIS_USERNAME');
  const password = setting('REDIS_PASSWORD');
  const tls = flag('REDIS_TLS', setting('REDIS_TLS'));
  if (port !== undefined) options.port = port;
  if (db !== undefined) options.db = db;
  if (username !== undefined) options.username = username;
  if (password !== undefined) options.password = password;
  if (tls !== undefined) options.tls = tls;
  return options;
}

function integer(name: string, value: string | undefined, min: number, max: number): number | undefined {
  if (value === undefined) return undefined;
  const number = /^\d+$/.test(value) ? Number(value) : Number.NaN;
  if (number >= min && number <= max) return number;
  throw optionError(`${name} is ${shown(value)}; it is an integer from ${min} to ${max}`);
}
