import type { Presence, SocketLike } from 'voiceping-presence';

/** What a router of yours might do with presence: calls go to whoever is there, and to nobody else. */
export class Dispatcher {
  constructor(private readonly presence: Presence) {}

  /** A phone has connected. */
  connect(socket: SocketLike, userId: string): void {
    this.presence.attachToSocket(socket, { userId });
  }

  /** Whether it rings, or since when nobody is there. */
  async call(userId: string): Promise<string> {
    const status = (await this.presence.getStatuses([userId]))[userId];
    if (status?.status === 'online') return 'ringing';
    return status?.lastSeen == null ? 'unknown' : `last seen ${status.lastSeen}`;
  }
}
