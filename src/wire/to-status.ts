import type { PresenceStatus } from '../public/types';
import type { StoredStatus } from '../stores/port';
import { isoTime } from './iso-time';

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
