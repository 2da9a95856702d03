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
 * How long to wait before the next attempt: the one rule of all waits of routers and clients. It is exponential, capped, and
 * partly by chance, so that all who lost a server together do not come back to it together. M. Brooker, "Exponential Backoff
 * And Jitter", AWS Architecture Blog, 2015.
 *
 * @param failures - the number of failures before this one; 0 for the first failure
 * @param leastMs - the longest wait after the first failure
 * @param mostMs - the longest wait after any number of failures
 * @param certain - the share of the wait that is certain: 0 is "full jitter", 0.5 is "equal jitter"
 * @param chance - a random number of at least 0 and less than 1
 * @param factor - the factor by which each failure lengthens the wait
 * @returns milliseconds, and not whole ones
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
  // After very many failures the power is infinite, and the cap still holds.
  const longestMs = Math.min(mostMs, leastMs * factor ** failures);
  return longestMs * (certain + (1 - certain) * chance);
}

/**
 * How long a router waits before the next attempt: with "equal jitter", since a refusal costs the server something, and an
 * immediate second attempt learns nothing.
 *
 * @param failures - the number of failures before this one; 0 for the first failure
 * @param random - gives a number of at least 0 and less than 1
 * @returns whole milliseconds, between half of the wait and all of it
 * @internal
 */
export function backoffMs(failures: number, { leastMs, mostMs, factor }: Backoff, random: () => number): number {
  return Math.ceil(jitteredMs(failures, leastMs, mostMs, 0.5, random(), factor));
}
