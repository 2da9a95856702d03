import type { Redis } from 'ioredis';
import { Keyspace } from '../../src/stores/redis/keyspace';

/** Where users are kept in the data that are there now. */
export async function layoutOf(admin: Redis, keyspace = new Keyspace('presence:', false)): Promise<Keyspace> {
  const [epoch, seed] = await admin.hmget('presence:meta:{0}', 'epoch', 'seed');
  if (typeof epoch === 'string' && typeof seed === 'string') keyspace.partitions[0]?.learn(epoch, seed);
  return keyspace;
}
