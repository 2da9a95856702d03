// biome-ignore lint/suspicious/noExplicitAny: of each emitter and event others
type Listener = (...values: any[]) => void;

/** What is used of an EventEmitter. @internal */
export interface EmitterLike {
  on(event: string, listener: Listener): unknown;
  removeListener(event: string, listener: Listener): unknown;
}

/** The one listener of an emitter and an event, and whom it calls. */
class SharedListener {
  private readonly entries = new Set<{ readonly listener: Listener }>();

  constructor(
    private readonly emitter: EmitterLike,
    private readonly event: string,
    private readonly onUnused: () => void,
  ) {
    emitter.on(event, this.onEvent);
  }

  add(listener: Listener): () => void {
    const entry = { listener };
    this.entries.add(entry);
    return () => {
      if (!this.entries.delete(entry) || this.entries.size > 0) return;
      this.emitter.removeListener(this.event, this.onEvent);
      this.onUnused();
    };
  }

  private readonly onEvent: Listener = (...values) => {
    for (const entry of Array.from(this.entries)) if (this.entries.has(entry)) entry.listener(...values);
  };
}

const byEmitter = new WeakMap<EmitterLike, Map<string, SharedListener>>();

/**
 * Listens to an emitter of the caller's. However many do so, it has one listener of ours: Node warns of a leak from the
 * eleventh on, and that limit is the caller's to set.
 *
 * @returns the function that ends it
 * @internal
 */
export function listenShared(emitter: EmitterLike, event: string, listener: Listener): () => void {
  const byEvent = byEmitter.get(emitter) ?? new Map<string, SharedListener>();
  byEmitter.set(emitter, byEvent);
  const shared = byEvent.get(event) ?? new SharedListener(emitter, event, () => byEvent.delete(event));
  byEvent.set(event, shared);
  return shared.add(listener);
}
