import type { Presence } from './types';

/**
 * Where a presence takes reports from its adapters. Registered, since each CommonJS entry bundles its own copy of this.
 * @internal
 */
export const REPORT: unique symbol = Symbol.for('voiceping-presence.report') as never;

/** @internal */
export interface Reporting {
  [REPORT](stage: string, error: unknown, userId?: string): void;
}

/**
 * Hands a failure in an adapter to the `onError` of its presence.
 * @internal
 */
export function reportTo(presence: Presence, stage: string, error: unknown): void {
  (presence as Presence & Partial<Reporting>)[REPORT]?.(stage, error);
}
