import type { RequestListener } from 'node:http';
import { gzipSync } from 'node:zlib';
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
