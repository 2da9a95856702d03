import { describe, expect, it, vi } from 'vitest';
import { ISO, known, pass, playing } from './playing';

// What a client does about links that are dead, requests that are lost, machines that have slept, and routers that come and go.

const { start, live } = playing();
const update = (userId: string, version: number, cursor?: string) => ({
  messageType: 31,
  fromId: userId,
  status: 'online',
  timestamp: ISO,
  version,
  reason: 'connect',
  cursor,
});

describe('a request that is not answered', () => {
  // The router was not ready for it; the dashboard stayed empty for ever.
  it('is asked again after ten seconds', async () => {
    const { router, client, states } = start({ ids: ['a'] });
    router.socket.open();
    await pass(9_999);
    expect(router.socket.requests).toHaveLength(1);
    await pass(1);
    expect(router.socket.requests.map(({ ids }) => ids)).toEqual([['a'], ['a']]);
    router.socket.answer([['a', 'online']]);
    expect(states).toEqual(['live']);
    expect(known(client)).toEqual(['a online']);
    await pass(29_000);
    expect(router.socket.requests).toHaveLength(2);
    expect(router.sockets).toHaveLength(1);
  });

  it.each(['e.1', null])('twice, ends the link, whatever else comes on it (cursor %s)', async (cursor) => {
    const { router, client, states } = start({ ids: ['a'], minBackoffMs: 1 });
    router.socket.open();
    router.socket.answer([], cursor);
    await pass(1_000);
    client.watch(['a', 'b']);
    for (let second = 0; second < 19; second += 1) {
      await pass(1_000);
      router.socket.say(update('a', second + 1, cursor === null ? undefined : 'e.2'));
      // Each is a request, and none of them is answered.
      if (second % 3 === 0) client.watch(['a', `c${second}`]);
    }
    expect(states).toEqual(['live']);
    await pass(1_001);
    expect(states).toEqual(['live', 'offline', 'connecting']);
  });

  it('has time while the router is answering it, or those before it', async () => {
    const { router, client, states } = start();
    router.socket.open();
    const part = (number: number, more: boolean) =>
      router.socket.say({
        messageType: 32,
        users: [],
        request: router.socket.last.request,
        part: number,
        more,
        resumed: false,
      });
    for (let number = 0; number < 10; number += 1) {
      part(number, true);
      await pass(9_000);
    }
    part(10, false);
    expect(states).toEqual(['live']);
    // Whoever scrolls without an end is always answered too late.
    for (let row = 0; row < 60; row += 1) {
      client.watch([`u${row}`]);
      const { request } = router.socket.last;
      await pass(1_000);
      router.socket.say({ messageType: 32, users: [], request: (request + 127) & 127, part: 0, more: false });
    }
    expect(router.sockets).toHaveLength(1);
    expect(states).toEqual(['live']);
  });

  // The router can answer nothing without its store: whoever left it for that would not be better off elsewhere.
  it('is waited for as long as the router says that it is stale, and is there', async () => {
    const { router, client, states } = start({ minBackoffMs: 1 });
    router.socket.open();
    router.socket.say({ messageType: 34, stale: true, asOf: ISO });
    for (let second = 0; second < 300; second += 1) {
      await pass(1_000);
      if (router.socket.pings.length > second / 31) router.socket.pong();
    }
    expect(router.sockets).toHaveLength(1);
    expect(router.socket.requests).toHaveLength(1);
    expect(states).toEqual(['stale']);
    expect(client.connection.refused).toBeUndefined();
    // The store is back, and the request was lost: it is asked again.
    router.socket.say({ messageType: 34, stale: false, asOf: ISO });
    await pass(10_000);
    expect(router.socket.requests).toHaveLength(2);
    router.socket.answer();
    expect(states).toEqual(['stale', 'live']);
  });
});

describe('a link that is dead without a word', () => {
  // On a Cluster, and where the router sends by itself, there is no cursor; today it was never noticed.
  it.each([
    ['a client with a cursor', 'e.1', false],
    ['one without', null, false],
    ['one whose router is stale', 'e.1', true],
  ])('is noticed by %s after forty seconds, and not before', async (_, cursor, stale) => {
    const { router, client, states } = start({ minBackoffMs: 1 });
    router.socket.open();
    router.socket.answer([['a', 'online']], cursor);
    if (stale) router.socket.say({ messageType: 34, stale, asOf: ISO });
    const at = Date.now();
    await pass(39_999);
    expect(client.connection.state).toBe(stale ? 'stale' : 'live');
    await pass(1);
    expect(states.at(-1)).toBe('offline');
    if (!stale) expect(Date.parse(String(client.connection.asOf))).toBe(at);
    expect(known(client)).toEqual(['a online']);
  });

  it('is not one that answers; and without a cursor the question costs nothing', async () => {
    const { router, client, states } = start();
    router.socket.open();
    router.socket.answer([['a', 'online']], null);
    const { connection } = client;
    for (let second = 0; second < 200; second += 1) {
      const { length } = router.socket.pings;
      await pass(1_000);
      if (router.socket.pings.length > length) router.socket.pong();
    }
    expect(router.socket.pings.length).toBeGreaterThan(4);
    expect(router.socket.requests).toHaveLength(1);
    expect(states).toEqual(['live']);
    // The refusal of the question is nobody's refusal.
    expect(client.connection).toBe(connection);
  });

  it('may be one that carries everything but presence', async () => {
    const { router, states } = await live({ minBackoffMs: 1 });
    for (let second = 0; second < 45; second += 1) {
      router.socket.deliver(new Uint8Array([1, 2, 3]).buffer);
      await pass(1_000);
    }
    expect(states).toContain('offline');
  });

  it('may be one that never opens', async () => {
    const { router, states } = start({ minBackoffMs: 1 });
    await pass(29_999);
    expect(states).toEqual([]);
    await pass(2);
    expect(states).toEqual(['offline', 'connecting']);
    expect(router.sockets).toHaveLength(2);
  });
});

describe('back-off', () => {
  /** Connections within so long to a router that shows everything, and closes a moment later. */
  async function flap(ms: number, liveMs: number) {
    const { router, client } = start();
    const until = Date.now() + ms;
    while (Date.now() < until) {
      if (router.socket.readyState === 0) {
        router.socket.open();
        router.socket.answer();
        await pass(liveMs);
        router.socket.end(1011);
      }
      await pass(20);
    }
    return { router, client };
  }

  // Twice a second, from every client, for ever.
  it('does not start over for a router that closes whoever it has just shown everything', async () => {
    const { router } = await flap(600_000, 20);
    expect(router.sockets.length).toBeLessThan(90);
    expect(router.sockets.length).toBeGreaterThan(20);
  });

  it('starts over after a link that was live for longer than the last wait', async () => {
    const { router } = await flap(600_000, 40_000);
    vi.spyOn(Math, 'random').mockReturnValue(0.999);
    const { length } = router.sockets;
    router.socket.end();
    await pass(1_000);
    // One that waits already does so as it was told: the next is as short as the first.
    while (router.sockets.length === length) await pass(20);
    router.socket.open();
    router.socket.answer();
    await pass(40_000);
    router.socket.end();
    const at = Date.now();
    const { length: before } = router.sockets;
    while (router.sockets.length === before) await pass(20);
    expect(Date.now() - at).toBeLessThanOrEqual(1_020);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('of %s milliseconds is no storm', async (ms) => {
    const { router } = start({ probeMs: ms, maxBackoffMs: ms, minBackoffMs: ms });
    for (let second = 0; second < 60; second += 1) {
      if (router.socket.readyState === 0) router.socket.end();
      await pass(1_000);
    }
    expect(router.sockets.length).toBeLessThan(65);
  });
});

/** A page, as far as it tells of waking. */
function page() {
  const target = () => {
    const listeners = new Map<string, Set<() => void>>();
    return {
      listeners,
      addEventListener: (name: string, listener: () => void) =>
        listeners.set(name, (listeners.get(name) ?? new Set()).add(listener)),
      removeEventListener: (name: string, listener: () => void) => listeners.get(name)?.delete(listener),
      count: () => Array.from(listeners.values()).reduce((count, { size }) => count + size, 0),
    };
  };
  const window = target();
  const document = { ...target(), hidden: false };
  vi.stubGlobal('addEventListener', window.addEventListener);
  vi.stubGlobal('removeEventListener', window.removeEventListener);
  vi.stubGlobal('document', document);
  const say = (name: string) => {
    for (const { listeners } of [window, document]) for (const listener of listeners.get(name) ?? []) listener();
  };
  return { say, document, count: () => window.count() + document.count() };
}

const SIGNS = ['visibilitychange', 'pageshow', 'focus', 'online', 'a jump of the clock', 'a clock that was set back'];
async function wake(say: (name: string) => void, sign: string): Promise<void> {
  if (sign.includes('clock')) vi.setSystemTime(Date.now() + (sign.includes('back') ? -3_600_000 : 3_600_000));
  else for (let times = 0; times < 3; times += 1) say(sign);
  await pass(1_000);
}

describe.each(SIGNS)('a machine that wakes, as %s says', (sign) => {
  // It went on saying "live" for forty seconds.
  it.each([
    ['live', 'e.1', false],
    ['live without a cursor', null, false],
    ['stale', 'e.1', true],
  ])('asks at once whether its link is alive: %s', async (_, cursor, stale) => {
    const { say } = page();
    const { router, client, states } = start({ minBackoffMs: 1 });
    router.socket.open();
    router.socket.answer([], cursor);
    if (stale) router.socket.say({ messageType: 34, stale, asOf: ISO });
    await pass(15_000);
    await wake(say, sign);
    const asked = router.socket.requests.length - 1 + router.socket.pings.length;
    // Once, however many signs there are.
    expect(asked).toBe(1);
    await pass(5_000);
    // Nor does another sign make it wait for longer.
    await wake(say, sign);
    await pass(4_001);
    expect(states.at(-1)).not.toBe(stale ? 'stale' : 'live');
    client.close();
  });

  it('stays where it is when its link answers', async () => {
    const { say } = page();
    const { router, states } = await live();
    await pass(15_000);
    await wake(say, sign);
    router.socket.answer();
    await pass(25_000);
    expect(states).toEqual(['live']);
  });

  it('connects at once where it waited to', async () => {
    const { say } = page();
    vi.spyOn(Math, 'random').mockReturnValue(0.999);
    const { router } = await live({ minBackoffMs: 20_000 });
    router.socket.end();
    await pass(1);
    await wake(say, sign);
    expect(router.sockets).toHaveLength(2);
  });

  it('waits no longer than ten seconds for what was to be opened before', async () => {
    const { say } = page();
    const { router } = start({ minBackoffMs: 1 });
    await pass(2_000);
    await wake(say, sign);
    await pass(4_000);
    await wake(say, sign);
    await pass(6_001);
    expect(router.sockets).toHaveLength(2);
  });

  it('nor for a token', async () => {
    const { say } = page();
    let asked = 0;
    const token = () => {
      asked += 1;
      return asked === 1 ? new Promise<string>(() => undefined) : 'late';
    };
    const { router } = start({ token, minBackoffMs: 1 });
    await pass(2_000);
    await wake(say, sign);
    await pass(4_000);
    await wake(say, sign);
    await pass(6_001);
    expect(router.socket.protocols).toEqual(['late', 'web']);
  });

  it('asks for another token where it was refused', async () => {
    const { say } = page();
    let token = 'old';
    const { router, client } = await live({ token: () => token });
    router.socket.end(1008, 'no');
    await pass(120_000);
    await wake(say, sign);
    expect(router.sockets).toHaveLength(1);
    expect(client.connection).toMatchObject({ state: 'closed', refused: 'no' });
    token = 'new';
    await wake(say, sign);
    expect(router.sockets).toHaveLength(2);
    expect(router.socket.protocols).toEqual(['new', 'web']);
  });
});

describe('signs of waking', () => {
  it('are none of a page that is hidden, and are listened to no more by a client that has ended', async () => {
    const { say, document, count } = page();
    const { router, client } = await live();
    expect(count()).toBe(4);
    document.hidden = true;
    say('visibilitychange');
    await pass(1_000);
    expect(router.socket.requests).toHaveLength(1);
    client.close();
    expect(count()).toBe(0);
  });

  it('are not a timer that is a little late', async () => {
    const { router } = await live();
    vi.setSystemTime(Date.now() + 3_000);
    await pass(2_000);
    expect(router.socket.requests).toHaveLength(1);
  });

  it('begin again with a client that is told to connect after it was refused', async () => {
    const { say, count } = page();
    const { router, client } = await live();
    router.socket.end(1008);
    expect(count()).toBe(0);
    client.reconnect();
    expect(count()).toBe(4);
    router.socket.end();
    say('focus');
    expect(router.sockets).toHaveLength(3);
  });
});

describe('what a router says of its store', () => {
  const stale = (isStale: boolean) => ({ messageType: 34, stale: isStale, asOf: ISO });

  // The client dropped the word that it was over, as nothing had been shown, and was stale for ever.
  it('counts before everything has been shown, too: the last word', async () => {
    const { router, states } = start();
    router.socket.open();
    router.socket.say(stale(true));
    router.socket.say(stale(false));
    router.socket.answer();
    expect(states).toEqual(['stale', 'live']);
  });

  it('holds for what is shown after it', async () => {
    const { router, client, states } = start();
    router.socket.open();
    router.socket.say(stale(true));
    router.socket.answer();
    expect(states).toEqual(['stale']);
    router.socket.say(stale(false));
    expect(client.connection.state).toBe('live');
  });

  // What the last connection had shown was taken for what this one has.
  it('says nothing of another connection', async () => {
    const { router, client, states } = await live({ minBackoffMs: 1 });
    router.socket.say(stale(true));
    router.socket.end();
    await pass(1);
    router.socket.open();
    router.socket.say(stale(false));
    expect(client.connection.state).toBe('connecting');
    router.socket.answer();
    expect(states).toEqual(['live', 'stale', 'offline', 'connecting', 'live']);
  });

  it('is forgotten with the router that has said it, where the next one says nothing of its store', async () => {
    const { router, client } = await live({ minBackoffMs: 1 });
    router.socket.say(stale(true));
    router.socket.end();
    await pass(1);
    router.socket.open();
    router.socket.answer();
    expect(client.connection.state).toBe('live');
  });

  it('finds no half of a snapshot that another connection had begun', async () => {
    const { router, client } = await live({ minBackoffMs: 1 });
    router.socket.answer([['a', 'online']]);
    const part = { messageType: 32, users: [{ userId: 'b', status: 'online' }], more: true, resumed: false };
    router.socket.say({ ...part, request: router.socket.last.request, part: 0 });
    router.socket.end();
    await pass(1);
    router.socket.open();
    router.socket.say({ ...part, users: [], request: router.socket.last.request, part: 1, more: false });
    expect(known(client)).toEqual(['a online']);
  });
});

describe('a refusal that does not say of what', () => {
  // An older request was refused after a newer one was granted.
  it.each(['not-allowed', 'too-many-requests', 'timeout', undefined])(
    'is not of what is granted already (%s)',
    async (code) => {
      const { router, client } = await live();
      const { connection } = client;
      router.socket.say({ messageType: 33, error: 'no', code });
      await pass(60_000 / 3);
      expect(client.connection).toBe(connection);
      expect(router.socket.requests).toHaveLength(1);
    },
  );
});

describe('a listener of changes', () => {
  // The client said "live" for ever, and had no connection.
  it('may close the client while a snapshot is shown, which is closed then', () => {
    const { client, router } = start();
    client.onChange(() => client.close());
    router.socket.open();
    router.socket.answer([['u', 'online']]);
    expect(client.connection.state).toBe('closed');
  });

  it('may connect it again, which waits for its turn then', () => {
    const { client, router } = start();
    client.onChange(() => client.reconnect());
    router.socket.open();
    router.socket.answer([['u', 'online']]);
    expect(client.connection.state).toBe('offline');
  });
});
