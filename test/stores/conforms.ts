import assert, { AssertionError } from 'node:assert/strict';
import { expect, it } from 'vitest';
import type { ConformanceCase, ConformanceHook, ConformancePart } from 'voiceping-presence/testing';

interface Expected {
  /** Hooks that this backend cannot have. */
  readonly lacks?: ReadonlyArray<ConformanceHook | ConformancePart>;
  /** Cases that this store is known to fail, by name, and why. One that passes by now fails the test: it leaves the list. */
  readonly fails?: { readonly [name: string]: string };
  readonly timeoutMs?: number;
  /** The cases wait at the same time. */
  readonly isConcurrent?: boolean;
}

/** A test a case of the suite, which says what it skips and what is known to fail. */
export function conforms(
  cases: readonly ConformanceCase[],
  { lacks = [], fails = {}, timeoutMs, isConcurrent = false }: Expected = {},
): void {
  const declare = isConcurrent ? it.concurrent : it;
  it('to a suite that is not empty, and knows each case that is expected to fail', () => {
    expect(cases.length).toBeGreaterThan(60);
    expect(Object.keys(fails).filter((name) => !cases.some((one) => one.name === name))).toEqual([]);
  });
  for (const { name, needs, part, run } of cases) {
    const why = fails[name];
    if (why !== undefined) {
      declare(
        `not yet: ${name}, since ${why}`,
        async () => {
          const failure = await run().then(
            () => undefined,
            (error: unknown) => error,
          );
          assert.ok(failure !== undefined, 'it passes by now: take it off the list');
          if (!(failure instanceof AssertionError)) throw failure;
        },
        timeoutMs,
      );
      continue;
    }
    const lacking = [needs, part].find((one) => one !== undefined && lacks.includes(one));
    const outcome = lacking === undefined ? 'passed' : 'skipped';
    declare(
      outcome === 'passed' ? name : `skipped for want of ${lacking}: ${name}`,
      async () => expect(await run()).toBe(outcome),
      timeoutMs,
    );
  }
}
