import { describe, expect, it } from 'vitest';
import { createPresence, memoryStore, type PresenceOp, type PresenceStore } from 'voiceping-presence';
import { type FakeSocket, fakeClock, fakeSocket } from 'voiceping-presence/testing';

const ROUND_TRIP_MS = 300;

interface SnapshotFrame {
  readonly messageType: number;
  readonly users: Array<{ userId: string }>;
}

/** A router with many online users, on a store that answers after a round trip. */
async function farRouter(count: number, roundTripMs = ROUND_TRIP_MS) {
  const clock = fakeClock();
  const behind = memoryStore({ now: clock.now });
  const node = { nodeId: 'other', leaseMs: 600_000, ttlMs: 600_000 };
  await behind.beat(node);
  const users = Array.from({ length: count }, (_, index) => `u${index}`);
  const joins = users.map((userId): PresenceOp => ({ kind: 'join', userId, ageMs: 0, reassert: false }));
  for (let from = 0; from < count; from += 1_000) await behind.apply(node, joins.slice(from, from + 1_000));
  const asked = { reads: 0, reading: 0, mostReading: 0, lists: 0 };
  const later = () => new Promise<void>((resolve) => clock.setTimeout(resolve, roundTripMs));
  const store: PresenceStore = {
    beat: (of) => behind.beat(of),
    apply: (of, ops) => behind.apply(of, ops),
    refresh: (of, signs) => behind.refresh(of, signs),
    release: (of) => behind.release(of),
    count: () => behind.count(),
    subscribe: (feed) => behind.subscribe(feed),
    async list(page) {
      asked.lists += 1;
      await later();
      return behind.list(page);
    },
    async read(ids) {
      if (ids.length > 0) asked.reads += 1;
      asked.reading += ids.length;
      asked.mostReading = Math.max(asked.mostReading, asked.reading);
      await later();
      asked.reading -= ids.length;
      return behind.read(ids);
    },
  };
  const errors: unknown[] = [];
  const presence = createPresence({ clock, store, leaseMs: 60_000, onError: (error) => errors.push(error) });
  await clock.settle();
  const dashboard = (socket = fakeSocket()): FakeSocket => {
    presence.attachToSocket(socket, { userId: 'dashboard', track: false, watch: true });
    return socket;
  };
  return { clock, presence, users, asked, errors, dashboard };
}

const framesOf = (socket: FakeSocket): SnapshotFrame[] =>
  (socket.frames as SnapshotFrame[]).filter(({ messageType }) => messageType === 32);
const shownOn = (socket: FakeSocket): string[] =>
  framesOf(socket).flatMap(({ users }) => users.map(({ userId }) => userId));

describe('a dashboard on a store that is far away', () => {
  it('shows twenty thousand users within five seconds, in frames as small as ever', async () => {
    const { clock, users, asked, errors, dashboard } = await farRouter(20_000);
    const socket = dashboard();
    await clock.advance(5_000);
    expect(shownOn(socket).sort()).toEqual(users.slice().sort());
    for (const frame of framesOf(socket)) expect(frame.users.length).toBeLessThanOrEqual(500);
    expect(asked.lists).toBeLessThanOrEqual(5);
    expect(asked.reads).toBeLessThanOrEqual(9);
    expect(errors).toEqual([]);
  });

  it('shows everybody once, too, where the socket is slow in the middle of what was read', async () => {
    const { clock, users, dashboard } = await farRouter(10_000);
    const socket = fakeSocket();
    const { send } = socket;
    let stalls = 0;
    socket.send = (data) => {
      send.call(socket, data);
      // Every third frame fills the socket for a while.
      if (socket.sent.length % 3 === 0) {
        stalls += 1;
        socket.bufferedAmount = 10_000_000;
        clock.setTimeout(() => {
          socket.bufferedAmount = 0;
        }, 700);
      }
      expect(socket.bufferedAmount === 0 || socket.sent.length % 3 === 0).toBe(true);
    };
    dashboard(socket);
    await clock.advance(60_000);
    expect(stalls).toBeGreaterThan(5);
    expect(shownOn(socket).sort()).toEqual(users.slice().sort());
  });

  it('keeps within a bound what is read for all of them together', async () => {
    const { clock, users, asked, dashboard } = await farRouter(5_000);
    dashboard();
    await clock.advance(5_000);
    const sockets = Array.from({ length: 50 }, () => dashboard());
    await clock.advance(30_000);
    for (const socket of sockets) expect(new Set(shownOn(socket)).size).toBe(users.length);
    expect(asked.mostReading).toBeLessThanOrEqual(40_000 + 50 * 500);
    expect(asked.reading).toBe(0);
  });

  it('reads no more at once where the store is near', async () => {
    const { clock, asked, dashboard } = await farRouter(5_000, 5);
    const socket = dashboard();
    await clock.advance(5_000);
    expect(shownOn(socket)).toHaveLength(5_000);
    expect(asked.mostReading).toBe(500);
  });
});
