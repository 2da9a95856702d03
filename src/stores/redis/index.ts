export type { PresenceStore } from '../port';
export { besideFork, type ForkClient } from './beside-fork';
export type { RedisLike, RedisPipelineLike } from './client';
export type { RedisConnectionOptions } from './connection';
export { redisStoreFromEnv } from './environment';
export { type RedisStoreOptions, redisStore } from './redis';
