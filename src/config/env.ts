import { optionError, shown } from '../public/errors';
import type { PresenceOptions } from '../public/types';
import { MAX_MS } from './validation';

const SECOND_MS = 1_000;
const DAY_MS = 86_400_000;

/** The value of a variable. An empty one counts as unset, since `.env` files write `NAME=` for that. @internal */
export function setting(env: { [name: string]: string | undefined }, name: string): string | undefined {
  const value: unknown = env[name];
  if (value === undefined) return undefined;
  // The error does not quote the value, which may be a secret.
  if (typeof value !== 'string') throw optionError(`${name} is a ${typeof value}; it is a string`);
  return value.trim() || undefined;
}

/** @internal */
export function flag(name: string, value: string | undefined): boolean | undefined {
  if (value === undefined) return undefined;
  if (/^(true|1|yes|on)$/i.test(value)) return true;
  if (/^(false|0|no|off)$/i.test(value)) return false;
  throw optionError(`${name} is ${shown(value)}; it is true or false`);
}

function duration(name: string, value: string | undefined, unit: string, min: number, msPerUnit: number) {
  if (value === undefined) return undefined;
  const number = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN;
  const ms = number * msPerUnit;
  // The value that was meant if the caller confused seconds and milliseconds.
  const other = msPerUnit === 1 ? number * 1_000 : number / 1_000;
  const isOther = other * msPerUnit >= min && other * msPerUnit <= MAX_MS;
  const hint = isOther ? `: did you mean ${other}?` : '';
  if (!(ms >= min && ms <= MAX_MS)) {
    const most = Math.floor(MAX_MS / msPerUnit);
    throw optionError(
      `${name} is ${shown(value)}; it is a number of ${unit} from ${min / msPerUnit} to ${most}${hint}`,
    );
  }
  // The value is valid and may be intended, so this is only a warning.
  if (isOther && (msPerUnit === 1 ? ms < SECOND_MS : ms > DAY_MS)) {
    process.emitWarning(`${name} is ${value}; it is in ${unit}${hint}`, { code: 'VP_PRESENCE_UNIT' });
  }
  return ms;
}

/**
 * Options from the environment variables of the presence guide. An empty one counts as unset.
 *
 * | variable | unit | option | default |
 * | --- | --- | --- | --- |
 * | `PRESENCE_ENABLED` | true or false | `enabled` | true |
 * | `PRESENCE_TTL` | seconds | `ttlMs` | 360 |
 * | `PING_INTERVAL` | milliseconds | `pingIntervalMs` | 120000, at most a third of the TTL |
 *
 * For a TTL of more than a day, or a ping interval of less than a second, the process emits a warning (`VP_PRESENCE_UNIT`)
 * that asks whether the other unit was meant.
 *
 * @param env - `process.env` by default
 * @throws TypeError `ERR_PRESENCE_OPTIONS`, which names the variable, its value and the rule
 *
 * @example
 * const presence = createPresence({ ...optionsFromEnv(), graceMs: 10_000 });
 */
export function optionsFromEnv(env: { [name: string]: string | undefined } = process.env): PresenceOptions {
  const enabled = flag('PRESENCE_ENABLED', setting(env, 'PRESENCE_ENABLED'));
  const ttlMs = duration('PRESENCE_TTL', setting(env, 'PRESENCE_TTL'), 'seconds', 1_000, 1_000);
  const pingIntervalMs = duration('PING_INTERVAL', setting(env, 'PING_INTERVAL'), 'milliseconds', 100, 1);

  const effectiveTtlMs = ttlMs ?? 360_000;
  if (pingIntervalMs !== undefined && effectiveTtlMs <= pingIntervalMs) {
    throw optionError(
      `PRESENCE_TTL is ${effectiveTtlMs / 1_000} seconds and PING_INTERVAL ${pingIntervalMs} milliseconds; ` +
        'the TTL must be longer, ideally 3 times as long',
    );
  }
  const options: PresenceOptions = {};
  if (enabled !== undefined) options.enabled = enabled;
  if (ttlMs !== undefined) options.ttlMs = ttlMs;
  if (pingIntervalMs !== undefined) options.pingIntervalMs = pingIntervalMs;
  return options;
}
