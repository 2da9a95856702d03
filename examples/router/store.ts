import type { PresenceOptions } from 'voiceping-presence';
import { redisStoreFromEnv } from 'voiceping-presence/redis';

/** Whether the environment names a Redis. */
export function isRedisNamed(env: NodeJS.ProcessEnv = process.env): boolean {
  return [env['REDIS_URL'], env['REDIS_HOST']].some((value) => value !== undefined && value.trim() !== '');
}

/** The store that the environment names: Redis, or else the embedded one of this process. */
export function storeFromEnv(env: NodeJS.ProcessEnv = process.env): Pick<PresenceOptions, 'store'> {
  return isRedisNamed(env) ? { store: redisStoreFromEnv(env) } : {};
}
