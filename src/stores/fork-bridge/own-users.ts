import type { Clock } from '../../public/clock';
import type { PresenceOp } from '../port';
import { batchesOf, type ForkClient, metaOf, run, UPDATES } from './fork-keys';

const MONTH_S = 2_592_000;

/** @internal */
export interface OwnUsersOptions {
  readonly client: ForkClient;
  readonly clock: Clock;
  /** The keys of these users may be gone. */
  onLost(isLost: (userId: string) => boolean): void;
  /** The fork may show users as offline who are connected here, so they have to be searched for. */
  onMissed(): void;
}

/** The users who are connected to routers of this process, and those of them whom the fork shows as offline. @internal */
export class OwnUsers {
  /** For each router of this process, the users who are connected to it. */
  private readonly own = new Map<string, Set<string>>();
  /** Users who are connected here, and whom the fork shows as offline. */
  private readonly contradicted = new Set<string>();

  constructor(private readonly options: OwnUsersOptions) {}

  get hasContradicted(): boolean {
    return this.contradicted.size > 0;
  }

  has(userId: string): boolean {
    return Array.from(this.own.values()).some((own) => own.has(userId));
  }

  /** The store has applied these operations. `hasLeft`: whether a user has just left the fork. */
  apply(nodeId: string, ops: readonly PresenceOp[], hasLeft: (userId: string) => boolean): void {
    const own = this.own.get(nodeId) ?? new Set();
    this.own.set(nodeId, own);
    for (const { userId, kind } of ops) {
      if (kind !== 'join') own.delete(userId);
      else {
        own.add(userId);
        // A user who has just moved here was never offline in this store, so no router has corrected the fork.
        if (hasLeft(userId)) this.contradicted.add(userId);
      }
    }
  }

  release(nodeId: string): void {
    this.own.delete(nodeId);
  }

  /** The fork shows this user as offline. */
  contradict(userId: string): void {
    this.contradicted.add(userId);
  }

  forgetContradicted(): void {
    this.contradicted.clear();
  }

  /** Publishes as online the users whom the fork shows as offline, and restores their keys, which it may have deleted. */
  async correctFork(): Promise<void> {
    const { client, clock, onLost, onMissed } = this.options;
    const all = Array.from(this.contradicted).filter((userId) => this.has(userId));
    this.contradicted.clear();
    for (const some of batchesOf(all)) {
      const lost = new Set(some);
      onLost((userId) => lost.has(userId));
      const timestamp = clock.now();
      const commands: string[][] = [];
      for (const userId of lost) {
        const message = { type: 'presence_update', userId, status: 'online', timestamp, reason: 'resync' };
        for (const channel of ['presence:online', UPDATES])
          commands.push(['publish', channel, JSON.stringify(message)]);
      }
      await run(client, commands).catch((error) => {
        onMissed();
        throw error;
      });
    }
  }

  /** Finds users who are connected here, and whom the fork has marked as offline while its messages were missed. */
  async findContradicted(): Promise<void> {
    for (const own of this.own.values()) {
      for (const some of batchesOf(Array.from(own))) {
        const commands = some.map((userId) => ['hget', metaOf(userId), 'status']);
        // An error for a key that is not a hash is ignored.
        const answers = (await this.options.client.pipeline(commands).exec()) ?? [];
        for (const [index, userId] of some.entries())
          if (answers[index]?.[1] === 'offline') this.contradicted.add(userId);
      }
    }
  }

  /** Writes the hash without which the fork shows a user as offline. */
  async writeMeta(ops: readonly PresenceOp[]): Promise<void> {
    const now = this.options.clock.now();
    const commands: string[][] = [];
    for (const { userId, kind, ageMs } of ops) {
      // The store keeps its own data under these keys.
      if (/^\{\d+\}$/.test(userId)) continue;
      const status = kind === 'join' ? 'online' : 'offline';
      commands.push(['hmset', metaOf(userId), 'status', status, 'lastSeen', String(Math.round(now - ageMs))]);
      commands.push(['expire', metaOf(userId), String(MONTH_S)]);
    }
    await run(this.options.client, commands);
  }
}
