import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { createPresence, type Presence } from 'voiceping-presence';
import { type FakeClock, fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { Dispatcher } from './dispatcher';

// With what Node brings: node --import tsx --test examples/testing/dispatcher.node.test.ts

describe('a dispatcher', () => {
  let clock: FakeClock;
  let presence: Presence;
  let dispatcher: Dispatcher;

  beforeEach(() => {
    clock = fakeClock();
    // The memory store is the default, and its time is that of the clock.
    presence = createPresence({ clock, ttlMs: 75_000, graceMs: 8_000 });
    dispatcher = new Dispatcher(presence);
  });
  afterEach(() => presence.close());

  it('calls a phone that is connected', async () => {
    dispatcher.connect(fakeSocket(), 'acme_u1');
    assert.equal(await dispatcher.call('acme_u1'), 'ringing');
    assert.equal(await dispatcher.call('acme_u2'), 'unknown');
  });

  it('calls one that is between two networks, and not one that has gone', async () => {
    const phone = fakeSocket();
    dispatcher.connect(phone, 'acme_u1');
    const since = new Date(clock.now()).toISOString();
    phone.drop();
    await clock.advance(5_000);
    assert.equal(await dispatcher.call('acme_u1'), 'ringing');
    await clock.advance(5_000);
    assert.equal(await dispatcher.call('acme_u1'), `last seen ${since}`);
  });

  it('does not call a phone that has said nothing for too long', async () => {
    const silent = fakeSocket();
    silent.answersPings = false;
    dispatcher.connect(silent, 'acme_u1');
    await clock.advance(80_000);
    assert.match(await dispatcher.call('acme_u1'), /^last seen /);
  });
});
