import { once } from 'node:events';
import { IncomingMessage, type RequestListener } from 'node:http';
import { runInNewContext } from 'node:vm';
import { createGunzip, gzipSync } from 'node:zlib';
import { getRequestListener } from '@hono/node-server';
import express from 'express';
import Fastify from 'fastify';
import { Hono } from 'hono';
import Koa from 'koa';
import bodyParser from 'koa-bodyparser';
import { afterEach, describe, expect, it } from 'vitest';
import { createPresence } from 'voiceping-presence';
import { createStatusHandler as forExpress } from 'voiceping-presence/express';
import { createStatusHandler as forFastify } from 'voiceping-presence/fastify';
import { createStatusHandler as forFetch } from 'voiceping-presence/fetch';
import { createStatusHandler as forNode } from 'voiceping-presence/http';
import { createStatusHandler as forKoa } from 'voiceping-presence/koa';
import { FRAMEWORKS, serve } from './frameworks';

// Bodies that something else has read, decoded, inflated or parsed before they come to the handler.

const OPEN = { authorize: 'everybody' } as const;
const BODY = '{"userIds":["u"]}';
const JSON_TYPE = { 'Content-Type': 'application/json' };
const NOT_SET_UP = {
  error: 'The status endpoint is not set up',
  details: expect.stringMatching(/has left nothing; put what it read on the body property .* as the second argument$/),
};

const cleanups: Array<() => unknown> = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function router() {
  const reported: string[] = [];
  const presence = createPresence({ onError: (error, { stage }) => reported.push(`${stage} ${error.code}`) });
  cleanups.push(() => presence.close());
  return { presence, reported };
}

async function served(listener: RequestListener): Promise<string> {
  const { url, stop } = await serve(listener);
  cleanups.push(stop);
  return url;
}

const post = (url: string, body: string | Buffer, headers: Record<string, string> = JSON_TYPE) =>
  fetch(url, { method: 'POST', headers, body });

describe.each(FRAMEWORKS)('an id with U+FFFD on $name', ({ listener }) => {
  it.each<[string, number[]]>([
    ['a byte that is none of UTF-8', [0xff]],
    ['a character that is cut short', [0xe2, 0x82]],
    ['half of a surrogate pair', [0xed, 0xa0, 0x80]],
    ['a byte of Latin-1 within a word', [0x61, 0xe9, 0x62]],
    ['U+FFFD itself, which cannot be told from these', [0xef, 0xbf, 0xbd]],
  ])('is refused behind a body parser, since it was %s', async (_name, bytes) => {
    const { presence } = router();
    const url = await served(listener(presence, {}, true));
    const body = Buffer.from([...Buffer.from('{"userIds":["u","'), ...bytes, ...Buffer.from('"]}')]);
    const response = await post(url, body);
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({
      error: 'Invalid request',
      details: expect.stringMatching(/^userIds\[1\] is ".*"; it holds U\+FFFD, which a body parser writes/),
    });
  });

  it('is an id where no parser is in front, and the bytes are UTF-8', async () => {
    const { presence } = router();
    const url = await served(listener(presence, {}, false));
    expect(await (await post(url, '{"userIds":["\ufffd"]}')).json()).toHaveProperty('\ufffd');
  });
});

/** What puts text, or bytes, where the handlers look for it. */
const LEFT: ReadonlyArray<[string, (presence: ReturnType<typeof createPresence>) => RequestListener]> = [
  ['express.text', (presence) => express().use(express.text({ type: '*/*' }), forExpress(presence, OPEN))],
  ['express.raw', (presence) => express().use(express.raw({ type: '*/*' }), forExpress(presence, OPEN))],
  [
    'koa-bodyparser for text',
    (presence) =>
      new Koa()
        .use(bodyParser({ enableTypes: ['text'], extendTypes: { text: ['application/json'] } }) as never)
        .use(forKoa(presence, OPEN))
        .callback(),
  ],
  ...(['string', 'buffer'] as const).map((parseAs): (typeof LEFT)[number] => [
    `a parser of Fastify that gives a ${parseAs}`,
    (presence) => {
      const app = Fastify();
      app.removeAllContentTypeParsers();
      app.addContentTypeParser('*', { parseAs }, (_request, body, done) => done(null, body));
      app.post('/api/presence/status', forFastify(presence, OPEN));
      const ready = app.ready();
      return (request, response) => void ready.then(() => app.routing(request, response));
    },
  ]),
  [
    'chunks joined by a serverless host',
    (presence) => {
      const handle = forNode(presence, OPEN);
      return async (request, response) => {
        const chunks: Buffer[] = [];
        for await (const chunk of request) chunks.push(chunk);
        void handle(Object.assign(request, { body: String(Buffer.concat(chunks)) }), response);
      };
    },
  ],
  [
    'a Request whose text was read',
    (presence) => {
      const handle = forFetch(presence, OPEN);
      // TextDecoder would pass the mark by; this one does not.
      return getRequestListener(async (request) => handle(request, String(Buffer.from(await request.arrayBuffer()))));
    },
  ],
  [
    'a Request whose bytes were read',
    (presence) => {
      const handle = forFetch(presence, OPEN);
      return getRequestListener(async (request) => handle(request, await request.arrayBuffer()));
    },
  ],
];

describe.each(LEFT)('the body behind %s', (_name, listener) => {
  it.each([
    ['as it is', BODY],
    ['after a byte order mark', `\ufeff${BODY}`],
  ])('is used, %s', async (_how, body) => {
    const { presence } = router();
    expect(await (await post(await served(listener(presence)), body)).json()).toHaveProperty('u');
  });

  it('is refused with 400 where it is not JSON', async () => {
    const { presence, reported } = router();
    const url = await served(listener(presence));
    for (const body of ['{"userIds"', '\ufeff']) expect((await post(url, body)).status).toBe(400);
    expect(reported).toEqual([]);
  });
});

describe('a compressed body', () => {
  const zipped = { ...JSON_TYPE, 'Content-Encoding': 'gzip' };

  it.each<[string, (presence: ReturnType<typeof createPresence>) => RequestListener]>([
    ['express.json', (presence) => express().use(express.json(), forExpress(presence, OPEN))],
    ['express.raw', (presence) => express().use(express.raw({ type: '*/*' }), forExpress(presence, OPEN))],
    [
      'koa-bodyparser',
      (presence) =>
        new Koa()
          .use(bodyParser() as never)
          .use(forKoa(presence, OPEN))
          .callback(),
    ],
  ])('is used where %s has inflated it', async (_name, listener) => {
    const { presence } = router();
    const response = await post(await served(listener(presence)), gzipSync(BODY), zipped);
    expect(await response.json()).toHaveProperty('u');
  });
});

describe('a body that hosts and middleware have touched in ways of their own', () => {
  /** Reads all of it, and then puts this on the request. */
  const readBefore =
    (left: () => object): ((presence: ReturnType<typeof createPresence>) => RequestListener) =>
    (presence) => {
      const handle = forNode(presence, OPEN);
      return (request, response) =>
        request.resume().on('end', () => {
          Object.defineProperties(request, Object.getOwnPropertyDescriptors(left()));
          void handle(request, response);
        });
    };
  const touched =
    (
      touch: (request: IncomingMessage) => unknown,
    ): ((presence: ReturnType<typeof createPresence>) => RequestListener) =>
    (presence) => {
      const handle = forNode(presence, OPEN);
      return (request, response) => {
        const done = touch(request);
        // A body that flows is gone a tick later.
        if (done instanceof Promise) void done.then(() => handle(request, response));
        else void handle(request, response);
      };
    };
  const firstBytes = async (request: IncomingMessage, count: number): Promise<Buffer> => {
    for (;;) {
      const bytes = request.read(count);
      if (bytes !== null) return bytes;
      await once(request, 'readable');
    }
  };
  class Form {
    userIds = ['u'];
  }

  it.each<[string, (presence: ReturnType<typeof createPresence>) => RequestListener]>([
    ['its bytes kept as rawBody', readBefore(() => ({ rawBody: Buffer.from(BODY) }))],
    ['its text kept as rawBody', readBefore(() => ({ body: undefined, rawBody: BODY }))],
    [
      'an object without a prototype, as multer leaves it',
      readBefore(() => ({ body: Object.assign(Object.create(null), { userIds: ['u'] }) })),
    ],
    ['an instance of a class', readBefore(() => ({ body: new Form() }))],
    ['a frozen object', readBefore(() => ({ body: Object.freeze({ userIds: Object.freeze(['u']) }) }))],
    ['an object of another realm', readBefore(() => ({ body: runInNewContext("({ userIds: ['u'] })") }))],
    [
      'bytes of another realm',
      readBefore(() => ({ body: runInNewContext('Uint8Array.from(bytes)', { bytes: Array.from(Buffer.from(BODY)) }) })),
    ],
    [
      'bytes in an ArrayBuffer of another realm',
      readBefore(() => ({
        body: runInNewContext('Uint8Array.from(bytes).buffer', { bytes: Array.from(Buffer.from(BODY)) }),
      })),
    ],
    [
      'a parser that has run, and a stream that is still whole',
      touched((request) => Object.assign(request, { _body: true, body: { userIds: ['u'] } })),
    ],
    // The host parses it when it is asked for, which nobody has to here.
    [
      'a getter that throws, and an unread stream',
      touched((request) =>
        Object.defineProperty(request, 'body', {
          get() {
            throw new Error('not valid');
          },
        }),
      ),
    ],
    ['paused', touched((request) => request.pause())],
    [
      'somebody who waits until it is readable, and reads nothing',
      touched((request) => request.on('readable', () => undefined)),
    ],
    ['its first bytes read and put back', touched(async (request) => request.unshift(await firstBytes(request, 3)))],
    [
      'its first bytes read, and all of it handed on',
      touched(async (request) =>
        Object.assign(request, { body: (await firstBytes(request, 3)) && { userIds: ['u'] } }),
      ),
    ],
    ['somebody who hears it, too', touched((request) => request.on('data', () => undefined))],
  ])('%s: is used', async (_name, listener) => {
    const { presence, reported } = router();
    const response = await post(await served(listener(presence)), BODY);
    expect([response.status, await response.json(), reported]).toEqual([200, { u: expect.anything() }, []]);
  });

  it.each<[string, object]>([
    ['a list', { body: ['u'] }],
    ['a number', { body: 7 }],
    ['null', { body: null }],
    ['false', { body: false }],
    ['nothing in it', { body: {} }],
    ['a Map', { body: new Map([['userIds', ['u']]]) }],
    ['ids in an object', { body: { userIds: { 0: 'u' } } }],
    ['a form with one id', { body: { userIds: 'u' } }],
    ['a form whose name was the JSON', { body: { [BODY]: '' } }],
    ['text that is no JSON', { body: 'userIds=u' }],
  ])('%s: is refused with 400', async (_name, left) => {
    const { presence, reported } = router();
    const response = await post(await served(readBefore(() => left)(presence)), BODY);
    expect([response.status, reported]).toEqual([400, []]);
  });

  it.each<[string, Error, number, string]>([
    [
      'as a host does',
      Object.assign(new Error('Invalid JSON'), { statusCode: 400 }),
      400,
      'the body is not valid JSON',
    ],
    ['as JSON.parse does', new SyntaxError('Unexpected token'), 400, 'the body is not valid JSON'],
    ['for another reason', new Error('the words of a host'), 500, 'unexpected error'],
  ])('a getter that throws %s', async (_name, error, status, details) => {
    const { presence } = router();
    const left = Object.defineProperty({}, 'body', {
      enumerable: true,
      get() {
        throw error;
      },
    });
    const response = await post(await served(readBefore(() => left)(presence)), BODY);
    expect([response.status, await response.json()]).toEqual([status, expect.objectContaining({ details })]);
  });

  // Its rest was taken for all of it, and the client was told that it had sent no JSON.
  it('its first bytes read, and nothing handed on: is said to be so', async () => {
    const { presence, reported } = router();
    const url = await served(touched((request) => firstBytes(request, 3))(presence));
    const response = await post(url, BODY);
    expect([response.status, await response.json()]).toEqual([500, NOT_SET_UP]);
    expect(reported).toEqual(['query ERR_PRESENCE_OPTIONS']);
  });

  it('on Koa, left on the request of Node: is used', async () => {
    const { presence } = router();
    const app = new Koa().use(async (context, next) => {
      for await (const _chunk of context.req);
      Object.assign(context.req, { body: { userIds: ['u'] } });
      await next();
    });
    const response = await post(await served(app.use(forKoa(presence, OPEN)).callback()), BODY);
    expect(await response.json()).toHaveProperty('u');
  });

  it.each<[string, Buffer, number]>([
    ['is used', gzipSync(BODY), 200],
    ['is refused where there is too much in it', gzipSync(Buffer.alloc(3_000_000, ' ')), 413],
    ['is refused where it is none', gzipSync('none'), 400],
  ])('on Fastify, a stream that a hook inflates: %s', async (_name, body, status) => {
    const { presence } = router();
    const app = Fastify();
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
    app.addHook('preParsing', async (_request, _reply, payload) => payload.pipe(createGunzip()));
    app.post('/api/presence/status', forFastify(presence, OPEN));
    await app.ready();
    const url = await served((request, response) => app.routing(request, response));
    const response = await post(url, body, { ...JSON_TYPE, 'Content-Encoding': 'gzip' });
    expect(response.status).toBe(status);
    if (status === 200) expect(await response.json()).toHaveProperty('u');
  });

  /** What was answered. */
  const stand = () => {
    const answer = { status: 0, text: '' };
    const response = {
      headersSent: false,
      finished: false,
      getHeader: () => undefined,
      writeHead(status: number) {
        answer.status = status;
      },
      end(text: string) {
        answer.text = text;
      },
    };
    return { answer, response };
  };

  it('a stand-in for a request, as unit tests make it: is used', async () => {
    const { presence } = router();
    const { answer, response } = stand();
    const request = { method: 'POST', headers: {}, httpVersionMajor: 1, body: { userIds: ['u'] } };
    await forNode(presence, OPEN)(request as never, response as never);
    expect([answer.status, Object.keys(JSON.parse(answer.text))]).toEqual([200, ['u']]);
  });

  it('a request that a serverless host makes of an event, over no connection: is used', async () => {
    const { presence } = router();
    const socket = { encrypted: true, readable: false, remoteAddress: '127.0.0.1', end() {}, destroy() {} };
    for (const body of [BODY, '{"userIds"']) {
      const request = new IncomingMessage(socket as never);
      Object.assign(request, {
        method: 'POST',
        headers: {},
        complete: true,
        httpVersionMajor: 1,
        body: Buffer.from(body),
      });
      request._read = () => {
        request.push(body);
        request.push(null);
      };
      const { answer, response } = stand();
      await forNode(presence, OPEN)(request, response as never);
      expect(answer.status).toBe(body === BODY ? 200 : 400);
    }
  });
});

describe('a body that was read, and not handed on', () => {
  // A parser of Fastify's is what reads there; the others read before they call anything.
  it.each(FRAMEWORKS.filter(({ source }) => source !== 'fetch.ts'))(
    'is said to be so on $name',
    async ({ listener }) => {
      const { presence, reported } = router();
      const handle = listener(presence, {}, false);
      const url = await served((request, response) => request.resume().on('end', () => handle(request, response)));
      const response = await post(url, BODY);
      expect([response.status, await response.json()]).toEqual([500, NOT_SET_UP]);
      expect(reported).toEqual(['query ERR_PRESENCE_OPTIONS']);
    },
  );

  it('is said to be so where authorize has read it', async () => {
    const { presence, reported } = router();
    const authorize = async (request: Request) => (await request.text()) !== '';
    const response = await forFetch(presence, { authorize })(
      new Request('http://router', { method: 'POST', body: BODY }),
    );
    expect([response.status, await response.json()]).toEqual([500, NOT_SET_UP]);
    const url = await served(
      forNode(presence, {
        authorize: async (request) => {
          for await (const _chunk of request.resume());
          return true;
        },
      }),
    );
    const second = await post(url, BODY);
    expect([second.status, await second.json()]).toEqual([500, NOT_SET_UP]);
    expect(reported).toEqual(Array(2).fill('query ERR_PRESENCE_OPTIONS'));
  });
});

describe('the second argument of the handler of the Fetch standard', () => {
  const unread = () => new Request('http://router/', { method: 'POST', body: BODY });
  const read = async () => {
    const request = unread();
    await request.text();
    return request;
  };
  const locked = () => {
    const request = unread();
    request.body?.getReader();
    return request;
  };
  class Server {
    readonly port = 3000;
  }
  /** What Next, Deno, Bun, Workers, Hono and its server hand to a handler, or to one that wraps it. */
  const OF_RUNTIMES: ReadonlyArray<[string, unknown]> = [
    ['nothing', undefined],
    ['a context of Next', { params: Promise.resolve({}) }],
    ['what Deno knows of the connection', { remoteAddr: { port: 1 }, completed: Promise.resolve() }],
    ['a server of Bun', new Server()],
    ['an environment of Workers', { USERS: new Server(), NAME: 'x' }],
    ['next() of Hono', () => Promise.resolve()],
    ['the sockets of a server', { incoming: new Server(), outgoing: new Server() }],
  ];

  it.each<[string, unknown]>([
    ['what was parsed', { userIds: ['u'] }],
    ['what was parsed, with more to it', { userIds: ['u'], trace: { id: 7 }, at: null }],
    ['what was parsed, without a prototype', Object.assign(Object.create(null), { userIds: ['u'] })],
    ['text', BODY],
    ['text after a byte order mark', `\ufeff${BODY}`],
    ['bytes', new TextEncoder().encode(BODY)],
    ['a part of some bytes', Buffer.from(`xx${BODY}xx`).subarray(2, -2)],
    ['an ArrayBuffer', new TextEncoder().encode(BODY).buffer],
    [
      'an ArrayBuffer of another realm',
      runInNewContext('new Uint8Array(bytes).buffer', { bytes: Array.from(Buffer.from(BODY)) }),
    ],
  ])('is used where it is %s, and the body was read', async (_name, parsed) => {
    const { presence, reported } = router();
    const handle = forFetch(presence, OPEN);
    for (const request of [await read(), locked()]) {
      const response = await handle(request, parsed);
      expect([response.status, Object.keys((await response.json()) as object)]).toEqual([200, ['u']]);
    }
    expect(reported).toEqual([]);
  });

  it.each<[string, unknown]>([
    ['an object without userIds', {}],
    ['another object', { ids: ['u'], more: { than: 'that' } }],
    ['a list', ['u']],
    ['null', null],
    ['a number', 7],
    ['text that is not JSON', 'userIds=u'],
    ['bytes that are not UTF-8', Buffer.from('{"userIds":["\xff"]}', 'latin1')],
  ])('is the mistake of the client where it is %s', async (_name, parsed) => {
    const { presence, reported } = router();
    expect((await forFetch(presence, OPEN)(await read(), parsed)).status).toBe(400);
    expect(reported).toEqual([]);
  });

  it.each(OF_RUNTIMES)('is not taken for a body where it is %s', async (_name, other) => {
    const { presence, reported } = router();
    const handle = forFetch(presence, OPEN);
    expect((await handle(unread(), other)).status).toBe(200);
    expect(reported).toEqual([]);
    for (const request of [await read(), locked()]) {
      const response = await handle(request, other);
      expect([response.status, await response.json()]).toEqual([500, NOT_SET_UP]);
    }
    expect(reported).toEqual(Array(2).fill('query ERR_PRESENCE_OPTIONS'));
  });

  it('is what Hono has cached, behind middleware that validates', async () => {
    const { presence } = router();
    const handle = forFetch(presence, OPEN);
    const app = new Hono();
    app.use(async (context, next) => {
      const { userIds } = await context.req.json();
      if (!Array.isArray(userIds)) return context.text('no', 422);
      return next();
    });
    app.post('/api/presence/status', async (context) => handle(context.req.raw, await context.req.json()));
    const url = await served(getRequestListener(app.fetch));
    expect(await (await post(url, BODY)).json()).toHaveProperty('u');
  });
});
