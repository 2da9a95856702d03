import { once } from 'node:events';
import { createServer } from 'node:http';
import http2 from 'node:http2';
import { type AddressInfo, connect } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createPresence, memoryStore } from 'voiceping-presence';
import { BODY_TIMEOUT_MS, createStatusHandler, MAX_BODY_BYTES } from 'voiceping-presence/http';
import { fakeClock } from 'voiceping-presence/testing';
import { BodyBuffer } from '../../src/http/body-buffer';
import { FRAMEWORKS, type Framework, type SuiteOptions, serve } from './frameworks';
import { RawClient } from './raw-client';

// Bodies that are still to come when a request is judged: strangers decide how fast they come, and whether.

const BODY = '{"userIds":["u"]}';
const CALLBACK_TIMEOUT_MS = 2_000;

const cleanups: Array<() => unknown> = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
const until = (check: () => unknown) => vi.waitFor(check, { timeout: 10_000, interval: 2 });

function client(port: number): RawClient {
  const raw = new RawClient(port);
  cleanups.push(() => raw.socket.destroy());
  return raw;
}

function routerWithClock() {
  const clock = fakeClock();
  const reported: string[] = [];
  const presence = createPresence({
    clock,
    store: memoryStore({ now: clock.now }),
    onError: (error, { stage }) => reported.push(`${stage} ${error.code}`),
  });
  cleanups.push(() => presence.close());
  return { clock, presence, reported };
}

/** The endpoint on a framework, with a clock that stands still, and what `authorize` was asked. */
async function endpoint(framework: Framework, verdict?: (userIds: string[]) => unknown, isParsed = false) {
  const { clock, presence, reported } = routerWithClock();
  const asked: string[][] = [];
  const options: SuiteOptions = {};
  if (verdict !== undefined) {
    options.authorize = (_headers, userIds) => {
      asked.push(userIds);
      return verdict(userIds) as boolean;
    };
  }
  const { port, url, stop } = await serve(framework.listener(presence, options, isParsed));
  cleanups.push(stop);
  const timers = clock.timers;
  /** So many requests wait for something that has a deadline. */
  const waiting = (count: number) => until(() => expect(clock.timers - timers).toBe(count));
  return { clock, reported, asked, port, url, waiting };
}

/** Whoever serves the Fetch standard owns the connection: what it does with a body that nobody reads is its own affair. */
const owned = FRAMEWORKS.filter(({ source }) => source !== 'fetch.ts');

describe.each(FRAMEWORKS)('a body that is still to come, on $name', (framework) => {
  it('is not waited for where authorize refuses by the head', async () => {
    const { asked, port, reported } = await endpoint(framework, () => 401);
    const sender = client(port).request('POST', { 'Content-Length': MAX_BODY_BYTES }, '{"userIds":');
    const { status, headers } = await sender.answer();
    expect([status, headers['www-authenticate']]).toEqual([401, 'Bearer']);
    expect(asked).toEqual([[]]);
    expect(reported).toEqual([]);
  });

  it('may go on coming after the answer: the connection is not reset before a client reads', async () => {
    const { port } = await endpoint(framework, () => false);
    const senders = Array.from({ length: 20 }, () =>
      client(port).request('POST', { 'Content-Length': MAX_BODY_BYTES }).send(Buffer.alloc(MAX_BODY_BYTES, ' ')),
    );
    const answers = await Promise.all(senders.map((sender) => sender.answer()));
    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(403));
  });

  it('is read once authorize lets the head pass, and authorize is asked again with the ids', async () => {
    const { asked, port } = await endpoint(framework, async () => true);
    const sender = client(port).request('POST', { 'Content-Length': BODY.length });
    await until(() => expect(asked).toEqual([[]]));
    sender.send(BODY);
    expect((await sender.answer()).status).toBe(200);
    expect(asked).toEqual([[], ['u']]);
  });

  it('has arrived already: authorize is asked once, with the ids', async () => {
    const { asked, url } = await endpoint(framework, () => true, true);
    const init = { method: 'POST', body: BODY, headers: { 'Content-Type': 'application/json' } };
    expect((await fetch(url, init)).status).toBe(200);
    expect(asked).toEqual([['u']]);
  });

  it.each<[string, ((userIds: string[]) => boolean) | undefined]>([
    ['everybody may ask', undefined],
    ['authorize lets the head pass', () => true],
  ])('gets 408 where it is not here in time and %s, with every byte in between', async (_name, verdict) => {
    const { asked, clock, port, reported, waiting } = await endpoint(framework, verdict);
    const stalled = client(port).request('POST', { 'Content-Length': BODY.length }, BODY.slice(0, -1));
    const dripping = client(port).request('POST', { 'Transfer-Encoding': 'chunked' });
    const drip = setInterval(() => dripping.send('1\r\n \r\n'), 1);
    cleanups.push(() => clearInterval(drip));
    await waiting(2);
    await clock.advance(BODY_TIMEOUT_MS - 1);
    expect([stalled.answers, dripping.answers]).toEqual([[], []]);
    await clock.advance(1);
    for (const sender of [stalled, dripping]) {
      const { status, headers, body } = await sender.answer();
      expect([status, headers['connection']]).toEqual([408, 'close']);
      expect(JSON.parse(body)).toEqual({
        error: 'Request timed out',
        details: 'the body did not arrive within 10000 ms',
      });
      await sender.closed();
    }
    expect(reported).toEqual([]);
    expect(asked).toEqual(verdict === undefined ? [] : [[], []]);
    // A Request is not told that its connection has ended once it is answered.
    if (framework.source === 'fetch.ts') await clock.advance(BODY_TIMEOUT_MS);
    await waiting(0);
  });

  it('is refused with 413 by its length alone, before authorize', async () => {
    const { asked, port } = await endpoint(framework, () => true);
    const sender = client(port).request('POST', { 'Content-Length': MAX_BODY_BYTES + 1 });
    expect((await sender.answer()).status).toBe(413);
    expect(asked).toEqual([]);
  });

  it.each<[string, string | string[]]>([
    ['gzip', 'gzip'],
    ['GZIP', 'GZIP'],
    ['a list', 'identity, br'],
    ['two lines', ['identity', 'deflate']],
    ['a name of 5,000 letters', 'x'.repeat(5_000)],
  ])('is refused with 415 where its coding is %s, before authorize', async (_name, coding) => {
    const { asked, port } = await endpoint(framework, () => true);
    const sender = client(port).request('POST', { 'Content-Length': 100, 'Content-Encoding': coding });
    const { status, headers, body } = await sender.answer();
    expect([status, headers['accept-encoding']]).toEqual([415, 'identity']);
    expect(JSON.parse(body)).toEqual({
      error: 'Unsupported content encoding',
      details: expect.stringContaining('send the body as it is'),
    });
    expect(body.length).toBeLessThan(300);
    expect(asked).toEqual([]);
  });

  it.each(['identity', 'Identity', ''])('is read where its coding is %j', async (coding) => {
    const { port } = await endpoint(framework);
    const sender = client(port).request('POST', { 'Content-Length': BODY.length, 'Content-Encoding': coding }, BODY);
    expect((await sender.answer()).status).toBe(200);
  });

  it.each(['GET', 'PUT', 'DELETE', 'OPTIONS'])('is not waited for where the method is %s', async (method) => {
    const { asked, port } = await endpoint(framework, () => true);
    const sender = client(port).request(
      method,
      { 'Content-Length': MAX_BODY_BYTES, 'Content-Type': 'text/plain' },
      'x',
    );
    expect((await sender.answer()).status).toBe(405);
    expect(asked).toEqual([]);
  });

  it('comes after 100 Continue, where the client waits for that', async () => {
    const { port } = await endpoint(framework, (userIds) => userIds.length < 2);
    const head = { 'Content-Length': BODY.length, Expect: '100-continue' };
    const sender = client(port).request('POST', head);
    expect((await sender.answer()).status).toBe(100);
    sender.send(BODY);
    expect((await sender.answer(1)).status).toBe(200);
  });

  it.each(['the head', 'the ids'])('or the answer is 503 where authorize gives none for %s', async (which) => {
    const late: Array<(error: Error) => void> = [];
    const pending = () => new Promise<boolean>((_resolve, reject) => late.push(reject));
    const isPending = (userIds: string[]) => (userIds.length === 0) === (which === 'the head');
    const { clock, port, reported, waiting } = await endpoint(framework, (userIds) =>
      isPending(userIds) ? pending() : true,
    );
    const sender = client(port).request('POST', { 'Content-Length': BODY.length }, BODY);
    await until(() => expect(late).toHaveLength(1));
    await clock.advance(CALLBACK_TIMEOUT_MS - 1);
    expect(sender.answers).toEqual([]);
    await clock.advance(1);
    const { status, body } = await sender.answer();
    expect(status).toBe(503);
    expect(JSON.parse(body)).toEqual({
      error: 'Presence is not available',
      details: 'the request could not be authorized in time',
    });
    expect(reported).toEqual(['authorize ERR_PRESENCE_CALLBACK']);
    // It would end the process, were nobody to hold it.
    late[0]?.(new Error('too late'));
    await clock.settle();
    expect(reported).toHaveLength(1);
    await waiting(0);
  });

  it('has a client that goes away while authorize thinks: nothing is reported, nothing remains', async () => {
    const verdicts: Array<(verdict: boolean) => void> = [];
    const { clock, port, reported, url, waiting } = await endpoint(
      framework,
      (userIds) => userIds.length === 0 && verdicts.length < 2 && new Promise((resolve) => verdicts.push(resolve)),
    );
    const silent = client(port).request('POST', { 'Content-Length': 1_000 }, '{"userIds"');
    const complete = client(port).request('POST', { 'Content-Length': BODY.length }, BODY);
    await until(() => expect(verdicts).toHaveLength(2));
    for (const gone of [silent, complete]) gone.socket.resetAndDestroy();
    await Promise.all([silent.closed(), complete.closed()]);
    for (const resolve of verdicts) resolve(true);
    expect((await fetch(url, { method: 'POST', body: BODY })).status).toBe(403);
    await clock.advance(2 * BODY_TIMEOUT_MS);
    await waiting(0);
    expect(reported).toEqual([]);
  });

  it('has a client that goes away in the middle of it: nothing is reported, nothing remains', async () => {
    const { port, reported, url, waiting } = await endpoint(framework);
    const gone = client(port).request('POST', { 'Content-Length': 1_000 }, '{"userIds"');
    await waiting(1);
    gone.socket.resetAndDestroy();
    await waiting(0);
    expect((await fetch(url, { method: 'POST', body: BODY })).status).toBe(200);
    expect(reported).toEqual([]);
  });
});

describe.each(owned)('the connection of a refused body, on $name', (framework) => {
  it('serves the next request once that body has come to its end', async () => {
    const { port } = await endpoint(framework, (userIds) => userIds.length > 0 || 401);
    const sender = client(port).request('POST', { 'Content-Length': 100_000 });
    expect((await sender.answer()).status).toBe(401);
    sender.send(Buffer.alloc(100_000)).request('PUT', { 'Content-Length': 0 });
    expect((await sender.answer(1)).status).toBe(405);
  });

  it('is closed where that body does not end in time', async () => {
    const { clock, port, waiting } = await endpoint(framework, () => false);
    const sender = client(port).request('POST', { 'Content-Length': 100_000 });
    expect((await sender.answer()).status).toBe(403);
    await waiting(1);
    await clock.advance(BODY_TIMEOUT_MS - 1);
    expect(sender.isClosed).toBe(false);
    await clock.advance(1);
    await sender.closed();
    await waiting(0);
  });

  it.each([
    [403, () => false],
    [413, undefined],
  ])('is closed where that body, refused with %d, does not end at all', async (status, verdict) => {
    const { port } = await endpoint(framework, verdict);
    const sender = client(port).request('POST', { 'Transfer-Encoding': 'chunked' });
    const chunk = Buffer.from(`10000\r\n${' '.repeat(65_536)}\r\n`);
    let sent = 0;
    while (!sender.isClosed && sent < 200_000_000) {
      sender.send(chunk);
      sent += chunk.length;
      await Promise.race([sender.flushed(), sender.closed()]);
    }
    expect((await sender.answer()).status).toBe(status);
    expect(sent).toBeGreaterThan(16_000_000);
    expect(sent).toBeLessThan(60_000_000);
  });
});

// Fastify takes its time before it calls a handler, and the stream runs meanwhile.
const atOnce = owned.filter(({ source }) => source !== 'fastify.ts');

describe.each(atOnce)('a stream that others have touched, on $name', (framework) => {
  it('is read where somebody listens, too, while authorize thinks', async () => {
    const { presence } = routerWithClock();
    const authorize = () => new Promise<boolean>((resolve) => setTimeout(resolve, 30, true));
    const handle = framework.listener(presence, { authorize }, false);
    let logged = '';
    const { url, stop } = await serve((request, response) => {
      request.on('data', (chunk) => {
        logged += chunk;
      });
      handle(request, response);
    });
    cleanups.push(stop);
    expect((await fetch(url, { method: 'POST', body: BODY })).status).toBe(200);
    expect(logged).toBe(BODY);
  });

  it('is read where somebody has made it give text, which is no longer strict', async () => {
    const { presence } = routerWithClock();
    const handle = framework.listener(presence, {}, false);
    const { url, stop } = await serve((request, response) => handle(request.setEncoding('utf8') && request, response));
    cleanups.push(stop);
    const answer = await fetch(url, { method: 'POST', body: '{"userIds":["é"]}' });
    expect(await answer.json()).toHaveProperty('é');
    const broken = Buffer.from('{"userIds":["\xff"]}', 'latin1');
    expect((await fetch(url, { method: 'POST', body: broken })).status).toBe(400);
  });
});

describe('the memory', () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const held = () => {
    collect();
    const { arrayBuffers, heapUsed } = process.memoryUsage();
    return arrayBuffers + heapUsed;
  };
  // One for all, so that what grows is the server.
  const almostAll = Buffer.alloc(MAX_BODY_BYTES - 1, ' ');
  const slow = (port: number, count: number) =>
    Array.from({ length: count }, () =>
      client(port).request('POST', { 'Content-Length': MAX_BODY_BYTES }).send(almostAll),
    );

  it.each(
    FRAMEWORKS.map((framework) => ({
      framework,
      name: framework.name,
      count: framework.name === 'node:http' ? 300 : 40,
    })),
  )('holds no body of $count slow senders whom authorize refuses, on $name', async ({ framework, count }) => {
    const { port, asked } = await endpoint(framework, () => false);
    const before = held();
    const senders = slow(port, count);
    const answers = await Promise.all(senders.map((sender) => sender.answer()));
    expect(answers.map(({ status }) => status)).toEqual(Array(count).fill(403));
    expect(asked).toEqual(Array(count).fill([]));
    await Promise.all(senders.map((sender) => Promise.race([sender.flushed(), sender.closed()])));
    await until(() => expect(held() - before).toBeLessThan(4_000_000));
  });

  it.each(FRAMEWORKS)('is given back where bodies do not come to their end, on $name', async (framework) => {
    const { clock, port, waiting } = await endpoint(framework, () => true);
    const before = held();
    const senders = slow(port, 30);
    await waiting(30);
    await Promise.all(senders.map((sender) => sender.flushed()));
    // They are held meanwhile: this measures what it says.
    await until(() => expect(held() - before).toBeGreaterThan(25_000_000));
    await clock.advance(BODY_TIMEOUT_MS);
    const answers = await Promise.all(senders.map((sender) => sender.answer()));
    expect(answers.map(({ status }) => status)).toEqual(Array(30).fill(408));
    await until(() => expect(held() - before).toBeLessThan(3_000_000));
  });
});

describe('HTTP/2', () => {
  async function served(options: Parameters<typeof createStatusHandler>[1]) {
    const { clock, presence, reported } = routerWithClock();
    const handle = createStatusHandler(presence, options);
    const server = http2.createServer((request, response) => void handle(request as never, response as never));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const session = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    cleanups.push(() => {
      session.destroy();
      server.close();
    });
    const timers = clock.timers;
    const waiting = (count: number) => until(() => expect(clock.timers - timers).toBe(count));
    const ask = (...body: string[]) => {
      const stream = session.request({ ':method': 'POST', ':path': '/', 'content-type': 'application/json' });
      const closed = new Promise<void>((resolve) => stream.once('close', resolve));
      const head = new Promise<http2.IncomingHttpHeaders>((resolve) => stream.once('response', resolve));
      stream.on('error', () => undefined).resume();
      for (const part of body) stream.write(part);
      return { stream, closed, head };
    };
    return { clock, reported, waiting, ask };
  }

  it('answers, refuses by the head and times out, without a header that it does not know', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    cleanups.push(() => warn.mockRestore());
    let verdict = true;
    const { clock, reported, waiting, ask } = await served({ authorize: () => verdict });
    const good = ask(BODY);
    good.stream.end();
    expect((await good.head)[':status']).toBe(200);
    await good.closed;

    const slow = ask('{"userIds"');
    await waiting(1);
    await clock.advance(BODY_TIMEOUT_MS);
    expect(await slow.head).toMatchObject({ ':status': 408 });
    expect(await slow.head).not.toHaveProperty('connection');
    await clock.advance(BODY_TIMEOUT_MS);
    await slow.closed;

    verdict = false;
    const refused = Array.from({ length: 20 }, () => ask('{"userIds"'));
    for (const { head } of refused) expect((await head)[':status']).toBe(403);
    await waiting(20);
    await clock.advance(BODY_TIMEOUT_MS);
    await Promise.all(refused.map(({ closed }) => closed));
    await waiting(0);
    expect(reported).toEqual([]);
    expect(warn).not.toHaveBeenCalled();
  });
});

describe('a body in chunks of one byte', () => {
  // Each was kept as a piece of its own, of a hundred bytes: four requests ended a router.
  it('takes no more memory than it has bytes', () => {
    const buffer = new BodyBuffer();
    const before = process.memoryUsage();
    const chunk = Buffer.from('x');
    for (let index = 0; index < MAX_BODY_BYTES; index += 1) buffer.push(chunk);
    const after = process.memoryUsage();
    expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(
      20 * MAX_BODY_BYTES,
    );
    const taken = buffer.take();
    expect([taken.length, taken.every((byte) => byte === 0x78)]).toEqual([MAX_BODY_BYTES, true]);
    expect(buffer.take()).toHaveLength(0);
  });
});

it('many requests on one connection leave no warning', async () => {
  const warnings: string[] = [];
  const onWarning = (warning: Error): unknown => warnings.push(warning.name);
  process.on('warning', onWarning);
  const presence = createPresence();
  const status = createStatusHandler(presence, { authorize: () => true });
  const server = createServer((request, response) => void status(request, response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  let answers = 0;
  socket.on('data', (data) => {
    answers += String(data).split('HTTP/1.1 405').length - 1;
  });
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(50));
  await until(() => expect(answers).toBe(50));
  socket.destroy();
  server.close();
  await presence.close();
  process.removeListener('warning', onWarning);
  expect(warnings).toEqual([]);
});
