import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RedisLike } from 'voiceping-presence/redis';
import { systemClock } from '../../src/public/clock';
import { Subscriber } from '../../src/stores/redis/connection/subscriber';

// On fake connections, and a fake clock.

class FakeConnection extends EventEmitter {
  status = 'connecting';
  isEnded = false;
  readonly asked: Array<{ channel: string; answer(error?: Error): void }> = [];

  constructor(readonly options: object) {
    super();
  }

  become(status: string): void {
    this.status = status;
    this.emit(status);
  }

  subscribe(channel: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.asked.push({ channel, answer: (error) => (error === undefined ? resolve(1) : reject(error)) });
    });
  }

  disconnect(): void {
    this.isEnded = true;
  }
}

class FakeClient extends FakeConnection {
  readonly duplicates: FakeConnection[] = [];
  override status = 'ready';
  isBroken = false;

  duplicate(overrides: object): FakeConnection {
    if (this.isBroken) throw new Error('no');
    const duplicate = new FakeConnection({ ...this.options, ...overrides });
    this.duplicates.push(duplicate);
    return duplicate;
  }

  get last(): FakeConnection {
    return this.duplicates[this.duplicates.length - 1] as FakeConnection;
  }
}

const SECOND = 1_000;
const pass = (seconds: number) => vi.advanceTimersByTimeAsync(seconds * SECOND);

function setUp(options: object = {}) {
  const client = new FakeClient(options);
  const events: string[] = [];
  const subscriber = new Subscriber({
    // Waits are at their longest, as with fakeClock: with random ones, two of them sometimes fell into one step.
    clock: { ...systemClock, random: () => 0.999 },
    client: client as unknown as RedisLike,
    channels: ['a', 'b'],
    onMessage: (channel, text) => events.push(`${channel}: ${text}`),
    onListening: (isFirst) => events.push(isFirst ? 'listens' : 'listens again'),
    onError: (error) => events.push((error as Error).message),
  });
  const answer = async (error?: Error): Promise<void> => {
    for (const { answer } of client.last.asked.splice(0)) answer(error);
    await pass(0);
  };
  const begin = async (): Promise<void> => {
    client.last.become('ready');
    await answer();
  };
  return { client, events, subscriber, answer, begin };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('the connection for messages', () => {
  it('leaves to ioredis nothing that it would do by itself, and the options of the caller as they were', () => {
    const options = {
      host: 'h',
      autoResubscribe: true,
      reconnectOnError: () => true,
      commandTimeout: 5,
      retryStrategy: null,
    };
    const before = { ...options };
    const { client } = setUp(options);
    expect(client.last.options).toMatchObject({
      host: 'h',
      autoResubscribe: false,
      autoResendUnfulfilledCommands: false,
      reconnectOnError: null,
      commandTimeout: undefined,
      lazyConnect: false,
    });
    expect(options).toEqual(before);
  });

  it('says now and then again what it listens to: with an answer it stays', async () => {
    const { client, events, begin, answer } = setUp();
    await begin();
    for (let round = 0; round < 3; round += 1) {
      await pass(9);
      expect(client.last.asked).toEqual([]);
      await pass(4);
      expect(client.last.asked.map(({ channel }) => channel)).toEqual(['a', 'b']);
      await answer();
    }
    expect(client.duplicates).toHaveLength(1);
    expect(events).toEqual(['listens']);
  });

  it('is replaced without an answer, and each later one waits longer for one', async () => {
    const { client, events, begin } = setUp();
    await begin();
    await pass(13);
    await pass(4);
    expect(client.duplicates).toHaveLength(2);
    expect(client.duplicates[0]?.isEnded).toBe(true);
    expect(client.isEnded).toBe(false);
    const noAnswer = 'the connection for messages gives no answer, and is replaced';
    expect(events).toEqual(['listens', noAnswer]);
    client.last.become('ready');
    await pass(5.9);
    expect(client.duplicates).toHaveLength(2);
    await pass(2);
    expect(client.duplicates).toHaveLength(3);
    await begin();
    expect(events).toEqual(['listens', noAnswer, noAnswer, 'listens again']);
    // Of the old ones nothing counts any more.
    client.duplicates[0]?.emit('message', 'a', 'late');
    client.last.emit('message', 'a', 'in time');
    expect(events[events.length - 1]).toBe('a: in time');
  });

  it('is verified at once where something is missed, and being missed more often gives it no more time', async () => {
    const { client, subscriber, begin } = setUp();
    await begin();
    subscriber.verify();
    expect(client.last.asked).toHaveLength(2);
    for (let round = 0; round < 20; round += 1) {
      subscriber.verify();
      await pass(0.2);
    }
    expect(client.duplicates).toHaveLength(2);
  });

  it('an answer that comes late is none', async () => {
    const { client, events, subscriber, begin } = setUp();
    await begin();
    subscriber.verify();
    const late = client.last.asked.splice(0);
    await pass(4);
    for (const { answer } of late) answer(new Error('Connection is closed.'));
    await pass(0);
    expect(events).toHaveLength(2);
  });

  it('nor does an answer of the old connection say that the new one listens', async () => {
    const { client, events, subscriber, begin } = setUp();
    await begin();
    subscriber.verify();
    const late = client.last.asked.splice(0);
    await pass(4);
    expect(client.duplicates).toHaveLength(2);
    for (const { answer } of late) answer();
    await pass(0);
    expect(subscriber.disconnection).toBeDefined();
    await begin();
    expect(events.pop()).toBe('listens again');
    expect(subscriber.disconnection).toBeUndefined();
  });

  it('that is refused asks again, and tells when it is heard', async () => {
    const { client, events, begin, answer } = setUp();
    client.last.become('ready');
    await answer(new Error('NOPERM'));
    await pass(7);
    expect(client.last.asked).toHaveLength(2);
    await answer(new Error('NOPERM'));
    await pass(7);
    await answer();
    expect(events).toEqual(['NOPERM', 'NOPERM', 'listens']);
    // Rights that are taken away from one that listens.
    await pass(13);
    await answer(new Error('NOPERM'));
    await pass(7);
    await answer();
    expect(events.slice(3)).toEqual(['NOPERM', 'listens again']);
    await begin();
    expect(client.duplicates).toHaveLength(1);
  });

  it('that was lost comes back, and is replaced where it does not while the client works', async () => {
    const { client, events, begin } = setUp();
    await begin();
    client.last.become('close');
    await begin();
    expect(events).toEqual(['listens', 'listens again']);
    client.last.become('close');
    client.status = 'reconnecting';
    await pass(60);
    expect(client.duplicates).toHaveLength(1);
    client.status = 'ready';
    await pass(13);
    expect(client.duplicates).toHaveLength(2);
    await begin();
    expect(events).toEqual(['listens', 'listens again', 'listens again']);
  });

  it('where `duplicate` of the client throws: that is reported, and tried again', async () => {
    const { client, events, begin } = setUp();
    await begin();
    client.isBroken = true;
    await pass(18);
    expect(events.slice(-1)).toEqual(['no']);
    client.isBroken = false;
    await pass(13);
    expect(client.duplicates).toHaveLength(2);
  });

  it.each<[string, (connection: FakeConnection, begin: () => Promise<void>) => Promise<unknown>]>([
    ['before it is connected', async () => undefined],
    ['while it asks', async (connection) => connection.become('ready')],
    ['while it listens', (_, begin) => begin()],
    ['while it asks again', (_, begin) => begin().then(() => pass(13))],
    [
      'after it was refused',
      async (connection) => {
        connection.become('ready');
        for (const { answer } of connection.asked.splice(0)) answer(new Error('NOPERM'));
        await pass(0);
      },
    ],
    ['after it was lost', (connection, begin) => begin().then(() => connection.become('close'))],
  ])('closed %s leaves nothing behind, and does nothing more', async (_name, reach) => {
    const { client, events, subscriber, begin } = setUp();
    await reach(client.last, begin);
    const before = events.length;
    const waiting = client.last.asked.splice(0);
    subscriber.close();
    expect(vi.getTimerCount()).toBe(0);
    expect(client.last.isEnded).toBe(true);
    for (const { answer } of waiting) answer(new Error('Connection is closed.'));
    subscriber.verify();
    subscriber.replace();
    client.last.become('ready');
    client.last.emit('message', 'a', 'late');
    await pass(60);
    expect(events).toHaveLength(before);
    expect(client.duplicates).toHaveLength(1);
    expect(client.eventNames()).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });
});
