import { Encoder } from '@msgpack/msgpack';
import type { PresenceStatus, PresenceUpdate } from '../public/types';
import type { Refusal } from './decode-watch';
import { MessageType } from './message-type';
import { toIso } from './to-status';

/** A change of a user who is watched. @internal */
export interface UpdateMessage {
  readonly kind: 'update';
  readonly update: PresenceUpdate;
  readonly lastSeen: number | null;
  /** For a client that sent a PRESENCE_WATCH frame: the cursor at which it can resume. */
  readonly cursor: string | undefined;
}

/** A snapshot, or a part of one. @internal */
export interface SnapshotMessage {
  readonly kind: 'snapshot';
  readonly users: readonly PresenceStatus[];
  /** The same array of users goes to other connections, too, so that it is encoded once for all of them. */
  readonly isShared: boolean;
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

/** The statuses that were shown may be out of date, or are current again. @internal */
export interface StaleMessage {
  readonly kind: 'stale';
  readonly stale: boolean;
  /** Until when no change was missed, in milliseconds since the epoch. */
  readonly asOf: number;
}

/** A request to watch was refused. @internal */
export interface RefusalMessage extends Refusal {
  readonly kind: 'refusal';
}

/** What a subscription sends, whichever codec puts it into frames or events. @internal */
export type Message = UpdateMessage | SnapshotMessage | StaleMessage | RefusalMessage;

/** Encodes messages in one dialect. @internal */
export type Codec = (message: Message) => Uint8Array;

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
function toGuide(message: Message): unknown {
  switch (message.kind) {
    case 'update': {
      const { userId, status, timestamp, version, reason } = message.update;
      return {
        messageType: MessageType.PRESENCE_UPDATE,
        fromId: userId,
        toId: '',
        status,
        timestamp,
        lastSeen: toIso(message.lastSeen),
        channelType: GUIDE_GROUP,
        version,
        reason,
        cursor: message.cursor,
      };
    }
    case 'snapshot':
      return { messageType: MessageType.PRESENCE_SNAPSHOT, users: message.users, ...message.asked };
    case 'stale': {
      const asOf = new Date(message.asOf).toISOString();
      return { messageType: MessageType.PRESENCE_STALE, stale: message.stale, asOf };
    }
    case 'refusal': {
      const { error, code, request } = message;
      return { messageType: MessageType.PRESENCE_WATCH, error, code, request };
    }
  }
}

/** The arrays of the VoicePing router. Times are milliseconds; 0 stands for never. */
function toRouter(message: Message): unknown {
  switch (message.kind) {
    case 'update': {
      const { userId, status, timestamp, version, reason } = message.update;
      const type = 'presence_update';
      const lastSeen = message.lastSeen ?? 0;
      const payload = { type, userId, status, timestamp: Date.parse(timestamp), lastSeen, version, reason };
      const { cursor } = message;
      return [ROUTER_GROUP, MessageType.PRESENCE_UPDATE, 0, 'broadcast', { ...payload, cursor }];
    }
    case 'snapshot': {
      const { now: timestamp, totalOnline, asked } = message;
      const users = toRouterUsers(message.users);
      return [ROUTER_GROUP, MessageType.PRESENCE_SNAPSHOT, 0, '', { users, timestamp, totalOnline, ...asked }];
    }
    case 'stale': {
      const { stale, asOf } = message;
      return [ROUTER_GROUP, MessageType.PRESENCE_STALE, 0, '', { stale, asOf }];
    }
    case 'refusal': {
      const { error, code, request } = message;
      return [ROUTER_GROUP, MessageType.PRESENCE_WATCH, 0, '', { error, code, request }];
    }
  }
}

function toRouterUsers(users: readonly PresenceStatus[]): unknown[] {
  return users.map(({ userId, status, lastSeen }) => ({
    userId,
    status,
    lastSeen: lastSeen === null ? 0 : Date.parse(lastSeen),
  }));
}

/** The users of a snapshot that goes to many connections, encoded once; and whole frames, by what else is in them. */
interface SharedUsers {
  readonly bytes: Buffer;
  readonly frames: Map<string, Buffer>;
}

/** Clients number their requests from 1, so most of them are sent the same frames. */
const MOST_FRAMES = 8;

/** @internal */
export function codecOf(wire: 'guide' | 'router'): Codec {
  const toDialect = wire === 'router' ? toRouter : toGuide;
  const toUsers = wire === 'router' ? toRouterUsers : (users: readonly PresenceStatus[]) => users;
  const shared = new WeakMap<readonly PresenceStatus[], SharedUsers>();

  const encodeShared = (message: SnapshotMessage): Buffer => {
    const { bytes, frames } = shared.get(message.users) ?? { bytes: encode(toUsers(message.users)), frames: new Map() };
    shared.set(message.users, { bytes, frames });
    const key = message.asked === undefined ? '' : JSON.stringify(message.asked);
    let frame = frames.get(key);
    if (frame === undefined) {
      const envelope = encode(toDialect({ ...message, users: [] }));
      // An empty array is one byte, and the first value of the map that holds it.
      const at = USERS_AT[wire];
      frame = Buffer.concat([envelope.subarray(0, at), bytes, envelope.subarray(at + 1)]);
      if (frames.size >= MOST_FRAMES) frames.clear();
      frames.set(key, frame);
    }
    return frame;
  };
  return (message) =>
    message.kind === 'snapshot' && message.isShared ? encodeShared(message) : encode(toDialect(message));
}

/** Where the users begin in a snapshot frame. */
const USERS_AT = {
  guide: encode({ messageType: MessageType.PRESENCE_SNAPSHOT, users: [] }).length - 1,
  router: encode([ROUTER_GROUP, MessageType.PRESENCE_SNAPSHOT, 0, '', { users: [] }]).length - 1,
};
