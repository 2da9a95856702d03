import { type Clock, systemClock } from '../public/clock';
import { optionError, shown } from '../public/errors';
import { type Lookalike, lookalikeOf, named } from '../public/lookalikes';

/** The longest delay that a timer of Node accepts. @internal */
export const MAX_MS = 2_147_483_647;

/** @internal Validates a duration. The error names the option, the value and the rule. */
export function checkedMs(name: string, value: unknown, min: number, fallback: number): number {
  if (value === undefined) return fallback;
  const rule = `it is in milliseconds and at least ${min}`;
  if (typeof value !== 'number' || Number.isNaN(value)) throw optionError(`${name} is ${shown(value)}; ${rule}`);
  if (value < min) {
    const meant = value > 0 && value * 1000 >= min ? `: did you mean ${value * 1000}?` : '';
    throw optionError(`${name} is ${value}; ${rule}${meant}`);
  }
  if (value > MAX_MS) throw optionError(`${name} is ${value}; it is in milliseconds and at most ${MAX_MS}`);
  return value;
}

/** @internal */
export function checkedFlag(name: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value !== 'boolean') throw optionError(`${name} is ${shown(value)}; it is true or false`);
  return value;
}

/** @internal The given clock, or the system clock. */
export function checkedClock(clock: Clock | undefined): Clock {
  if (clock === undefined) return systemClock;
  const functions: Array<keyof Clock> = ['now', 'setTimeout', 'clearTimeout'];
  // random is optional.
  if (clock !== null && clock.random !== undefined) functions.push('random');
  checkFunctions('clock', clock, functions, 'see Clock');
  return clock;
}

/** @internal Checks that a value has certain functions. The error names the first one that is missing. */
export function checkFunctions(
  name: string,
  value: unknown,
  functions: readonly string[],
  rule: string,
  hints: { readonly [what in Lookalike]?: string } = {},
): void {
  const missing = functions.find((key) => typeof (value as Record<string, unknown> | null)?.[key] !== 'function');
  if (missing === undefined) return;
  const what = lookalikeOf(value);
  const hint = what === undefined ? undefined : hints[what];
  throw optionError(`${name} is ${named(value)} without ${missing}(); ${hint ?? rule}`);
}

/** @internal Throws for a thing that is often passed by mistake. The error says what to pass instead. */
export function checkNoLookalike(
  name: string,
  value: unknown,
  rule: string,
  hints: { readonly [what in Lookalike]?: string },
): void {
  const what = lookalikeOf(value);
  const hint = what === undefined ? undefined : hints[what];
  if (hint !== undefined) throw optionError(`${name} is ${what}; ${rule}: ${hint}`);
}
