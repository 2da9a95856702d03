import { createPresence, memoryStore, type PresenceOptions, type PresenceUpdate } from 'voiceping-presence';
import { type FakeClock, type FakeSocket, fakeClock, fakeSocket } from 'voiceping-presence/testing';

/** A router on a fake clock, with the changes that it published and the errors that it reported. */
export async function router(options: PresenceOptions = {}, clock: FakeClock = fakeClock()) {
  const errors: Array<{ code: string; stage: string; userId?: string }> = [];
  const presence = createPresence({
    clock,
    store: memoryStore({ now: clock.now }),
    onError: (error, context) => errors.push({ code: error.code, ...context }),
    ...options,
  });
  const told: PresenceUpdate[] = [];
  presence.onUpdate((update) => told.push(update));
  await clock.settle();
  return {
    clock,
    presence,
    errors,
    told,
    /** The published changes, as `user status reason`. */
    lines: () => told.map(({ userId, status, reason }) => `${userId} ${status} ${reason}`),
    async connect(userId: string | number, identity: object = {}): Promise<FakeSocket> {
      const socket = fakeSocket();
      presence.attachToSocket(socket, { userId, ...identity });
      await clock.settle();
      return socket;
    },
    async status(userId: string): Promise<string | undefined> {
      return (await presence.getStatuses([userId]))[userId]?.status;
    },
  };
}
