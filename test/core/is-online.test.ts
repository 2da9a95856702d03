import { describe, expect, it } from 'vitest';
import { createPresence, memoryStore } from 'voiceping-presence';
import { fakeClock } from 'voiceping-presence/testing';
import { faultyStore } from './faulty-store';
import { router } from './world';

describe('isOnline', () => {
  it('is answered at once, after the first call has begun the roster', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now });
    const [here, there] = [await router({ store }, clock), await router({ store }, clock)];
    const socket = await there.connect('u');
    // One without any listener.
    const fresh = createPresence({ store, clock });
    await clock.settle();
    expect(fresh.isOnline('u')).toBeUndefined();
    await clock.settle();
    expect(fresh.isOnline('u')).toBe(true);
    expect(fresh.isOnline('never')).toBe(false);
    socket.close();
    await clock.settle();
    for (const presence of [here.presence, there.presence, fresh]) expect(presence.isOnline('u')).toBe(false);
    await here.connect(7);
    expect(fresh.isOnline(7)).toBe(true);
  });

  it('needs no first call with the option roster, and goes on without any listener', async () => {
    const clock = fakeClock();
    const store = memoryStore({ now: clock.now });
    const presence = createPresence({ clock, store, roster: true });
    const other = await router({ store }, clock);
    await clock.settle();
    expect(presence.isOnline('u')).toBe(false);
    presence.onUpdate(() => undefined)();
    await clock.advance(120_000);
    await other.connect('u');
    expect(presence.isOnline('u')).toBe(true);
  });

  it('says at once that a user is online who has just connected here', async () => {
    const { presence, clock, connect } = await router({ roster: true });
    await clock.settle();
    const before = connect('u');
    expect(presence.isOnline('u')).toBe(true);
    await before;
    expect(presence.isOnline('u')).toBe(true);
  });

  it('is unknown while changes may be missed, and never asks the store', async () => {
    const clock = fakeClock();
    const { store, link, direct } = faultyStore(clock.now);
    const { presence } = await router({ store, roster: true }, clock);
    const other = await router({ store: direct() }, clock);
    await other.connect('stays');
    const socket = await other.connect('leaves');
    expect([presence.isOnline('stays'), presence.isOnline('leaves')]).toEqual([true, true]);
    link.state = 'down';
    await clock.advance(10_000);
    socket.close();
    expect([presence.isOnline('stays'), presence.isOnline('leaves'), presence.isOnline('never')]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    link.state = 'up';
    await clock.advance(10_000);
    expect([presence.isOnline('stays'), presence.isOnline('leaves')]).toEqual([true, false]);
    let reads = 0;
    for (const name of ['read', 'list', 'count'] as const) {
      const ask = store[name] as (...values: unknown[]) => unknown;
      store[name] = ((...values: unknown[]) => {
        reads += 1;
        return ask(...values);
      }) as never;
    }
    for (let time = 0; time < 100; time += 1) presence.isOnline('stays');
    expect(reads).toBe(0);
  });

  it('is unknown where the presence is closed or disabled, and rejects what is no id', async () => {
    const { presence } = await router({ roster: true });
    await presence.close();
    const disabled = createPresence({ enabled: false });
    for (const one of [presence, disabled]) {
      expect(one.isOnline('u')).toBeUndefined();
      expect(() => one.isOnline('')).toThrow('id is ""');
      expect(() => one.isOnline(undefined as never)).toThrow('id is undefined');
    }
  });
});
