/**
 * The Redis store.
 * @module voiceping-presence/redis
 */

export { besideFork, type ForkClient } from '../fork-bridge/beside-fork';
export type { PresenceStore } from '../port';
export type { RedisLike, RedisPipelineLike } from './connection/client';
export type { RedisConnectionOptions } from './connection/connect';
export { redisStoreFromEnv } from './env';
export { type RedisStoreOptions, redisStore } from './options';
