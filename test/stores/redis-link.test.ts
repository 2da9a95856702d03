import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { type FakeClock, fakeClock } from 'voiceping-presence/testing';
import { script } from '../../src/stores/redis/commands/script';
import type { RedisLike } from '../../src/stores/redis/connection/client';
import { CommandGate } from '../../src/stores/redis/connection/command-gate';

const ROUND_TRIP_MS = 300;
const ONE = script('one', 'return 1');
const OTHER = script('other', 'return 2');

/** A client of a server far away, which knows a script once it was sent by its text. */
class FarClient extends EventEmitter {
  status = 'ready';
  isCluster = false;
  slots: string[][] = [];
  readonly calls: string[] = [];
  /** By master. */
  readonly known = new Map<string, Set<string>>();
  /** Answers nothing. */
  hangs = false;
  canPing = false;
  refusesPing = false;

  constructor(readonly clock: FakeClock) {
    super();
  }

  evalsha(sha: string, _count: number, key: string): Promise<unknown> {
    return this.answer(key, 'evalsha', (known) => {
      if (!known.has(sha)) throw new Error('NOSCRIPT No matching script.');
    });
  }

  eval(text: string, _count: number, key: string): Promise<unknown> {
    return this.answer(key, 'eval', (known) => known.add(script('', text).sha));
  }

  get ping(): (() => Promise<unknown>) | undefined {
    if (!this.canPing) return undefined;
    if (this.refusesPing)
      return () => Promise.reject(new Error("NOPERM this user has no permissions to run the 'ping' command"));
    return () => this.answer('', 'ping', () => undefined);
  }

  connect(): Promise<void> {
    this.status = 'connecting';
    return new Promise(() => undefined);
  }

  step(status: string, event = status): void {
    this.status = status;
    this.emit(event);
  }

  private answer(key: string, command: string, run: (known: Set<string>) => unknown): Promise<unknown> {
    const master = this.isCluster ? (this.slots[0]?.[0] ?? '') : '';
    const known = this.known.get(master) ?? new Set();
    this.known.set(master, known);
    this.calls.push(command);
    return new Promise((resolve, reject) => {
      const { hangs } = this;
      this.clock.setTimeout(() => {
        try {
          run(known);
        } catch (error) {
          this.clock.setTimeout(() => reject(error), ROUND_TRIP_MS / 2);
          return;
        }
        if (!hangs) this.clock.setTimeout(() => resolve(key), ROUND_TRIP_MS / 2);
      }, ROUND_TRIP_MS / 2);
    });
  }
}

function farLink(reason: () => string | undefined = () => undefined) {
  const clock = fakeClock();
  const client = new FarClient(clock);
  const link = new CommandGate(client as unknown as RedisLike, reason, clock);
  return { clock, client, link };
}

const outcome = (promise: Promise<unknown>): { is: unknown } => {
  const seen: { is: unknown } = { is: 'pending' };
  promise.then(
    (value) => {
      seen.is = value;
    },
    (error: Error) => {
      seen.is = error.message;
    },
  );
  return seen;
};

describe('a script', () => {
  // Asked for by its hash first, each took two round trips on a server that did not know it.
  it('takes one round trip, the first time too, and its text is sent once', async () => {
    const { clock, client, link } = farLink();
    const calls = [1, 2, 3].map((call) => outcome(link.run('lane', ONE, [`k${call}`], [])));
    calls.push(outcome(link.run('lane', OTHER, ['k4'], [])));
    await clock.advance(ROUND_TRIP_MS);
    expect(calls.map(({ is }) => is)).toEqual(['k1', 'k2', 'k3', 'k4']);
    expect(client.calls).toEqual(['eval', 'evalsha', 'evalsha', 'eval']);
  });

  it('is sent by its text once more on another connection, or where the server has forgotten it', async () => {
    const { clock, client, link } = farLink();
    const first = outcome(link.run('lane', ONE, ['k'], []));
    await clock.advance(ROUND_TRIP_MS);
    expect(first.is).toBe('k');
    client.known.clear();
    client.step('ready');
    const reconnected = outcome(link.run('lane', ONE, ['k'], []));
    await clock.advance(ROUND_TRIP_MS);
    expect(reconnected.is).toBe('k');
    client.known.clear();
    const flushed = outcome(link.run('lane', ONE, ['k'], []));
    await clock.advance(2 * ROUND_TRIP_MS);
    expect(flushed.is).toBe('k');
    expect(client.calls).toEqual(['eval', 'eval', 'evalsha', 'eval']);
  });

  it('is sent to each master of a Cluster', async () => {
    const { clock, client, link } = farLink();
    client.isCluster = true;
    for (const master of ['a', 'a', 'b', 'b']) {
      client.slots = Array.from({ length: 16_384 }, () => [master]);
      const call = outcome(link.run(master, ONE, ['k'], []));
      await clock.advance(ROUND_TRIP_MS);
      expect(call.is).toBe('k');
    }
    expect(client.calls).toEqual(['eval', 'evalsha', 'eval', 'evalsha']);
  });
});

describe('a connection that is on its way', () => {
  it('is waited for from step to step, and each is an answer', async () => {
    const { clock, client, link } = farLink();
    client.status = 'connecting';
    let answers = 0;
    const call = outcome(
      link.run('lane', ONE, ['k'], [], () => {
        answers += 1;
      }),
    );
    await clock.advance(1_800);
    client.step('connecting', '+node');
    await clock.advance(1_800);
    client.step('connect');
    await clock.advance(1_800);
    expect(call.is).toBe('pending');
    client.step('ready');
    await clock.advance(ROUND_TRIP_MS);
    expect(call.is).toBe('k');
    expect(answers).toBe(3);
    expect(clock.timers).toBe(0);
  });

  it('is given up where no step comes, or in the end', async () => {
    const { clock, client, link } = farLink();
    client.status = 'connecting';
    const silent = outcome(link.run('lane', ONE, ['k'], []));
    await clock.advance(1_899);
    expect(silent.is).toBe('pending');
    await clock.advance(1);
    expect(silent.is).toMatch(/^not connected to Redis: its client is connecting/);
    const endless = outcome(link.run('lane', ONE, ['k'], []));
    for (let step = 0; step < 10; step += 1) {
      client.step('connect');
      await clock.advance(1_000);
    }
    expect(endless.is).toMatch(/^not connected to Redis/);
  });

  it('is waited for a second where something has failed, and the reason is said', async () => {
    let why: string | undefined;
    const { clock, client, link } = farLink(() => why);
    client.status = 'reconnecting';
    const lost = outcome(link.run('lane', ONE, ['k'], []));
    await clock.advance(1_000);
    expect(lost.is).toMatch(/^not connected to Redis: its client is reconnecting/);
    why = 'Error: connect ECONNREFUSED';
    client.status = 'connecting';
    const refused = outcome(link.run('lane', ONE, ['k'], []));
    await clock.advance(1_000);
    expect(refused.is).toBe('not connected to Redis: Error: connect ECONNREFUSED');
  });
});

describe('a server that is slow', () => {
  it('is sent more as long as it answers, and nothing once it has answered nothing for two seconds', async () => {
    const { clock, client, link } = farLink();
    const hold = (ms: number) => link.send('lane', () => new Promise<void>((resolve) => clock.setTimeout(resolve, ms)));
    // The oldest call waits for long behind others, which are answered.
    void hold(10_000);
    for (let answer = 1; answer <= 6; answer += 1) {
      void hold(1_000);
      await clock.advance(1_000);
    }
    expect(outcome(link.run('lane', ONE, ['k'], [])).is).toBe('pending');
    await clock.settle();
    expect(client.calls).toEqual(['eval']);
    client.hangs = true;
    const stuck = outcome(link.send('other', () => new Promise(() => undefined)));
    await clock.advance(2_001);
    const after = outcome(link.run('other', ONE, ['k'], []));
    await clock.settle();
    await clock.settle();
    expect([stuck.is, after.is]).toEqual(['pending', 'Redis does not answer']);
  });

  // Timers run before sockets are read: what was answered meanwhile is there, and not read yet.
  it('is not what a process has met that stood still itself', async () => {
    const { clock, client, link } = farLink();
    let answer = (): void => undefined;
    const first = link.send(
      'lane',
      () =>
        new Promise<void>((resolve) => {
          answer = resolve;
        }),
    );
    await clock.settle();
    clock.set(clock.now() + 60_000);
    setImmediate(answer);
    const second = outcome(link.run('lane', ONE, ['k'], []));
    await first;
    await clock.settle();
    expect([second.is, client.calls]).toEqual(['pending', ['eval']]);
  });

  it('of several namespaces on one client each leaves nothing behind', () => {
    const clock = fakeClock();
    const client = new FarClient(clock);
    const links = Array.from({ length: 12 }, () => new CommandGate(client as unknown as RedisLike, undefined, clock));
    for (const event of ['ready', 'connect', '+node']) expect(client.listenerCount(event)).toBe(1);
    for (const link of links) link.close();
    for (const event of ['ready', 'connect', '+node']) expect(client.listenerCount(event)).toBe(0);
  });
});

describe('a call that is never answered', () => {
  // The client has forgotten it: its next connection was lost, too, before it was ready.
  it('is given up two seconds after another connection is ready', async () => {
    const { clock, client, link } = farLink();
    client.hangs = true;
    const lost = outcome(link.run('lane', ONE, ['k'], []));
    await clock.advance(60_000);
    expect(lost.is).toBe('pending');
    client.hangs = false;
    client.step('ready');
    await clock.advance(1_999);
    expect(lost.is).toBe('pending');
    await clock.advance(1);
    expect(lost.is).toBe('its connection was lost before the answer');
    const next = outcome(link.run('lane', ONE, ['next'], []));
    await clock.advance(2 * ROUND_TRIP_MS);
    expect(next.is).toBe('next');
  });

  it('is given up sooner where a command that was sent later has its answer', async () => {
    const { clock, client, link } = farLink();
    client.canPing = true;
    client.hangs = true;
    const lost = outcome(link.run('lane', ONE, ['k'], []));
    await clock.advance(60_000);
    client.hangs = false;
    client.step('ready');
    await clock.advance(2 * ROUND_TRIP_MS - 1);
    expect(lost.is).toBe('pending');
    await clock.advance(1);
    expect(lost.is).toBe('its connection was lost before the answer');
    await clock.advance(10_000);
    expect(client.calls).toEqual(['eval', 'ping', 'ping']);
  });

  it('is not one that the client has repeated, to a server that needs the text', async () => {
    const { clock, client, link } = farLink();
    client.canPing = true;
    const first = outcome(link.run('lane', ONE, ['first'], []));
    await clock.advance(ROUND_TRIP_MS);
    expect(first.is).toBe('first');
    const again = outcome(link.run('lane', ONE, ['again'], []));
    await clock.settle();
    for (const known of client.known.values()) known.clear();
    client.step('ready');
    await clock.advance(3 * ROUND_TRIP_MS);
    expect(again.is).toBe('again');
    expect(client.calls).toEqual(['eval', 'evalsha', 'ping', 'eval', 'ping']);
  });

  it('is given up after two seconds where nothing can be asked', async () => {
    const { clock, client, link } = farLink();
    client.canPing = true;
    client.hangs = true;
    const lost = outcome(link.run('lane', ONE, ['k'], []));
    await clock.settle();
    client.refusesPing = true;
    client.step('ready');
    await clock.advance(1_999);
    expect(lost.is).toBe('pending');
    await clock.advance(1);
    expect(lost.is).toBe('its connection was lost before the answer');
  });

  it('is refused at once on a client that has ended its connection', async () => {
    const { clock, client, link } = farLink();
    client.status = 'end';
    const refused = outcome(link.run('lane', ONE, ['k'], []));
    await clock.settle();
    expect(refused.is).toBe('the Redis client has ended its connection');
    expect(client.calls).toEqual([]);
  });
});
