import { createServer, type RequestListener } from 'node:http';
import { connect } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import express from 'express';
import Fastify from 'fastify';
import Koa from 'koa';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type ChangeBatch, createPresence, memoryStore, type Presence } from 'voiceping-presence';
import { createChangesHandler as forExpress } from 'voiceping-presence/express';
import { createChangesHandler as forFastify } from 'voiceping-presence/fastify';
import { createChangesHandler as forFetch } from 'voiceping-presence/fetch';
import { createChangesCore, createChangesHandler as forNode, type StatusResponse } from 'voiceping-presence/http';
import { createChangesHandler as forKoa } from 'voiceping-presence/koa';
import { fakeSocket } from 'voiceping-presence/testing';

type Authorize = (key: unknown) => boolean | number | Promise<boolean | number>;
interface Options {
  authorize: Authorize;
  cors?: string[] | true;
}

const FRAMEWORKS: ReadonlyArray<
  readonly [name: string, listenerOf: (presence: Presence, options: Options) => RequestListener]
> = [
  [
    'node:http',
    (presence, { authorize, ...rest }) =>
      forNode(presence, { ...rest, authorize: ({ headers }) => authorize(headers['x-key']) }),
  ],
  [
    'Express',
    (presence, { authorize, ...rest }) => {
      const app = express();
      app.all('/changes', forExpress(presence, { ...rest, authorize: ({ headers }) => authorize(headers['x-key']) }));
      return app;
    },
  ],
  [
    'Koa',
    (presence, { authorize, ...rest }) => {
      const app = new Koa();
      app.use(forKoa(presence, { ...rest, authorize: ({ req }) => authorize(req.headers['x-key']) }));
      return app.callback();
    },
  ],
  [
    'Fastify',
    (presence, { authorize, ...rest }) => {
      const app = Fastify();
      app.route({
        method: ['GET', 'POST', 'OPTIONS'],
        url: '/changes',
        handler: forFastify(presence, { ...rest, authorize: ({ raw }) => authorize(raw.headers['x-key']) }),
      });
      const ready = app.ready();
      return (request, response) => void ready.then(() => app.routing(request, response));
    },
  ],
  [
    'fetch',
    (presence, { authorize, ...rest }) =>
      getRequestListener(forFetch(presence, { ...rest, authorize: ({ headers }) => authorize(headers.get('x-key')) })),
  ],
];

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as { port: number }).port}/changes`;
}

function presenceOf(): Presence {
  const presence = createPresence({ store: memoryStore(), onError: () => undefined });
  onTestFinished(() => presence.close());
  return presence;
}

/** The status line of the answer to a GET that announces a body; resolves when the connection is closed. */
function statusWithBody(url: string): Promise<string> {
  const { port } = new URL(url);
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(Number(port), '127.0.0.1');
    socket.write('GET /changes HTTP/1.1\r\nhost: x\r\nx-key: open\r\ncontent-length: 1000000000\r\n\r\nx');
    socket.on('data', (data) => {
      answer += String(data);
    });
    socket.on('close', () => resolve(answer.split('\r\n')[0] ?? ''));
    socket.on('error', reject);
  });
}

const KEY = { headers: { 'x-key': 'open' } };
const authorize: Authorize = (key) => (key === 'open' ? true : key === 'wrong' ? false : 401);

describe.each(FRAMEWORKS)('%s', (_name, listenerOf) => {
  it('gives changes after a cursor, and those that come within the wait', async () => {
    const presence = presenceOf();
    const url = await serve(listenerOf(presence, { authorize }));
    await presence.attachToSocket(fakeSocket(), { userId: 'a' }).ready;
    const first = await fetch(url, KEY);
    expect([first.status, first.headers.get('cache-control')]).toEqual([200, 'no-store']);
    const batch = (await first.json()) as ChangeBatch;
    expect(batch).toEqual({
      changes: [{ userId: 'a', status: 'online', timestamp: expect.any(String), version: 1, reason: 'connect' }],
      cursor: expect.any(String),
      gap: false,
    });
    const since = encodeURIComponent(batch.cursor);
    expect(await (await fetch(`${url}?since=${since}&limit=10`, KEY)).json()).toEqual({ ...batch, changes: [] });
    const waiting = fetch(`${url}?since=${since}&wait=30`, KEY);
    const isEarly = await Promise.race([waiting.then(() => true), new Promise((r) => setTimeout(r, 300, false))]);
    expect(isEarly).toBe(false);
    await presence.attachToSocket(fakeSocket(), { userId: 'b' }).ready;
    expect(((await (await waiting).json()) as ChangeBatch).changes).toMatchObject([{ userId: 'b', version: 2 }]);
    // What is no cursor is refused.
    const idle = (await (await fetch(`${url}?since=x`, KEY)).json()) as { error: string };
    expect(idle.error).toBe('Invalid request');
  });

  it('lets in whom `authorize` lets in, and names what is wrong with a query', async () => {
    const url = await serve(listenerOf(presenceOf(), { authorize }));
    expect((await fetch(url)).status).toBe(401);
    expect((await fetch(url, { headers: { 'x-key': 'wrong' } })).status).toBe(403);
    const answers: Array<readonly [query: string, details: string]> = [
      ['since=nonsense', 'the cursor is "nonsense"; it is one that this store has given'],
      ['limit=-1', 'limit is "-1"; it is an integer up to 10000'],
      ['limit=0', 'limit is 0; it is an integer from 1 to 10000'],
      ['limit=10001', 'limit is "10001"; it is an integer up to 10000'],
      ['wait=31', 'wait is "31"; it is an integer up to 30'],
      ['wait=1.5', 'wait is "1.5"; it is an integer up to 30'],
      ['from=now', '"from" is no parameter; there are since, limit, wait'],
    ];
    for (const [query, details] of answers) {
      const response = await fetch(`${url}?${query}`, KEY);
      expect([response.status, await response.json()]).toEqual([400, { error: 'Invalid request', details }]);
    }
    expect((await fetch(url, { ...KEY, method: 'POST', body: '' })).status).toBe(405);
    expect(await statusWithBody(url)).toMatch(/^HTTP\/1\.1 400 /);
  });
});

it.each([
  ['http', forNode],
  ['express', forExpress],
  ['koa', forKoa],
  ['fastify', forFastify],
  ['fetch', forFetch],
] as const)('%s refuses to be made without authorize', (_name, create) => {
  const make = create as (presence: Presence, options: unknown) => unknown;
  for (const options of [{}, { authorize: undefined }, { authorize: 'everybody' }, { authorize: true }]) {
    expect(() => make(presenceOf(), options)).toThrow(
      /authorize is .*; it is a function: whoever reads the changes sees all/,
    );
  }
  expect(() => make(presenceOf(), undefined)).toThrow(/the options are undefined; an object is wanted/);
  expect(() => make({} as never, { authorize: () => true })).toThrow(
    /presence is an object; it is what createPresence\(\) gave/,
  );
});

it('a browser of another origin may read it where cors says so', async () => {
  const url = await serve(forNode(presenceOf(), { authorize: () => true, cors: ['https://page.example'] }));
  const origin = { origin: 'https://page.example' };
  expect((await fetch(url, { headers: origin })).headers.get('access-control-allow-origin')).toBe(origin.origin);
  const preflight = await fetch(url, { method: 'OPTIONS', headers: origin });
  expect([preflight.status, preflight.headers.get('access-control-allow-methods')]).toEqual([204, 'GET']);
});

it('a client that goes away while it waits is not waited for, and too many at once are refused', async () => {
  const presence = presenceOf();
  const core = createChangesCore<object>(presence, { authorize: () => true });
  let isGone = false;
  const ask = (url: string): Promise<StatusResponse> =>
    core({ method: 'GET', url, header: () => undefined, isGone: () => isGone, original: {} });
  const waiting = Array.from({ length: 1_000 }, () => ask('/?wait=30'));
  const refused = await ask('/?wait=30');
  expect([refused.status, JSON.parse(refused.body).details]).toEqual([
    503,
    'too many requests are waiting for changes',
  ]);
  // Without a wait there is an answer.
  expect((await ask('/')).status).toBe(200);
  isGone = true;
  for (const { status } of await Promise.all(waiting)) expect(status).toBe(200);
  isGone = false;
  expect((await ask('/?wait=1')).status).toBe(200);
}, 60_000);

it('what fails in the store is a 500 without its words, and a closed presence a 503', async () => {
  const store = memoryStore();
  const presence = createPresence({ store, onError: () => undefined });
  Object.assign(store.log as object, { read: () => Promise.reject(new Error('secret-host:6379')) });
  const url = await serve(forNode(presence, { authorize: () => true }));
  const response = await fetch(url);
  expect(response.status).toBe(500);
  expect(await response.text()).not.toMatch(/secret/);
  await presence.close();
  expect((await fetch(url)).status).toBe(503);
});
