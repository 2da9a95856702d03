import { Encoder } from '@msgpack/msgpack';
import type { PresenceStatus, PresenceUpdate } from '../public/types';
import type { Refusal } from './decode-watch';
import { MessageType } from './message-type';
import { toIso } from './to-status';

/** The content of a snapshot frame. @internal */
export interface SnapshotFrame {
  readonly users: readonly PresenceStatus[];
  /** Of all users, not only of those in the frame. */
  readonly totalOnline: number;
  readonly now: number;
  /** For a client that sent a PRESENCE_WATCH frame: further fields, by their names in the frame. */
  readonly asked:
    | {
        /** The number of the request that this answers, so that a client can tell old answers from new ones. */
        readonly request: number | undefined;
        /** The number of the frame within the answer, from 0. */
        readonly part: number;
        /** More frames follow. */
        readonly more: boolean;
        /** The snapshot holds only the users who have changed since the client's cursor. */
        readonly resumed: boolean;
        /** On the last frame: the cursor at which the client can resume later. */
        readonly cursor: string | undefined;
      }
    | undefined;
}

/** Encodes the frames of one dialect. @internal */
export interface Frames {
  update(update: PresenceUpdate, lastSeen: number | null, cursor: string | undefined): Uint8Array;
  snapshot(snapshot: SnapshotFrame): Uint8Array;
  /** `asOf`: until when no change was missed, in milliseconds since the epoch. */
  stale(stale: boolean, asOf: number): Uint8Array;
  refusal(refusal: Refusal): Uint8Array;
}

/** GROUP is 1 in the presence guide, and 0 in the VoicePing router. */
const GUIDE_GROUP = 1;
const ROUTER_GROUP = 0;

/** A reused Encoder is twice as fast as encode(). `ignoreUndefined` leaves out keys such as the cursor of an unasked frame. */
const encoder = new Encoder({ ignoreUndefined: true });

/** A Buffer, which every version of ws sends as it is; a Uint8Array would be wrapped again for each socket. */
function encode(message: unknown): Buffer {
  const bytes = encoder.encode(message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** MessagePack maps, as in the presence guide, "WebSocket Events Reference". Times are ISO 8601. */
const guide: Frames = {
  update: ({ userId, status, timestamp, version, reason }, lastSeen, cursor) =>
    encode({
      messageType: MessageType.PRESENCE_UPDATE,
      fromId: userId,
      toId: '',
      status,
      timestamp,
      lastSeen: toIso(lastSeen),
      channelType: GUIDE_GROUP,
      version,
      reason,
      cursor,
    }),
  snapshot: ({ users, asked }) => encode({ messageType: MessageType.PRESENCE_SNAPSHOT, users, ...asked }),
  stale: (stale, asOf) =>
    encode({ messageType: MessageType.PRESENCE_STALE, stale, asOf: new Date(asOf).toISOString() }),
  refusal: ({ error, code, request }) => encode({ messageType: MessageType.PRESENCE_WATCH, error, code, request }),
};

/** The arrays of the VoicePing router. Times are milliseconds; 0 stands for never. */
const router: Frames = {
  update: ({ userId, status, timestamp, version, reason }, lastSeen, cursor) =>
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
        lastSeen: lastSeen ?? 0,
        version,
        reason,
        cursor,
      },
    ]),
  snapshot: ({ users, totalOnline, now, asked }) =>
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
        ...asked,
      },
    ]),
  stale: (stale, asOf) => encode([ROUTER_GROUP, MessageType.PRESENCE_STALE, 0, '', { stale, asOf }]),
  refusal: ({ error, code, request }) =>
    encode([ROUTER_GROUP, MessageType.PRESENCE_WATCH, 0, '', { error, code, request }]),
};

/** @internal */
export function framesOf(wire: 'guide' | 'router'): Frames {
  return wire === 'router' ? router : guide;
}
