import type { Clock } from '../public/clock';
import type { PresenceStatus } from '../public/types';
import type { Roster } from '../replication/roster';
import type { RosterPage } from '../replication/roster-pages';
import type { StoredStatus } from '../stores/port';
import { toStatus } from '../wire/to-status';
import { type LastSeenReader, SNAPSHOT_USERS } from './last-seen-reader';

/** How long what was read of a page serves those who come to it later. */
const FRESH_MS = 1_000;

/** Some users of a snapshot, as they were at one moment. @internal */
export interface SnapshotPart {
  readonly users: readonly PresenceStatus[];
  /** The number of changes of the roster by then. */
  readonly changes: number;
  /** Of all users, and not only of these. */
  readonly totalOnline: number;
  readonly now: number;
  /** Whether the same part goes to other connections, too. */
  readonly isShared: boolean;
}

/** Gives the parts of one snapshot. @internal */
export interface SnapshotParts {
  /** Returns a promise where the next part has to be read first. */
  prepare(): Promise<unknown> | undefined;
  /** Returns the next part, and moves on. Statuses are those of the roster at this moment, or later than the start of the snapshot. */
  take(): SnapshotPart;
  /** Whether no users are left. */
  readonly isOver: boolean;
  /** The connection takes no more for now, so nothing is kept for it that can be read again. */
  rest(): void;
}

interface PartsOptions {
  readonly clock: Clock;
  readonly roster: Roster;
  readonly reader: LastSeenReader;
}

/** By user; of those whom the store does not know there is nothing. */
function timesOf(read: readonly StoredStatus[]): ReadonlyMap<string, number> {
  const times = new Map<string, number>();
  for (const { userId, lastSeen } of read) if (lastSeen !== null) times.set(userId, lastSeen);
  return times;
}

/** Statuses come from the roster, as changes do, so that the two cannot contradict each other. */
function partOf(
  ids: Iterable<string>,
  lastSeen: ReadonlyMap<string, number>,
  { clock, roster }: PartsOptions,
): SnapshotPart {
  const now = clock.now();
  const users: PresenceStatus[] = [];
  for (const userId of ids) {
    const online = roster.isOnline(userId);
    // The user has come since the read, or the store has lost the user, who is being registered again.
    users.push(toStatus({ userId, online, lastSeen: lastSeen.get(userId) ?? (online ? now : null), version: 0 }));
  }
  return { users, changes: roster.pages.changes, totalOnline: roster.size, now, isShared: false };
}

/** Some users, for one connection: those of a list, who stay in it until they are sent, or of a walk. @internal */
export class ListedParts implements SnapshotParts {
  /** Users who are read together, and were not sent yet. */
  private ids: string[] = [];
  private lastSeen: ReadonlyMap<string, number> | undefined;
  private isWalkOver = false;

  constructor(
    private readonly source: Set<string> | IterableIterator<string>,
    private readonly options: PartsOptions,
  ) {}

  get isOver(): boolean {
    return this.ids.length === 0 && (this.source instanceof Set ? this.source.size === 0 : this.isWalkOver);
  }

  prepare(): Promise<unknown> | undefined {
    if (this.lastSeen !== undefined) return undefined;
    if (this.ids.length === 0) this.ids = this.next(this.options.reader.atOnce);
    return this.options.reader.read(this.ids).then((users) => {
      this.lastSeen = timesOf(users);
    });
  }

  take(): SnapshotPart {
    const { source, lastSeen = new Map() } = this;
    const ids = this.ids.splice(0, SNAPSHOT_USERS);
    if (source instanceof Set) for (const id of ids) source.delete(id);
    if (this.ids.length === 0) this.lastSeen = undefined;
    return partOf(ids, lastSeen, this.options);
  }

  rest(): void {
    this.lastSeen = undefined;
    if (this.source instanceof Set) this.ids = [];
  }

  private next(count: number): string[] {
    const { source } = this;
    const ids: string[] = [];
    const walk = source instanceof Set ? source.values() : source;
    while (ids.length < count) {
      const { done, value } = walk.next();
      if (done === true) {
        this.isWalkOver = true;
        break;
      }
      ids.push(value);
    }
    return ids;
  }
}

/** What was read of a page. */
interface ReadPage {
  loading: Promise<void> | undefined;
  /** The users who were on it then. */
  users: readonly StoredStatus[] | undefined;
  readAt: number;
  /** The number of changes of the roster before the read. */
  changes: number;
  part: SnapshotPart | undefined;
}

/** The users online, page by page, for all connections that are sent everybody: a page is read and encoded once for all of them. @internal */
export class SharedPages {
  private readonly pages = new Map<RosterPage, ReadPage>();
  private timer: unknown;

  constructor(private readonly options: PartsOptions) {}

  isReady(page: RosterPage): boolean {
    const read = this.pages.get(page);
    if (read?.users === undefined || read.changes < page.joinedAt) return false;
    const ageMs = this.options.clock.now() - read.readAt;
    return ageMs >= 0 && ageMs < FRESH_MS;
  }

  /** Reads a page, and the next ones where the store is far away. */
  load(page: RosterPage): Promise<void> {
    const { clock, reader } = this.options;
    const under = this.pages.get(page)?.loading;
    if (under !== undefined) return under;
    const { changes } = this.options.roster.pages;
    const most = reader.atOnce;
    const pages: Array<readonly [page: RosterPage, size: number]> = [];
    const ids: string[] = [];
    for (let one: RosterPage | undefined = page; one !== undefined; one = one.next) {
      if (pages.length > 0 && (ids.length + one.userIds.size > most || this.isReady(one))) break;
      if (this.pages.get(one)?.loading !== undefined) break;
      pages.push([one, one.userIds.size]);
      ids.push(...one.userIds);
    }
    const put = (one: RosterPage, read: Omit<ReadPage, 'part' | 'changes'>) =>
      this.pages.set(one, { ...read, changes, part: undefined });
    const loading = reader.read(ids).then(
      (users) => {
        const readAt = clock.now();
        let from = 0;
        for (const [one, size] of pages) {
          const read = users.slice(from, from + size);
          from += size;
          // Otherwise nobody waits for it any more.
          if (this.pages.get(one)?.loading === loading) put(one, { loading: undefined, users: read, readAt });
        }
        this.forgetLater();
      },
      (error: unknown) => {
        for (const [one] of pages) this.pages.delete(one);
        throw error;
      },
    );
    // Nobody may be waiting for it.
    loading.catch(() => undefined);
    for (const [one] of pages) put(one, { loading, users: undefined, readAt: 0 });
    return loading;
  }

  /** The users of a page that is ready, as they were at some time since that many changes of the roster. */
  take(page: RosterPage, since: number): SnapshotPart {
    const read = this.pages.get(page);
    const part = read?.part;
    // A page that changed meanwhile is right for those who get the changes that follow.
    if (part !== undefined && (part.changes >= since || part.changes >= page.changedAt)) return part;
    const fresh = { ...this.make(page, read), isShared: true };
    if (read !== undefined) read.part = fresh;
    return fresh;
  }

  stop(): void {
    this.options.clock.clearTimeout(this.timer);
    this.timer = undefined;
    this.pages.clear();
  }

  private make(page: RosterPage, { users = [], changes = -1 }: Partial<ReadPage> = {}): SnapshotPart {
    const { options } = this;
    if (page.changedAt > changes) return partOf(page.userIds, timesOf(users), options);
    // Nobody has come or gone since the read, which is so nearly always.
    const { clock, roster } = options;
    const now = clock.now();
    const shown = users.map(({ userId, lastSeen }) =>
      toStatus({ userId, online: true, lastSeen: lastSeen ?? now, version: 0 }),
    );
    return { users: shown, changes: roster.pages.changes, totalOnline: roster.size, now, isShared: true };
  }

  private forgetLater(): void {
    if (this.timer !== undefined || this.pages.size === 0) return;
    this.timer = this.options.clock.setTimeout(() => {
      this.timer = undefined;
      for (const [page, { loading }] of this.pages) {
        if (loading === undefined && !this.isReady(page)) this.pages.delete(page);
      }
      this.forgetLater();
    }, FRESH_MS);
  }
}

/** Everybody who is online, for one connection. @internal */
export class EveryonesParts implements SnapshotParts {
  private page: RosterPage | undefined;
  /** Changes since then are sent as updates. */
  private readonly since: number;

  constructor(
    { pages }: Roster,
    private readonly shared: SharedPages,
  ) {
    this.page = pages.start;
    this.since = pages.changes;
  }

  get isOver(): boolean {
    return this.page === undefined;
  }

  prepare(): Promise<unknown> | undefined {
    const page = this.current;
    return this.shared.isReady(page) ? undefined : this.shared.load(page);
  }

  take(): SnapshotPart {
    const page = this.current;
    const part = this.shared.take(page, this.since);
    this.page = page.next;
    if (this.page !== undefined && this.current.userIds.size === 0) this.page = undefined;
    // The next page is read while this one is sent.
    else if (this.page !== undefined) void this.prepare();
    return part;
  }

  rest(): void {}

  /** The page to send next. One that was joined to another is followed by it. */
  private get current(): RosterPage {
    let page = this.page as RosterPage;
    while (page.userIds.size === 0 && page.next !== undefined) page = page.next;
    return page;
  }
}
