import type { Clock } from '../public/clock';
import { type HeapItem, MinHeap } from '../public/min-heap';
import type { Connection } from './connection';

/** The wall clock may be set forward, so it is read at least this often. */
const MOST_MS = 30_000;

/** Ends connections when their credentials expire. One timer serves all of them. @internal */
export class Expiry {
  private readonly heap = new MinHeap<Connection>();
  private readonly items = new Map<Connection, HeapItem<Connection>>();
  private timer: unknown;

  constructor(
    private readonly clock: Clock,
    private readonly onExpired: (connection: Connection) => void,
  ) {}

  /** Replaces the time that was set before. */
  set(connection: Connection, at: number): void {
    this.remove(connection);
    this.items.set(connection, this.heap.put(at, connection));
    this.schedule();
  }

  /** Does nothing for a connection without a time. */
  remove(connection: Connection): void {
    const item = this.items.get(connection);
    if (item === undefined) return;
    this.heap.remove(item);
    this.items.delete(connection);
    if (this.items.size === 0) this.clock.clearTimeout(this.timer);
  }

  private schedule(): void {
    const { due } = this.heap;
    this.clock.clearTimeout(this.timer);
    if (due === undefined) return;
    const waitMs = Math.max(0, Math.min(MOST_MS, due - this.clock.now()));
    this.timer = this.clock.setTimeout(() => this.expire(), waitMs);
  }

  private expire(): void {
    const now = this.clock.now();
    for (;;) {
      const connection = this.heap.take(now);
      if (connection === undefined) break;
      this.items.delete(connection);
      this.onExpired(connection);
    }
    this.schedule();
  }
}
