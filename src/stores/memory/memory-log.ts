import type { PresenceUpdate, UpdateReason } from '../../public/types';
import { formatCursor, isOf, lostCursor, type Position, parseCursor } from '../log-cursor';
import type { ChangeLog, DeliveryClaim, DeliveryStep, LoggedChanges, StoredDelivery, StoreNode } from '../port';

/** Changes that are kept as one text, which takes a third of the memory of as many objects. */
const PAGE_CHANGES = 200;

/** A change as it stands in a text: who, which status and why, and when, in milliseconds since the first one of the page. */
type Written = readonly [userId: string, online: 0 | 1, reason: UpdateReason, afterMs: number];

interface Page {
  /** The version of the first change; each following one has the next. */
  readonly first: number;
  readonly count: number;
  readonly at: number;
  readonly lastAt: number;
  readonly text: string;
}

interface Delivery {
  token: number;
  holder: StoreNode | undefined;
  cursor: string;
  isEnded: boolean;
  lastError: string | null;
}

/** What a log in memory asks its store. @internal */
export interface MemoryLogHost {
  readonly epoch: string;
  readonly logChanges: number;
  readonly logMs: number;
  /** The version of the last change, once everything is settled that is due. */
  settledVersion(): number;
  /** The time of day. */
  now(): number;
  /** Whether a router has a live lease. */
  isAlive(nodeId: string): boolean;
}

/** The last changes of a store in memory, and who is to be told them. @internal */
export class MemoryLog implements ChangeLog {
  private readonly pages: Page[] = [];
  /** The latest changes, which are not written as a page yet. */
  private open: PresenceUpdate[] = [];
  private count = 0;
  private readonly named = new Map<string, Delivery>();

  constructor(private readonly host: MemoryLogHost) {}

  append(update: PresenceUpdate): void {
    this.open.push(update);
    this.count += 1;
    if (this.open.length < PAGE_CHANGES && this.host.logChanges > 0) return;
    this.pages.push(pageOf(this.open));
    this.open = [];
    this.prune();
  }

  async head(): Promise<string> {
    return this.cursorAt(this.host.settledVersion());
  }

  async oldest(): Promise<string> {
    const head = this.host.settledVersion();
    this.prune();
    return this.cursorAt(head - this.count);
  }

  async read({ after, limit }: { after: string | null; limit: number }): Promise<LoggedChanges> {
    const head = this.host.settledVersion();
    this.prune();
    const oldest = head - this.count + 1;
    let from = oldest;
    if (after !== null) {
      const [position] = parseCursor(after, 1) as [Position];
      from = position.version + 1;
      if (!isOf(position, this.host.epoch) || position.version > head || from < oldest) {
        return { changes: [], cursor: this.cursorAt(head), isGap: true, hasMore: false };
      }
    }
    const to = Math.min(head, from + limit - 1);
    return { changes: this.between(from, to), cursor: this.cursorAt(to), isGap: false, hasMore: to < head };
  }

  async claim(node: StoreNode, name: string, from: string | null, isResumed: boolean): Promise<DeliveryClaim> {
    this.host.settledVersion();
    let delivery = this.named.get(name);
    if (delivery === undefined) {
      const cursor = from ?? lostCursor(1);
      delivery = { token: 0, holder: undefined, cursor, isEnded: false, lastError: null };
      this.named.set(name, delivery);
    }
    const { holder } = delivery;
    const isHeld = holder !== undefined && holder.nodeId !== node.nodeId && this.host.isAlive(holder.nodeId);
    if (isResumed) delivery.isEnded = false;
    const { cursor, isEnded } = delivery;
    if (isHeld || isEnded || !this.host.isAlive(node.nodeId)) return { token: undefined, cursor, isEnded };
    delivery.holder = node;
    delivery.token = Math.max(delivery.token + 1, Math.ceil(this.host.now()));
    return { token: delivery.token, cursor, isEnded };
  }

  async advance(name: string, token: number, step: DeliveryStep): Promise<boolean> {
    const delivery = this.named.get(name);
    if (delivery === undefined || delivery.token !== token || delivery.holder === undefined) return false;
    const { cursor = delivery.cursor, lastError = delivery.lastError, isEnded = delivery.isEnded } = step;
    Object.assign(delivery, { cursor, lastError, isEnded });
    if (step.isReleased === true || isEnded) delivery.holder = undefined;
    return true;
  }

  async deliveries(): Promise<StoredDelivery[]> {
    const head = this.host.settledVersion();
    return Array.from(this.named, ([name, { holder, cursor, isEnded, lastError }]) => {
      const version = parseCursor(cursor, 1)[0]?.version ?? 0;
      const isHeld = holder !== undefined && this.host.isAlive(holder.nodeId);
      const { name: called = holder?.nodeId ?? '', address = null } = holder?.router ?? {};
      const router = isHeld ? { nodeId: holder.nodeId, name: called, address } : null;
      return { name, cursor, isEnded, lastError, router, lagChanges: Math.max(0, head - version) };
    });
  }

  private cursorAt(version: number): string {
    return formatCursor([{ epoch: this.host.epoch, version }]);
  }

  /** Whole pages, so that not less than `logChanges` are left. */
  private prune(): void {
    const { logChanges, logMs, now } = this.host;
    for (let page = this.pages[0]; page !== undefined; page = this.pages[0]) {
      const isTooMany = this.count - page.count >= logChanges;
      if (!isTooMany && now() - page.lastAt <= logMs) break;
      this.pages.shift();
      this.count -= page.count;
    }
    const latest = this.open[this.open.length - 1];
    if (latest === undefined || this.pages.length > 0 || now() - Date.parse(latest.timestamp) <= logMs) return;
    this.count -= this.open.length;
    this.open = [];
  }

  private between(from: number, to: number): PresenceUpdate[] {
    const changes: PresenceUpdate[] = [];
    for (const page of this.pages) {
      if (page.first + page.count <= from) continue;
      if (page.first > to) return changes;
      for (const update of changesOf(page)) if (update.version >= from && update.version <= to) changes.push(update);
    }
    for (const update of this.open) if (update.version >= from && update.version <= to) changes.push(update);
    return changes;
  }
}

function pageOf(updates: readonly PresenceUpdate[]): Page {
  const [first] = updates as [PresenceUpdate];
  const at = Date.parse(first.timestamp);
  let lastAt = at;
  const written = updates.map(({ userId, status, reason, timestamp }): Written => {
    const ms = Date.parse(timestamp);
    lastAt = Math.max(lastAt, ms);
    return [userId, status === 'online' ? 1 : 0, reason, ms - at];
  });
  return { first: first.version, count: updates.length, at, lastAt, text: JSON.stringify(written) };
}

function changesOf({ first, at, text }: Page): PresenceUpdate[] {
  return (JSON.parse(text) as Written[]).map(([userId, online, reason, afterMs], index) => ({
    userId,
    status: online === 1 ? 'online' : 'offline',
    timestamp: new Date(at + afterMs).toISOString(),
    version: first + index,
    reason,
  }));
}
