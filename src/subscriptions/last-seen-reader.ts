import { withDeadline } from '../diagnostics/call-timeout';
import type { Clock } from '../public/clock';
import type { PresenceStore, StoredStatus } from '../stores/port';

/** The most users in one snapshot frame, and in one call of a store that is near. @internal */
export const SNAPSHOT_USERS = 500;
/**
 * A store that takes longer than this is far away, so twice as many users are read in the next call, and sent in several frames.
 * They take memory until then, so there is a limit for one call, and one for all of them together.
 */
const FAR_MS = 100;
const MOST_AT_ONCE = 4_000;
const MOST_READ = 40_000;

/** Reads from the store when users were last seen. @internal */
export class LastSeenReader {
  /** The number of users who are being read. */
  private reading = 0;
  /** How many are read in one call, by how far away the store was at the last one. */
  private most = SNAPSHOT_USERS;

  constructor(
    private readonly clock: Clock,
    private readonly store: PresenceStore,
    private readonly timeoutMs: number,
    private readonly isOnline: (userId: string) => boolean,
  ) {}

  /** How many users to read in the next call. */
  get atOnce(): number {
    return Math.max(SNAPSHOT_USERS, Math.min(this.most, MOST_READ - this.reading));
  }

  /** Returns the users in the same order. */
  async read(ids: readonly string[]): Promise<readonly StoredStatus[]> {
    const { clock, store, isOnline } = this;
    const startedAt = clock.now();
    this.reading += ids.length;
    try {
      const { users } = await withDeadline(clock, this.timeoutMs, (onAnswer) => store.read(ids, onAnswer, isOnline));
      const isFar = clock.now() - startedAt >= FAR_MS;
      this.most = isFar ? Math.min(MOST_AT_ONCE, this.most * 2) : SNAPSHOT_USERS;
      return users;
    } finally {
      this.reading -= ids.length;
    }
  }
}
