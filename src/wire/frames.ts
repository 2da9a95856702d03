import { Encoder } from '@msgpack/msgpack';
import type { PresenceStatus, PresenceUpdate } from '../types';
import { MessageType } from './message-type';

/** @internal How presence is put on the wire of one dialect. */
export interface Frames {
  update(update: PresenceUpdate, lastSeen: number): Uint8Array;
  /** `totalOnline`: of all users, not only of those in the frame. */
  snapshot(users: readonly PresenceStatus[], totalOnline: number, now: number): Uint8Array;
}

/** The guide says GROUP is 1, the existing router 0: each dialect its own. */
const GUIDE_GROUP = 1;
const ROUTER_GROUP = 0;

/** A reused Encoder is twice as fast as encode(). */
const encoder = new Encoder();

/** As a Buffer, which every version of ws sends as it is; a bare Uint8Array is wrapped anew for each socket. */
function encode(message: unknown): Buffer {
  const bytes = encoder.encode(message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** MessagePack maps, as in the guide, "WebSocket Events Reference". Times are ISO 8601. */
const guide: Frames = {
  update: ({ userId, status, timestamp, version, reason }) =>
    encode({
      messageType: MessageType.PRESENCE_UPDATE,
      fromId: userId,
      toId: '',
      status,
      timestamp,
      channelType: GUIDE_GROUP,
      version,
      reason,
    }),
  snapshot: (users) => encode({ messageType: MessageType.PRESENCE_SNAPSHOT, users }),
};

/** The arrays that the existing router speaks. Times are milliseconds, 0 for never. */
const router: Frames = {
  update: ({ userId, status, timestamp, version, reason }, lastSeen) =>
    encode([
      ROUTER_GROUP,
      MessageType.PRESENCE_UPDATE,
      0,
      'broadcast',
      {
        type: 'presence_update',
        userId,
        status,
        timestamp: Date.parse(timestamp),
        lastSeen,
        version,
        reason,
      },
    ]),
  snapshot: (users, totalOnline, now) =>
    encode([
      ROUTER_GROUP,
      MessageType.PRESENCE_SNAPSHOT,
      0,
      '',
      {
        users: users.map(({ userId, status, lastSeen }) => ({
          userId,
          status,
          lastSeen: lastSeen === null ? 0 : Date.parse(lastSeen),
        })),
        timestamp: now,
        totalOnline,
      },
    ]),
};

/** @internal */
export function framesOf(wire: 'guide' | 'router'): Frames {
  return wire === 'router' ? router : guide;
}
