import createDebug from 'debug';
import { printable } from '../public/printable';

const write = createDebug('vp:presence');

/**
 * Debug lines under `vp:presence`. The presence guide ("Testing", 1 and 5) gives their exact words.
 * Each function checks `enabled` first, so that nothing is formatted while the namespace is off.
 * @internal
 */
export const log = {
  pong(userId: string): void {
    if (!write.enabled) return;
    const id = printable(userId);
    write('%s', `[PONG DETECTED] User ${id} responded to PING - refreshing presence`);
    write('%s', `Presence refreshed for ${id} via PONG`);
  },
  heartbeat(userId: string): void {
    if (write.enabled) write('%s', `Presence refreshed for ${printable(userId)} via HEARTBEAT`);
  },
  transition(userId: string, status: 'online' | 'offline'): void {
    if (write.enabled) write('%s', `User ${printable(userId)} marked as ${status}`);
  },
  failure(stage: string, message: string): void {
    if (write.enabled) write('%s', `${stage} failed: ${printable(message)}`);
  },
};
