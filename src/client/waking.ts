import { globals } from './globals';

/** How often the clock is read. */
const TICK_MS = 1_000;
/** Where a tick is this much too late or too early by the clock, the machine slept or its clock was set. */
const JUMP_MS = 5_000;
const SIGNS = ['pageshow', 'focus', 'online'];

/**
 * Calls `onWake` when the machine, the page or the network may have slept: the connection can then be dead without an event,
 * and timers have stood still. Returns a function that stops it.
 * @internal
 */
export function watchWaking(onWake: () => void): () => void {
  const { addEventListener, removeEventListener, document } = globals();
  let before = Date.now();
  const ticks = setInterval(() => {
    const now = Date.now();
    if (Math.abs(now - before - TICK_MS) > JUMP_MS) onWake();
    before = now;
  }, TICK_MS);
  // In Node, the timer must not keep the process alive.
  (ticks as { unref?(): void }).unref?.();
  const onVisible = (): void => {
    if (!document?.hidden) onWake();
  };
  for (const name of SIGNS) addEventListener?.(name, onWake);
  document?.addEventListener?.('visibilitychange', onVisible);
  return () => {
    clearInterval(ticks);
    for (const name of SIGNS) removeEventListener?.(name, onWake);
    document?.removeEventListener?.('visibilitychange', onVisible);
  };
}
