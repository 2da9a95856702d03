import { hostname } from 'node:os';
import { stderrLogger } from '../diagnostics/failure-log';
import type { Clock } from '../public/clock';
import { checkNames, optionError, shown } from '../public/errors';
import type { Logger, PresenceLimits, PresenceOptions, RouterOptions } from '../public/types';
import type { PresenceStore } from '../stores/port';
import { checkedClock, checkedFlag, checkedMs, checkFunctions, checkNoLookalike } from './validation';

const PING_MS = 120_000;
const MAX_NAME_BYTES = 256;
const TTL_RULE = 'should be at least 2x the';

/** @internal */
export type Limits = { readonly [name in keyof PresenceLimits]-?: number };

/** @internal Every option, checked and with its default. */
export interface Settings {
  readonly store: PresenceStore;
  readonly enabled: boolean;
  readonly ttlMs: number;
  readonly pingIntervalMs: number | false;
  readonly graceMs: number;
  readonly leaseMs: number;
  readonly wire: 'guide' | 'router';
  readonly commandTimeoutMs: number;
  readonly terminateDeadSockets: boolean;
  readonly roster: boolean;
  readonly authorizeWatch: PresenceOptions['authorizeWatch'];
  readonly maxWatchIds: number;
  readonly limits: Limits;
  readonly onError: PresenceOptions['onError'];
  /** `undefined`: nothing is logged. */
  readonly logger: Logger | undefined;
  readonly router: { readonly name: string; readonly address: string | null };
  readonly clock: Clock;
}

const NAMES: ReadonlyArray<keyof Settings> = [
  'store',
  'enabled',
  'ttlMs',
  'pingIntervalMs',
  'graceMs',
  'leaseMs',
  'wire',
  'commandTimeoutMs',
  'terminateDeadSockets',
  'roster',
  'authorizeWatch',
  'maxWatchIds',
  'limits',
  'onError',
  'logger',
  'router',
  'clock',
];

/**
 * Validates the options and fills in the defaults.
 *
 * @param storeOf - makes the default store, on the clock of the presence
 * @throws TypeError `ERR_PRESENCE_OPTIONS`
 * @internal
 */
export function toSettings(options: PresenceOptions, storeOf: (now: () => number) => PresenceStore): Settings {
  checkNoLookalike('options', options, 'it is an object', { 'a store': 'createPresence({ store })' });
  checkNames(options, NAMES);
  const ttlMs = checkedMs('ttlMs', options.ttlMs, 1_000, 360_000);
  const pingIntervalMs =
    options.pingIntervalMs === false
      ? false
      : checkedMs('pingIntervalMs', options.pingIntervalMs, 100, Math.min(PING_MS, ttlMs / 3));
  if (pingIntervalMs !== false && ttlMs <= pingIntervalMs) {
    throw optionError(
      `ttlMs is ${ttlMs} and pingIntervalMs ${pingIntervalMs}; ttlMs must be longer, ideally 3 times as long`,
    );
  }
  if (pingIntervalMs !== false && ttlMs < 2 * pingIntervalMs) {
    process.emitWarning(
      `ttlMs (PRESENCE_TTL) is ${ttlMs}; it ${TTL_RULE} pingIntervalMs (PING_INTERVAL), ${pingIntervalMs}, ` +
        'to avoid false offline detections due to network delays. Recommended: 3x.',
      { code: 'VP_PRESENCE_TTL' },
    );
  }
  if (options.wire !== undefined && options.wire !== 'guide' && options.wire !== 'router') {
    throw optionError(`wire is ${shown(options.wire)}; it is 'guide' or 'router'`);
  }
  for (const name of ['onError', 'authorizeWatch'] as const) {
    if (options[name] !== undefined && typeof options[name] !== 'function') {
      throw optionError(`${name} is ${shown(options[name])}; it is a function`);
    }
  }
  const { maxWatchIds = 1_000 } = options;
  if (!Number.isInteger(maxWatchIds) || maxWatchIds < 1) {
    throw optionError(`maxWatchIds is ${shown(maxWatchIds)}; it is an integer of at least 1`);
  }
  if (options.store !== undefined) checkStore(options.store);

  const clock = checkedClock(options.clock);
  const commandTimeoutMs = checkedMs('commandTimeoutMs', options.commandTimeoutMs, 1, 2_000);
  return {
    store: options.store ?? storeOf(() => clock.now()),
    enabled: checkedFlag('enabled', options.enabled, true),
    ttlMs,
    pingIntervalMs,
    graceMs: checkedMs('graceMs', options.graceMs, 0, 8_000),
    leaseMs: checkedMs('leaseMs', options.leaseMs, 1_000, 15_000),
    wire: options.wire ?? 'guide',
    commandTimeoutMs,
    terminateDeadSockets: checkedFlag('terminateDeadSockets', options.terminateDeadSockets, true),
    roster: checkedFlag('roster', options.roster, false),
    authorizeWatch: options.authorizeWatch,
    maxWatchIds,
    limits: toLimits(options.limits, commandTimeoutMs),
    onError: options.onError,
    logger: toLogger(options),
    router: toRouter(options.router),
    clock,
  };
}

function toLogger({ logger, onError }: PresenceOptions): Logger | undefined {
  if (logger === false) return undefined;
  if (logger === undefined) return onError === undefined ? stderrLogger : undefined;
  const rule = 'it is false, or has the functions warn and error of one string, as console, pino and winston have';
  checkFunctions('logger', logger, ['warn', 'error'], rule);
  if (logger.info !== undefined && typeof logger.info !== 'function') {
    throw optionError(`logger.info is ${shown(logger.info)}; it is a function`);
  }
  return logger;
}

function toRouter(given: RouterOptions = {}): Settings['router'] {
  checkNames(given, ['name', 'address']);
  for (const key of ['name', 'address'] as const) {
    const value: unknown = given[key];
    if (value === undefined) continue;
    if (typeof value !== 'string' || value === '' || Buffer.byteLength(value) > MAX_NAME_BYTES) {
      throw optionError(`router.${key} is ${shown(value)}; it is a string of 1 to ${MAX_NAME_BYTES} bytes`);
    }
  }
  return { name: given.name ?? `${hostname()}:${process.pid}`, address: given.address ?? null };
}

function toLimits(given: PresenceLimits = {}, commandTimeoutMs: number): Limits {
  const names = [
    'watchRequestsPerSecond',
    'watchRequestBurst',
    'callbackTimeoutMs',
    'updatesPerUserPerSecond',
  ] as const;
  checkNames(given, names);
  for (const name of names) {
    const value = given[name];
    if (value === undefined || name === 'callbackTimeoutMs') continue;
    if (typeof value !== 'number' || !(value >= 1)) {
      throw optionError(`limits.${name} is ${shown(value)}; it is a number of at least 1`);
    }
  }
  const { watchRequestsPerSecond = 5, watchRequestBurst = 10, updatesPerUserPerSecond = 4 } = given;
  const callbackTimeoutMs = checkedMs('limits.callbackTimeoutMs', given.callbackTimeoutMs, 1, commandTimeoutMs);
  return { watchRequestsPerSecond, watchRequestBurst, callbackTimeoutMs, updatesPerUserPerSecond };
}

const STORE_RULE = 'it is what memoryStore(), redisStore() or redisStoreFromEnv() gives';

function checkStore(store: unknown): void {
  const otherwise = typeof store === 'string' ? ': redisStore({ url })' : ', or fills the interface PresenceStore';
  checkFunctions('store', store, STORE_FUNCTIONS, STORE_RULE + otherwise, {
    'a function': `${STORE_RULE}: is a call missing?`,
    'a promise': `${STORE_RULE}: await it first`,
    'a presence': STORE_RULE,
    'an ioredis client': `${STORE_RULE}: redisStore({ client })`,
    'a client of the package redis': `${STORE_RULE}, which takes clients of ioredis: redisStore({ host, port })`,
  });
}

const STORE_FUNCTIONS: ReadonlyArray<keyof PresenceStore> = [
  'beat',
  'apply',
  'refresh',
  'release',
  'read',
  'list',
  'count',
  'subscribe',
];
