import { EventEmitter } from 'eventemitter3';
import type { Clock } from './clock';
import { withDeadline } from './deadline';
import { log } from './log';
import type { PresenceStore, StoredPage, StoredStatus, StoreFeed } from './store';
import type { PresenceUpdate } from './types';

const PAGE = 1_000;

type Listener = (update: PresenceUpdate, lastSeen: number) => void;

/** @internal */
export interface FeedOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly commandTimeoutMs: number;
  onDue(inMs: number): void;
  report(stage: string, error: unknown, userId?: string): void;
}

/**
 * Hears the changes that the store tells, and tells them on. Remembers who it has told to be online, so that after it
 * was deaf it can read the store and tell the differences, and only those. While nobody listens it remembers nothing.
 * @internal
 */
export class Feed implements StoreFeed {
  private readonly everyone = new EventEmitter<{ update: [PresenceUpdate, number] }>();
  private readonly byUser = new EventEmitter<string>();
  /** Who listeners believe to be online, with the version of it. */
  private readonly view = new Map<string, number>();
  /** What the last resync told: the feed may tell the same again, late. */
  private readonly resynced = new Map<string, number>();
  /** Whose change arrived while the store was being read: what was read of them may be older. */
  private overtaken: Set<string> | undefined;
  private listeners = 0;
  private reading: 'no' | 'baseline' | 'resync' = 'no';
  private wanted: 'no' | 'baseline' | 'resync' = 'no';
  private currentRead: Promise<void> = Promise.resolve();
  private readonly unsubscribe: () => void;

  constructor(private readonly options: FeedOptions) {
    this.unsubscribe = options.store.subscribe(this);
  }

  /** Returns the function that ends it. What the listener throws is reported, and reaches nobody else. */
  listen(listener: Listener, ids: Iterable<string> | undefined): () => void {
    const guarded: Listener = (update, lastSeen) => {
      try {
        listener(update, lastSeen);
      } catch (error) {
        this.options.report('listener', error, update.userId);
      }
    };
    if (ids === undefined) this.everyone.on('update', guarded);
    else for (const id of ids) this.byUser.on(id, guarded);

    this.listeners += 1;
    if (this.listeners === 1) {
      this.wanted = 'baseline';
      this.read();
    }
    let ended = false;
    return () => {
      if (ended) return;
      ended = true;
      if (ids === undefined) this.everyone.removeListener('update', guarded);
      else for (const id of ids) this.byUser.removeListener(id, guarded);
      this.listeners -= 1;
      if (this.listeners === 0) this.forget();
    };
  }

  onTransition(update: PresenceUpdate, lastSeen: number): void {
    log.transition(update.userId, update.status);
    if (this.listeners === 0) return;
    const { userId, status, version, reason } = update;
    this.overtaken?.add(userId);
    const told = this.resynced.get(userId);
    if (told !== undefined && version <= told) return;
    const known = this.view.has(userId);
    if (status === 'online') this.view.set(userId, version);
    else this.view.delete(userId);
    // A router that asserts its users anew changes nothing for those who never heard that they had gone.
    if (reason === 'resync' && known === (status === 'online')) return;
    this.tell(update, lastSeen);
  }

  onGap(): void {
    if (this.listeners === 0) return;
    this.wanted = 'resync';
    this.read();
  }

  onDue(inMs: number): void {
    this.options.onDue(inMs);
  }

  /** The store is there: what could not be read before can be now. */
  onBeat(): void {
    this.read();
  }

  /** Resolves when the store is not, or no longer, being read; whether or not that went well. */
  whenRead(): Promise<void> {
    return this.currentRead;
  }

  /** Whether listeners have been told of this version of a user. */
  hasTold(userId: string, version: number): boolean {
    return this.view.get(userId) === version;
  }

  close(): void {
    this.unsubscribe();
    this.everyone.removeAllListeners();
    this.byUser.removeAllListeners();
    this.listeners = 0;
    this.forget();
  }

  private tell(update: PresenceUpdate, lastSeen: number): void {
    this.everyone.emit('update', update, lastSeen);
    this.byUser.emit(update.userId, update, lastSeen);
  }

  private forget(): void {
    this.view.clear();
    this.resynced.clear();
    this.overtaken = undefined;
    this.wanted = 'no';
  }

  /** Reads who is online; as a baseline silently, after a gap telling what differs. */
  private read(): void {
    if (this.wanted === 'no' || this.reading !== 'no') return;
    const kind = this.wanted;
    this.reading = kind;
    this.wanted = 'no';
    const overtaken = new Set<string>();
    this.overtaken = overtaken;
    this.currentRead = this.readOnline(overtaken, kind).then(
      () => this.readDone(overtaken),
      (error: unknown) => {
        if (this.overtaken === overtaken && this.wanted === 'no') this.wanted = kind;
        this.reading = 'no';
        if (this.listeners > 0) this.options.report('resync', error);
      },
    );
  }

  private readDone(overtaken: Set<string>): void {
    this.reading = 'no';
    if (this.overtaken === overtaken) this.overtaken = undefined;
    this.read();
  }

  private async readOnline(overtaken: Set<string>, kind: 'baseline' | 'resync'): Promise<void> {
    const { clock, commandTimeoutMs, store } = this.options;
    const isCurrent = () => this.overtaken === overtaken;
    const present = new Set<string>();
    let cursor: string | null = null;
    if (kind === 'resync') this.resynced.clear();
    do {
      const from: string | null = cursor;
      const page: StoredPage = await withDeadline(clock, commandTimeoutMs, () =>
        store.list({ cursor: from, limit: PAGE }),
      );
      if (!isCurrent()) return;
      cursor = page.cursor;
      for (const user of page.users) {
        present.add(user.userId);
        if (overtaken.has(user.userId)) continue;
        if (kind === 'resync' && !this.view.has(user.userId)) this.tellFound(user);
        this.view.set(user.userId, user.version);
      }
    } while (cursor !== null);
    if (kind === 'baseline') return;

    const gone = Array.from(this.view.keys()).filter((id) => !present.has(id) && !overtaken.has(id));
    for (let at = 0; at < gone.length; at += PAGE) {
      const ids = gone.slice(at, at + PAGE);
      const users = await withDeadline(clock, commandTimeoutMs, () => store.read(ids));
      if (!isCurrent()) return;
      for (const user of users) {
        if (!overtaken.has(user.userId) && !user.online) this.tellFound(user);
      }
    }
  }

  /** A change that was missed. A user whom the store has forgotten altogether still gets a version that grows. */
  private tellFound(user: StoredStatus): void {
    const { userId, online, lastSeen } = user;
    const before = this.view.get(userId) ?? 0;
    const version = user.version > before ? user.version : before + 1;
    if (online) this.view.set(userId, version);
    else this.view.delete(userId);
    this.resynced.set(userId, version);
    const now = this.options.clock.now();
    log.transition(userId, online ? 'online' : 'offline');
    this.tell(
      {
        userId,
        status: online ? 'online' : 'offline',
        timestamp: new Date(now).toISOString(),
        version,
        reason: 'resync',
      },
      lastSeen ?? now,
    );
  }
}
