import { describe, expect, it } from 'vitest';
import type { PresenceStatus } from 'voiceping-presence';
import { type FakeSocket, fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { watchFrame } from '../../src/client/codec';
import { CHANNEL_PORT, type ChannelPort } from '../../src/connections/channel';
import { faultyStore } from './faulty-store';
import { router } from './world';

interface Frame {
  messageType: number;
  fromId?: string;
  status?: string;
  users?: PresenceStatus[];
  stale?: boolean;
  cursor?: string;
}

/** The frames of a dashboard, in order, as `stale`, `fresh` or `u online`. */
function linesOf(socket: FakeSocket): string[] {
  const lines: string[] = [];
  for (const { messageType, fromId, status, users = [], stale } of socket.frames as Frame[]) {
    if (messageType === 34) lines.push(stale ? 'stale' : 'fresh');
    else if (messageType === 31) lines.push(`${fromId} ${status}`);
    else lines.push('snapshot', ...users.map((user) => `${user.userId} ${user.status}`));
  }
  return lines;
}

/** Two routers on one store. The first is cut off from it, and does not receive the changes of the other. */
async function outage(options = {}) {
  const clock = fakeClock();
  const { store, link, direct } = faultyStore(clock.now);
  const here = await router({ store, authorizeWatch: () => true, ...options }, clock);
  const there = await router({ store: direct() }, clock);
  const stays = await there.connect('stays');
  const leaves = await there.connect('leaves');
  await clock.settle();
  return {
    ...here,
    store,
    link,
    there,
    stays,
    async begin() {
      link.state = 'down';
      link.deaf = true;
      await clock.advance(20_000);
    },
    /** Changes on the second router, which the dashboards of the first one miss. */
    async change() {
      leaves.close();
      await there.connect('comes');
    },
    /** The store answers again, and the first router is informed of a gap. */
    async end() {
      link.state = 'up';
      link.hear();
      await clock.advance(20_000);
    },
  };
}

const MISSED = ['comes online', 'leaves offline'];

describe('what was missed in an outage is shown before its end is told', () => {
  it.each([
    ['everybody', true],
    ['named users', ['leaves', 'comes', 'nobody']],
  ])('%s', async (_, watch) => {
    const { connect, begin, change, end } = await outage();
    const dashboard = await connect('dash', { track: false, watch });
    dashboard.sent.length = 0;
    await begin();
    await change();
    await end();
    const lines = linesOf(dashboard);
    expect(lines[0]).toBe('stale');
    expect(lines.slice(1, -1).sort()).toEqual(MISSED);
    expect(lines[lines.length - 1]).toBe('fresh');
  });

  it('by a dashboard that was opened in the middle of it', async () => {
    const { connect, begin, change, end, store } = await outage();
    const first = await connect('dash', { track: false, watch: true });
    await begin();
    await change();
    const all = await connect('dash', { track: false, watch: true });
    const some = await connect('dash', { track: false, watch: ['comes', 'leaves'] });
    // Each dashboard has a query of its own, whose answer takes a while.
    const { read } = store;
    const waiting: Array<() => void> = [];
    store.read = async (ids) => {
      if (ids.includes('comes')) await new Promise<void>((resolve) => waiting.push(resolve));
      return read(ids);
    };
    await end();
    expect(linesOf(first).slice(-1)).toEqual(['fresh']);
    expect([linesOf(all), linesOf(some)]).toEqual([['stale'], ['stale']]);
    store.read = read;
    for (const answer of waiting) answer();
    await end();
    const lines = linesOf(all);
    expect(lines.slice(0, 2)).toEqual(['stale', 'snapshot']);
    expect(lines).toContain('comes online');
    expect(lines.indexOf('fresh')).toBe(lines.length - 1);
    expect(linesOf(some)).toEqual(['stale', 'snapshot', 'comes online', 'leaves offline', 'fresh']);
  });

  it('by one that goes on with a cursor', async () => {
    const { connect, begin, change, end, clock } = await outage();
    const before = await connect('dash', { track: false });
    before.receive(watchFrame(true, undefined, 1));
    await clock.settle();
    const { cursor } = before.frames[0] as Frame;
    expect(cursor).toBeDefined();
    before.close();
    await begin();
    await change();
    const after = await connect('dash', { track: false });
    after.receive(watchFrame(true, cursor, 2));
    await clock.settle();
    expect(linesOf(after)).toEqual(['stale']);
    await end();
    const lines = linesOf(after);
    expect(lines.slice(0, 2)).toEqual(['stale', 'snapshot']);
    expect(lines).toContain('comes online');
    expect(lines.indexOf('fresh')).toBe(lines.length - 1);
  });

  it('by one that is slow', async () => {
    const { connect, begin, change, end, clock } = await outage();
    const dashboard = await connect('dash', { track: false, watch: true });
    dashboard.sent.length = 0;
    await begin();
    dashboard.bufferedAmount = 100_000;
    await change();
    await end();
    expect(linesOf(dashboard)).toEqual(['stale']);
    dashboard.bufferedAmount = 0;
    await clock.advance(100);
    const lines = linesOf(dashboard);
    expect(lines.slice(1, -1).sort()).toEqual(MISSED);
    expect(lines[lines.length - 1]).toBe('fresh');
  });

  it('by one that takes the first of them and is slow then', async () => {
    const { connect, begin, change, end, clock } = await outage();
    const dashboard = await connect('dash', { track: false, watch: true });
    await begin();
    await change();
    dashboard.sent.length = 0;
    const send = dashboard.send.bind(dashboard);
    dashboard.send = (data) => {
      send(data);
      dashboard.bufferedAmount = 100_000;
    };
    await end();
    expect(linesOf(dashboard)).toHaveLength(1);
    dashboard.send = send;
    dashboard.bufferedAmount = 0;
    await clock.advance(100);
    expect(linesOf(dashboard).slice(0, 2).sort()).toEqual(MISSED);
    expect(linesOf(dashboard).slice(2)).toEqual(['fresh']);
  });

  it('by one that is told events in place of frames', async () => {
    const { presence, begin, change, end, clock } = await outage();
    const lines: string[] = [];
    const port: ChannelPort = {
      deliver: (message) => {
        if (message.kind === 'update') lines.push(`${message.update.userId} ${message.update.status}`);
        else if (message.kind === 'stale') lines.push(message.stale ? 'stale' : 'fresh');
        else if (message.kind === 'snapshot') {
          lines.push('snapshot', ...message.users.map(({ userId, status }) => `${userId} ${status}`));
        }
      },
    };
    await begin();
    await change();
    const socket = Object.assign(fakeSocket(), { [CHANNEL_PORT]: port });
    presence.attachToSocket(socket, { userId: 'dash', track: false, watch: true });
    await clock.settle();
    await end();
    expect(lines.slice(0, 2)).toEqual(['stale', 'snapshot']);
    expect(lines).toEqual(expect.arrayContaining(['stays online', 'comes online']));
    expect(lines.indexOf('fresh')).toBe(lines.length - 1);
  });

  it('also where a user has changed so often that the latest change is kept back', async () => {
    const { connect, begin, end, link, clock, there } = await outage();
    const dashboard = await connect('dash', { track: false, watch: true });
    await begin();
    // Messages have a connection of their own, and changes from the log follow one by one within a moment.
    link.deaf = false;
    const phones: FakeSocket[] = [];
    for (let round = 0; round < 3; round += 1) {
      phones.push(await there.connect('flaps'));
      if (round < 2) phones[round]?.close();
      await clock.settle();
    }
    link.state = 'up';
    dashboard.sent.length = 0;
    await clock.advance(500);
    expect(linesOf(dashboard)).toEqual([]);
    await end();
    expect(linesOf(dashboard)).toEqual(['flaps online', 'fresh']);
  });

  it('and only once, where it ends and begins again meanwhile', async () => {
    const { connect, begin, change, end, clock } = await outage();
    const dashboard = await connect('dash', { track: false, watch: true });
    dashboard.sent.length = 0;
    await begin();
    dashboard.bufferedAmount = 100_000;
    await change();
    await end();
    // The socket makes some progress, since it would be closed otherwise.
    dashboard.bufferedAmount = 90_000;
    await begin();
    dashboard.bufferedAmount = 80_000;
    await end();
    dashboard.bufferedAmount = 70_000;
    await begin();
    dashboard.bufferedAmount = 0;
    await clock.advance(100);
    expect(linesOf(dashboard)).toEqual(['stale', 'comes online', 'leaves offline']);
    await end();
    expect(linesOf(dashboard).slice(3)).toEqual(['fresh']);
  });

  it('and not while the store answers, and who is online cannot be read yet', async () => {
    const { connect, begin, change, link, store, clock } = await outage();
    const dashboard = await connect('dash', { track: false, watch: true });
    dashboard.sent.length = 0;
    await begin();
    await change();
    const { list } = store;
    store.list = () => Promise.reject(new Error('BUSY'));
    link.state = 'up';
    link.hear();
    await clock.advance(20_000);
    expect(linesOf(dashboard)).toEqual(['stale']);
    store.list = list;
    await clock.advance(20_000);
    expect(linesOf(dashboard).slice(1, -1).sort()).toEqual(MISSED);
    expect(linesOf(dashboard).pop()).toBe('fresh');
  });

  it('and not by an answer to what was asked before the last heartbeat that was missed', async () => {
    const { connect, begin, clock, store, link } = await outage({ commandTimeoutMs: 60_000, leaseMs: 15_000 });
    const answers: Array<() => void> = [];
    store.caughtUp = () => new Promise<void>((resolve) => answers.push(resolve));
    const dashboard = await connect('dash', { track: false, watch: true });
    dashboard.sent.length = 0;
    await begin();
    link.state = 'up';
    link.deaf = false;
    await clock.advance(2_000);
    const early = answers.splice(0);
    expect(early.length).toBeGreaterThan(0);
    // The store is unavailable again. The early answers prove nothing about changes from now on.
    link.state = 'down';
    await clock.advance(6_000);
    for (const answer of early) answer();
    await clock.settle();
    expect(linesOf(dashboard)).toEqual(['stale']);
    link.state = 'up';
    await clock.advance(6_000);
    for (const answer of answers) answer();
    await clock.settle();
    expect(linesOf(dashboard)).toEqual(['stale', 'fresh']);
  });

  it('where the store knows of changes that it has not told yet, it is waited for', async () => {
    const { connect, begin, clock, store, link } = await outage();
    let caughtUp: (() => void) | undefined;
    store.caughtUp = () =>
      new Promise<void>((resolve) => {
        caughtUp = resolve;
      });
    const dashboard = await connect('dash', { track: false, watch: true });
    dashboard.sent.length = 0;
    await begin();
    link.state = 'up';
    link.deaf = false;
    await clock.advance(1_000);
    expect(linesOf(dashboard)).toEqual(['stale']);
    // There was no answer, so the next heartbeat repeats the query.
    await clock.advance(10_000);
    expect(linesOf(dashboard)).toEqual(['stale']);
    caughtUp?.();
    await clock.settle();
    expect(linesOf(dashboard)).toEqual(['stale', 'fresh']);
  });
});

it('a socket that is not open yet is told of an outage once it is', async () => {
  const { presence, begin, clock } = await outage();
  await begin();
  const socket = fakeSocket();
  socket.readyState = 0;
  presence.attachToSocket(socket, { userId: 'dash', track: false, watch: true });
  await clock.advance(100);
  expect(linesOf(socket)).toEqual([]);
  socket.readyState = 1;
  await clock.advance(100);
  expect(linesOf(socket)).toEqual(['stale']);
});

it('what a dashboard shows in an outage is said to be from the last heartbeat that got through', async () => {
  const { connect, begin, store, clock } = await outage();
  const dashboard = await connect('dash', { track: false, watch: true });
  const { beat } = store;
  let heardAt = 0;
  store.beat = async (node) => {
    const answer = await beat(node);
    heardAt = clock.now();
    return answer;
  };
  await clock.advance(30_000);
  await begin();
  expect(dashboard.frames.pop()).toMatchObject({ messageType: 34, stale: true, asOf: new Date(heardAt).toISOString() });
});
