import type { PresenceStore } from 'voiceping-presence';
import type { FakeClock, StoreBackend } from 'voiceping-presence/testing';

/** A backend of one store, whose time is a fake clock. */
export function onClock(clock: FakeClock, store: PresenceStore): StoreBackend {
  return {
    store: () => store,
    async pass(ms, everyMs, whileAlive) {
      for (let left = ms; left > 0; left -= everyMs) {
        await clock.advance(Math.min(left, everyMs));
        await whileAlive();
      }
    },
    standStill: (ms) => clock.advance(ms),
    arrive: () => clock.settle(),
  };
}
