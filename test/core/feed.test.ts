import { describe, expect, it } from 'vitest';
import { memoryStore, type PresenceUpdate, type StoredStatus, type StoreFeed } from 'voiceping-presence';
import { fakeClock } from 'voiceping-presence/testing';
import { ChangeFeed } from '../../src/replication/change-feed';
import type { Sequence } from '../../src/stores/port';
import { faultyStore } from './faulty-store';
import { router } from './world';

const LEASE_MS = 15_000;

/** A feed on a store whose answers the test sets. `early`: the users who are online when the feed starts. */
function bareFeed({
  early = [] as Array<[userId: string, version: number]>,
  gated = false,
  away = false,
  sequence = undefined as Sequence | undefined,
  ghosts = [] as Array<[userId: string, version: number]>,
  isUnsure = false,
  cursor = null as string | null,
} = {}) {
  const clock = fakeClock();
  const known = new Map<string, StoredStatus>();
  for (const [userId, version] of early) known.set(userId, { userId, online: true, version, lastSeen: clock.now() });
  /** A user who was published as online, although nothing proves it. */
  const putGhost = (userId: string, version: number) =>
    known.set(userId, { userId, online: false, isPublished: true, version, lastSeen: clock.now() });
  for (const [userId, version] of ghosts) putGhost(userId, version);
  const gates: Array<() => void> = [];
  const state = { gated, away, readsFail: false, lists: 0, coming: [] as string[], isUnsure, cursor };
  const gate = async () => {
    if (state.gated) await new Promise<void>((resolve) => gates.push(resolve));
  };
  let unsubscribed = false;
  const store = {
    ...memoryStore({ now: clock.now }),
    subscribe: (_feed: StoreFeed) => () => {
      unsubscribed = true;
    },
    list: async () => {
      state.lists += 1;
      if (state.away) throw new Error('the store is away');
      const users = Array.from(known.values()).filter(({ online }) => online);
      const unproven = Array.from(known.values()).filter(({ isPublished }) => isPublished === true);
      const { coming, isUnsure, cursor } = state;
      await gate();
      const page = { now: clock.now(), users, unproven, isUnsure, cursor, coming };
      return sequence === undefined ? page : { ...page, sequence };
    },
    read: async (ids: readonly string[]) => {
      if (state.readsFail) throw new Error('the store is away');
      const users = ids.map((userId) => known.get(userId) ?? { userId, online: false, lastSeen: null, version: 0 });
      await gate();
      return { now: clock.now(), users };
    },
  };
  const errors: unknown[] = [];
  const reasserted: string[] = [];
  const feed = new ChangeFeed({
    clock,
    store: store as never,
    commandTimeoutMs: 60_000,
    leaseMs: LEASE_MS,
    onDue: () => undefined,
    onKnown: () => undefined,
    reassert: (userId) => reasserted.push(userId),
    onLost: () => undefined,
    report: (_stage, error) => errors.push(error),
  });
  const told: string[] = [];
  const versions: number[] = [];
  const unlisten = feed.listen((update) => {
    told.push(`${update.userId} ${update.status} ${update.reason}`);
    versions.push(update.version);
  }, undefined);
  return {
    clock,
    feed,
    told,
    versions,
    errors,
    reasserted,
    state,
    unlisten,
    isUnsubscribed: () => unsubscribed,
    put: (userId: string, online: boolean, version: number) =>
      known.set(userId, { userId, online, version, lastSeen: clock.now() }),
    putGhost,
    lose: (userId: string) => known.delete(userId),
    hear(
      userId: string,
      status: PresenceUpdate['status'],
      version: number,
      reason: PresenceUpdate['reason'] = 'connect',
    ) {
      const update = { userId, status, version, reason, timestamp: new Date(clock.now()).toISOString() };
      feed.onTransition(update, clock.now());
    },
    async open() {
      for (const each of gates.splice(0)) each();
      await clock.settle();
    },
  };
}

describe('the feed', () => {
  it('tells once what a resync found and the store tells too, late', async () => {
    const { clock, feed, put, hear, told } = bareFeed();
    await clock.settle();
    put('v', true, 7);
    feed.onGap();
    await clock.settle();
    hear('v', 'online', 7);
    expect(told).toEqual(['v online resync']);
    hear('v', 'offline', 8, 'disconnect');
    expect(told).toEqual(['v online resync', 'v offline disconnect']);
  });

  // A page that took a single round trip overtook the messages of users who had just joined, and they were emitted as `resync`.
  it('leaves to the store what is still to be told, which has a reason of its own', async () => {
    const { clock, feed, put, hear, told, state } = bareFeed();
    await clock.settle();
    put('missed', true, 7);
    put('coming', true, 8);
    put('lost on the way', true, 9);
    state.coming = ['coming', 'lost on the way'];
    feed.onGap();
    await clock.settle();
    expect(told).toEqual(['missed online resync']);
    hear('coming', 'online', 8);
    // The message of the last one is lost.
    state.coming = [];
    feed.onGap();
    await clock.settle();
    expect(told).toEqual(['missed online resync', 'coming online connect', 'lost on the way online resync']);
  });

  // The store has lost its versions, and the first router that called had not seen the highest one.
  it('looks for itself where a change seems to be late, and is none', async () => {
    const { clock, put, hear, told, versions, feed, state } = bareFeed();
    await clock.settle();
    hear('u', 'online', 40);
    hear('u', 'offline', 41, 'disconnect');
    put('u', true, 39);
    hear('u', 'online', 39);
    expect(feed.roster.isOnline('u')).toBe(false);
    await clock.advance(1_000);
    expect(told).toEqual(['u online connect', 'u offline disconnect', 'u online resync']);
    expect(versions).toEqual([40, 41, 42]);
    hear('u', 'offline', 43, 'disconnect');
    expect(told).toHaveLength(4);
    // The users were not listed again, and a change in order caused no read.
    expect(state.lists).toBe(1);
  });

  it('looks again for what seems to be late where the store could not say', async () => {
    const { clock, put, hear, told, errors, state } = bareFeed();
    await clock.settle();
    hear('u', 'online', 40);
    hear('u', 'offline', 41, 'disconnect');
    put('u', true, 39);
    state.readsFail = true;
    hear('u', 'online', 39);
    await clock.advance(1_000);
    expect(errors.length).toBeGreaterThan(1);
    state.readsFail = false;
    await clock.advance(1_000);
    expect(told).toEqual(['u online connect', 'u offline disconnect', 'u online resync']);
  });

  it('tells once what it has looked for while everybody is being read', async () => {
    const { clock, feed, put, hear, told, state, open } = bareFeed();
    await clock.settle();
    hear('u', 'online', 40);
    put('u', false, 39);
    state.gated = true;
    feed.onGap();
    hear('u', 'offline', 39, 'disconnect');
    await clock.advance(1_000);
    // The list is read, and the user of the late change is rechecked. Then the users who are missing in the list are read.
    await open();
    expect(told).toEqual(['u online connect', 'u offline resync']);
    await open();
    expect(told).toHaveLength(2);
  });

  it('lets nothing that comes late undo what a resync has found', async () => {
    const { clock, feed, put, hear, told } = bareFeed();
    await clock.settle();
    hear('u', 'online', 1);
    put('u', false, 9);
    feed.onGap();
    await clock.settle();
    hear('u', 'offline', 7, 'disconnect');
    hear('u', 'online', 8);
    hear('u', 'offline', 9, 'disconnect');
    expect(told).toEqual(['u online connect', 'u offline resync']);
    expect(feed.roster.isOnline('u')).toBe(false);
  });

  it('tells a user whom the store has forgotten offline once, a lease later, with a version that grows', async () => {
    const { clock, feed, put, lose, hear, told, versions } = bareFeed();
    await clock.settle();
    put('u', true, 41);
    hear('u', 'online', 41);
    lose('u');
    feed.onGap();
    await clock.advance(LEASE_MS - 1);
    expect(told).toEqual(['u online connect']);
    await clock.advance(2);
    expect(told).toEqual(['u online connect', 'u offline resync']);
    // The store has seen 41, so its next change is 42, the version that the feed has assigned. It is emitted all the same.
    hear('u', 'online', 42);
    hear('u', 'offline', 50, 'disconnect');
    expect(told.slice(2)).toEqual(['u online connect', 'u offline disconnect']);
    expect(versions).toEqual([41, 42, 43, 50]);
  });

  it('gives who was asserted anew, and is lost once more, a lease of their own', async () => {
    const { clock, feed, put, lose, hear, told } = bareFeed({ early: [['u', 5]] });
    await clock.settle();
    lose('u');
    feed.onGap();
    await clock.advance(5_000);
    put('u', true, 9);
    hear('u', 'online', 9, 'resync');
    await clock.advance(9_000);
    lose('u');
    // The user was first found missing a lease ago, but has been in the store since then.
    await clock.advance(10_000);
    expect(told).toEqual([]);
    await clock.advance(LEASE_MS);
    expect(told).toEqual(['u offline resync']);
  });

  it('does not tell offline who is asserted anew within that lease', async () => {
    const { clock, feed, put, lose, hear, told } = bareFeed();
    await clock.settle();
    put('u', true, 1);
    put('listed', true, 2);
    hear('u', 'online', 1);
    hear('listed', 'online', 2);
    lose('u');
    lose('listed');
    feed.onGap();
    await clock.advance(5_000);
    hear('u', 'online', 1, 'resync');
    put('u', true, 1);
    put('listed', true, 2);
    await clock.advance(60_000);
    expect(told).toEqual(['u online connect', 'listed online connect']);
  });

  it('tells who has gone and is back, where a reading has seen that before it was heard', async () => {
    const { clock, feed, put, hear, state, told } = bareFeed();
    await clock.settle();
    put('u', true, 41);
    hear('u', 'online', 41);
    put('u', true, 43);
    state.coming = ['u'];
    feed.onGap();
    await clock.settle();
    hear('u', 'offline', 42, 'timeout');
    hear('u', 'online', 43);
    await clock.advance(1_000);
    expect(told).toEqual(['u online connect', 'u offline timeout', 'u online connect']);
  });

  // The versions of a server started over while pages were being read, and the page was older than the user's leave.
  it('tells who has left with a version that is lower than the one before, also where a reading has seen that user before', async () => {
    const { clock, feed, put, hear, state, open, told } = bareFeed();
    await clock.settle();
    put('u', true, 41);
    hear('u', 'online', 41);
    state.gated = true;
    feed.onGap();
    await clock.settle();
    put('u', false, 7);
    hear('u', 'offline', 7, 'disconnect');
    state.gated = false;
    await open();
    await clock.advance(1_000);
    expect(told).toEqual(['u online connect', 'u offline resync']);
  });

  it('does not show whom nothing proves to be online, tells nothing when that ends, and their return though no change does', async () => {
    const ghosts: Array<[string, number]> = [
      ['dead', 3],
      ['back', 4],
    ];
    const { clock, feed, put, lose, hear, told } = bareFeed({ ghosts, sequence: { epoch: 'e', version: 5 } });
    await clock.settle();
    expect([feed.isKnown, feed.roster.isOnline('dead'), feed.roster.isOnline('back')]).toEqual([true, false, false]);
    // The router of this user has renewed its lease, which publishes no change.
    put('back', true, 4);
    // This is within two seconds of the sync. But its pages named the user, so the sync has not missed the change.
    hear('dead', 'offline', 6, 'node-down');
    lose('dead');
    expect(told).toEqual([]);
    await clock.advance(LEASE_MS);
    expect(told).toEqual(['back online resync']);
  });

  it('goes on to believe of them what it has told', async () => {
    const { clock, feed, putGhost, hear, told } = bareFeed();
    await clock.settle();
    hear('u', 'online', 1);
    putGhost('u', 1);
    feed.onGap();
    await clock.advance(LEASE_MS * 2);
    expect([feed.roster.isOnline('u'), told]).toEqual([true, ['u online connect']]);
    hear('u', 'offline', 2, 'node-down');
    expect(told.slice(1)).toEqual(['u offline node-down']);
  });

  it('begins with no reading of which the store is not sure, and goes on with one', async () => {
    const { clock, feed, put, state, told } = bareFeed({ isUnsure: true });
    await clock.advance(1_000);
    expect(feed.isKnown).toBe(false);
    put('u', true, 1);
    state.isUnsure = false;
    await clock.advance(100);
    expect([feed.isKnown, feed.roster.isOnline('u')]).toEqual([true, true]);
    state.isUnsure = true;
    put('v', true, 2);
    feed.onGap();
    await clock.settle();
    expect(told).toEqual(['v online resync']);
  });

  // A sync started over, and users from its discarded pages counted as listed, so that nobody checked them.
  it('looks for whom only a reading has listed that it has given up', async () => {
    const { clock, feed, lose, state, told, open } = bareFeed({ early: [['gone', 1]], gated: true, cursor: 'next' });
    await clock.settle();
    // The store loses data before the next page is read.
    lose('gone');
    Object.assign(state, { gated: false, cursor: null, isUnsure: true });
    await open();
    state.isUnsure = false;
    await clock.advance(100);
    expect(feed.isKnown).toBe(true);
    await clock.advance(LEASE_MS + 100);
    expect([told, feed.roster.isOnline('gone')]).toEqual([['gone offline resync'], false]);
  });

  // A record was lost unnoticed, and the user was missing in lists although the router held the connection.
  it('asserts anew whom a reading does not list, where they are the own', async () => {
    const { clock, feed, put, lose, reasserted, told, hear } = bareFeed({ early: [['stays', 1]] });
    await clock.settle();
    put('lost', true, 2);
    hear('lost', 'online', 2);
    lose('lost');
    feed.onGap();
    await clock.settle();
    expect(reasserted).toEqual(['lost']);
    expect(told).toEqual(['lost online connect']);
  });

  it('tells at once whom the store remembers to have left', async () => {
    const { clock, feed, put, hear, told } = bareFeed();
    await clock.settle();
    hear('u', 'online', 1);
    put('u', false, 5);
    feed.onGap();
    await clock.settle();
    expect(told).toEqual(['u online connect', 'u offline resync']);
  });

  it('knows who was online before it listened, and tells it when they are found to have gone', async () => {
    const { clock, feed, put, told } = bareFeed({ early: [['early', 3]] });
    await clock.settle();
    expect(told).toEqual([]);
    put('early', false, 9);
    feed.onGap();
    await clock.settle();
    expect(told).toEqual(['early offline resync']);
  });

  it('tells a change that the first reading has seen already, for it happened since', async () => {
    const { clock, hear, told } = bareFeed({ early: [['u', 7]] });
    await clock.settle();
    hear('u', 'online', 7);
    hear('u', 'online', 7);
    expect(told).toEqual(['u online connect']);
  });

  // Of 3,000 users who left during the initial sync, six were on pages that had not been read yet, and their changes arrived
  // after the last page.
  it('tells who has left since the first reading began, and whom it did not find any more', async () => {
    const { clock, feed, hear, told } = bareFeed({ sequence: { epoch: 'e', version: 5 } });
    await clock.settle();
    hear('before', 'offline', 5, 'disconnect');
    hear('since', 'offline', 6, 'disconnect');
    hear('since', 'offline', 6, 'disconnect');
    expect(told).toEqual(['since offline disconnect']);
    // The store has subscribed meanwhile, and reads the missed changes from its log.
    feed.onGap();
    hear('from the log', 'offline', 7, 'disconnect');
    await clock.settle();
    hear('from the log, after the second reading', 'offline', 8, 'disconnect');
    expect(told.slice(1)).toEqual([
      'from the log offline disconnect',
      'from the log, after the second reading offline disconnect',
    ]);
  });

  // The store was restored to older data, and the users of a router that had left were published as offline once more.
  it('is silent about whoever leaves later and was never found', async () => {
    const { clock, hear, told } = bareFeed({ sequence: { epoch: 'e', version: 5 } });
    await clock.settle();
    await clock.advance(5_000);
    hear('u', 'offline', 6, 'node-down');
    expect(told).toEqual([]);
  });

  it('lets nobody go on from before those whom it has forgotten, also where it was reading then', async () => {
    const { clock, feed, hear, open } = bareFeed({ gated: true, sequence: { epoch: 'e', version: 5 } });
    await clock.settle();
    for (let index = 0; index < 65_537; index += 1) hear(`u${index}`, 'offline', 6 + index, 'node-down');
    await open();
    expect(feed.roster.changedSince('e.5', undefined)).toBeUndefined();
    expect(feed.roster.changedSince('e.6', undefined)).not.toBeUndefined();
  });

  // The data that were read may be newer than the last change that was received. A dashboard from another router resumed with a
  // cursor in between: users who had left by then were absent in the data, no offline was sent, and they stayed online there.
  it('lets nobody go on from before what it has read, also where it has not heard of that yet', async () => {
    const { clock, feed, hear, told } = bareFeed({ sequence: { epoch: 'e', version: 7, told: 5 } });
    await clock.settle();
    expect(feed.roster.cursor()).toBe('e.5');
    expect(feed.roster.changedSince('e.5', undefined)).toBeUndefined();
    expect(feed.roster.changedSince('e.6', undefined)).toBeUndefined();
    expect(feed.roster.changedSince('e.7', undefined)).toBe('later');
    hear('left by then', 'offline', 7, 'disconnect');
    expect(told).toEqual([]);
    expect(Array.from(feed.roster.changedSince('e.7', undefined) ?? [])).toEqual([]);
  });

  it('remembers who has left although it never knew them: who comes from another router may have', async () => {
    const { clock, feed, hear, told } = bareFeed({ sequence: { epoch: 'e', version: 5 } });
    await clock.settle();
    await clock.advance(5_000);
    hear('u', 'offline', 6, 'disconnect');
    hear('u', 'offline', 7, 'disconnect');
    expect(told).toEqual([]);
    expect(Array.from(feed.roster.changedSince('e.5', undefined) ?? [])).toEqual(['u']);
    hear('u', 'online', 8);
    hear('u', 'offline', 9, 'disconnect');
    expect(told).toEqual(['u online connect', 'u offline disconnect']);
  });

  it('gives no cursor with what it hears while something was missed', async () => {
    const { clock, feed, hear, state, open } = bareFeed({ sequence: { epoch: 'e', version: 5 } });
    await clock.settle();
    expect(feed.roster.cursor()).toBe('e.5');
    state.gated = true;
    feed.onGap();
    hear('v', 'online', 9);
    expect(feed.roster.cursor()).toBeUndefined();
    state.gated = false;
    await open();
    expect(feed.roster.cursor()).toBeDefined();
  });

  it('gives no cursor while what was missed during a reading has to be read', async () => {
    const { clock, feed, hear, state, open } = bareFeed({ early: [['u', 1]], sequence: { epoch: 'e', version: 5 } });
    await clock.settle();
    expect(feed.roster.cursor()).toBe('e.5');
    state.gated = true;
    feed.onGap();
    await clock.settle();
    feed.onGap();
    hear('u', 'offline', 7, 'disconnect');
    await open();
    await clock.settle();
    expect(feed.roster.cursor()).toBeUndefined();
    state.gated = false;
    await open();
    await clock.settle();
    expect(feed.roster.cursor()).toBe('e.7');
  });

  it('is silent about everybody at a gap before it has known anybody', async () => {
    const { clock, feed, told, state, open } = bareFeed({ early: [['u', 1]], gated: true });
    await clock.settle();
    feed.onGap();
    state.gated = false;
    await open();
    await clock.settle();
    expect(told).toEqual([]);
    expect(feed.roster.isOnline('u')).toBe(true);
  });

  it('believes what it hears while it reads, not what it reads', async () => {
    const early: Array<[string, number]> = [
      ['leaves', 1],
      ['returns', 2],
    ];
    const { clock, feed, put, hear, told, state, open } = bareFeed({ early });
    await clock.settle();
    put('returns', false, 3);
    state.gated = true;
    feed.onGap();
    await clock.settle();
    hear('leaves', 'offline', 4, 'disconnect');
    await open();
    // The list has been read, and the users who are missing in it are being read.
    hear('returns', 'online', 5);
    state.gated = false;
    await open();
    // The initial sync found the user online, which is not emitted. So this online is the first event of the user.
    expect(told).toEqual(['leaves offline disconnect', 'returns online connect']);
    expect([feed.roster.isOnline('leaves'), feed.roster.isOnline('returns')]).toEqual([false, true]);
  });

  it('reads again when a second gap comes while it reads', async () => {
    const { clock, feed, put, told, state, open } = bareFeed({ early: [['u', 1]] });
    await clock.settle();
    state.gated = true;
    feed.onGap();
    await clock.settle();
    put('u', false, 2);
    feed.onGap();
    state.gated = false;
    await open();
    await clock.settle();
    expect(told).toEqual(['u offline resync']);
  });

  it('corrects what a gap during the first reading made wrong', async () => {
    const early: Array<[string, number]> = [['leaves', 1]];
    const { clock, feed, put, told, state, open } = bareFeed({ early, gated: true });
    await clock.settle();
    put('leaves', false, 2);
    put('comes', true, 3);
    feed.onGap();
    state.gated = false;
    await open();
    await clock.settle();
    expect(told.sort()).toEqual(['comes online resync', 'leaves offline resync']);
  });

  it('tells nothing of a reading that nobody waits for any more', async () => {
    const { clock, feed, put, told, state, open, unlisten } = bareFeed({ early: [['u', 1]] });
    await clock.settle();
    put('u', false, 2);
    state.gated = true;
    feed.onGap();
    await clock.settle();
    unlisten();
    await clock.advance(LEASE_MS);
    const heard: string[] = [];
    feed.listen(({ userId }) => heard.push(userId), undefined);
    state.gated = false;
    await open();
    await clock.settle();
    expect([told, heard]).toEqual([[], []]);
  });

  it('does not read everything again for a lone listener that comes and goes', async () => {
    const { clock, feed, state, unlisten, hear } = bareFeed({ early: [['u', 1]] });
    await clock.settle();
    unlisten();
    for (let round = 0; round < 10; round += 1) {
      feed.listen(() => undefined, ['x'])();
      await clock.advance(1_000);
    }
    expect(state.lists).toBe(1);
    hear('v', 'online', 2);
    expect(feed.roster.isOnline('v')).toBe(true);
    await clock.advance(LEASE_MS);
    expect([feed.isKnown, feed.roster.size]).toEqual([false, 0]);
    hear('w', 'online', 3);
    expect(feed.roster.size).toBe(0);
    feed.close();
    expect(clock.timers).toBe(0);
  });

  it('ends a listener at once, however often it is told to, and leaves the others', async () => {
    const { clock, feed, hear, told } = bareFeed();
    await clock.settle();
    const heard: string[] = [];
    const ends: Array<() => void> = [];
    ends.push(feed.listen(() => ends[1]?.(), undefined));
    ends.push(feed.listen(({ userId }) => heard.push(userId), undefined));
    const byId = feed.listen(({ userId }) => heard.push(userId), ['u']);
    byId();
    byId();
    hear('u', 'online', 1);
    expect(heard).toEqual([]);
    expect(told).toEqual(['u online connect']);
  });

  it('reports a listener that rejects', async () => {
    const { clock, feed, hear, errors } = bareFeed();
    await clock.settle();
    feed.listen(async () => {
      throw new Error('mine');
    }, undefined);
    hear('u', 'online', 1);
    await clock.settle();
    expect(errors).toMatchObject([{ message: 'mine' }]);
  });

  it('unsubscribes when it is closed', () => {
    const { feed, isUnsubscribed } = bareFeed();
    feed.close();
    expect(isUnsubscribed()).toBe(true);
  });
});

describe('in the seconds after a flush', () => {
  // The store was empty until the next heartbeat, and a dashboard that connected before it showed all users as offline for good.
  it('a dashboard that connects is shown what is true, and so is a query on the own router', async () => {
    const clock = fakeClock();
    const { store, link } = faultyStore(clock.now);
    const { connect, presence } = await router({ store }, clock);
    await connect('u');
    link.flush();
    const dashboards = [
      await connect('all', { track: false, watch: true }),
      await connect('named', { track: false, watch: ['u'] }),
    ];
    await clock.advance(20_000);
    for (const { frames } of dashboards) {
      expect(frames).toMatchObject([{ messageType: 32, users: [{ userId: 'u', status: 'online' }] }]);
    }
    expect(await presence.countOnline()).toBe(1);
  });

  // A router that started while Redis was unavailable emitted a user as offline and missed that the user came back. Its initial
  // sync found that without an event, and then the router emitted offline a second time.
  it('tells what a first reading finds of those whom it has told of before', async () => {
    const { clock, feed, told, put, hear, state } = bareFeed({ away: true });
    await clock.settle();
    hear('a', 'offline', 5, 'disconnect');
    put('a', true, 6);
    put('b', true, 7);
    state.away = false;
    feed.onBeat();
    await clock.settle();
    hear('a', 'offline', 8, 'disconnect');
    expect(told).toEqual(['a offline disconnect', 'a online resync', 'a offline disconnect']);
  });
});
