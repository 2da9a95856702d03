import { checkDeliver, checkRead } from '../config/arguments';
import { withDeadline } from '../diagnostics/call-timeout';
import type { DeliveryFailures } from '../diagnostics/error-reporter';
import type { Clock } from '../public/clock';
import { closedError, optionError, PresenceError, shown } from '../public/errors';
import type {
  ChangeBatch,
  ChangeHandler,
  DeliverOptions,
  DeliveryInfo,
  PresenceChanges,
  ReadChanges,
} from '../public/types';
import { untilSure } from '../replication/until-sure';
import type { ChangeLog, PresenceStore, StoreNode } from '../stores/port';
import { toStatus } from '../wire/to-status';
import { Delivery } from './delivery';

/** The users on one page of the listing after a gap. */
const LISTED = 1_000;
/** Separates the cursor at which the listing began, the number of its next page, and the cursor of that page. */
const LISTING = '~';

/** @internal */
export interface ChangesOptions {
  readonly clock: Clock;
  readonly store: PresenceStore;
  readonly node: StoreNode;
  readonly commandTimeoutMs: number;
  isClosed(): boolean;
  /** Resolves once this router has a lease; rejects once the presence is closed. */
  ready(): Promise<void>;
  failuresOf(delivery: string): DeliveryFailures;
}

/** The changes of a store: reads them from its log, and delivers them to handlers. @internal */
export class Changes implements PresenceChanges {
  private readonly running = new Map<string, Delivery>();
  private unsubscribe: (() => void) | undefined;
  private readonly waiting = new Set<() => void>();

  constructor(private readonly options: ChangesOptions) {}

  async read(page: ReadChanges = {}): Promise<ChangeBatch> {
    const { since, limit, ids } = checkRead(page);
    if (this.options.isClosed()) throw closedError();
    const batch = await this.readAll(since, limit);
    if (ids === undefined) return batch;
    const { changes, users } = batch;
    const mine = { ...batch, changes: changes.filter(({ userId }) => ids.has(userId)) };
    return users === undefined ? mine : { ...mine, users: users.filter(({ userId }) => ids.has(userId)) };
  }

  deliver(name: string, handler: ChangeHandler, options: DeliverOptions = {}): () => Promise<void> {
    const settings = checkDeliver(name, handler, options);
    if (this.options.isClosed()) return () => Promise.resolve();
    if (this.running.has(name))
      throw optionError(`${shown(name)} is delivered by this presence already; await what stops it`);
    const { node, clock, commandTimeoutMs, failuresOf, ready } = this.options;
    const { log } = this;
    if (log === undefined) throw unsupported();
    this.listen();
    const read = (since: string, limit: number) => this.readAll(since, limit);
    const delivery = new Delivery(settings, {
      clock,
      log,
      node,
      commandTimeoutMs,
      failures: failuresOf(name),
      ready,
      read,
    });
    this.running.set(name, delivery);
    let stopped: Promise<void> | undefined;
    return () => {
      stopped =
        stopped ??
        delivery.stop().then(() => {
          if (this.running.get(name) === delivery) this.running.delete(name);
        });
      return stopped;
    };
  }

  async deliveries(): Promise<DeliveryInfo[]> {
    if (this.options.isClosed()) throw closedError();
    const { clock } = this.options;
    const stored = await this.ask((log, onAnswer) => log.deliveries(onAnswer));
    const infos: DeliveryInfo[] = [];
    for (const { name, cursor, isEnded, lastError, router, lagChanges } of stored) {
      let lagMs = 0;
      if (lagChanges > 0) {
        const next = (after: string | null) => this.ask((log, onAnswer) => log.read({ after, limit: 1 }, onAnswer));
        const page = await next(cursor);
        // What the log does not hold any more is older than what it holds.
        const [change] = (page.isGap ? await next(null) : page).changes;
        if (change !== undefined) lagMs = Math.max(0, clock.now() - Date.parse(change.timestamp));
      }
      infos.push({ name, router, cursor, lagMs, lagChanges, lastError, ended: isEnded });
    }
    return infos;
  }

  /** Resolves to true when there may be changes, and to false after `ms`. @internal */
  untilChange(ms: number): Promise<boolean> {
    const { clock } = this.options;
    this.listen();
    return new Promise((resolve) => {
      const end = (isChanged: boolean): void => {
        clock.clearTimeout(timer);
        this.waiting.delete(wake);
        resolve(isChanged);
      };
      const wake = (): void => end(true);
      const timer = clock.setTimeout(() => end(false), ms);
      this.waiting.add(wake);
    });
  }

  /** Ends all deliveries, without a wait for their handlers. */
  async close(): Promise<void> {
    const deliveries = Array.from(this.running.values());
    this.running.clear();
    this.wake();
    await Promise.all(deliveries.map((delivery) => delivery.abandon()));
    this.unsubscribe?.();
    this.unsubscribe = undefined;
  }

  private get log(): ChangeLog | undefined {
    return this.options.store.log;
  }

  private listen(): void {
    if (this.unsubscribe !== undefined) return;
    this.unsubscribe = this.options.store.subscribe({
      onTransition: () => this.wake(),
      onGap: () => this.wake(),
      // The feed of this presence handles these.
      onDue: () => undefined,
      onLost: () => undefined,
      onError: () => undefined,
    });
  }

  private wake(): void {
    for (const delivery of this.running.values()) delivery.wake();
    for (const wake of this.waiting) wake();
  }

  private async readAll(since: string | undefined, limit: number): Promise<ChangeBatch> {
    const [head = '', part, ...page] = (since ?? '').split(LISTING);
    if (page.length > 0) return this.list(head, partOf(part, since), page.join(LISTING));
    const read = await this.ask((log, onAnswer) => log.read({ after: since ?? null, limit }, onAnswer));
    if (read.isGap) return this.list(read.cursor, 0, null);
    const changes = Array.from(read.changes);
    return { changes, cursor: read.cursor, gap: false, ...(read.hasMore ? { more: true } : {}) };
  }

  /** A page of the users online; changes after `head`, which was there before the listing, make it right. */
  private async list(head: string, part: number, page: string | null): Promise<ChangeBatch> {
    const { clock, store, commandTimeoutMs } = this.options;
    const ask = () =>
      withDeadline(clock, commandTimeoutMs, (onAnswer) => store.list({ cursor: page, limit: LISTED }, onAnswer));
    const listed = await untilSure(clock, commandTimeoutMs, ask, ({ isUnsure }) => isUnsure !== true);
    // Who was last published as online is so for whoever reads changes.
    const users = listed.users.concat(listed.unproven ?? []).map((user) => toStatus({ ...user, online: true }));
    const isLast = listed.cursor === null;
    const cursor = isLast ? head : [head, part + 1, listed.cursor].join(LISTING);
    const asOf = new Date(listed.now).toISOString();
    return { changes: [], cursor, gap: true, users, part, asOf, ...(isLast ? {} : { more: true }) };
  }

  private ask<T>(run: (log: ChangeLog, onAnswer: () => void) => Promise<T>): Promise<T> {
    const { log } = this;
    if (log === undefined) return Promise.reject(unsupported());
    return withDeadline(this.options.clock, this.options.commandTimeoutMs, (onAnswer) => run(log, onAnswer));
  }
}

function partOf(text: string | undefined, cursor: string | undefined): number {
  if (text !== undefined && /^[1-9]\d{0,9}$/.test(text)) return Number(text);
  throw optionError(`the cursor is ${shown(cursor)}; it is one that this store has given`);
}

function unsupported(): PresenceError {
  return new PresenceError('ERR_PRESENCE_UNSUPPORTED', 'this store keeps no log of changes');
}
