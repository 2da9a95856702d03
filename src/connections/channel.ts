import type { TransportAttachment } from '../public/types';
import type { Message } from '../wire/encode';

/**
 * The key of the part of a transport that only this library knows. The symbol is registered, since each CommonJS entry bundles
 * its own copy of this module.
 * @internal
 */
export const CHANNEL_PORT: unique symbol = Symbol.for('voiceping-presence.channel') as never;

/** @internal */
export interface ChannelPort {
  /** Takes messages in place of frames. */
  deliver?(message: Message): void;
  /** There is an attachment, to which what happens is to be passed on. */
  attached?(attachment: TransportAttachment): void;
  /** The attachment is over, so nothing more is to be passed on to it. */
  released?(attachment: TransportAttachment): void;
}

/** What a connection is sent through: a `Transport`, or a socket, which is one that can also be listened to. @internal */
export interface Channel {
  readonly readyState?: number;
  readonly bufferedAmount?: number;
  send(data: Uint8Array): unknown;
  close?(code?: number, reason?: string): unknown;
  terminate?(): unknown;
  ping?(sent?: (error?: Error) => void): unknown;
  pause?(): unknown;
  readonly [CHANNEL_PORT]?: ChannelPort;
}

const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 3;

/** Some runtimes throw for a connection that is closed. */
function stateOf(channel: Channel): number | undefined {
  try {
    return channel.readyState;
  } catch {
    return CLOSED;
  }
}

/** Whether frames can be sent. A transport that does not tell is open for as long as it is attached. @internal */
export function isOpen(channel: Channel): boolean {
  const state = stateOf(channel);
  return state === undefined || state === OPEN;
}

/** @internal */
export function isConnecting(channel: Channel): boolean {
  return stateOf(channel) === CONNECTING;
}

/** @internal */
export function isClosed(channel: Channel): boolean {
  return stateOf(channel) === CLOSED;
}

/** The number of bytes that have not left yet. @internal */
export function unsentBytes(channel: Channel): number {
  try {
    return channel.bufferedAmount ?? 0;
  } catch {
    return 0;
  }
}
