import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createPresence, type Presence, type PresenceOptions } from 'voiceping-presence';
import { createStatusHandler as createFetchHandler } from 'voiceping-presence/fetch';
import { createStatusCore, createStatusHandler } from 'voiceping-presence/http';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { faultyStore } from '../core/faulty-store';
import { FRAMEWORKS, type Framework, type SuiteOptions, serve } from './frameworks';

const cleanups: Array<() => Promise<void>> = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function presenceWith(options: PresenceOptions, ...online: string[]): Promise<Presence> {
  const presence = createPresence(options);
  cleanups.push(() => presence.close());
  for (const userId of online) await presence.attachToSocket(fakeSocket(), { userId }).ready;
  return presence;
}

const ask = (url: string, body: unknown, init: RequestInit = {}) =>
  fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...init,
  });

const OPEN = { authorize: 'everybody' } as const;

type Served = Pick<Framework, 'listener'> & { parsed: boolean };

it('every framework adapter is in this suite', () => {
  const neutral = [
    'status-handler.ts',
    'node-request.ts',
    'body-buffer.ts',
    'body-ids.ts',
    'open-warning.ts',
    'responses.ts',
    'authorized.ts',
    'cors.ts',
    'changes-handler.ts',
  ];
  const files = readdirSync(new URL('../../src/http', import.meta.url)).filter((file) => !neutral.includes(file));
  expect(new Set(FRAMEWORKS.map(({ source }) => source))).toEqual(new Set(files));
});

async function endpointOf({ listener, parsed }: Served, options: SuiteOptions = {}, presence?: Presence) {
  const served = await serve(listener(presence ?? (await presenceWith({}, 'u', '7')), options, parsed));
  cleanups.push(() => served.stop());
  return served.url;
}

describe.each(
  FRAMEWORKS.flatMap((framework) => {
    const plain = { ...framework, parsed: false, label: framework.name };
    const parsed = { ...framework, parsed: true, label: `${framework.name} behind a body parser` };
    return [plain, parsed];
  }),
)('POST /api/presence/status on $label', ({ listener, parsed }) => {
  const endpoint = (options?: SuiteOptions, presence?: Presence) => endpointOf({ listener, parsed }, options, presence);

  it('answers a map by user id', async () => {
    const response = await ask(await endpoint(), { userIds: ['u', 'never', '__proto__'] });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toMatch(/^application\/json/);
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(response.headers.get('access-control-allow-origin')).toBeNull();
    const text = await response.text();
    expect(text).toContain('"__proto__":{"userId":"__proto__","status":"offline","lastSeen":null}');
    expect(JSON.parse(text)).toMatchObject({
      u: { userId: 'u', status: 'online', lastSeen: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) },
      never: { userId: 'never', status: 'offline', lastSeen: null },
    });
  });

  it('takes numbers as ids, and gives one entry for an id asked twice', async () => {
    const response = await ask(await endpoint(), { userIds: [7, '7', 'u', 'u'] });
    expect(Object.keys((await response.json()) as object).sort()).toEqual(['7', 'u']);
  });

  it('answers no ids with nobody', async () => {
    const response = await ask(await endpoint(), { userIds: [] });
    expect([response.status, await response.json()]).toEqual([200, {}]);
  });

  it.each<[string, unknown, string]>([
    ['no userIds', { ids: ['u'] }, 'userIds is missing'],
    ['a list instead of an object', ['u'], 'userIds is missing'],
    ['userIds that are no array', { userIds: 'u' }, 'userIds is "u"; it is an array of ids'],
    ['userIds that are an object', { userIds: { 0: 'u' } }, 'userIds is an object; it is an array of ids'],
    ['an id that is empty', { userIds: ['u', ''] }, 'userIds[1] is ""; an id is 1 to 256 bytes of UTF-8'],
    ['an id that is too long', { userIds: ['x'.repeat(257)] }, 'an id is 1 to 256 bytes of UTF-8'],
    ['an id that is null', { userIds: [null] }, 'userIds[0] is null; an id is a string or a finite integer'],
    ['an id that is a fraction', { userIds: [1.5] }, 'userIds[0] is 1.5'],
    // It is 9007199254740993 in the text, and was answered with the status of another user.
    ['a number that is not exact', '{"userIds": [9007199254740993]}', 'beyond 9007199254740991; give it as a string'],
    ['too many ids', { userIds: Array(1_001).fill('u') }, 'userIds has 1001 ids; at most 1000 are allowed'],
  ])('refuses %s with 400 and says why', async (_name, body, details) => {
    const response = await ask(await endpoint(), body);
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({ error: 'Invalid request', details: expect.stringContaining(details) });
  });

  it('takes maxIds', async () => {
    const url = await endpoint({ maxIds: 2 });
    expect((await ask(url, { userIds: ['a', 'b'] })).status).toBe(200);
    expect((await ask(url, { userIds: ['a', 'b', 'c'] })).status).toBe(400);
  });

  it('uses the content, whatever the content type says', async () => {
    const response = await ask(await endpoint(), { userIds: ['u'] }, { headers: { 'Content-Type': 'text/plain' } });
    expect(response.status).toBe(200);
  });

  it.each(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'])(
    'refuses %s with 405 and says what is allowed',
    async (method) => {
      const response = await fetch(await endpoint(), { method });
      expect(response.status).toBe(405);
      expect(response.headers.get('allow')).toBe('POST');
      if (method !== 'HEAD') expect(await response.json()).toMatchObject({ error: 'Method not allowed' });
    },
  );

  it('answers 500 as the guide has it when the store is down', async () => {
    const { store, link } = faultyStore(Date.now);
    const presence = await presenceWith({ store, commandTimeoutMs: 50 });
    const url = await endpoint({}, presence);
    for (const [state, details] of [
      ['down', 'the store failed'],
      ['hangs', 'the store did not answer in time'],
    ] as const) {
      link.state = state;
      const response = await ask(url, { userIds: ['u'] });
      expect(response.status).toBe(500);
      expect(await response.json()).toEqual({ error: 'Failed to fetch presence status', details });
    }
    link.state = 'up';
  });

  it('answers 503 when presence is disabled, or closed', async () => {
    const disabled = await ask(await endpoint({}, createPresence({ enabled: false })), { userIds: ['u'] });
    expect(disabled.status).toBe(503);
    expect(await disabled.json()).toEqual({
      error: 'Presence is not available',
      details: 'presence is disabled (enabled: false)',
    });
    const closed = createPresence();
    await closed.close();
    expect((await ask(await endpoint({}, closed), { userIds: ['u'] })).status).toBe(503);
  });

  it('asks authorize, with the request and the ids', async () => {
    const asked: string[][] = [];
    const url = await endpoint({
      authorize: async (headers, userIds) => {
        asked.push(userIds);
        if (headers.authorization === undefined) return 401;
        return headers.authorization === 'Bearer good';
      },
    });
    const as = (authorization?: string) =>
      ask(
        url,
        { userIds: ['u', 7] },
        { headers: { 'Content-Type': 'application/json', ...(authorization && { authorization }) } },
      );
    const missing = await as();
    expect([missing.status, missing.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
    expect(await missing.json()).toMatchObject({ error: 'Unauthorized' });
    const refused = await as('Bearer bad');
    expect([refused.status, await refused.json()]).toMatchObject([403, { error: 'Forbidden' }]);
    expect((await as('Bearer good')).status).toBe(200);
    // By the head first, where the body is still to be read.
    expect(asked).toEqual(parsed ? Array(3).fill(['u', '7']) : [[], [], [], ['u', '7']]);
  });

  it.each<[string, unknown, number]>([
    ['undefined', undefined, 403],
    ['"yes"', 'yes', 403],
    ['200', 200, 403],
    ['429', 429, 429],
    ['1', 1, 403],
    ['NaN', Number.NaN, 403],
    ['Infinity', Number.POSITIVE_INFINITY, 403],
    ['new Boolean(true)', Object(true), 403],
    ['404.5', 404.5, 404],
  ])('lets nobody in where authorize gives %s', async (_name, verdict, status) => {
    const url = await endpoint({ authorize: () => verdict as boolean });
    expect((await ask(url, { userIds: ['u'] })).status).toBe(status);
  });

  it('answers 500 without the words of an authorize that throws, and reports it', async () => {
    const reported: string[] = [];
    const presence = await presenceWith({ onError: (error, { stage }) => reported.push(`${stage} ${error.message}`) });
    const url = await endpoint(
      {
        authorize: () => {
          throw new Error('password is hunter2');
        },
      },
      presence,
    );
    const response = await ask(url, { userIds: ['u'] });
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain('hunter2');
    expect(reported).toEqual(['authorize authorize failed: password is hunter2']);
  });

  it('answers CORS for listed origins, and their preflight', async () => {
    const url = await endpoint({ cors: ['https://dash.example'], authorize: () => false });
    const from = (origin: string, init: RequestInit = {}) =>
      ask(url, { userIds: ['u'] }, { ...init, headers: { Origin: origin, 'Content-Type': 'application/json' } });
    const listed = await from('https://dash.example');
    expect(listed.headers.get('access-control-allow-origin')).toBe('https://dash.example');
    expect(listed.headers.get('vary')).toContain('Origin');
    const other = await from('https://evil.example');
    expect(other.headers.get('access-control-allow-origin')).toBeNull();
    expect(other.headers.get('vary')).toContain('Origin');

    const preflight = await fetch(url, {
      method: 'OPTIONS',
      headers: { Origin: 'https://dash.example', 'Access-Control-Request-Headers': 'authorization,content-type' },
    });
    expect(preflight.status).toBe(204);
    expect(await preflight.text()).toBe('');
    expect(preflight.headers.get('access-control-allow-origin')).toBe('https://dash.example');
    expect(preflight.headers.get('access-control-allow-methods')).toBe('POST');
    expect(preflight.headers.get('access-control-allow-headers')).toBe('authorization,content-type');
    expect((await fetch(url)).headers.get('allow')).toBe('OPTIONS, POST');
  });

  it('answers CORS for any origin', async () => {
    const url = await endpoint({ cors: true });
    const response = await ask(url, { userIds: ['u'] });
    expect(response.headers.get('access-control-allow-origin')).toBe('*');
    const preflight = await fetch(url, { method: 'OPTIONS', headers: { Origin: 'https://x.example' } });
    expect(preflight.headers.get('access-control-allow-headers')).toBe('content-type');
  });

  it.each<[string, string, string]>([
    ['4,096 letters of headers', `${'x'.repeat(4_095)}y`, `${'x'.repeat(4_095)}y`],
    ['more of them than any browser has', 'x'.repeat(4_097), 'content-type'],
    ['what no header can be called', 'x; path=/', 'content-type'],
  ])('answers a preflight with %s', async (_name, asked, allowed) => {
    const headers = { Origin: 'https://x.example', 'Access-Control-Request-Headers': asked };
    const preflight = await fetch(await endpoint({ cors: true }), { method: 'OPTIONS', headers });
    expect([preflight.status, preflight.headers.get('access-control-allow-headers')]).toEqual([204, allowed]);
  });

  it("speaks the existing router's format", async () => {
    const response = await ask(await endpoint({ format: 'router' }), { userIds: ['u', 'never'] });
    expect(await response.json()).toEqual({
      success: true,
      users: [
        { userId: 'u', status: 'online', lastSeen: expect.any(Number) },
        { userId: 'never', status: 'offline', lastSeen: 0 },
      ],
      timestamp: expect.any(Number),
    });
  });

  it('survives a client that goes away in the middle of its body', async () => {
    const url = await endpoint();
    const { port } = new URL(url);
    await new Promise<void>((resolve, reject) => {
      const socket = connect(Number(port), '127.0.0.1', () => {
        socket.write('POST /api/presence/status HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"userIds"', () =>
          socket.destroy(),
        );
      });
      socket.on('close', () => resolve());
      socket.on('error', reject);
    });
    expect((await ask(url, { userIds: ['u'] })).status).toBe(200);
  });
});

// A body parser in front answers these by itself.
describe.each(FRAMEWORKS)('the body of a request on $name', ({ listener }) => {
  it('refuses bad JSON with 400', async () => {
    const url = await endpointOf({ listener, parsed: false });
    for (const body of ['{"userIds": ["u"]', '', 'userIds=u', '[[[['.repeat(50_000), '\u0000']) {
      const response = await ask(url, body);
      expect(response.status).toBe(400);
      expect(await response.json()).toEqual({ error: 'Invalid request', details: 'the body is not valid JSON' });
    }
  });

  it('takes UTF-8 and nothing else: two ids that are none must not become one', async () => {
    const url = await endpointOf({ listener, parsed: false });
    const quoted = (...bytes: number[]) =>
      Buffer.from([...Buffer.from('{"userIds":["'), ...bytes, ...Buffer.from('"]}')]);
    const answerTo = (body: Buffer) => ask(url, '', { body });
    expect((await answerTo(quoted(0xff))).status).toBe(400);
    expect(await (await answerTo(quoted(0xc3, 0xa9))).json()).toHaveProperty('é');
    const marked = Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), quoted(0x75)]);
    expect((await answerTo(marked)).status).toBe(200);
  });

  it('refuses a body over 1 MB with 413, however it is sent', async () => {
    const url = await endpointOf({ listener, parsed: false });
    const large = JSON.stringify({ userIds: ['x'.repeat(1_100_000)] });
    expect((await ask(url, large)).status).toBe(413);
    const chunked = new ReadableStream({
      start(controller) {
        for (let sent = 0; sent < 5_000_000; sent += 50_000) controller.enqueue(Buffer.alloc(50_000, 'x'));
        controller.close();
      },
    });
    const response = await ask(url, '', { body: chunked, duplex: 'half' } as RequestInit);
    expect(response.status).toBe(413);
    expect(await response.json()).toEqual({ error: 'Request too large', details: expect.stringContaining('1048576') });
    // 1 MB to the byte is not over it.
    const exact = `{"userIds":["u"]${' '.repeat(1_048_576 - 17)}}`;
    expect((await ask(url, exact)).status).toBe(200);
  });
});

describe('createStatusHandler', () => {
  it('reports a store that fails', async () => {
    const reported: string[] = [];
    const { store, link } = faultyStore(Date.now);
    const presence = await presenceWith({
      store,
      onError: (error, { stage }) => reported.push(`${stage} ${error.code}`),
    });
    const { url, stop } = await serve(createStatusHandler(presence, OPEN));
    cleanups.push(stop);
    link.state = 'down';
    await ask(url, { userIds: ['u'] });
    link.state = 'up';
    expect(reported).toContain('query ERR_PRESENCE_STORE');
  });

  it('resolves for a request that was aborted before it came to us', async () => {
    const handle = createStatusHandler(await presenceWith({}), OPEN);
    const handled = new Promise<void>((resolve, reject) => {
      // As behind authentication that takes its time.
      void serve((request, response) => {
        request.once('close', () => setImmediate(() => handle(request, response).then(resolve, reject)));
      }).then(({ port, stop }) => {
        cleanups.push(stop);
        const socket = connect(port, '127.0.0.1', () => {
          socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"userIds"', () => socket.destroy());
        });
      });
    });
    await handled;
  });

  // Anybody could make it look as if the store were failing.
  it('reports no client that goes away in the middle of its body', async () => {
    const reported: string[] = [];
    const presence = await presenceWith({ onError: (error) => reported.push(error.message) });
    const handle = createStatusHandler(presence, OPEN);
    const handled = new Promise<void>((resolve, reject) => {
      void serve((request, response) => {
        handle(request, response).then(resolve, reject);
        request.once('data', () => request.destroy());
      }).then(({ port, stop }) => {
        cleanups.push(stop);
        const socket = connect(port, '127.0.0.1', () => {
          socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"userIds"');
        });
        socket.on('error', () => undefined);
      });
    });
    await handled;
    expect(reported).toEqual([]);
  });

  it('reports no client of the Fetch standard that goes away', async () => {
    const reported: string[] = [];
    const presence = await presenceWith({ onError: (error) => reported.push(error.message) });
    const handle = createFetchHandler(presence, OPEN);
    const controller = new AbortController();
    const body = new ReadableStream({
      start: (stream) => controller.signal.addEventListener('abort', () => stream.error()),
    });
    const init = { method: 'POST', body, duplex: 'half', signal: controller.signal } as RequestInit;
    const answer = handle(new Request('http://router/', init));
    controller.abort();
    expect((await answer).status).toBe(400);
    expect(reported).toEqual([]);
  });

  it('leaves an answer alone that somebody else has given meanwhile', async () => {
    const handle = createStatusHandler(await presenceWith({}), OPEN);
    let handled: Promise<void> | undefined;
    const { url, stop } = await serve((request, response) => {
      handled = handle(request, response);
      response.writeHead(503).end('timed out');
    });
    cleanups.push(stop);
    expect((await ask(url, { userIds: ['u'] })).status).toBe(503);
    await handled;
  });

  // Where the framework shows what is set already; a Response knows nothing of it.
  it.each(FRAMEWORKS.filter(({ source }) => source !== 'fetch.ts'))(
    'adds to Vary on $name',
    async ({ name, listener }) => {
      const presence = await presenceWith({});
      const handle = listener(presence, { cors: ['https://dash.example'] }, false);
      const { url, stop } = await serve((request, response) => {
        response.setHeader('Vary', 'Accept-Encoding, origin');
        handle(request, response);
      });
      cleanups.push(stop);
      expect((await ask(url, { userIds: [] })).headers.get('vary'), name).toBe('Accept-Encoding, Origin');
    },
  );

  it('the neutral core never rejects, whatever a framework hands it', async () => {
    const handle = createStatusCore(await presenceWith({}), OPEN);
    const request = { method: 'POST', header: () => undefined, original: undefined };
    const broken = await handle({ ...request, body: () => Promise.reject(new Error('secret path')) });
    expect(broken.status).toBe(500);
    expect(broken.body).not.toContain('secret');
    expect((await handle({ ...request, body: async () => ({ parsed: undefined }) })).status).toBe(400);
    expect((await handle({ ...request, body: async () => ({ parsed: null }) })).status).toBe(400);
    expect((await handle({ ...request, body: async () => ({ bytes: '{"userIds":["a"]}' }) })).status).toBe(200);
  });

  it.each<[unknown, unknown, string]>([
    [{}, {}, 'presence is an object'],
    [undefined, { authorize: 'x' }, `authorize is "x"; it is a function, or 'everybody'`],
    [undefined, { maxIds: 0 }, 'maxIds is 0'],
    [undefined, { cors: 'https://dash.example' }, 'cors is "https://dash.example"'],
    [undefined, { cors: ['https://dash.example/'] }, 'cors has "https://dash.example/"; an origin is like'],
    [undefined, { cors: ['*'] }, 'cors has "*"'],
    [undefined, { cors: ['https://dash.example?x'] }, 'cors has "https://dash.example?x"'],
    [undefined, { format: 'xml' }, 'format is "xml"'],
    [undefined, { maxids: 5 }, '"maxids" is no option'],
    [undefined, null, 'the options are null'],
  ])('refuses misuse at once: %o %o', (presence, options, message) => {
    const clock = fakeClock();
    expect(() => createStatusHandler((presence ?? createPresence({ clock })) as Presence, options as never)).toThrow(
      expect.objectContaining({ code: 'ERR_PRESENCE_OPTIONS', message: expect.stringContaining(message) }),
    );
  });
});
