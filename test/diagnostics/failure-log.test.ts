import { hostname } from 'node:os';
import { Redis } from 'ioredis';
import { describe, expect, it, vi } from 'vitest';
import { createPresence, type Logger, type PresenceOptions } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { writeToStderr } from '../../src/diagnostics/stderr';
import { addressOf } from '../../src/stores/redis/connection/client';
import { faultyStore } from '../core/faulty-store';

function logged(options: PresenceOptions = {}) {
  const clock = fakeClock();
  const { store, link } = faultyStore(clock.now);
  const lines: string[] = [];
  const levels: string[] = [];
  const say =
    (level: string) =>
    (line: string, ...more: unknown[]) => {
      lines.push(line);
      levels.push(level);
      expect(more).toEqual([]);
    };
  const logger: Logger = { info: say('info'), warn: say('warn'), error: say('error') };
  const presence = createPresence({ store, clock, logger, router: { name: 'r' }, ...options });
  return { clock, link, presence, lines, levels };
}

describe('lines', () => {
  it('one a kind of failure, at most one a minute, and one when it is over', async () => {
    const { clock, link, presence, lines, levels } = logged();
    presence.onUpdate(() => undefined);
    await clock.settle();
    lines.length = 0;
    levels.length = 0;
    link.state = 'down';
    presence.attachToSocket(fakeSocket(), { userId: 'u' });
    await clock.advance(45_000);
    expect(lines).toEqual(['presence r: the store failed: connect ECONNREFUSED (unreachable, stage apply, user "u")']);
    await clock.advance(60_000);
    expect(lines).toHaveLength(2);
    expect(lines[1]).toMatch(/^presence r: the store failed: .* \(\d+ more in the last minute\)$/);
    link.state = 'up';
    await clock.advance(6_000);
    expect(lines).toHaveLength(3);
    expect(lines[2]).toMatch(/^presence r: the store is back after 10\d s \(it had failed \d+ more times\)$/);
    expect(levels).toEqual(['error', 'error', 'warn']);
    await clock.advance(600_000);
    expect(lines).toHaveLength(3);
  });

  it('an outage of two kinds has a line for each, and one end', async () => {
    const { clock, link, lines } = logged();
    await clock.settle();
    lines.length = 0;
    link.state = 'hangs';
    await clock.advance(10_000);
    link.state = 'down';
    await clock.advance(20_000);
    link.state = 'up';
    await clock.advance(6_000);
    expect(lines.map((line) => line.replace(/[\d.]+ s|\d+ more/g, 'n'))).toEqual([
      'presence r: the store did not answer within 2000 ms (slow, stage beat)',
      'presence r: the store failed: connect ECONNREFUSED (unreachable, stage beat)',
      'presence r: the store is back after n (it had failed n times)',
    ]);
  });

  it('a store that comes and goes says so once a minute, and not the last time as if it were gone', async () => {
    const { clock, link, lines } = logged();
    await clock.settle();
    lines.length = 0;
    for (let round = 0; round < 5; round += 1) {
      link.state = 'down';
      await clock.advance(6_000);
      link.state = 'up';
      await clock.advance(3_000);
    }
    await clock.advance(300_000);
    expect(lines).toHaveLength(3);
    expect(lines[0]).toContain('the store failed');
    expect(lines[1]).toContain('the store is back');
    expect(lines[2]).toMatch(/the store failed: .* \(\d+ more in the last minute; it works again\)$/);
  });

  it('a function of the caller that fails has a line with the user, escaped, and how many more', async () => {
    const { clock, presence, lines } = logged();
    await clock.settle();
    lines.length = 0;
    presence.onUpdate(() => {
      throw new Error('mine\nforged: \u202e\u001b[2J');
    });
    for (const userId of ['a\nb\u202e', 'c', 'd']) presence.attachToSocket(fakeSocket(), { userId });
    await clock.settle();
    expect(lines).toEqual([
      'presence r: listener failed: mine\\u000aforged: \\u202e\\u001b[2J (stage listener, user "a\\nb\\u202e")',
    ]);
    await clock.advance(60_000);
    expect(lines.slice(1)).toEqual([expect.stringMatching(/user "d"\) \(2 more in the last minute\)$/)]);
    await clock.advance(60_000);
    expect(lines).toHaveLength(2);
  });

  it('are none where there is an onError and no logger, and none for false', async () => {
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    for (const options of [{ onError: () => undefined }, { logger: false as const }]) {
      const clock = fakeClock();
      const { store, link } = faultyStore(clock.now);
      link.state = 'down';
      createPresence({ store, clock, ...options });
      await clock.advance(100_000);
    }
    expect(write.mock.calls).toEqual([]);
    write.mockRestore();
  });

  it('go to both where there are both', async () => {
    const errors: string[] = [];
    const { clock, link, lines } = logged({ onError: ({ message }) => errors.push(message) });
    await clock.settle();
    link.state = 'down';
    await clock.advance(10_000);
    expect(lines).toHaveLength(2);
    expect(errors.length).toBeGreaterThan(2);
  });

  it('leave no timer behind when presence is closed, and say why it could not say goodbye', async () => {
    const { clock, link, presence, lines } = logged();
    await clock.settle();
    link.state = 'down';
    await clock.advance(120_000);
    lines.length = 0;
    const closed = presence.close();
    await clock.advance(5_000);
    await closed;
    expect(clock.timers).toBe(0);
    expect(lines.length).toBeLessThan(2);
  });
});

describe('the line at the start', () => {
  it('has the name, the node, the store, the prefix and the ttl, and no password', async () => {
    const { presence, lines, levels } = logged({ router: { name: 'web-1', address: '10.0.0.4:3000' } });
    expect(lines).toEqual([
      `presence web-1: started at 10.0.0.4:3000: node ${presence.nodeId}, store of its own kind, ttl 360 s`,
    ]);
    expect(levels).toEqual(['info']);
    const named = logged({
      router: {},
      store: redisStore({ url: 'redis://app:hunter2@redis.example:6380/2', prefix: 'p:' }),
    });
    expect(named.lines[0]).toBe(
      `presence ${hostname()}:${process.pid}: started: node ${named.presence.nodeId}, store redis at redis.example:6380/2, prefix p:, ttl 360 s`,
    );
    await named.presence.close();
    expect(logged({ enabled: false }).lines).toEqual(['presence r: disabled']);
  });

  it.each<[string, object]>([
    ['at localhost:6379', new Redis({ lazyConnect: true })],
    ['at [::1]:7/3', { options: { host: '::1', port: 7, db: 3, password: 'hunter2', username: 'app' } }],
    ['at /run/redis.sock', { options: { path: '/run/redis.sock', host: 'localhost' } }],
    ['at localhost:6379', {}],
    [
      'mymaster by sentinels at a:26379, b:26380',
      {
        options: {
          name: 'mymaster',
          sentinels: [
            { host: 'a', port: 26379 },
            { host: 'b', port: 26380 },
          ],
        },
      },
    ],
    [
      'cluster at h:7000, localhost:7001, h:7002, …',
      {
        isCluster: true,
        startupNodes: [
          'redis://app:hunter2@h:7000/0?x=hunter2',
          7001,
          { host: 'h', port: 7002, password: 'hunter2' },
          'h:7003',
        ],
      },
    ],
    ['cluster at h:1', { isCluster: true, startupNodes: ['redis://:hunt/er@2@h:1'] }],
  ])('a client is %s', (address, client) => {
    expect(addressOf(client as never)).toBe(address);
  });
});

const fail = (words: string): never => {
  throw new Error(words);
};
const thenable = (descriptor: PropertyDescriptor) => Object.defineProperty({}, 'then', descriptor);

describe('a logger', () => {
  class Winston {
    readonly lines: string[] = [];
    info(line: string): this {
      this.lines.push(line);
      return this;
    }
    warn = this.info;
    error(line: string): this {
      return this.info(line);
    }
  }

  it('is called as a method', async () => {
    const logger = new Winston();
    const { link, clock } = logged({ logger });
    link.state = 'down';
    await clock.advance(5_000);
    expect(logger.lines).toHaveLength(2);
  });

  it.each<[string, () => unknown]>([
    [
      'throws',
      () => {
        throw new Error('disk full');
      },
    ],
    ['rejects', () => Promise.reject(new Error('disk full'))],
    ['has a then that throws', () => thenable({ get: () => fail('then') })],
    ['gives a thenable that throws', () => thenable({ value: () => fail('then') })],
  ])('that %s harms nobody', async (_, say) => {
    const { link, clock, presence } = logged({ logger: { info: say, warn: say, error: say } });
    await clock.settle();
    link.state = 'down';
    await clock.advance(70_000);
    link.state = 'up';
    await clock.advance(10_000);
    expect(presence.health().status).toBe('ok');
  });

  it('may ask presence itself', async () => {
    const clock = fakeClock();
    const { store, link } = faultyStore(clock.now);
    const seen: string[] = [];
    const say = () => {
      seen.push(presence.health().status);
      presence.attachToSocket(fakeSocket(), { userId: 'u' });
      void presence.close();
    };
    const presence = createPresence({ store, clock, logger: { warn: say, error: say } });
    link.state = 'down';
    await clock.advance(10_000);
    expect(seen[0]).toBe('stale');
  });

  it.each<[unknown, RegExp]>([
    [true, /logger is true without warn\(\); it is false, or has the functions warn and error/],
    ['info', /logger is "info" without warn\(\)/],
    [{ warn() {} }, /logger is an object without error\(\)/],
    [{ warn() {}, error() {}, info: 'no' }, /logger.info is "no"; it is a function/],
    [null, /logger is null without warn\(\)/],
  ])('that is none is refused: %o', (logger, words) => {
    expect(() => createPresence({ logger: logger as never })).toThrow(
      expect.objectContaining({ code: 'ERR_PRESENCE_OPTIONS', message: expect.stringMatching(words) }),
    );
  });

  it.each<[unknown, RegExp]>([
    [{ name: '' }, /router.name is ""; it is a string of 1 to 256 bytes/],
    [{ name: 'ü'.repeat(129) }, /router.name is .*; it is a string of 1 to 256 bytes/],
    [{ address: 'a'.repeat(257) }, /router.address is .*; it is a string of 1 to 256 bytes/],
    [{ address: 80 }, /router.address is 80/],
    [{ adress: 'h' }, /"adress" is no option/],
    ['web-1', /the options are "web-1"; an object is wanted/],
  ])('a router that is none is refused: %o', (given, words) => {
    expect(() => createPresence({ router: given as never })).toThrow(
      expect.objectContaining({ code: 'ERR_PRESENCE_OPTIONS', message: expect.stringMatching(words) }),
    );
    expect(() => createPresence({ router: { name: 'ü'.repeat(128), address: 'a'.repeat(256) } })).not.toThrow();
  });
});

it('stderr may be anything', () => {
  const real = Object.getOwnPropertyDescriptor(process, 'stderr') as PropertyDescriptor;
  const broken: Array<() => unknown> = [
    () => {
      throw new Error('EBADF');
    },
    () => undefined,
    () => ({
      listenerCount: () => 0,
      once() {},
      removeListener() {},
      write() {
        throw new Error('EPIPE');
      },
    }),
  ];
  for (const get of broken) {
    Object.defineProperty(process, 'stderr', { get, configurable: true });
    try {
      expect(() => writeToStderr('x')).not.toThrow();
    } finally {
      Object.defineProperty(process, 'stderr', real);
    }
  }
});
