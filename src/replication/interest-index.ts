/** Whom somebody wants to hear of: everybody, or these users. @internal */
export type Interest = 'all' | Iterable<string>;

/** Who wants to hear of a user. @internal */
export class InterestIndex<T> {
  private readonly ofAll = new Set<T>();
  private readonly byUser = new Map<string, Set<T>>();

  add(listener: T, interest: Interest): void {
    if (interest === 'all') {
      this.ofAll.add(listener);
      return;
    }
    for (const userId of interest) {
      const listeners = this.byUser.get(userId);
      if (listeners === undefined) this.byUser.set(userId, new Set([listener]));
      else listeners.add(listener);
    }
  }

  /** By the interest with which it was added. */
  remove(listener: T, interest: Interest): void {
    if (interest === 'all') {
      this.ofAll.delete(listener);
      return;
    }
    for (const userId of interest) {
      const listeners = this.byUser.get(userId);
      if (listeners?.delete(listener) && listeners.size === 0) this.byUser.delete(userId);
    }
  }

  /** Calls `run` for each, first for those who hear of everybody. Whoever is added meanwhile is not among them, nor who is removed. */
  forEach(userId: string, run: (listener: T) => void): void {
    for (const listeners of [this.ofAll, this.byUser.get(userId)]) {
      if (listeners === undefined) continue;
      for (const listener of Array.from(listeners)) if (listeners.has(listener)) run(listener);
    }
  }

  clear(): void {
    this.ofAll.clear();
    this.byUser.clear();
  }
}
