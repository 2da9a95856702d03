export type { PresenceStore } from '../../store';
export type { RedisLike, RedisPipelineLike } from './client';
export type { RedisConnectionOptions } from './connection';
export { redisStoreFromEnv } from './environment';
export { type RedisStoreOptions, redisStore } from './redis';
