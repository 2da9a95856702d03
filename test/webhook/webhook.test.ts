import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type ChangeBatch, createPresence, memoryStore } from 'voiceping-presence';
import { fakeSocket } from 'voiceping-presence/testing';
import { createWebhook, type WebhookError, type WebhookOptions } from 'voiceping-presence/webhook';
import { isPublic } from '../../src/webhook/addresses';

const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
const OTHER = `whsec_${Buffer.alloc(24, 9).toString('base64')}`;
const BATCH: ChangeBatch = {
  changes: [
    { userId: 'añ😀', status: 'offline', timestamp: '2026-01-02T03:04:05.678Z', version: 7, reason: 'node-down' },
  ],
  cursor: 'e.7',
  gap: false,
};

interface Received {
  readonly headers: { [name: string]: string };
  readonly body: string;
}

/** A receiver, and what it was sent. */
async function receiver(answer: (response: ServerResponse, request: IncomingMessage) => void) {
  const received: Received[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    received.push({ headers: request.headers as Received['headers'], body: Buffer.concat(chunks).toString() });
    answer(response, request);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { received, server, url: `http://127.0.0.1:${port}/hooks?of=presence` };
}

const ok = (response: ServerResponse): unknown => response.writeHead(204).end();

async function refusalOf(handler: ReturnType<typeof createWebhook>): Promise<WebhookError> {
  try {
    await handler(BATCH);
  } catch (error) {
    return error as WebhookError;
  }
  throw new Error('it was taken');
}

const to = (url: string, options: Partial<WebhookOptions> = {}): ReturnType<typeof createWebhook> =>
  createWebhook({ url, secret: SECRET, allowPrivate: true, ...options });

it('a batch is posted, signed so that the package of the scheme verifies it', async () => {
  const { received, url } = await receiver(ok);
  await to(url, { headers: { Authorization: 'Bearer x' } })(BATCH);
  const [{ headers, body }] = received as [Received];
  expect(new Webhook(SECRET).verify(body, headers)).toEqual(BATCH);
  expect(headers).toMatchObject({ authorization: 'Bearer x', 'content-type': 'application/json' });
  expect(() => new Webhook(OTHER).verify(body, headers)).toThrow();
});

it('while a secret is replaced, either of the two verifies', async () => {
  const { received, url } = await receiver(ok);
  await to(url, { secret: [SECRET, OTHER] })(BATCH);
  const [{ headers, body }] = received as [Received];
  for (const secret of [SECRET, OTHER]) expect(new Webhook(secret).verify(body, headers)).toEqual(BATCH);
});

it('the same batch has the same id, and another one has another', async () => {
  const { received, url } = await receiver(ok);
  const handler = to(url);
  await handler(BATCH);
  await handler(BATCH);
  await handler({ ...BATCH, cursor: 'e.8' });
  const ids = received.map(({ headers }) => headers['webhook-id']);
  expect(ids[0]).toBe(ids[1]);
  expect(ids[2]).not.toBe(ids[0]);
});

describe('answers', () => {
  it.each([
    [410, {}, /answered 410/, { ended: true }],
    [429, { 'retry-after': '7' }, /answered 429/, { retryAfterMs: 7_000 }],
    [503, { 'retry-after': '120' }, /answered 503/, { retryAfterMs: 120_000 }],
    [503, {}, /answered 503/, {}],
    [503, { 'retry-after': 'soon' }, /answered 503/, {}],
    [500, { 'retry-after': '7' }, /answered 500/, {}],
    [302, { location: 'http://127.0.0.1:1/' }, /answered 302, a redirect/, {}],
    [404, {}, /answered 404/, {}],
  ] as const)('%i with %j', async (status, headers, message, advice) => {
    const { received, url } = await receiver((response) => response.writeHead(status, headers).end('why'));
    const error = await refusalOf(to(url));
    expect(error.message).toMatch(message);
    expect({ ...error, name: undefined }).toEqual({ name: undefined, ...advice });
    expect(received.length).toBe(1);
  });

  it('a date in Retry-After', async () => {
    const at = new Date(Date.now() + 60_000).toUTCString();
    const { url } = await receiver((response) => response.writeHead(503, { 'retry-after': at }).end());
    const { retryAfterMs = 0 } = await refusalOf(to(url));
    expect(retryAfterMs).toBeGreaterThan(50_000);
    expect(retryAfterMs).toBeLessThanOrEqual(60_000);
  });
});

describe('a hostile receiver', () => {
  it('never answers: the request ends in time', async () => {
    const { url } = await receiver(() => undefined);
    expect((await refusalOf(to(url, { timeoutMs: 200 }))).message).toMatch(/did not answer within 200 ms/);
  });

  it('answers with 20 MB: they are not read', async () => {
    let isCut = false;
    const { url } = await receiver((response, { socket }) => {
      socket.on('close', () => {
        isCut = true;
      });
      response.writeHead(200).end(Buffer.alloc(20_000_000));
    });
    await to(url)(BATCH);
    // A connection whose response was read to its end stays open for five seconds.
    await expect.poll(() => isCut, { timeout: 3_000 }).toBe(true);
  });

  it('drips a byte a moment: the batch is done at once, and the connection is ended', async () => {
    let isCut = false;
    const { url } = await receiver((response) => {
      response.writeHead(200).write('x');
      const timer = setInterval(() => response.write('x'), 50);
      response.on('close', () => {
        clearInterval(timer);
        isCut = true;
      });
    });
    await to(url)(BATCH);
    expect(isCut).toBe(false);
    await expect.poll(() => isCut, { timeout: 10_000 }).toBe(true);
  });

  it('switches protocols: that is no answer', async () => {
    const { url, server } = await receiver(ok);
    server.on('upgrade', (_request, socket) => socket.end());
    server.removeAllListeners('request');
    server.on('connection', (socket) =>
      socket.once('data', () =>
        socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'),
      ),
    );
    expect((await refusalOf(to(url))).message).toMatch(/answered 101/);
  });

  it('closes a connection that was kept open as it is used again: the batch is sent once more', async () => {
    const { received, url, server } = await receiver(ok);
    let isFirst = true;
    server.on('connection', (socket) => {
      if (!isFirst) return;
      isFirst = false;
      let requests = 0;
      socket.prependListener('data', (data) => {
        if (String(data).startsWith('POST')) requests += 1;
        if (requests === 2) socket.destroy();
      });
    });
    const handler = to(url);
    await handler(BATCH);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await handler({ ...BATCH, cursor: 'e.9' });
    // The first of the two may have been taken before its connection was closed.
    const cursors = received.map(({ body }) => (JSON.parse(body) as ChangeBatch).cursor);
    expect(Array.from(new Set(cursors))).toEqual(['e.7', 'e.9']);
  });

  it('is not there, or speaks no HTTP', async () => {
    expect((await refusalOf(to('http://127.0.0.1:1/'))).message).toMatch(
      /127\.0\.0\.1:1 could not be reached: .*ECONNREFUSED/,
    );
    const { url, server } = await receiver(ok);
    server.on('connection', (socket) => socket.end('ssh-2.0\r\n'));
    expect((await refusalOf(to(url))).message).toMatch(/could not be reached/);
  });
});

describe('addresses that are not public', () => {
  it.each([
    'http://127.0.0.1:9/',
    'http://[::1]:9/',
    'http://localhost:9/',
    'http://169.254.169.254/',
    'http://0x7f.1/',
  ])('%s is refused before anything is sent', async (url) => {
    expect((await refusalOf(to(url, { allowPrivate: false }))).message).toMatch(/has no public address/);
  });

  it.each([
    '10.0.0.1',
    '100.64.1.1',
    '127.8.8.8',
    '169.254.169.254',
    '172.16.0.1',
    '192.168.1.1',
    '0.0.0.0',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    'fc00::1',
    'fe80::1',
    'ff02::1',
    '::ffff:10.0.0.1',
    '64:ff9b::a00:1',
    '2002:a00:1::',
    '::7f00:1',
    '::a00:1',
    '1::1',
    '4000::1',
    'nonsense',
  ])('%s', (address) => expect(isPublic(address)).toBe(false));

  it.each(['8.8.8.8', '2606:4700:4700::1111', '::ffff:8.8.8.8'])('%s is public', (address) => {
    expect(isPublic(address)).toBe(true);
  });
});

it('misuse throws, and no secret stands in an error', () => {
  const refusals: Array<readonly [options: object, message: RegExp]> = [
    [{ url: 'example.com' }, /url is "example.com"; it is the address of the receiver/],
    [{ url: 'ftp://example.com' }, /url is "ftp:\/\/example.com\/"; it is the address/],
    [{ url: 'https://me:pass@example.com' }, /url has a user or a password; give headers/],
    [{ secret: 'short' }, /secret has 5 characters that are not whsec_ and 24 to 64 bytes in base64/],
    [{ secret: [] }, /secret is a list of 0/],
    [{ secret: 7 }, /secret is no string/],
    [{ headers: { 'webhook-id': 'x' } }, /headers has "webhook-id"/],
    [{ headers: { a: 'b\r\nc: d' } }, /headers.a is not a text that can be sent/],
    [{ headers: { 'a b': 'c' } }, /headers has "a b"/],
    [{ timeoutMs: 0 }, /timeoutMs is 0/],
    [{ allowPrivate: 'yes' }, /allowPrivate is "yes"/],
    [{ secrets: SECRET }, /"secrets" is no option: did you mean secret/],
  ];
  for (const [options, message] of refusals) {
    expect(() => createWebhook({ url: 'https://example.com', secret: SECRET, ...options } as never)).toThrow(message);
  }
});

it('from the socket to the receiver: what fails comes again with the same id', async () => {
  let failures = 1;
  const { received, url } = await receiver((response) => {
    failures -= 1;
    response.writeHead(failures >= 0 ? 500 : 200).end();
  });
  const presence = createPresence({ store: memoryStore(), onError: () => undefined });
  onTestFinished(() => presence.close());
  const stop = presence.changes.deliver('hook', to(url), { from: 'start' });
  await presence.attachToSocket(fakeSocket(), { userId: 'a' }).ready;
  await expect.poll(() => received.length, { timeout: 10_000 }).toBe(2);
  expect(received[0]?.headers['webhook-id']).toBe(received[1]?.headers['webhook-id']);
  expect(received[0]?.body).toBe(received[1]?.body);
  await expect.poll(async () => (await presence.changes.deliveries())[0]?.lagChanges).toBe(0);
  await stop();
});
