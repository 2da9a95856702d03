import { BATCH, type ForkClient, run } from './fork-keys';

const KEY = 'presence:fork';

/**
 * The set of users whom routers of the fork hold. It is in Redis, so that routers that start later find them. Where its key has
 * another type, it is deleted, `onReset` is called, and the call is repeated.
 * @internal
 */
export class HeldSet {
  constructor(
    private readonly client: ForkClient,
    /** All users have to be added again. */
    private readonly onReset: () => void,
  ) {}

  /** Those of the users who are in the set. */
  async membersOf(userIds: readonly string[]): Promise<Set<string>> {
    const members = new Set<string>();
    if (userIds.length === 0) return members;
    const answers = await this.call(() =>
      run(
        this.client,
        userIds.map((userId) => ['sismember', KEY, userId]),
      ),
    );
    for (const [index, userId] of userIds.entries()) if (answers[index] === 1) members.add(userId);
    return members;
  }

  /** Adds and removes users. */
  async change(users: ReadonlyArray<{ readonly userId: string; readonly isHeld: boolean }>): Promise<void> {
    const commands = users.map(({ userId, isHeld }) => [isHeld ? 'sadd' : 'srem', KEY, userId]);
    await this.call(() => run(this.client, commands));
  }

  /** A page of the users in the set, and the cursor of the next one: '0' after the last. */
  page(cursor: string): Promise<[string, string[]]> {
    return this.call(() => this.client.sscan(KEY, cursor, 'COUNT', BATCH));
  }

  private async call<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      if (!/^WRONGTYPE/.test((error as Error).message)) throw error;
      await run(this.client, [['del', KEY]]);
      this.onReset();
      return ask();
    }
  }
}
