import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RedisLike } from 'voiceping-presence/redis';
import { systemClock } from '../../src/public/clock';
import { CommandGate } from '../../src/stores/redis/connection/command-gate';
import { connect } from '../../src/stores/redis/connection/connect';

// Connections that are dead without an event, or lead to the wrong server, on a fake clock.

beforeEach(() => {
  vi.useFakeTimers();
  // What is drawn is drawn as long as it may be.
  vi.spyOn(Math, 'random').mockReturnValue(0.999999);
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

class FakeClient extends EventEmitter {
  status = 'ready';
  readonly disconnections: unknown[] = [];

  constructor(readonly options: object = { retryStrategy: () => 50 }) {
    super();
  }

  disconnect(reconnect?: boolean): void {
    this.disconnections.push(reconnect);
  }
}

function linkOn(client: FakeClient, isOwn = false) {
  const told: string[] = [];
  const link = new CommandGate(client as unknown as RedisLike, undefined, systemClock, {
    isOwn,
    onReconnect: () => {
      told.push('reconnects');
    },
    onTrapped: (answer) => {
      told.push(answer);
    },
  });
  const answer = (message: string) =>
    link.send('lane', () => Promise.reject(new Error(message))).catch(() => undefined);
  return { link, told, answer };
}

describe('a link on which nothing is answered', () => {
  // Versions of ioredis before 5.4 have no time-out for that.
  it.each([
    ['of our own is made anew after ten seconds', true, [true]],
    ['of the caller is left alone', false, []],
  ])('%s', async (_name, isOwn, disconnections) => {
    const client = new FakeClient();
    const { link } = linkOn(client, isOwn);
    const never = () => new Promise<never>(() => undefined);
    void link.send('lane', never);
    await pass(9_900);
    await expect(link.send('lane', never)).rejects.toThrow('Redis does not answer');
    expect(client.disconnections).toEqual([]);
    await pass(200);
    await expect(link.send('lane', never)).rejects.toThrow('Redis does not answer');
    expect(client.disconnections).toEqual(disconnections);
    link.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('not even the greeting: it is replaced, unless the server sends something now and then', async () => {
    const client = connect({ host: 'localhost' }) as unknown as FakeClient & { stream: object };
    const disconnect = vi.spyOn(client, 'disconnect').mockReturnValue();
    const begin = (): void => {
      client.status = 'connect';
      client.stream = { bytesRead: 0 };
      client.emit('connect');
    };
    begin();
    await pass(9_900);
    expect(disconnect).not.toHaveBeenCalled();
    await pass(200);
    expect(disconnect.mock.calls).toEqual([[true]]);
    // One that is loading its data.
    begin();
    for (let round = 0; round < 5; round += 1) {
      Object.assign(client.stream, { bytesRead: 100 + round });
      await pass(9_900);
    }
    expect(disconnect).toHaveBeenCalledTimes(1);
    client.status = 'ready';
    client.emit('ready');
    expect(vi.getTimerCount()).toBe(0);
    await pass(60_000);
    expect(disconnect).toHaveBeenCalledTimes(1);
  });
});

describe('a server at which nothing will be written any more', () => {
  it('is left once, however many answers say so, and later ever more seldom', async () => {
    const client = new FakeClient();
    const { link, told, answer } = linkOn(client);
    const at: number[] = [];
    for (let tenth = 0; tenth < 600; tenth += 1) {
      await Promise.all([answer('READONLY no'), answer('READONLY no'), answer('READONLY no')]);
      const before = client.disconnections.length;
      await pass(100);
      // It is back at the same server.
      if (client.disconnections.length > before) {
        at.push(tenth / 10);
        client.emit('ready');
      }
    }
    expect(at[0]).toBeLessThan(1);
    const pauses = at.slice(1).map((each, index) => each - (at[index] as number));
    expect(pauses.slice(0, 3).every((pause, index) => pause >= 2 ** index * 0.9)).toBe(true);
    expect(pauses.every((pause) => pause < 11)).toBe(true);
    expect(at.length).toBeGreaterThan(5);
    expect(at.length).toBeLessThan(12);
    expect(told).toEqual(at.map(() => 'reconnects'));
    link.close();
  });

  it('an answer that passes is no reason', async () => {
    const client = new FakeClient();
    const { answer } = linkOn(client);
    for (let second = 0; second < 9; second += 1) {
      await answer('NOREPLICAS Not enough good replicas to write.');
      await pass(1_000);
    }
    await pass(6_000);
    for (let second = 0; second < 9; second += 1) {
      await answer('NOREPLICAS Not enough good replicas to write.');
      await answer('LOADING Redis is loading the dataset in memory');
      await pass(1_000);
    }
    expect(client.disconnections).toEqual([]);
    for (let second = 0; second < 10; second += 1) {
      await answer('NOREPLICAS Not enough good replicas to write.');
      await pass(1_000);
      // The next connection has as long.
      if (client.disconnections.length === 1 && second < 5) client.emit('ready');
    }
    expect(client.disconnections).toEqual([true]);
  });

  it('of a client that is connecting by itself already, or has, nothing is asked', async () => {
    const client = new FakeClient();
    const { answer, told } = linkOn(client);
    await answer('READONLY no');
    client.emit('ready');
    await pass(2_000);
    await answer('READONLY no');
    client.status = 'connecting';
    await pass(2_000);
    expect(client.disconnections).toEqual([]);
    expect(told).toEqual([]);
  });

  it('all stores on the client hear of it, and who has closed does not', async () => {
    const client = new FakeClient();
    const [one, other, closed] = [linkOn(client), linkOn(client), linkOn(client)];
    expect(client.listenerCount('ready')).toBe(1);
    closed.link.close();
    await one.answer('READONLY no');
    await pass(1_000);
    expect([one.told, other.told, closed.told]).toEqual([['reconnects'], ['reconnects'], []]);
    await one.answer('READONLY no');
    one.link.close();
    other.link.close();
    expect(vi.getTimerCount()).toBe(0);
    expect(client.eventNames()).toEqual([]);
    await pass(60_000);
    expect(client.disconnections).toEqual([true]);
  });

  it.each([{}, { retryStrategy: null }, { retryStrategy: () => null }])(
    '%o: it is told what mends it',
    async (options) => {
      const client = new FakeClient(options);
      const { answer, told } = linkOn(client);
      await answer('READONLY no');
      await pass(1_000);
      expect(client.disconnections).toEqual([]);
      expect(told).toEqual(['READONLY no']);
    },
  );
});
