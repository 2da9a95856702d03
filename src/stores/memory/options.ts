import { checkNames, optionError, shown } from '../../public/errors';
import { checkedLog, type LogOptions } from '../log-options';

/** The options of `memoryStore`. */
export interface MemoryStoreOptions {
  /** Returns the time, in milliseconds since the epoch. @default Date.now */
  now?: () => number;
  /** How long the store remembers when an offline user was last seen. @default 2_592_000_000 // 30 days */
  retentionMs?: number;
  /** The number of offline users for whom it remembers that; those who left first are forgotten first. @default 100_000 */
  maxRemembered?: number;
  /** How many of the last changes `presence.changes` can give. At most 60 bytes each. @default 100_000 */
  logChanges?: number;
  /** How long a change can be given, in milliseconds. @default 604_800_000 // 7 days */
  logMs?: number;
}

/** Every option, checked and with its default. @internal */
export interface MemorySettings extends LogOptions {
  readonly now: () => number;
  readonly retentionMs: number;
  readonly maxRemembered: number;
}

/** @throws TypeError `ERR_PRESENCE_OPTIONS` @internal */
export function toMemorySettings(options: MemoryStoreOptions): MemorySettings {
  checkNames(options, ['now', 'retentionMs', 'maxRemembered', 'logChanges', 'logMs']);
  const { now = Date.now, retentionMs = 2_592_000_000, maxRemembered = 100_000 } = options;
  if (typeof now !== 'function') throw optionError(`now is ${shown(now)}; it is a function that gives milliseconds`);
  if (typeof retentionMs !== 'number' || !(retentionMs >= 0)) {
    throw optionError(`retentionMs is ${shown(retentionMs)}; it is in milliseconds and at least 0`);
  }
  if (!Number.isInteger(maxRemembered) || maxRemembered < 0) {
    throw optionError(`maxRemembered is ${shown(maxRemembered)}; it is an integer of at least 0`);
  }
  return { now, retentionMs, maxRemembered, ...checkedLog(options) };
}
