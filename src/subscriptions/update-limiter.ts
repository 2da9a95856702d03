import type { Clock } from '../public/clock';
import { type HeapItem, MinHeap } from '../public/min-heap';
import type { PresenceUpdate } from '../public/types';

const SECOND_MS = 1_000;
/**
 * How long changes may be delivered before everything else in the process has its turn: where a router dies, thousands of users go
 * offline at once, each of them a frame to every dashboard.
 */
const TURN_MS = 4;

/** A change of a user's status, and the version that the store gave it. @internal */
export interface Change {
  readonly update: PresenceUpdate;
  readonly lastSeen: number | null;
  readonly version: number;
}

/** A user whose status has changed within the last second. */
interface Recent {
  readonly userId: string;
  /** When changes of the user were delivered, within the last second. */
  times: number[];
  /** The entry in the heap of deadlines: the next change may be delivered, or the second is over. */
  item: HeapItem<Recent> | undefined;
}

/**
 * Limits the changes of one user to `perSecond` in any second. Of further ones, only the latest is delivered, as soon as the
 * limit allows. So a phone that reconnects all the time does not flood dashboards. All dashboards get the same changes, so there
 * is one limit for each user and not for each dashboard. It also limits how long one turn of the event loop delivers.
 * @internal
 */
export class UpdateLimiter {
  private readonly recent = new Map<string, Recent>();
  private readonly looks = new MinHeap<Recent>();
  /** The changes that are kept back, at most one for each user, in the order of their versions. */
  private readonly held = new Map<string, { readonly change: Change; readonly number: number }>();
  private highest = 0;
  private number = 0;
  private timer: unknown;
  private timerAt = 0;
  /** Until when changes are delivered in this turn of the event loop; undefined before the first one. */
  private turnEndsAt: number | undefined;
  private turnTimer: unknown;

  constructor(
    private readonly clock: Clock,
    private readonly perSecond: number,
    /** `keptBackSince`: the number of the change, where it was kept back. */
    private readonly deliver: (change: Change, keptBackSince: number | undefined) => void,
  ) {}

  /** The number of the last change that was offered. A snapshot that is read now contains all changes up to it. */
  get lastNumber(): number {
    return this.number;
  }

  /** The highest version that was offered. */
  get lastVersion(): number {
    return this.highest;
  }

  /** Whether a change is kept back. */
  get isHolding(): boolean {
    return this.held.size > 0;
  }

  /** All changes up to this version were delivered, or replaced by a newer one that is kept back. */
  get settledVersion(): number {
    for (const { change } of this.held.values()) return Math.min(this.highest, change.version - 1);
    return this.highest;
  }

  /** The users of whom a change is kept back. */
  keptBackIds(): IterableIterator<string> {
    return this.held.keys();
  }

  offer(change: Change): void {
    const { userId } = change.update;
    this.number += 1;
    this.highest = Math.max(this.highest, change.version);
    const recent = this.recentOf(userId);
    const now = this.clock.now();
    // One that waited for its turn only is not replaced: how busy the process is must not decide what dashboards are sent.
    const kept = this.held.get(userId);
    this.held.delete(userId);
    if (kept !== undefined && this.mayPass(recent, now)) this.pass(recent, now, kept.change, kept.number);
    const mayPass = this.mayPass(recent, now);
    if (mayPass && this.hasTime(now)) this.pass(recent, now, change, undefined);
    else {
      this.held.set(userId, { change, number: this.number });
      this.lookAt(recent, mayPass ? now : (recent.times[0] as number) + SECOND_MS);
    }
    this.schedule();
  }

  stop(): void {
    this.clock.clearTimeout(this.timer);
    this.timer = undefined;
    this.clock.clearTimeout(this.turnTimer);
    this.turnEndsAt = undefined;
    for (const { item } of this.recent.values()) if (item !== undefined) this.looks.remove(item);
    this.recent.clear();
    this.held.clear();
    this.highest = 0;
  }

  private recentOf(userId: string): Recent {
    let recent = this.recent.get(userId);
    if (recent === undefined) {
      recent = { userId, times: [], item: undefined };
      this.recent.set(userId, recent);
    }
    return recent;
  }

  private mayPass(recent: Recent, now: number): boolean {
    // Times in the future are dropped, too: the clock was set back.
    recent.times = recent.times.filter((time) => time <= now && time > now - SECOND_MS);
    return recent.times.length < Math.floor(this.perSecond);
  }

  /** Whether this turn of the event loop may deliver more. */
  private hasTime(now: number): boolean {
    if (this.turnEndsAt === undefined) {
      this.turnEndsAt = now + TURN_MS;
      this.turnTimer = this.clock.setTimeout(() => {
        this.turnEndsAt = undefined;
      }, 0);
    }
    // A clock that was set back does not make a turn longer.
    return now < this.turnEndsAt && now >= this.turnEndsAt - TURN_MS;
  }

  private pass(recent: Recent, now: number, change: Change, keptBackSince: number | undefined): void {
    recent.times.push(now);
    this.lookAt(recent, now + SECOND_MS);
    this.deliver(change, keptBackSince);
  }

  private lookAt(recent: Recent, at: number): void {
    if (recent.item !== undefined) this.looks.remove(recent.item);
    recent.item = this.looks.put(at, recent);
  }

  private schedule(): void {
    const { due } = this.looks;
    if (due === undefined || (this.timer !== undefined && due >= this.timerAt)) return;
    const now = this.clock.now();
    const waitMs = Math.max(1, Math.min(SECOND_MS, due - now));
    this.clock.clearTimeout(this.timer);
    this.timerAt = now + waitMs;
    this.timer = this.clock.setTimeout(() => {
      this.timer = undefined;
      this.look();
      this.schedule();
    }, waitMs);
  }

  private look(): void {
    const startedAt = this.clock.now();
    // No deadline is more than a second away, unless the clock was set back.
    const isBack = (this.looks.due ?? 0) > startedAt + SECOND_MS;
    for (let now = startedAt; this.hasTime(now); now = this.clock.now()) {
      const recent = this.looks.take(isBack ? Number.POSITIVE_INFINITY : startedAt);
      if (recent === undefined) return;
      recent.item = undefined;
      const kept = this.held.get(recent.userId);
      if (kept === undefined) this.recent.delete(recent.userId);
      else if (this.mayPass(recent, now)) {
        this.held.delete(recent.userId);
        this.pass(recent, now, kept.change, kept.number);
      } else this.lookAt(recent, (recent.times[0] as number) + SECOND_MS);
    }
  }
}
