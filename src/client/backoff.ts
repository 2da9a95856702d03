import { delayOf } from './globals';

/** After a connection that lasts so long, a close code 4029 counts as the first. */
const FORGIVEN_MS = 60_000;

/**
 * How long to wait, in milliseconds, after a router has said that it was asked too much: from 1 to 2 seconds at first, from
 * 15 to 30 in the end. It is random, so that those who were refused together do not come back together.
 *
 * @internal
 */
export function backOffMs(times: number): number {
  return Math.min(15_000, 1_000 * 2 ** times) * (1 + Math.random());
}

/** How long a client waits between two attempts to connect. @internal */
export interface Backoff {
  /** A connection is open. */
  opened(): void;
  /** It has shown everything. */
  live(): void;
  /** Whether everything has been shown since the last wait. */
  readonly isLive: boolean;
  /** Whether that was for longer than the last wait. */
  lasted(): boolean;
  /** It is lost, or could not be opened. `isFlood`: closed with 4029. Gives the wait, in milliseconds. */
  next(isFlood: boolean): number;
}

/**
 * A random time up to a bound that doubles ("full jitter", M. Brooker, Exponential Backoff And Jitter), so that a thousand
 * dashboards do not come back in the same second. It starts over only after a connection that was live for longer than the
 * last wait: a router that closes whoever it has just shown everything is not one that is back.
 *
 * @internal
 */
export function createBackoff(minMs: number, maxMs: number): Backoff {
  let attempts = 0;
  let lastWait = minMs;
  let liveAt: number | undefined;
  let openedAt = 0;
  /** Close codes 4029 in a row, where no connection lasted for long. */
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
      let wait = Math.random() * Math.min(maxMs, minMs * 2 ** attempts);
      if (isFlood) wait = Math.max(wait, backOffMs(floods));
      attempts += 1;
      if (isFlood) floods += 1;
      // A short draw is no proof of anything.
      lastWait = Math.max(minMs, wait);
      return delayOf(wait);
    },
  };
}
