import { globals } from './globals';

/** How often the clock is looked at. */
const TICK_MS = 1_000;
/** A tick that comes so much too late, or too soon by the clock: the machine slept, or its clock was set. */
const JUMP_MS = 5_000;
const SIGNS = ['pageshow', 'focus', 'online'];

/**
 * Calls `onWake` when a machine, a page or its network may have slept: then a link can be dead without a word, and timers have
 * stood still with it. Returns the function that ends it.
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
  // In Node it keeps no process alive.
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
