import type { Presence } from '../public/types';

/** The symbol is registered, since each CommonJS entry bundles its own copy of this module. */
const WARNED: unique symbol = Symbol.for('voiceping-presence.open-warned') as never;

interface Host {
  emitWarning?(message: string, options: { code: string }): void;
  [WARNED]?: true;
}

/**
 * Warns, once in a process, that the status endpoint is open to everybody. A disabled presence answers no request, so it needs
 * no warning. Edge runtimes without a `process` get none.
 *
 * @internal
 */
export function warnOpen(presence: Presence): void {
  const host: Host | undefined = typeof process === 'undefined' ? undefined : process;
  if (typeof host?.emitWarning !== 'function' || host[WARNED]) return;
  if (presence.health?.().status === 'disabled') return;
  host[WARNED] = true;
  host.emitWarning(
    'createStatusHandler was given no authorize: everybody who reaches the endpoint may ask who is online. ' +
      "Give authorize, or authorize: 'everybody' where that is meant.",
    { code: 'VP_PRESENCE_OPEN' },
  );
}
