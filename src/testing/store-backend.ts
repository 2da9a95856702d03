import type { PresenceStore } from '../stores/port';

/** A fresh, empty backend for one case of the suite. */
export interface StoreBackend {
  /** Opens a store on this backend, one for each router of a case: three or more. They may be the same object. */
  store(): PresenceStore | Promise<PresenceStore>;
  /**
   * Lets time pass on the backend: it advances a fake clock, or waits for a real server. Meanwhile it calls `whileAlive` at
   * least every `everyMs`, by which the living routers of the suite beat.
   */
  pass(ms: number, everyMs: number, whileAlive: () => Promise<void>): Promise<void>;
  /** Lets time pass without a call to the backend, as when the store was away, or all routers stood still. */
  standStill(ms: number): Promise<void>;
  /** Waits a moment, so that changes arrive at feeds. It is called again where some have not arrived. */
  arrive(): Promise<void>;
  /**
   * Opens two stores on the empty backend at the same moment. Needed only where two calls of `store()` without a wait in
   * between do not achieve that.
   */
  openTwo?(): Promise<[PresenceStore, PresenceStore]>;
  /** Makes the backend lose all data, as by a flush. The stores are not notified. */
  lose?(): Promise<void>;
  /**
   * Saves the state of the backend. The function that it returns restores that state, as when a replica that was behind takes
   * over. The stores are not notified.
   */
  setBack?(): Promise<() => Promise<void>>;
  /**
   * Cuts the feeds of a store from all later changes, and drops those that are under way. Calls to the store still work. The
   * function that it returns reconnects the feeds.
   */
  cutFeed?(store: PresenceStore): Promise<() => Promise<void>>;
  /** Called when the case is over. */
  close?(): Promise<void>;
}

/** The name of an optional function of a backend. Cases that need it are skipped where it is missing. */
export type ConformanceHook = 'lose' | 'setBack' | 'cutFeed';

/** The name of an optional part of a store. Cases about it are skipped where it is missing. */
export type ConformancePart = 'log';
