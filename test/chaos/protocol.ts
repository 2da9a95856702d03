import type { PresenceStatus, PresenceUpdate } from 'voiceping-presence';

/** Short, so that much happens within minutes; on a machine that does other work longer ones lapse less by themselves. */
export const LEASE_MS = Number(process.env['CHAOS_LEASE_MS'] ?? 1_500);
export const GRACE_MS = 1_000;
export const HANDOVER_MS = 1_500;
/** How long a user stays who is registered again after a loss, see shared.lua: another router may hold the user, too. */
export const ASSERTED_MS = 3_000;
export const TTL_MS = Math.max(6_000, LEASE_MS * 2);
export const PING_MS = TTL_MS / 4;
/** Clocks and queues of processes that share two cores. */
export const SLACK_MS = 1_000;

/** One thing that a phone does: comes, closes cleanly, or is lost. The number is that of its user. */
export type Operation = readonly [does: 'open' | 'close' | 'drop', user: number];

export type Command =
  | { readonly kind: 'operate'; readonly operations: readonly Operation[] }
  | { readonly kind: 'ready' }
  | { readonly kind: 'statuses'; readonly userIds: readonly string[] }
  | { readonly kind: 'list' }
  | { readonly kind: 'heap' }
  | { readonly kind: 'close'; readonly handoverMs: number };

/** What each command is answered with. */
export interface Answers {
  /** When the operations were begun and done, by the clock of this machine. */
  readonly operate: { readonly begunAt: number; readonly at: number };
  readonly ready: true;
  /** In the order asked. */
  readonly statuses: PresenceStatus[];
  readonly list: { readonly userIds: string[]; readonly count: number };
  readonly heap: { readonly bytes: number };
  readonly close: true;
}

export interface Request {
  readonly number: number;
  readonly command: Command;
}

/** A heartbeat that was answered. */
export interface Beat {
  /** Whether the router had its lease until then. */
  readonly known: boolean;
  readonly sentAt: number;
  readonly at: number;
}

/** A report or an answer of a router. */
export type Report =
  | { readonly kind: 'answer'; readonly number: number; readonly value: Answers[Command['kind']] }
  | { readonly kind: 'refusal'; readonly number: number; readonly reason: string }
  /** The store holds by now whom the operations with this number have opened: the places of those who are still there. */
  | { readonly kind: 'held'; readonly number: number; readonly places: number[] }
  | { readonly kind: 'updates'; readonly updates: PresenceUpdate[] }
  | { readonly kind: 'beat'; readonly beat: Beat }
  /** A background failure that was passed to `onError`. */
  | { readonly kind: 'error'; readonly stage: string; readonly message: string }
  /** An unhandled rejection, or an uncaught exception. */
  | { readonly kind: 'unhandled'; readonly message: string };

const ODD_IDS = ['__proto__', 'a:b', '{x}', 'u,1', '"\\\u0001', '📟', 'é'.repeat(128), '0'];

/** Ids are data, so the first of them are such as have broken something somewhere. */
export const userIdOf = (user: number): string => ODD_IDS[user] ?? `u${user}`;
