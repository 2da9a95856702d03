import type { RedisLike } from '../redis/connection/client';

/** The part of an ioredis `Redis` that `besideFork` uses, in addition to that of `redisStore`. */
export interface ForkClient extends RedisLike {
  /** Publishes a message. */
  publish(channel: string, message: string): Promise<unknown>;
  /** Walks through keys. */
  scan(cursor: string, match: 'MATCH', pattern: string, count: 'COUNT', most: number): Promise<[string, string[]]>;
  /** Walks through a set. */
  sscan(key: string, cursor: string, count: 'COUNT', most: number): Promise<[string, string[]]>;
}

/** The channel on which the fork and this library publish all changes. @internal */
export const UPDATES = 'presence:updates';
/** The value that the fork writes to the key of a user who connects. The store of this library writes a time. @internal */
export const FORKS = '1';
/** The most users of one call to Redis, and of one to the store. @internal */
export const BATCH = 500;

/** The key that exists while a user is online. @internal */
export const keyOf = (userId: string): string => `presence:user:${userId}`;
/** The hash without which the fork shows a user as offline, even where the key exists. @internal */
export const metaOf = (userId: string): string => `presence:meta:${userId}`;

/** The values of the keys of users; `null` where there is no key. @internal */
export async function valuesOf(client: ForkClient, userIds: readonly string[]): Promise<Array<string | null>> {
  return userIds.length === 0 ? [] : client.mget(...userIds.map(keyOf));
}

/** Runs commands, and returns their answers. @throws the first error among the answers @internal */
export async function run(client: ForkClient, commands: string[][]): Promise<unknown[]> {
  if (commands.length === 0) return [];
  const answers: unknown[] = [];
  for (const [error, answer] of (await client.pipeline(commands).exec()) ?? []) {
    if (error !== null) throw error;
    answers.push(answer);
  }
  return answers;
}

/** A list in pieces of at most `BATCH`. @internal */
export function batchesOf<T>(all: readonly T[]): T[][] {
  const batches: T[][] = [];
  for (let from = 0; from < all.length; from += BATCH) batches.push(all.slice(from, from + BATCH));
  return batches;
}
