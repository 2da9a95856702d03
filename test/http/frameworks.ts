import http, { type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import express from 'express';
import express4 from 'express4';
import Fastify from 'fastify';
import { Hono } from 'hono';
import Koa from 'koa';
import bodyParser from 'koa-bodyparser';
import Koa2 from 'koa2';
import type { Presence } from 'voiceping-presence';
import { createStatusHandler as forExpress } from 'voiceping-presence/express';
import { createStatusHandler as forFastify } from 'voiceping-presence/fastify';
import { createStatusHandler as forFetch } from 'voiceping-presence/fetch';
import { createStatusHandler as forNode } from 'voiceping-presence/http';
import { createStatusHandler as forKoa } from 'voiceping-presence/koa';

/** Options as the suite gives them; `authorize` gets the headers, however the framework holds them. */
export interface SuiteOptions {
  /** @default 'everybody' */
  authorize?: (headers: http.IncomingHttpHeaders, userIds: string[]) => boolean | number | Promise<boolean | number>;
  maxIds?: number;
  cors?: string[] | true;
  format?: 'guide' | 'router';
}

export interface Framework {
  readonly name: string;
  /** The source file of the adapter that it runs through. */
  readonly source: string;
  /** A listener that serves the handler, behind body parsers where `parsed`; else a request is read as it comes. */
  listener(presence: Presence, options: SuiteOptions, parsed: boolean): RequestListener;
}

const PATH = '/api/presence/status';

function withHeaders<R>(options: SuiteOptions, headersOf: (request: R) => http.IncomingHttpHeaders) {
  const { authorize, ...rest } = options;
  return authorize === undefined
    ? { ...rest, authorize: 'everybody' as const }
    : { ...rest, authorize: (request: R, userIds: string[]) => authorize(headersOf(request), userIds) };
}

const ofMessage = (request: IncomingMessage) => request.headers;
const ofRequest = (request: Request) => Object.fromEntries(request.headers);

function ofExpress(factory: typeof express): Framework['listener'] {
  return (presence, options, parsed) => {
    const app = factory();
    if (parsed) app.use(factory.json({ limit: '10mb' }));
    app.all(PATH, forExpress(presence, withHeaders(options, ofMessage)));
    return app;
  };
}

function ofKoa(Factory: typeof Koa): Framework['listener'] {
  return (presence, options, parsed) => {
    const app = new Factory();
    // It would print the errors of clients that go away.
    app.silent = true;
    if (parsed) app.use(bodyParser({ jsonLimit: '10mb' }) as never);
    const handle = forKoa(
      presence,
      withHeaders(options, (context: Koa.Context) => context.req.headers),
    );
    app.use((context, next) => (context.path === PATH ? handle(context) : next()));
    return app.callback();
  };
}

export const FRAMEWORKS: readonly Framework[] = [
  {
    name: 'node:http',
    source: 'node.ts',
    listener(presence, options, parsed) {
      const handle = forNode(presence, withHeaders(options, ofMessage));
      return (request, response) => {
        if (request.url !== PATH) {
          response.writeHead(404).end();
        } else if (parsed) {
          // As a serverless host does it: the body read before, and left on the request.
          readAll(request).then(
            (text) => handle(Object.assign(request, { body: text }), response),
            () => response.destroy(),
          );
        } else {
          void handle(request, response);
        }
      };
    },
  },
  { name: 'Express 5', source: 'express.ts', listener: ofExpress(express) },
  { name: 'Express 4', source: 'express.ts', listener: ofExpress(express4) },
  { name: 'Koa 3', source: 'koa.ts', listener: ofKoa(Koa) },
  { name: 'Koa 2', source: 'koa.ts', listener: ofKoa(Koa2) },
  {
    name: 'Fastify 5',
    source: 'fastify.ts',
    listener(presence, options, parsed) {
      const app = Fastify({ bodyLimit: 10_000_000 });
      if (!parsed) {
        app.removeAllContentTypeParsers();
        app.addContentTypeParser('*', (_request, _payload, done) => done(null));
      }
      app.route({
        method: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS'],
        url: PATH,
        handler: forFastify(
          presence,
          withHeaders(options, (request: { raw: IncomingMessage; body: unknown }) => request.raw.headers),
        ),
      });
      const ready = app.ready();
      return (request, response) => void ready.then(() => app.routing(request, response));
    },
  },
  {
    name: 'fetch on Hono',
    source: 'fetch.ts',
    listener(presence, options, parsed) {
      const app = new Hono();
      const handle = forFetch(presence, withHeaders(options, ofRequest));
      if (parsed) {
        // Middleware that looks at the body, as one that validates or logs does.
        app.post(PATH, async (context) => handle(context.req.raw, await context.req.json()));
        app.onError((_error, context) => context.body(null, 500));
      }
      app.all(PATH, (context) => handle(context.req.raw));
      return getRequestListener(app.fetch);
    },
  },
  {
    name: 'fetch by itself',
    source: 'fetch.ts',
    listener(presence, options, parsed) {
      const handle = forFetch(presence, withHeaders(options, ofRequest));
      return getRequestListener(parsed ? async (request) => handle(request, await request.text()) : handle);
    },
  },
];

async function readAll(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text;
}

/** Listens on a free port; returns the URL of the endpoint and the function that stops it. */
export async function serve(listener: RequestListener): Promise<{ url: string; port: number; stop(): Promise<void> }> {
  const server = http.createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${PATH}`,
    port,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
