import { describe, expect, it } from 'vitest';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { CHANNEL_PORT, type ChannelPort } from '../../src/connections/channel';
import type { UpdateMessage } from '../../src/wire/encode';
import { faultyStore } from './faulty-store';
import { router } from './world';

const TTL_MS = 360_000;
const dashboard = { track: false, watch: true };

/** The last PRESENCE_UPDATE in the guide's dialect. */
const updateOf = (socket: { frames: unknown[] }) =>
  socket.frames[socket.frames.length - 1] as { messageType: number; lastSeen: string; timestamp: string };
const ageOf = ({ lastSeen, timestamp }: { lastSeen: string; timestamp: string }) =>
  Date.parse(timestamp) - Date.parse(lastSeen);

describe('an update says when its user was last active', () => {
  // It was the time of the change, so that a phone which had been dead for six minutes was "just seen".
  it('of a phone that fell silent: a ttl before the change', async () => {
    const { connect, clock, presence } = await router({ ttlMs: TTL_MS });
    const watcher = await connect('dash', dashboard);
    const events: UpdateMessage[] = [];
    const port: ChannelPort = {
      deliver: (message) => {
        if (message.kind === 'update') events.push(message);
      },
    };
    presence.attachToSocket(Object.assign(fakeSocket(), { [CHANNEL_PORT]: port }), { userId: 'events', ...dashboard });
    const phone = await connect('u');
    expect(ageOf(updateOf(watcher))).toBe(0);
    phone.answersPings = false;
    await clock.advance(TTL_MS + 2_000);
    const update = updateOf(watcher);
    expect(update).toMatchObject({ messageType: 31, status: 'offline', reason: 'timeout' });
    expect(ageOf(update)).toBeGreaterThanOrEqual(TTL_MS);
    expect(ageOf(update)).toBeLessThan(TTL_MS + 2_000);
    expect(events[1]).toMatchObject({
      update: { userId: 'u', status: 'offline', timestamp: update.timestamp, version: 2, reason: 'timeout' },
      lastSeen: Date.parse(update.lastSeen),
    });
  });

  it('of one whose connection was lost: before the grace', async () => {
    const { connect, clock } = await router({ graceMs: 8_000 });
    const watcher = await connect('dash', dashboard);
    const phone = await connect('u');
    await clock.advance(5_000);
    phone.emit('pong');
    await clock.advance(1_000);
    phone.drop();
    await clock.advance(20_000);
    expect(updateOf(watcher)).toMatchObject({
      status: 'offline',
      reason: 'timeout',
      lastSeen: '2025-12-12T10:30:50.123Z',
    });
  });

  it('of one whose router died: what the store was told', async () => {
    const clock = fakeClock();
    const { store, link, direct } = faultyStore(clock.now);
    const dead = await router({ store, pingIntervalMs: 1_000 }, clock);
    const alive = await router({ store: direct() }, clock);
    const watcher = await alive.connect('dash', dashboard);
    await dead.connect('u');
    await clock.advance(60_000);
    const diedAt = clock.now();
    link.state = 'down';
    await clock.advance(30_000);
    const update = updateOf(watcher);
    expect(update).toMatchObject({ status: 'offline', reason: 'node-down' });
    expect(diedAt - Date.parse(update.lastSeen)).toBeLessThan(3_000);
  });

  it('of one whom the store has forgotten: nobody knows', async () => {
    const clock = fakeClock();
    const { store, link } = faultyStore(clock.now);
    const [east, west] = [await router({ store }, clock), await router({ store }, clock)];
    const watcher = await west.connect('dash', dashboard);
    const phone = await east.connect('u');
    link.deaf = true;
    link.flush();
    phone.close();
    await clock.advance(6_000);
    link.hear();
    await clock.advance(30_000);
    expect(updateOf(watcher)).toMatchObject({ status: 'offline', reason: 'resync', lastSeen: null });
  });
});
