import type { Attachment } from 'voiceping-presence';
import type { WebSocket } from 'ws';
import type { User } from './access';
import type { KnownUsers } from './known-users';

const UPDATE_MS = 1_000;

/**
 * Dashboards that only listen, as those of the guide do: each is told of all whom it may see, and of newcomers within a
 * second. One that asks for whom it wants to see has that instead.
 */
export class Listeners {
  private readonly all = new Map<User, { readonly attachment: Attachment; count: number }>();
  private readonly timer = setInterval(() => this.update(), UPDATE_MS).unref();

  constructor(private readonly known: KnownUsers) {}

  add(user: User, attachment: Attachment, socket: WebSocket): void {
    this.all.set(user, { attachment, count: 0 });
    socket.on('close', () => this.all.delete(user));
    this.update();
  }

  remove(user: User): void {
    this.all.delete(user);
  }

  close(): void {
    clearInterval(this.timer);
  }

  private update(): void {
    for (const [user, listener] of this.all) {
      // Nobody who is known is forgotten: as many are the same.
      const userIds = this.known.visibleTo(user);
      if (userIds.length === listener.count) continue;
      listener.count = userIds.length;
      listener.attachment.watch(userIds);
    }
  }
}
