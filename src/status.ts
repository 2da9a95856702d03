import { isoTime } from './iso-time';
import type { StoredStatus } from './store';
import type { PresenceStatus } from './types';

/** @internal */
export function toStatus({ userId, online, lastSeen }: StoredStatus): PresenceStatus {
  return {
    userId,
    status: online ? 'online' : 'offline',
    lastSeen: lastSeen === null ? null : isoTime(lastSeen),
  };
}
