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
  private readonly held = new Map<string, Change>();
  private highest = 0;
  private timer: unknown;

  constructor(
    private readonly clock: Clock,
    private readonly perSecond: number,
    private readonly deliver: (change: Change) => void,
  ) {}

  offer(change: Change): void {
    const { userId } = change.update;
    this.highest = Math.max(this.highest, change.version);
    const now = this.clock.now();
    const second = this.seconds.get(userId);
    // One that ends later than a second from now began before the clock was set back.
    if (second !== undefined && second.endsAt > now && second.endsAt <= now + SECOND_MS) {
      second.count += 1;
      this.held.delete(userId);
      if (second.count > this.perSecond) {
        this.held.set(userId, change);
        return;
      }
    } else {
      this.begin(userId, now);
    }
    this.deliver(change);
  }

  /** The version up to which every change was let through, or superseded by one that is kept back. */
  get settledVersion(): number {
    for (const { version } of this.held.values()) return Math.min(this.highest, version - 1);
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
      const change = this.held.get(userId);
      if (change === undefined) continue;
      this.begin(userId, now);
      this.deliver(change);
    }
  }
}
