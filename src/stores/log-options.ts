import { optionError, shown } from '../public/errors';

/** How much of the changes a store keeps. @internal */
export interface LogOptions {
  readonly logChanges: number;
  readonly logMs: number;
}

const DEFAULT_CHANGES = 100_000;
const MAX_CHANGES = 100_000_000;
const DEFAULT_MS = 604_800_000;

/** Checks the options of a log. @throws TypeError `ERR_PRESENCE_OPTIONS` @internal */
export function checkedLog(options: {
  readonly logChanges?: number | undefined;
  readonly logMs?: number | undefined;
}): LogOptions {
  const { logChanges = DEFAULT_CHANGES, logMs = DEFAULT_MS } = options;
  if (!Number.isInteger(logChanges) || logChanges < 0 || logChanges > MAX_CHANGES) {
    throw optionError(`logChanges is ${shown(logChanges)}; it is an integer from 0 to ${MAX_CHANGES}`);
  }
  if (typeof logMs !== 'number' || !(logMs >= 0)) {
    throw optionError(`logMs is ${shown(logMs)}; it is in milliseconds and at least 0`);
  }
  return { logChanges, logMs };
}
