/** The users whose changes a listener gets. @internal */
export type Interest = 'all' | Iterable<string>;

/** Finds the listeners of a user. @internal */
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

  /** `interest` is the one with which the listener was added. */
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

  /** Calls `run` for each listener of a user, first for those of all users. A listener that is removed meanwhile is skipped. */
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
