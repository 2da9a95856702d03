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
 * How long to wait before the next attempt: exponential, capped, and with "equal jitter", so that the routers of a fleet
 * that lost a server together do not all come back to it at once. M. Brooker, "Exponential Backoff And Jitter", AWS
 * Architecture Blog, 2015. Unlike with "full jitter", at least half of the wait is certain: a refusal costs the server
 * something, and an immediate second attempt learns nothing.
 *
 * @param failures - the number of failures before this one; 0 for the first failure
 * @param random - gives a number of at least 0 and less than 1
 * @returns whole milliseconds, between half of the wait and all of it
 * @internal
 */
export function backoffMs(failures: number, { leastMs, mostMs, factor = 2 }: Backoff, random: () => number): number {
  // After very many failures the power is infinite, and the cap still holds.
  const wholeMs = Math.min(mostMs, leastMs * factor ** failures);
  return Math.ceil(wholeMs / 2 + (wholeMs / 2) * random());
}
