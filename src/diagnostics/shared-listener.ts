// biome-ignore lint/suspicious/noExplicitAny: the arguments depend on the emitter and the event
type Listener = (...values: any[]) => void;

/** The part of an EventEmitter that is used. @internal */
export interface EmitterLike {
  on(event: string, listener: Listener): unknown;
  removeListener(event: string, listener: Listener): unknown;
}

/** The only listener of this library to one event of an emitter. It calls all others in turn. */
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
 * Listens to an emitter of the caller. All listeners of this library share one listener of the emitter: Node warns of a leak
 * at the eleventh, and only the caller should raise that limit.
 *
 * @returns a function that removes the listener
 * @internal
 */
export function listenShared(emitter: EmitterLike, event: string, listener: Listener): () => void {
  const byEvent = byEmitter.get(emitter) ?? new Map<string, SharedListener>();
  byEmitter.set(emitter, byEvent);
  const shared = byEvent.get(event) ?? new SharedListener(emitter, event, () => byEvent.delete(event));
  byEvent.set(event, shared);
  return shared.add(listener);
}
