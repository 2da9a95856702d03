import type { Attachment } from 'voiceping-presence';
import type { WebSocket } from 'ws';
import type { User } from './access';
import type { KnownUsers } from './known-users';

const TURN_MS = 100;
/** So long a turn takes at most, about: calls must not wait for newcomers. */
const WORK_MS = 10;
/** Of a company that grows all the time each is told so often. */
const PAUSE_MS = 1_000;

interface Listener {
  readonly attachment: Attachment;
  /** How many its company had when it was told of them. */
  count: number;
  notBefore: number;
}

/**
 * Dashboards that only listen, as those of the guide do: each is told of all whom it may see, and of newcomers soon. One
 * that asks for whom it wants to see has that instead.
 */
export class Listeners {
  private readonly all = new Map<User, Listener>();
  private readonly timer = setInterval(() => this.update(), TURN_MS).unref();

  constructor(private readonly known: KnownUsers) {}

  add(user: User, attachment: Attachment, socket: WebSocket): void {
    const listener = { attachment, count: 0, notBefore: 0 };
    this.all.set(user, listener);
    this.tell(user, listener);
    socket.on('close', () => this.all.delete(user));
  }

  remove(user: User): void {
    this.all.delete(user);
  }

  close(): void {
    clearInterval(this.timer);
  }

  private update(): void {
    const start = performance.now();
    for (const [user, listener] of this.all) {
      // Nobody who is known is forgotten: as many are the same.
      if (this.known.countOf(user) === listener.count || start < listener.notBefore) continue;
      this.tell(user, listener);
      if (performance.now() - start > WORK_MS) return;
    }
  }

  private tell(user: User, listener: Listener): void {
    listener.count = this.known.countOf(user);
    listener.notBefore = performance.now() + PAUSE_MS;
    listener.attachment.watch(this.known.visibleTo(user));
  }
}
