import { describe, expect, it } from 'vitest';
import { createPresence, type PresenceError } from 'voiceping-presence';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { faultyStore } from './faulty-store';
import { router } from './world';

async function outageRouter(options = {}) {
  const clock = fakeClock();
  const { store, link, direct } = faultyStore(clock.now);
  return { ...(await router({ store, ...options }, clock)), store, link, direct };
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'resolved',
    (error: PresenceError) => error.code,
  );

describe('while the store is away', () => {
  it.each(['down', 'hangs'] as const)('(%s) queries reject within commandTimeoutMs, with a cause', async (state) => {
    const { presence, link, clock } = await outageRouter({ commandTimeoutMs: 500 });
    link.state = state;
    const queries = [presence.getStatuses(['u']), presence.listOnline(), presence.countOnline()].map(codeOf);
    await clock.advance(500);
    expect(await Promise.all(queries)).toEqual(Array(3).fill('ERR_PRESENCE_STORE'));
  });

  it.each(['down', 'hangs'] as const)('(%s) sockets come and go, and the state is written on return', async (state) => {
    const { presence, link, clock, connect, lines, errors, direct } = await outageRouter();
    const leaves = await connect('leaves');
    const stays = await connect('stays');
    link.state = state;
    leaves.close();
    (await connect('came-and-went')).close();
    const attachment = presence.attachToSocket(fakeSocket(), { userId: 'comes' });
    let ready = false;
    attachment.ready.then(() => {
      ready = true;
    });
    await clock.advance(60_000);
    expect(ready).toBe(false);
    expect(errors.map(({ stage }) => stage)).toEqual(expect.arrayContaining(['beat', 'apply']));
    link.state = 'up';
    await clock.advance(10_000);
    expect(ready).toBe(true);
    // The order of different users is not defined.
    expect(lines().slice(2).sort()).toEqual(['comes online connect', 'leaves offline disconnect']);
    expect(await direct().count()).toBe(2);
    stays.close();
    await clock.settle();
    expect(await direct().count()).toBe(1);
  });

  it('a user who came back within the outage makes no event', async () => {
    const { link, clock, connect, lines } = await outageRouter();
    const phone = await connect('u');
    link.state = 'down';
    phone.close();
    await clock.advance(1_000);
    await connect('u');
    await clock.advance(5_000);
    link.state = 'up';
    await clock.advance(60_000);
    expect(lines()).toEqual(['u online connect']);
  });

  it('a grace goes on, so that its user is offline as soon as the store is back', async () => {
    const { link, clock, connect, lines } = await outageRouter({ graceMs: 8_000, leaseMs: 60_000 });
    const phone = await connect('u');
    link.state = 'down';
    phone.drop();
    await clock.advance(20_000);
    link.state = 'up';
    await clock.advance(2_000);
    expect(lines()).toEqual(['u online connect', 'u offline timeout']);
  });

  it('an answer that is lost is asked for again, and what it did happens once', async () => {
    const { link, clock, connect, lines } = await outageRouter();
    link.state = 'lost';
    const phone = await connect('u');
    await clock.advance(2_500);
    phone.close();
    await clock.advance(2_500);
    link.state = 'up';
    await clock.advance(10_000);
    expect(lines()).toEqual(['u online connect', 'u offline disconnect']);
  });

  it('an attachment detaches all the same, at the latest after commandTimeoutMs', async () => {
    const { presence, link, clock } = await outageRouter({ commandTimeoutMs: 700 });
    const attachment = presence.attachToSocket(fakeSocket(), { userId: 'u' });
    await attachment.ready;
    link.state = 'hangs';
    let detached = false;
    attachment.detach().then(() => {
      detached = true;
    });
    await clock.advance(699);
    expect(detached).toBe(false);
    await clock.advance(1);
    expect(detached).toBe(true);
  });

  it('ready() waits, and rejects once closed', async () => {
    const clock = fakeClock();
    const { store, link } = faultyStore(clock.now);
    link.state = 'down';
    const presence = createPresence({ store, clock });
    const waiting = codeOf(presence.ready());
    let settled = false;
    waiting.then(() => {
      settled = true;
    });
    await clock.advance(600_000);
    expect(settled).toBe(false);
    const closed = presence.close();
    await clock.advance(10_000);
    await closed;
    expect(await waiting).toBe('ERR_PRESENCE_CLOSED');
  });

  it('ready() resolves when the store arrives', async () => {
    const clock = fakeClock();
    const { store, link } = faultyStore(clock.now);
    link.state = 'hangs';
    const presence = createPresence({ store, clock });
    const ready = presence.ready();
    await clock.advance(10_000);
    link.state = 'up';
    await clock.advance(5_000);
    await ready;
  });

  it('close() does not hang', async () => {
    const { presence, connect, link, clock } = await outageRouter();
    await connect('u');
    link.state = 'hangs';
    let closed = false;
    presence.close().then(() => {
      closed = true;
    });
    await clock.advance(5_000);
    expect(closed).toBe(true);
    expect(clock.timers).toBe(0);
  });

  it('memory is bounded: one entry a user, however often it comes and goes', async () => {
    const { presence, link, clock, direct } = await outageRouter();
    link.state = 'down';
    for (let round = 0; round < 1_000; round += 1) {
      const socket = fakeSocket();
      presence.attachToSocket(socket, { userId: 'u' });
      socket.close();
    }
    const calls = link.calls;
    link.state = 'up';
    await clock.advance(10_000);
    expect(link.calls - calls).toBeLessThan(10);
    expect(await direct().count()).toBe(0);
  });

  it('signs of life that could not be told are told later', async () => {
    const { link, clock, connect, direct } = await outageRouter({ leaseMs: 600_000 });
    const phone = await connect('u');
    await clock.advance(110_000);
    link.state = 'down';
    await clock.advance(20_000);
    const at = clock.now();
    phone.emit('pong');
    await clock.advance(5_000);
    link.state = 'up';
    phone.answersPings = false;
    await clock.advance(125_000);
    expect((await direct().read(['u'])).users[0]?.lastSeen).toBeGreaterThanOrEqual(at);
  });
});

describe('after a loss', () => {
  it('everybody is asserted anew when the store has forgotten everything, and nobody hears a thing', async () => {
    const { link, clock, connect, lines, direct, presence } = await outageRouter();
    for (const userId of ['a', 'b', 'c']) await connect(userId);
    const before = lines().length;
    link.flush();
    expect(await direct().count()).toBe(0);
    // The sockets of this router take precedence over the data of the store.
    expect((await presence.getStatuses(['a']))['a']?.status).toBe('online');
    await clock.advance(5_000);
    expect(await direct().count()).toBe(3);
    expect(lines()).toHaveLength(before);
  });

  it('who left while the store forgot is told offline once, by those who had told online', async () => {
    const clock = fakeClock();
    const { store, link } = faultyStore(clock.now);
    const [east, west] = [await router({ store }, clock), await router({ store }, clock)];
    const phone = await east.connect('leaves');
    await east.connect('stays');
    await clock.settle();
    link.deaf = true;
    link.flush();
    phone.close();
    await clock.advance(6_000);
    link.hear();
    await clock.advance(5_000);
    // Their router may still register them again.
    expect(west.lines()).toHaveLength(2);
    await clock.advance(15_000);
    for (const { lines, told } of [east, west]) {
      expect(lines()).toEqual(['leaves online connect', 'stays online connect', 'leaves offline resync']);
      expect(told[2]?.version).toBeGreaterThan(told[0]?.version ?? 0);
    }
  });

  it('what was missed while deaf is told as a resync, and only where it differs', async () => {
    const clock = fakeClock();
    const { store, link } = faultyStore(clock.now);
    const { connect, lines, told } = await router({ store }, clock);
    const leaves = await connect('leaves');
    const blinks = await connect('blinks');
    await connect('stays');
    link.deaf = true;
    leaves.close();
    blinks.close();
    await clock.settle();
    await connect('blinks');
    await connect('comes');
    expect(lines()).toHaveLength(3);
    link.hear();
    await clock.advance(1_000);
    expect(lines().slice(3).sort()).toEqual(['comes online resync', 'leaves offline resync']);
    for (const update of told.slice(3)) expect(update.version).toBeGreaterThan(3);
  });

  it('a resync that fails is tried again at the next beat', async () => {
    const { link, clock, connect, lines, errors } = await outageRouter();
    const phone = await connect('u');
    link.deaf = true;
    phone.close();
    await clock.settle();
    link.state = 'down';
    link.hear();
    await clock.advance(20_000);
    expect(errors.map(({ stage }) => stage)).toContain('resync');
    expect(lines()).toHaveLength(1);
    link.state = 'up';
    await clock.advance(20_000);
    expect(lines()).toEqual(['u online connect', 'u offline resync']);
  });

  it('changes that arrive during a resync are told once, and never undone by what was read before', async () => {
    const { link, clock, connect, lines, store } = await outageRouter();
    const phone = await connect('u');
    let answer: (() => void) | undefined;
    const list = store.list;
    store.list = async (page) => {
      const listed = await list(page);
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      return listed;
    };
    link.hear();
    await clock.settle();
    phone.close();
    await connect('v');
    answer?.();
    await clock.settle();
    expect(lines()).toEqual(['u online connect', 'u offline disconnect', 'v online connect']);
  });

  it('a user who is forgotten alone is asserted anew at the next sign of life', async () => {
    const { clock, connect, lines, direct, store } = await outageRouter();
    const phone = await connect('u');
    // The store loses the record, as by an eviction, so it no longer holds the user for this router.
    let evicted = true;
    const refresh = store.refresh;
    store.refresh = async (node, signs) => {
      const answer = await refresh(node, signs);
      if (!evicted) return answer;
      evicted = false;
      await direct().apply(node, [{ kind: 'leave', userId: 'u', ageMs: 0, reason: 'timeout' }]);
      return { known: true, missing: ['u', 'not-mine'] };
    };
    await clock.advance(100_000);
    phone.emit('pong');
    await clock.advance(60_000);
    expect((await direct().read(['u'])).users).toMatchObject([{ online: true }]);
    expect(lines()).toEqual(['u online connect', 'u offline timeout', 'u online resync']);
  });

  it('a router that was taken for dead asserts its users anew', async () => {
    const clock = fakeClock();
    const { store: stalledStore, link, direct } = faultyStore(clock.now);
    const stalled = await router({ store: stalledStore, leaseMs: 3_000 }, clock);
    const other = await router({ store: direct(), leaseMs: 3_000 }, clock);
    await stalled.connect('u');
    link.state = 'down';
    await clock.advance(5_000);
    expect(await other.status('u')).toBe('offline');
    link.state = 'up';
    await clock.advance(3_000);
    expect(await other.status('u')).toBe('online');
    expect(other.lines()).toEqual(['u online connect', 'u offline node-down', 'u online resync']);
  });

  it('a sign of life finds out too that the lease is gone', async () => {
    const { link, clock, connect, presence } = await outageRouter({ leaseMs: 600_000, pingIntervalMs: false });
    const phone = await connect('u');
    await clock.advance(150_000);
    link.flush();
    phone.emit('pong');
    await clock.advance(2_000);
    expect(await presence.countOnline()).toBe(1);
  });

  // The query was sent before the store became unavailable. Its late answer ended the outage at all dashboards for seconds.
  it('an answer to what was asked before a beat was missed does not end an outage', async () => {
    const { link, clock, presence, store } = await outageRouter({ commandTimeoutMs: 5_000, leaseMs: 3_000 });
    link.state = 'down';
    await clock.advance(3_000);
    expect(presence.health().status).toBe('stale');
    const { read } = store;
    let answer: (() => void) | undefined;
    store.read = (userIds) => {
      store.read = read;
      return new Promise((resolve) => {
        answer = () => resolve({ now: clock.now(), users: userIds.map(() => expect.fail('nobody is asked about')) });
      });
    };
    link.state = 'up';
    await clock.advance(500);
    expect(answer).toBeDefined();
    link.state = 'down';
    await clock.advance(1_500);
    answer?.();
    await clock.settle();
    expect(presence.health().status).toBe('stale');
    link.state = 'up';
    await clock.advance(3_000);
    expect(presence.health().status).toBe('ok');
  });
});
