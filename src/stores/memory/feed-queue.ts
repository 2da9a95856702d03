import type { PresenceUpdate } from '../../public/types';
import type { StoreFeed } from '../port';

/** An event for feeds: a change, or the time at which a grace will end. */
type FeedEvent = { readonly update: PresenceUpdate; readonly lastSeen: number } | { readonly dueMs: number };

/** Delivers events to the feeds of a store, in order, and never during a call to the store. @internal */
export class FeedQueue {
  private readonly feeds = new Map<StoreFeed, { since: number }>();
  private readonly queued: FeedEvent[] = [];
  private isDraining = false;

  /** Changes up to `version` are not delivered. Returns a function that ends the subscription. */
  subscribe(feed: StoreFeed, version: number): () => void {
    this.feeds.set(feed, { since: version });
    return () => {
      this.feeds.delete(feed);
    };
  }

  add(item: FeedEvent): void {
    this.queued.push(item);
    if (this.isDraining) return;
    this.isDraining = true;
    Promise.resolve().then(() => this.drain());
  }

  private drain(): void {
    for (let index = 0; index < this.queued.length; index += 1) {
      const item = this.queued[index] as FeedEvent;
      for (const [feed, { since }] of this.feeds) {
        try {
          if ('dueMs' in item) feed.onDue(item.dueMs);
          else if (item.update.version > since) feed.onTransition(item.update, item.lastSeen);
        } catch {
          // A feed must not throw. Where one does, the others still get the event.
        }
      }
    }
    this.queued.length = 0;
    this.isDraining = false;
  }
}
