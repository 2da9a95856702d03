import assert from 'node:assert/strict';

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** No look counts for more: on a busy machine what is waited for is as slow as who waits for it. */
const LOOK_MS = 50;

/**
 * Waits until something holds; fails with what did not hold within that time, in which the machine had time for both of
 * them.
 */
export async function until(what: string, holds: () => boolean | Promise<boolean>, withinMs = 10_000): Promise<void> {
  for (let left = withinMs; ; ) {
    const lookedAt = performance.now();
    if (await holds()) return;
    if (left <= 0) assert.fail(`not within ${withinMs} ms: ${what}`);
    await sleep(10);
    left -= Math.min(LOOK_MS, performance.now() - lookedAt);
  }
}
