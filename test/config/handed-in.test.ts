import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { createPresence, memoryStore } from 'voiceping-presence';
import { fakeClock } from 'voiceping-presence/testing';
import { attachPresence } from 'voiceping-presence/ws';
import { lookalikeOf } from '../../src/public/lookalikes';

const nothing = (): void => undefined;
const optionError = (message: RegExp) =>
  expect.objectContaining({ code: 'ERR_PRESENCE_OPTIONS', message: expect.stringMatching(message) });

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return 'nothing was thrown';
}

describe('what is handed in by mistake', () => {
  it.each(['now', 'setTimeout', 'clearTimeout'] as const)('a clock without %s() is refused at once', (name) => {
    const clock = { now: Date.now, setTimeout: nothing, clearTimeout: nothing, [name]: undefined };
    const create = () => createPresence({ clock: clock as never, logger: false });
    expect(thrownBy(create)).toEqual(optionError(new RegExp(`^clock is .* without ${name}\\(\\)`)));
  });

  it('a clock may have no chance of its own, and what it has is a function', () => {
    expect(thrownBy(() => createPresence({ clock: { ...fakeClock(), random: 5 } as never, logger: false }))).toEqual(
      optionError(/^clock is .* without random\(\)/),
    );
  });

  // It has the events of a server of ws, and no phone would ever be seen.
  it('the engine beneath socket.io is no server of ws', () => {
    const presence = createPresence({ logger: false });
    const engine = Object.assign(new EventEmitter(), { handleUpgrade: nothing, handleRequest: nothing });
    expect(thrownBy(() => attachPresence(presence, engine, { identify: () => null }))).toEqual(
      optionError(/^server is a server of engine\.io; .*voiceping-presence\/socket\.io/),
    );
    return presence.close();
  });

  it('a store that was not awaited is one that is to be awaited', () => {
    const store = Promise.resolve(memoryStore());
    expect(thrownBy(() => createPresence({ store: store as never, logger: false }))).toEqual(
      optionError(/^store is a promise without beat\(\); .*: await it first/),
    );
  });

  it('what throws when it is looked at is none of those that can be told', () => {
    const trap = new Proxy({}, { get: () => thrower(), has: () => thrower() });
    expect(lookalikeOf(trap)).toBeUndefined();
  });
});

function thrower(): never {
  throw new Error('a getter that throws');
}
