import { checkPage } from '../config/arguments';
import type { LocalUser } from '../connections/local-user';
import { withDeadline } from '../diagnostics/call-timeout';
import type { Clock } from '../public/clock';
import { closedError } from '../public/errors';
import type { OnlinePage, PresenceStatus, UserId } from '../public/types';
import { toUserIds } from '../public/user-id';
import type { OnAnswer, PresenceStore, StoredStatus, StoredStatuses } from '../stores/port';
import { toStatus } from '../wire/to-status';
import { untilSure } from './until-sure';

/** @internal */
export interface StatusQueriesOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly commandTimeoutMs: number;
  isClosed(): boolean;
  now(): number;
  /** Returns a user who has a connection to this router that is alive. */
  present(userId: string): LocalUser | undefined;
  /** Whether this router takes a user for online. */
  believed(userId: string): boolean;
  /** Sends the changes of this router, so that a query sees them. */
  flush(): void;
  /** The store has answered a query. */
  onAnswered(): void;
}

/**
 * Answers queries from the store, and corrects the answers for users who are connected to this router.
 * @internal
 */
export class StatusQueries {
  constructor(private readonly options: StatusQueriesOptions) {}

  getStatuses(ids: Iterable<UserId>): Promise<{ [userId: string]: PresenceStatus }> {
    const userIds = Array.from(toUserIds(ids, 'ids'));
    const { believed } = this.options;
    const read = (store: PresenceStore, onAnswer: OnAnswer) => store.read(userIds, onAnswer, believed);
    // This router knows the status of its own users, even where the store is not sure.
    const isSure = ({ users }: StoredStatuses) =>
      users.every(({ isUnsure, userId }) => isUnsure !== true || this.options.present(userId) !== undefined);
    return this.query(read, isSure).then(({ users, now }) => {
      const statuses: { [userId: string]: PresenceStatus } = Object.create(null);
      for (const user of users) statuses[user.userId] = toStatus(this.corrected(user, now));
      return statuses;
    });
  }

  listOnline(page: { cursor?: string; limit?: number }): Promise<OnlinePage> {
    const wanted = checkPage(page);
    const list = (store: PresenceStore, onAnswer: OnAnswer) => store.list(wanted, onAnswer);
    return this.query(list, ({ isUnsure }) => isUnsure !== true).then(({ users, now, cursor }) => {
      return { users: users.map((user) => toStatus(this.corrected(user, now))), cursor };
    });
  }

  countOnline(): Promise<number> {
    const count = (store: PresenceStore, onAnswer: OnAnswer) => store.count(onAnswer);
    return this.query(count, (online) => online !== undefined).then((online) => online as number);
  }

  /** Calls the store, with the time limit of a query. */
  ask<T>(run: (onAnswer: OnAnswer) => Promise<T>): Promise<T> {
    return withDeadline(this.options.clock, this.options.commandTimeoutMs, run);
  }

  /** A user who is connected here is online, and was last seen at the last activity, whatever the store has recorded. */
  private corrected(stored: StoredStatus, storeNow: number): StoredStatus {
    const user = this.options.present(stored.userId);
    if (user === undefined) return stored;
    if (stored.online && user.lastLife <= user.refreshedAt) return stored;
    // Computed from the age, so that a wrong clock of this machine has no effect.
    const heard = storeNow - Math.max(0, this.options.now() - user.lastLife);
    return { ...stored, online: true, lastSeen: Math.max(stored.lastSeen ?? 0, heard) };
  }

  /** The answer includes the changes of this router. */
  private query<T>(
    run: (store: PresenceStore, onAnswer: OnAnswer) => Promise<T>,
    isSure: (answer: T) => boolean,
  ): Promise<T> {
    const { store, clock, commandTimeoutMs, isClosed, flush, onAnswered } = this.options;
    if (isClosed()) return Promise.reject(closedError());
    flush();
    const ask = () => {
      // A closed store would connect again for a repeated call.
      if (isClosed()) return Promise.reject(closedError());
      return this.ask((onAnswer) => run(store, onAnswer));
    };
    return untilSure(clock, commandTimeoutMs, ask, isSure).then((answer) => {
      onAnswered();
      return answer;
    });
  }
}
