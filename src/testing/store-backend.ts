import type { PresenceStore } from '../stores/port';

/** One backend for one case of the suite: fresh, and empty. */
export interface StoreBackend {
  /** A store object on this backend, such as each router has; at least three are asked for. May be the same one. */
  store(): PresenceStore | Promise<PresenceStore>;
  /**
   * Lets time pass on the backend. A fake clock is advanced; a real server is waited for.
   * All nodes of the suite that are alive beat meanwhile, by `whileAlive`, which wants to be called at least every
   * `everyMs`.
   */
  pass(ms: number, everyMs: number, whileAlive: () => Promise<void>): Promise<void>;
  /** Lets time pass in which the backend is asked nothing: the store was away, or all routers stood still. */
  standStill(ms: number): Promise<void>;
  /** Lets what was told arrive: some moments; called again where some of it has not. */
  arrive(): Promise<void>;
  /**
   * Two store objects that come to the empty backend at the same moment. Only where that takes more than to call `store()`
   * twice without waiting in between.
   */
  openTwo?(): Promise<[PresenceStore, PresenceStore]>;
  /** The backend loses whatever it holds, as by a flush. Nobody is told. */
  lose?(): Promise<void>;
  /**
   * Notes what the backend holds. The function that it gives puts back that state, as where a replica takes over that was
   * behind. Nobody is told.
   */
  setBack?(): Promise<() => Promise<void>>;
  /**
   * What changes from now on does not reach the feeds of a store object, and what is on its way gets lost. Its calls work.
   * The function that it gives mends that.
   */
  cutFeed?(store: PresenceStore): Promise<() => Promise<void>>;
  /** Called when the case is over. */
  close?(): Promise<void>;
}

/** A hook of a backend without which some cases are skipped. */
export type ConformanceHook = 'lose' | 'setBack' | 'cutFeed';
