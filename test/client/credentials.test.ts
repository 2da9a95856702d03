import { describe, expect, it, vi } from 'vitest';
import { createPresenceClient } from 'voiceping-presence/client';
import { pass, playing } from './playing';

// Tokens that end, routers that refuse, and what brings a client back.

const { start, live } = playing();
const STATUS_URL = 'http://router/api/presence/status';

/** Tokens by the order in which they were asked for. */
function tokens(give: (asked: number) => string | undefined | Promise<string | undefined>) {
  const source = () => {
    source.asked += 1;
    return give(source.asked);
  };
  source.asked = 0;
  return source;
}

describe('a token', () => {
  it.each([
    ['a string', () => 'a b'],
    ['an object', () => ({ toString: () => 'secret' })],
    ['a number', () => 7],
  ])('that is %s and cannot be one says so, and never what it is', async (_, value) => {
    const token = value() as string;
    if (typeof token !== 'string') {
      expect(() => start({ token })).toThrow(/^token is a (object|number); it is a string, or a function/);
      return;
    }
    class Strict {
      constructor(_url: string, protocols: string[]) {
        throw new SyntaxError(`${protocols.length} protocols`);
      }
    }
    const { client } = start({ token, WebSocket: Strict as never });
    expect(client.connection).toMatchObject({ state: 'closed', refused: 'SyntaxError: 2 protocols' });
  });

  it.each([
    ['at once', (asked: number) => `t${asked}`],
    ['as a promise', async (asked: number) => `t${asked}`],
  ])('is asked for at each attempt; it may come %s', async (_, give) => {
    const token = tokens(give);
    const { router, states } = start({ token, minBackoffMs: 1 });
    for (let times = 1; times <= 3; times += 1) {
      await pass(2);
      expect(router.sockets.map(({ protocols }) => protocols[0])).toEqual(['t1', 't2', 't3'].slice(0, times));
      router.socket.open();
      router.socket.answer();
      router.socket.end();
    }
    expect(token.asked).toBe(3);
    expect(states.slice(0, 3)).toEqual(['live', 'offline', 'connecting']);
  });

  it.each([undefined, '', null as never])('may be none: %s', async (none) => {
    const { router } = start({ token: () => none });
    expect(router.socket.protocols).toEqual([]);
  });

  it.each<[string, () => Promise<string>]>([
    [
      'throws',
      () => {
        throw new Error('no session');
      },
    ],
    ['is rejected', () => Promise.reject(new Error('no session'))],
    ['never comes', () => new Promise(() => undefined)],
  ])('that %s is asked for again, later each time; the page is told once', async (how, give) => {
    const token = tokens(give);
    const { router, client, warnings } = start({ token });
    await pass(600_000);
    expect(router.sockets).toHaveLength(0);
    expect(token.asked).toBeGreaterThan(8);
    expect(token.asked).toBeLessThan(90);
    expect(client.connection.state).not.toBe('closed');
    expect(warnings).toEqual(how === 'never comes' ? [] : ['voiceping-presence: there is no token: Error: no session']);
  });

  it('that comes too late is of no interest: to a client that is closed, or that has asked again', async () => {
    const waiting: Array<(token: string) => void> = [];
    const token = tokens(() => new Promise((resolve) => waiting.push(resolve)));
    const { router, client } = start({ token });
    client.reconnect();
    waiting[0]?.('first');
    await pass(1);
    expect(router.sockets).toHaveLength(0);
    waiting[1]?.('second');
    await pass(1);
    expect(router.sockets.map(({ protocols }) => protocols[0])).toEqual(['second']);
    client.reconnect();
    client.close();
    waiting[2]?.('third');
    await pass(1);
    expect(router.sockets).toHaveLength(1);
  });

  it('is the same for the status endpoint as for the socket', async () => {
    const fetched = vi.fn(async (_url: string, _options: { headers: object }) => Response.json({}));
    vi.stubGlobal('fetch', fetched);
    const token = tokens(async (asked) => `t${asked}`);
    const { router } = start({ token, ids: ['a'], statusUrl: STATUS_URL });
    await pass(1);
    expect(fetched.mock.calls[0]?.[1].headers).toMatchObject({ authorization: 'Bearer t1' });
    expect(router.socket.protocols).toEqual(['t1', 'web']);
    expect(token.asked).toBe(1);
  });
});

/** The ways in which a router says that a token is not, or no longer, taken. */
const REFUSALS: ReadonlyArray<[string, (socket: ReturnType<typeof start>['router']['socket']) => void, string]> = [
  ['4001', (socket) => socket.end(4001, 'presence: credentials have ended'), 'presence: credentials have ended'],
  ['4001 without a reason', (socket) => socket.end(4001), 'the credentials have ended'],
  [
    'a 401 in place of a WebSocket, which ws tells',
    (socket) => {
      socket.onerror?.({ message: 'Unexpected server response: 401' });
      socket.end();
    },
    'the router answered 401',
  ],
];

describe.each(REFUSALS)('refused with %s', (_, refuse, refused) => {
  it('a client asks for another token at once, and says why', async () => {
    const token = tokens((asked) => `t${asked}`);
    const { router, client } = await live({ token, minBackoffMs: 10_000 });
    const told: unknown[] = [];
    client.onConnectionChange(({ state, refusedCode, refused: why }) => told.push([state, refusedCode, why]));
    refuse(router.socket);
    expect(token.asked).toBe(2);
    expect(router.sockets.map(({ protocols }) => protocols[0])).toEqual(['t1', 't2']);
    router.socket.open();
    expect(router.socket.last.cursor).toBe('e.1');
    router.socket.answer();
    expect(told).toEqual([
      ['offline', 'unauthorized', refused],
      ['connecting', undefined, undefined],
      ['live', undefined, undefined],
    ]);
    expect(client.connection.refused).toBeUndefined();
  });

  // Each attempt was refused, and told the page nothing, for ever.
  it('a client with a string is closed, says why, and stays away until it is told to come back', async () => {
    const { router, client, states } = await live({ token: 'old' });
    refuse(router.socket);
    expect(client.connection).toMatchObject({ state: 'closed', refused, refusedCode: 'unauthorized' });
    expect(vi.getTimerCount()).toBe(0);
    await pass(600_000);
    expect(router.sockets).toHaveLength(1);
    client.reconnect('new');
    expect(router.sockets.map(({ protocols }) => protocols[0])).toEqual(['old', 'new']);
    router.socket.open();
    router.socket.answer();
    expect(states).toEqual(['live', 'closed', 'connecting', 'live']);
    expect(client.connection.refused).toBeUndefined();
  });

  it('a client whose token is the same stays away until there is another', async () => {
    let current = 'old';
    const token = tokens(async () => current);
    const { router, client, states } = start({ token });
    await pass(1);
    refuse(router.socket);
    await pass(300_000);
    expect(router.sockets).toHaveLength(1);
    expect(client.connection).toMatchObject({ state: 'closed', refused, refusedCode: 'unauthorized' });
    // The page is asked, and not the router.
    expect(token.asked).toBeLessThan(15);
    current = 'new';
    await pass(31_000);
    expect(router.sockets.map(({ protocols }) => protocols[0])).toEqual(['old', 'new']);
    expect(states).toEqual(['offline', 'closed', 'connecting']);
  });

  it('a client whose other token is refused, too, is closed: those after it are no better', async () => {
    const token = tokens((asked) => `t${asked}`);
    const { router, client, states } = start({ token });
    refuse(router.socket);
    refuse(router.socket);
    await pass(600_000);
    expect(token.asked).toBe(2);
    expect(router.sockets).toHaveLength(2);
    expect(states).toEqual(['offline', 'connecting', 'closed']);
    client.reconnect();
    expect(router.socket.protocols).toEqual(['t3', 'web']);
  });

  // At once each time, that would be a storm.
  it('a client whose tokens are taken for a moment only comes back later each time', async () => {
    const token = tokens((asked) => `t${asked}`);
    const { router } = start({ token });
    for (let waited = 0; waited < 600_000; waited += 20) {
      if (router.socket.readyState === 0) {
        router.socket.open();
        router.socket.answer();
        refuse(router.socket);
      }
      await pass(20);
    }
    expect(router.sockets.length).toBeGreaterThan(20);
    expect(router.sockets.length).toBeLessThan(90);
  });

  it('a client without a token, whose cookie may be another one, tries once more', async () => {
    const { router, client, states } = await live();
    refuse(router.socket);
    expect(client.connection).toMatchObject({ state: 'offline', refused, refusedCode: 'unauthorized' });
    await pass(1_000);
    expect(router.sockets).toHaveLength(2);
    refuse(router.socket);
    await pass(600_000);
    expect(router.sockets).toHaveLength(2);
    expect(states.at(-1)).toBe('closed');
  });
});

describe('a client that is not allowed', () => {
  it.each<[string, (socket: ReturnType<typeof start>['router']['socket']) => void]>([
    ['1008', (socket) => socket.end(1008, 'no')],
    [
      'a 403 in place of a WebSocket',
      (socket) => {
        socket.onerror?.({ message: 'Unexpected server response: 403' });
        socket.end();
      },
    ],
  ])('(%s) is closed, whatever its token', async (_, refuse) => {
    const token = tokens((asked) => `t${asked}`);
    const { router, client } = start({ token });
    refuse(router.socket);
    await pass(600_000);
    expect(token.asked).toBe(1);
    expect(router.sockets).toHaveLength(1);
    expect(client.connection).toMatchObject({ state: 'closed', refusedCode: 'not-allowed' });
    client.reconnect();
    expect(router.sockets).toHaveLength(2);
  });

  it('is not one whose router, or whatever is before it, answers otherwise', async () => {
    const { router, client } = start({ token: 't', minBackoffMs: 1, maxBackoffMs: 1 });
    for (const status of [500, 502, 404, 429]) {
      router.socket.onerror?.({ message: `Unexpected server response: ${status}` });
      router.socket.end();
      await pass(100);
    }
    for (const error of [undefined, null, {}, { message: 401 }, { message: 'connect ECONNREFUSED 127.0.0.1:401' }]) {
      router.socket.onerror?.(error);
      router.socket.end();
      await pass(100);
    }
    expect(client.connection.state).toBe('connecting');
  });
});

describe('where a browser does not say why', () => {
  /** A status endpoint that answers so, and how often it was asked. */
  const answering = (answer: () => unknown) => {
    const fetched = vi.fn(async (_url: string, _options: { headers: object; body: string }) => answer());
    vi.stubGlobal('fetch', fetched);
    return fetched;
  };
  const fail = async (router: ReturnType<typeof start>['router']) => {
    router.socket.end(1006);
    await pass(1);
  };

  it.each([
    [401, 'unauthorized'],
    [403, 'not-allowed'],
  ])(
    'the status endpoint is asked after two attempts that were never open: its %d counts',
    async (status, refusedCode) => {
      const fetched = answering(() => new Response('', { status }));
      const { router, client } = start({ token: 'old', statusUrl: STATUS_URL, minBackoffMs: 1 });
      await fail(router);
      await pass(1);
      expect(fetched).not.toHaveBeenCalled();
      await fail(router);
      expect(fetched).toHaveBeenCalledTimes(1);
      expect(fetched.mock.calls[0]?.[1]).toMatchObject({
        headers: { authorization: 'Bearer old' },
        body: '{"userIds":[]}',
      });
      const refused = `the status endpoint answered ${status}`;
      expect(client.connection).toMatchObject({ state: 'closed', refused, refusedCode });
      await pass(600_000);
      expect(router.sockets.length).toBeLessThanOrEqual(3);
    },
  );

  it('another token is asked for, and connects', async () => {
    answering(() => new Response('', { status: 401 }));
    let current = 'old';
    const { router, client } = start({ token: () => current, statusUrl: STATUS_URL, minBackoffMs: 1_000 });
    await fail(router);
    await pass(1_000);
    current = 'new';
    await fail(router);
    expect(router.socket.protocols).toEqual(['new', 'web']);
    expect(client.connection.state).toBe('connecting');
  });

  it.each<[string, () => unknown]>([
    ['200', () => Response.json({})],
    ['500', () => new Response('', { status: 500 })],
    ['nothing', () => Promise.reject(new Error('no network'))],
    ['no response', () => undefined],
  ])('%s from it is no refusal; it is asked each other time', async (_, answer) => {
    const fetched = answering(answer);
    const { router, client } = start({ token: 'old', statusUrl: STATUS_URL, minBackoffMs: 1, maxBackoffMs: 1 });
    for (let times = 0; times < 8; times += 1) {
      await fail(router);
      await pass(1);
    }
    expect(fetched).toHaveBeenCalledTimes(4);
    expect(client.connection.state).not.toBe('closed');
  });

  it('is not asked twice at once, and what it says too late is of no interest', async () => {
    const waiting: Array<(answer: Response) => void> = [];
    const fetched = answering(() => new Promise((resolve) => waiting.push(resolve)));
    const { router, client } = start({ token: 'old', statusUrl: STATUS_URL, minBackoffMs: 1, maxBackoffMs: 1 });
    for (let times = 0; times < 8; times += 1) {
      await fail(router);
      await pass(1);
    }
    expect(fetched).toHaveBeenCalledTimes(1);
    router.socket.open();
    router.socket.answer();
    waiting[0]?.(new Response('', { status: 401 }));
    await pass(1);
    expect(client.connection.state).toBe('live');
  });

  it('connections that were open say nothing of the token', async () => {
    const fetched = answering(() => new Response('', { status: 401 }));
    const { router } = start({ token: 'old', statusUrl: STATUS_URL, minBackoffMs: 1, maxBackoffMs: 1 });
    for (let times = 0; times < 8; times += 1) {
      router.socket.open();
      await fail(router);
      await pass(1);
    }
    expect(fetched).not.toHaveBeenCalled();
  });
});

describe('reconnect()', () => {
  it('leaves a link that is live, and goes on where it was', async () => {
    const { router, client, states } = await live({ token: 'old' });
    client.reconnect('new');
    expect(router.sockets[0]?.isClosedByClient).toBe(true);
    expect(router.socket.protocols).toEqual(['new', 'web']);
    router.socket.open();
    expect(router.socket.last.cursor).toBe('e.1');
    router.socket.answer();
    expect(states).toEqual(['live', 'connecting', 'live']);
  });

  it('takes another function, too', async () => {
    const { router, client } = await live({ token: 'old' });
    client.reconnect(async () => 'new');
    await pass(1);
    expect(router.socket.protocols).toEqual(['new', 'web']);
  });

  // Whoever does that at each loss would connect as fast as the machine can.
  it.each(['offline', 'closed', 'connecting'])('by a listener that hears "%s" waits as after a loss', async (state) => {
    const { router, client } = start();
    client.onConnectionChange((connection) => {
      if (connection.state === state) client.reconnect();
    });
    for (let waited = 0; waited < 600_000; waited += 20) {
      if (router.socket.readyState === 0) router.socket.end(state === 'closed' ? 1008 : 1006);
      await pass(20);
    }
    expect(router.sockets.length).toBeGreaterThan(state === 'connecting' ? 0 : 20);
    expect(router.sockets.length).toBeLessThan(90);
  });

  it('does nothing after close()', async () => {
    const { router, client } = await live();
    client.close();
    client.reconnect();
    await pass(60_000);
    expect(router.sockets).toHaveLength(1);
    expect(client.connection.state).toBe('closed');
  });
});

describe('ready', () => {
  it('resolves once everything has been shown, and for good', async () => {
    const { router, client } = start();
    let isReady = false;
    void client.ready.then(() => {
      isReady = true;
    });
    router.socket.open();
    router.socket.say({ messageType: 34, stale: true, asOf: null });
    await pass(1);
    expect(isReady).toBe(false);
    router.socket.answer();
    await pass(1);
    expect(isReady).toBe(true);
    client.close();
    await client.ready;
  });

  it('rejects with the reason where the client is closed before, and is another promise when it comes back', async () => {
    const { router, client } = start();
    const { ready } = client;
    router.socket.end(1008, 'not you');
    await expect(ready).rejects.toThrow('not you');
    client.reconnect();
    expect(client.ready).not.toBe(ready);
    router.socket.open();
    router.socket.answer();
    await client.ready;
    const other = start();
    other.client.close();
    await expect(other.client.ready).rejects.toThrow('the client is closed');
  });

  // A page that does not look at it would hear of an unhandled rejection.
  it('is nobody’s unhandled rejection', async () => {
    const rejected = vi.fn();
    process.on('unhandledRejection', rejected);
    const { client } = start();
    client.close();
    vi.useRealTimers();
    await new Promise((resolve) => setTimeout(resolve, 20));
    process.removeListener('unhandledRejection', rejected);
    expect(rejected).not.toHaveBeenCalled();
    vi.useFakeTimers();
  });
});

describe('what the page is told', () => {
  it('is once, in the console, that a router lets nobody ask', async () => {
    const warn = vi.spyOn(console, 'warn').mockReturnValue();
    const { router, client } = await live({ logger: console });
    for (const id of ['a', 'b']) {
      client.watch([id]);
      router.socket.say({
        messageType: 33,
        error: 'this router takes no PRESENCE_WATCH',
        code: 'not-allowed',
        request: router.socket.last.request,
      });
      await pass(500);
    }
    expect(warn.mock.calls).toEqual([
      [expect.stringMatching(/this router takes no PRESENCE_WATCH.*authorizeWatch is not set/)],
    ]);
  });

  it.each(['too-many-ids', 'malformed', 'timeout', 'too-many-requests', undefined])('is not %s', async (code) => {
    const { router, warnings } = start();
    router.socket.open();
    router.socket.say({ messageType: 33, error: 'no', code, request: router.socket.last.request });
    expect(warnings).toEqual([]);
  });

  it('is nothing where it wants to hear nothing; and a logger that is none says so', async () => {
    const warn = vi.spyOn(console, 'warn').mockReturnValue();
    const { router } = start({ logger: false });
    router.socket.open();
    router.socket.say({ messageType: 33, error: 'no', code: 'not-allowed', request: router.socket.last.request });
    expect(warn).not.toHaveBeenCalled();
    expect(() => start({ logger: {} as never })).toThrow(/^logger has no warn\(\)/);
  });
});

describe('where there is no WebSocket, as where a page is rendered on a server', () => {
  // The module that makes the client was loaded there, too, and threw.
  it.each([undefined, false] as const)(
    'a client connects to nothing, says so once, and shows nobody (%s)',
    async (none) => {
      vi.stubGlobal('WebSocket', none === false ? class {} : undefined);
      const fetched = vi.fn();
      vi.stubGlobal('fetch', fetched);
      const warnings: string[] = [];
      const client = createPresenceClient({
        url: 'ws://router',
        ids: ['a'],
        statusUrl: STATUS_URL,
        WebSocket: none,
        logger: { warn: (message) => warnings.push(message) },
      });
      client.watch(['b']);
      client.reconnect();
      expect(client.connection).toMatchObject({ state: 'closed', refusedCode: 'unsupported' });
      expect(client.getAll()).toEqual([]);
      await expect(client.ready).rejects.toThrow('there is no WebSocket');
      // Whoever says that there is none knows it.
      expect(warnings).toEqual(none === false ? [] : [expect.stringContaining('there is no WebSocket here')]);
      expect(vi.getTimerCount()).toBe(0);
      expect(fetched).not.toHaveBeenCalled();
      client.close();
    },
  );
});
