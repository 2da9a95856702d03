import assert from 'node:assert/strict';

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until something holds; fails with the last reason why it did not. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, withinMs = 10_000): Promise<void> {
  for (const end = Date.now() + withinMs; ; ) {
    if (await holds()) return;
    if (Date.now() > end) assert.fail(`not within ${withinMs} ms: ${what}`);
    await sleep(10);
  }
}
