import type { WebSocketClass } from './types';

interface Target {
  addEventListener?(name: string, listener: () => void): void;
  removeEventListener?(name: string, listener: () => void): void;
}

/** The globals that are used of a page, a worker or Node. Each may be absent. @internal */
export interface Globals extends Target {
  readonly WebSocket?: WebSocketClass;
  readonly document?: Target & { readonly hidden?: boolean };
}

declare const self: Globals | undefined;

/** `globalThis`, which Node before 12 and browsers before 2018 do not have. @internal */
export function globals(): Globals {
  if (typeof globalThis === 'object') return globalThis as unknown as Globals;
  return typeof self === 'object' ? self : {};
}

/** A delay that a timer accepts, in milliseconds. Timers run at once for NaN, and for a delay that is too large. @internal */
export const delayOf = (ms: number): number => (ms >= 0 ? Math.min(ms, 2 ** 31 - 1) : 1_000);
