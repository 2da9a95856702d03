import { describe, expect, it } from 'vitest';
import { createPresence, type PresenceStore } from 'voiceping-presence';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { faultyStore } from './faulty-store';
import { router } from './world';

function countedStore(now: () => number) {
  const { store, link, direct } = faultyStore(now);
  const beats: number[] = [];
  const counted: PresenceStore = {
    ...store,
    beat(node) {
      beats.push(now());
      return store.beat(node);
    },
  };
  return { store: counted, link, direct, beats };
}

describe('the lease', () => {
  // Redis hangs, comes back empty, and answers all queued heartbeats. Only the first answer says that there was no lease.
  it('takes a lost answer for one that said "unknown"', async () => {
    const clock = fakeClock();
    const { store, link, direct } = countedStore(clock.now);
    const { connect, lines } = await router({ store }, clock);
    for (let id = 0; id < 10; id += 1) await connect(id);
    link.flush();
    link.state = 'lost';
    await clock.advance(6_000);
    link.state = 'up';
    await clock.advance(4_000);
    expect(await direct().count()).toBe(10);
    expect(lines()).toHaveLength(10);
  });

  it('a user who left meanwhile is no ghost for it', async () => {
    const clock = fakeClock();
    const { store, link, direct } = countedStore(clock.now);
    const { connect } = await router({ store }, clock);
    const phone = await connect('u');
    link.state = 'lost';
    await clock.advance(6_000);
    link.state = 'down';
    phone.close();
    await clock.advance(500);
    link.state = 'up';
    await clock.advance(6_000);
    expect(await direct().count()).toBe(0);
  });

  it('beats every third of its length, and once a second at most when the store fails', async () => {
    const clock = fakeClock();
    const { store, link, beats } = countedStore(clock.now);
    await router({ store, leaseMs: 15_000 }, clock);
    await clock.advance(30_000);
    expect(beats.length).toBe(7);
    link.state = 'down';
    beats.length = 0;
    await clock.advance(30_000);
    expect(beats.length).toBeGreaterThanOrEqual(25);
    expect(beats.length).toBeLessThanOrEqual(31);
  });

  it('does not beat in a hot loop when something is overdue and the store refuses', async () => {
    const clock = fakeClock();
    const { store, link, beats } = countedStore(clock.now);
    const { connect, errors } = await router({ store, graceMs: 1_000 }, clock);
    const phone = await connect('u');
    phone.drop();
    await clock.settle();
    link.state = 'down';
    beats.length = 0;
    await clock.advance(10_000);
    expect(beats.length).toBeLessThanOrEqual(11);
    expect(errors.length).toBeLessThanOrEqual(30);
  });

  it('does not wait for a lost answer for longer than the lease lasts, whatever commandTimeoutMs is', async () => {
    const clock = fakeClock();
    const { store, link, direct } = countedStore(clock.now);
    const { connect } = await router({ store, leaseMs: 3_000, commandTimeoutMs: 30_000 }, clock);
    const other = await router({ store: direct(), leaseMs: 3_000 }, clock);
    await connect('u');
    link.state = 'hangs';
    await clock.advance(1_100);
    link.state = 'up';
    await clock.advance(10_000);
    expect(other.lines()).toEqual(['u online connect']);
  });

  it('beats when a grace ends, on time, and not once for each of many', async () => {
    const clock = fakeClock();
    const { store, beats } = countedStore(clock.now);
    const { connect, lines } = await router({ store, graceMs: 1_000, leaseMs: 60_000 }, clock);
    const phones = [];
    for (let id = 0; id < 200; id += 1) phones.push(await connect(id));
    beats.length = 0;
    for (const phone of phones) {
      phone.drop();
      await clock.advance(1);
    }
    await clock.advance(800);
    expect(lines().filter((line) => line.includes('offline'))).toHaveLength(0);
    await clock.advance(260);
    expect(lines().filter((line) => line.includes('offline'))).toHaveLength(200);
    expect(beats.length).toBeLessThanOrEqual(6);
  });

  it('keeps no timer when it is closed while a beat is under way', async () => {
    const clock = fakeClock();
    const { store, link } = countedStore(clock.now);
    link.state = 'hangs';
    const presence = createPresence({ clock, store });
    presence.attachToSocket(fakeSocket(), { userId: 'u' });
    const closing = presence.close();
    await clock.advance(10_000);
    await closing;
    await clock.advance(60_000);
    expect(clock.timers).toBe(0);
  });
});
