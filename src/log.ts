import createDebug from 'debug';

const write = createDebug('vp:presence');

// Control characters, DEL, C1 and the two Unicode line ends: what could forge a line or steer a terminal.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones that must not get through
const UNPRINTABLE = /[\u0000-\u001F\u007F-\u009F\u2028\u2029]/g;

/** @internal An id as it may stand in a log line: `123` is `123`, a line break is `\u000a`. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/**
 * Log lines under `vp:presence`, those of the guide word for word ("Testing", 1 and 5).
 * Each checks `enabled` first: while the namespace is off nothing is formatted.
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
