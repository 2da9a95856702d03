import type { RedisLike } from '../connection/client';
import { type CommandGate, masterOf } from '../connection/command-gate';
import type { Keyspace } from '../keyspace';

/** Deletes a key unless it is newer, since the user may be back through another router. Returns its value. */
const DELETE = `local seen = redis.pcall('GET', KEYS[1])
if type(seen) == 'table' then seen = '' end
if seen and (tonumber(seen) or 0) <= tonumber(ARGV[1]) then redis.call('DEL', KEYS[1]) end
return seen`;

/**
 * The presence keys on a Cluster. They are in other slots than the records, so scripts cannot write them. The router writes
 * them right after a script, in one pipeline for each master.
 * @internal
 */
export class PresenceKeys {
  constructor(
    private readonly client: RedisLike,
    private readonly gate: CommandGate,
    private readonly keyspace: Keyspace,
  ) {}

  async set(users: ReadonlyArray<readonly [userId: string, lastSeen: number]>, ttlMs: number): Promise<void> {
    const ttl = String(Math.ceil(ttlMs));
    await this.run(users, ([userId, seen]) => ['set', this.keyspace.userKey(userId), String(seen), 'PX', ttl]);
  }

  /** Deletes the keys of users who went offline at `now`. Returns the last seen of each key; undefined where there was none. */
  async delete(userIds: readonly string[], now: number): Promise<Array<number | undefined>> {
    const users = userIds.map((userId) => [userId] as const);
    const answers = await this.run(users, ([id]) => ['eval', DELETE, '1', this.keyspace.userKey(id), String(now)]);
    return answers.map(toTime);
  }

  /** Renews the keys that exist. Returns the users who have none. */
  async move(users: ReadonlyArray<readonly [userId: string, lastSeen: number]>, ttlMs: number): Promise<string[]> {
    const ttl = String(Math.ceil(ttlMs));
    const answers = await this.run(users, ([id, seen]) => [
      'set',
      this.keyspace.userKey(id),
      String(seen),
      'PX',
      ttl,
      'XX',
    ]);
    return users.filter((_, index) => answers[index] === null).map(([userId]) => userId);
  }

  /** Returns the last seen of each user; undefined where there is no key. */
  async get(userIds: readonly string[]): Promise<Array<number | undefined>> {
    const users = userIds.map((userId) => [userId] as const);
    const answers = await this.run(users, ([userId]) => ['get', this.keyspace.userKey(userId)]);
    return answers.map(toTime);
  }

  private async run<T extends readonly [userId: string, ...rest: unknown[]]>(
    users: readonly T[],
    commandOf: (user: T) => string[],
  ): Promise<unknown[]> {
    const groups = new Map<string, number[]>();
    for (const [index, [userId]] of users.entries()) {
      const master = masterOf(this.client, this.keyspace.userKey(userId));
      const group = groups.get(master);
      if (group === undefined) groups.set(master, [index]);
      else group.push(index);
    }
    const answers: unknown[] = [];
    await Promise.all(
      Array.from(groups, async ([master, group]) => {
        const commands = group.map((index) => commandOf(users[index] as T));
        await this.gate.send(master, async () => {
          const results = (await this.client.pipeline(commands).exec()) ?? [];
          for (const [at, index] of group.entries()) {
            const [error, answer] = results[at] ?? [new Error('no answer'), null];
            // Another program has written a key of another type.
            if (error !== null && !error.message.startsWith('WRONGTYPE')) throw error;
            answers[index] = answer;
          }
        });
      }),
    );
    return answers;
  }
}

/** The time in a presence key; undefined for foreign data. */
function toTime(answer: unknown): number | undefined {
  return typeof answer === 'string' && /^\d{12,16}$/.test(answer) ? Number(answer) : undefined;
}
