import type { Clock } from '../clock';
import type { PresenceUpdate } from '../types';

const SECOND_MS = 1_000;
/** The timer looks no more often than this. */
const TICK_MS = 20;

/** A change of a user's status, and the version that the store gave it. @internal */
export interface Change {
  readonly update: PresenceUpdate;
  readonly lastSeen: number;
  readonly version: number;
}

/** A second of one user. */
interface Second {
  readonly endsAt: number;
  count: number;
}

/**
 * Lets through so many changes of one user a second, and of more the latest when the second is over: a phone with a loose
 * contact costs a dashboard no more than that. All dashboards see the same changes, so one count a user serves them all.
 * @internal
 */
export class UpdateLimiter {
  /** By user, in the order in which they end. */
  private readonly seconds = new Map<string, Second>();
  /** What is kept back, one a user, in the order of the versions. */
  private readonly held = new Map<string, { readonly change: Change; readonly number: number }>();
  private highest = 0;
  private number = 0;
  private timer: unknown;

  constructor(
    private readonly clock: Clock,
    private readonly perSecond: number,
    /** `keptBackSince`: the number of the change, where it was kept back. */
    private readonly deliver: (change: Change, keptBackSince: number | undefined) => void,
  ) {}

  /** The number of the last change that was offered: whoever is shown the truth now need not be told of those up to it. */
  get lastNumber(): number {
    return this.number;
  }

  offer(change: Change): void {
    const { userId } = change.update;
    this.number += 1;
    this.highest = Math.max(this.highest, change.version);
    const now = this.clock.now();
    const second = this.seconds.get(userId);
    // One that ends later than a second from now began before the clock was set back.
    if (second !== undefined && second.endsAt > now && second.endsAt <= now + SECOND_MS) {
      second.count += 1;
      this.held.delete(userId);
      if (second.count > this.perSecond) {
        this.held.set(userId, { change, number: this.number });
        return;
      }
    } else {
      this.begin(userId, now);
    }
    this.deliver(change, undefined);
  }

  /** The last version that was offered. */
  get lastVersion(): number {
    return this.highest;
  }

  /** The version up to which every change was let through, or superseded by one that is kept back. */
  get settledVersion(): number {
    for (const { change } of this.held.values()) return Math.min(this.highest, change.version - 1);
    return this.highest;
  }

  stop(): void {
    this.clock.clearTimeout(this.timer);
    this.timer = undefined;
    this.seconds.clear();
    this.held.clear();
    this.highest = 0;
  }

  private begin(userId: string, now: number): void {
    this.held.delete(userId);
    this.seconds.delete(userId);
    this.seconds.set(userId, { endsAt: now + SECOND_MS, count: 1 });
    if (this.timer === undefined) this.schedule(SECOND_MS);
  }

  private schedule(ms: number): void {
    this.timer = this.clock.setTimeout(() => {
      this.timer = undefined;
      this.tick();
    }, ms);
  }

  /** Ends the seconds that are over. */
  private tick(): void {
    const now = this.clock.now();
    for (const [userId, { endsAt }] of this.seconds) {
      if (endsAt > now && endsAt <= now + SECOND_MS) {
        if (this.timer === undefined) this.schedule(Math.max(TICK_MS, endsAt - now));
        return;
      }
      this.seconds.delete(userId);
      const kept = this.held.get(userId);
      if (kept === undefined) continue;
      this.begin(userId, now);
      this.deliver(kept.change, kept.number);
    }
  }
}
