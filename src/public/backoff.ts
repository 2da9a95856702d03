/** How long one waits who tries again. */
export interface Backoff {
  /** At most, after the first failure, in milliseconds. */
  readonly leastMs: number;
  /** At most, after however many, in milliseconds. */
  readonly mostMs: number;
  /** By what each failure multiplies it. @default 2 */
  readonly factor?: number;
}

/**
 * How long to wait before the next try: exponential, capped, and with "equal jitter", half of it by chance, so that the
 * routers of a fleet which lost one server together do not come back to it together. M. Brooker, "Exponential Backoff And
 * Jitter", AWS Architecture Blog, 2015. Half is always waited, unlike with "full jitter": a refusal costs the server
 * something, and a try at once after it learns nothing.
 *
 * @param failures - how often it has failed before this time; 0 for the first failure
 * @param random - gives a number of at least 0 and less than 1
 * @returns whole milliseconds, between half of the wait and all of it
 * @internal
 */
export function backoffMs(failures: number, { leastMs, mostMs, factor = 2 }: Backoff, random: () => number): number {
  // Of very many failures the power is infinite, and the cap holds.
  const wholeMs = Math.min(mostMs, leastMs * factor ** failures);
  return Math.ceil(wholeMs / 2 + (wholeMs / 2) * random());
}
