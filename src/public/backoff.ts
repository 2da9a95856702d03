/** The bounds of the wait between two attempts. */
export interface Backoff {
  /** The longest wait after the first failure, in milliseconds. */
  readonly leastMs: number;
  /** The longest wait after any number of failures, in milliseconds. */
  readonly mostMs: number;
  /** The factor by which each failure lengthens the wait. @default 2 */
  readonly factor?: number;
}

/**
 * How long to wait before the next attempt. All waits of routers and clients are computed here. They are exponential, capped and
 * random, so that routers and clients that lost a server together do not reconnect together. M. Brooker, "Exponential Backoff And
 * Jitter", AWS Architecture Blog, 2015.
 *
 * @param failures - the number of failures before this one; 0 for the first failure
 * @param leastMs - the longest wait after the first failure
 * @param mostMs - the longest wait after any number of failures
 * @param certain - the share of the wait that is not random: 0 is "full jitter", 0.5 is "equal jitter"
 * @param chance - a random number of at least 0 and less than 1
 * @param factor - the factor by which each failure lengthens the wait
 * @returns milliseconds, not rounded
 * @internal
 */
export function jitteredMs(
  failures: number,
  leastMs: number,
  mostMs: number,
  certain: number,
  chance: number,
  factor = 2,
): number {
  // After very many failures the power is infinite, and the cap applies.
  const longestMs = Math.min(mostMs, leastMs * factor ** failures);
  return longestMs * (certain + (1 - certain) * chance);
}

/**
 * How long a router waits before the next attempt: with "equal jitter", since each attempt costs the server something, and one
 * that follows at once would hardly succeed.
 *
 * @param failures - the number of failures before this one; 0 for the first failure
 * @param random - gives a number of at least 0 and less than 1
 * @returns whole milliseconds, at least half of the longest wait
 * @internal
 */
export function backoffMs(failures: number, { leastMs, mostMs, factor }: Backoff, random: () => number): number {
  return Math.ceil(jitteredMs(failures, leastMs, mostMs, 0.5, random(), factor));
}
