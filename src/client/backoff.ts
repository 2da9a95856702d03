import { jitteredMs } from '../public/backoff';
import { delayOf } from './globals';

/** The longest wait after a router has refused too many requests. @internal */
export const LONGEST_PAUSE_MS = 30_000;
/** After a connection that lasted longer than this, a close with 4029 counts as the first. */
const FORGIVEN_MS = 60_000;

/**
 * How long to wait, in milliseconds, after a router has refused too many requests: 1 to 2 seconds at first, at most 15 to 30.
 * It is random, so that clients that were refused together do not come back together.
 *
 * @internal
 */
export function floodWaitMs(times: number): number {
  return jitteredMs(times, 2_000, LONGEST_PAUSE_MS, 0.5, Math.random());
}

/** Decides how long a client waits between two attempts to connect. @internal */
export interface Backoff {
  /** A connection is open. */
  opened(): void;
  /** The view is complete. */
  live(): void;
  /** Whether the view has been complete since the last wait. */
  readonly isLive: boolean;
  /** Whether it has been for longer than the last wait. */
  lasted(): boolean;
  /** The connection is lost, or could not be opened. `isFlood`: closed with 4029. Returns the wait, in milliseconds. */
  next(isFlood: boolean): number;
}

/**
 * A random wait up to a bound that doubles ("full jitter", M. Brooker, "Exponential Backoff And Jitter"), so that a thousand
 * dashboards do not come back in the same second. The bound is reset only after a connection that was live for longer than
 * the last wait: a router that closes each connection soon after its snapshot has not recovered.
 *
 * @internal
 */
export function createBackoff(minMs: number, maxMs: number): Backoff {
  let attempts = 0;
  let lastWait = minMs;
  let liveAt: number | undefined;
  let openedAt = 0;
  /** The number of closes with 4029 in a row, none of them after a long connection. */
  let floods = 0;
  const lasted = (): boolean => liveAt !== undefined && Date.now() - liveAt > lastWait;
  return {
    get isLive() {
      return liveAt !== undefined;
    },
    lasted,
    opened() {
      openedAt = Date.now();
    },
    live() {
      liveAt = liveAt ?? Date.now();
    },
    next(isFlood) {
      if (lasted()) attempts = 0;
      if (Date.now() - openedAt > FORGIVEN_MS) floods = 0;
      liveAt = undefined;
      let wait = jitteredMs(attempts, minMs, maxMs, 0, Math.random());
      if (isFlood) wait = Math.max(wait, floodWaitMs(floods));
      attempts += 1;
      if (isFlood) floods += 1;
      // A wait that is short by chance would make any connection look lasting.
      lastWait = Math.max(minMs, wait);
      return delayOf(wait);
    },
  };
}
