import { isoTime } from './iso-time';
import type { StoredStatus } from './store';
import type { PresenceStatus } from './types';

/** @internal */
export function toStatus({ userId, online, lastSeen }: StoredStatus): PresenceStatus {
  return {
    userId,
    status: online ? 'online' : 'offline',
    lastSeen: toIso(lastSeen),
  };
}

/** @internal */
export function toIso(lastSeen: number | null): string | null {
  return lastSeen === null ? null : isoTime(lastSeen);
}
