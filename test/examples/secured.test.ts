import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { encode } from '@msgpack/msgpack';
import jwt from 'jsonwebtoken';
import { describe, expect, it } from 'vitest';
import { memoryStore, type PresenceOptions } from 'voiceping-presence';
import { fakeClock } from 'voiceping-presence/testing';
import { WebSocket } from 'ws';
import { onCleanup, running, until } from './running';

// What the example router, which people copy, lets nobody do. With authentication, where nothing else is said.

const secretKey = 'a secret of thirty-two bytes, and more';
const sign = (claims: object, options: jwt.SignOptions = {}): string => jwt.sign(claims, secretKey, options);
const phoneToken = (uid: string, more: object = {}): string => sign({ uid, ...more });
const dashboardToken = (uid: string, more: object = {}): string => sign({ uid, role: 'dashboard', ...more });
const STATUS = '/api/presence/status';

/** Everything that a raw client is answered until the other side, or the test, ends it. */
function rawClient(port: number, host = '127.0.0.1') {
  const socket = connect(port, host);
  onCleanup(() => socket.destroy());
  socket.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
  const received: Buffer[] = [];
  socket.on('data', (chunk) => received.push(chunk));
  return {
    socket,
    closed,
    bytes: () => Buffer.concat(received),
    text: () => Buffer.concat(received).toString('latin1'),
  };
}

const upgrade = (...lines: string[]): string =>
  [
    'GET / HTTP/1.1',
    'Host: router.example',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ...lines,
    '\r\n',
  ].join('\r\n');

/** A frame as a client sends it, with a mask of zeros. */
const maskedFrame = (payload: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from([0x82, 0x80 | payload.length, 0, 0, 0, 0]), payload]);

describe('the answer to a handshake', () => {
  it('names the device id, which the client finds as the protocol', async () => {
    const { handshake } = await running({ secretKey });
    const socket = await handshake({}, [phoneToken('acme_u1'), 'Pixel9']);
    expect((socket as WebSocket).protocol).toBe('Pixel9');
  });

  const token = phoneToken('acme_u1');
  it.each<[string, string[], string | undefined]>([
    ['a token and a device id', [`Sec-WebSocket-Protocol: ${token}, Pixel9`], 'Pixel9'],
    ['only a token', [`Sec-WebSocket-Protocol: ${token}`], undefined],
    ['a token in a header, and another one', [`token: ${token}`, `Sec-WebSocket-Protocol: ${token}`], undefined],
    ['the token in place of the device id', [`token: ${token}`, `Sec-WebSocket-Protocol: x, ${token}`], undefined],
    ['a device id in the third place', [`Sec-WebSocket-Protocol: ${token}, Pixel9, chat`], 'Pixel9'],
  ])('never holds the token: %s', async (_name, lines, protocol) => {
    const { router } = await running({ secretKey });
    const { socket, text } = rawClient(router.port);
    socket.write(upgrade(...lines));
    await until(() => expect(text()).toContain('\r\n\r\n'));
    expect(text()).toMatch(/^HTTP\/1.1 101 /);
    expect(text()).not.toContain(token);
    expect(/^Sec-WebSocket-Protocol: (.*)\r$/im.exec(text())?.[1]).toBe(protocol);
  });
});

describe('users of another company', () => {
  const users = ['acme_u1', 'acme_u2', 'nordbau_u1', 'no-company', '_u1', '_u2', 'acme_'];

  it.each<[string, string, readonly string[], number]>([
    ['its own', phoneToken('acme_u1'), ['acme_u1', 'acme_u2', 'acme_not_seen_yet'], 200],
    ['another one', phoneToken('acme_u1'), ['nordbau_u1'], 403],
    ['one foreign user among its own', phoneToken('acme_u1'), ['acme_u1', 'nordbau_u1'], 403],
    ['a company whose name begins alike', phoneToken('acme_u1'), ['acmecorp_u1'], 403],
    ['one of another case', phoneToken('acme_u1'), ['ACME_u1'], 403],
    ['somebody of no company', phoneToken('acme_u1'), ['no-company'], 403],
    ['itself, having no company', phoneToken('no-company'), ['no-company'], 200],
    ['another one, having no company', phoneToken('no-company'), ['acme_u1'], 403],
    ['another one, an empty name being none', phoneToken('_u1'), ['_u2'], 403],
    ['one without a name, which is of no company', phoneToken('acme_u1'), ['acme_'], 403],
    ['those of its claim', phoneToken('42', { company: 'acme' }), ['42', 'acme_u1'], 200],
    [
      'those of its id, where the claim says otherwise',
      phoneToken('nordbau_u1', { company: 'acme' }),
      ['nordbau_u2'],
      403,
    ],
    ['as a dashboard: its own', dashboardToken('desk', { company: 'acme' }), ['acme_u1'], 200],
    ['as a dashboard: another one', dashboardToken('acme_desk'), ['nordbau_u1'], 403],
    ['as a dashboard of no company', dashboardToken('desk'), ['acme_u1'], 403],
  ])('over HTTP: %s', async (_name, token, userIds, status) => {
    const { ask } = await running({ secretKey, users });
    expect((await ask(STATUS, token, userIds)).status).toBe(status);
    expect((await ask(STATUS, undefined, userIds)).status).toBe(401);
  });

  it.each<[string, string, readonly string[]]>([
    ['a phone', phoneToken('acme_u1'), ['acme_u1', 'acme_u2']],
    ['a dashboard', dashboardToken('desk', { company: 'nordbau' }), ['nordbau_u1']],
    ['somebody of no company', phoneToken('no-company'), []],
    ['somebody whose company has an empty name', phoneToken('_u1'), []],
  ])('are not in the list of %s', async (_name, token, expected) => {
    const { ask } = await running({ secretKey, users });
    expect(await ask('/api/users', token)).toEqual({ status: 200, body: expected });
  });

  it.each(['', 'acme_north', 7, null, ['acme'], { company: 'acme' }])(
    'a claim of the company %o is a 401',
    async (company) => {
      const { handshake, ask } = await running({ secretKey });
      const token = phoneToken('acme_u1', { company });
      expect(await handshake({ token })).toBe(401);
      expect((await ask('/api/users', token)).status).toBe(401);
    },
  );

  it('are not told to a dashboard, whatever it asks for', async () => {
    const { client, handshake } = await running({ secretKey, users });
    const listening = await client([dashboardToken('acme_desk'), 'web']);
    const asking = await client([dashboardToken('desk', { company: 'acme' }), 'web']);
    const phone = await client([phoneToken('acme_u9'), 'Pixel9']);
    for (const { send } of [asking, phone]) {
      for (const ids of [true, ['nordbau_u1'], ['acme_u1', 'nordbau_u1']]) {
        send({ messageType: 33, ids });
      }
    }
    // A newer request makes an older one moot, so that only the last is sure to be answered.
    for (const { frames } of [asking, phone]) {
      await until(() => expect(frames).toContainEqual(expect.objectContaining({ messageType: 33 })));
    }
    asking.send({ messageType: 33, ids: ['acme_u1'], request: 1 });
    await until(() => expect(asking.frames.at(-1)).toMatchObject({ messageType: 32, request: 1 }));

    await handshake({ token: phoneToken('nordbau_u1') });
    await handshake({ token: phoneToken('acme_u1') });
    for (const { frames } of [asking, listening]) {
      await until(() => expect(frames).toContainEqual(expect.objectContaining({ messageType: 31, fromId: 'acme_u1' })));
      expect(JSON.stringify(frames)).not.toContain('nordbau_u1');
    }
    phone.send({ messageType: 33, ids: ['acme_u1'] });
    await until(() => expect(phone.frames.length).toBeGreaterThan(1));
    for (const frame of phone.frames) expect(frame).toMatchObject({ messageType: 33, error: expect.any(String) });
  });

  it('a dashboard that only listens is told of newcomers, one that has asked of those for whom it asked', async () => {
    const { client } = await running({ secretKey });
    const listening = await client([dashboardToken('acme_desk'), 'web']);
    const asking = await client([dashboardToken('acme_desk'), 'web']);
    asking.send({ messageType: 33, ids: ['acme_u1'] });
    await until(() => expect(asking.frames).toMatchObject([{ messageType: 32, users: [{ userId: 'acme_u1' }] }]));
    await client(undefined, { token: phoneToken('nordbau_u1') });
    for (const uid of ['acme_u1', 'acme_u2']) {
      const phone = await client(undefined, { token: phoneToken(uid) });
      const isOf = { userId: uid, status: 'online' };
      await until(() => {
        expect(listening.frames).toContainEqual({ messageType: 32, users: [expect.objectContaining(isOf)] });
      });
      phone.socket.close();
      await until(() => {
        expect(listening.frames.at(-1)).toMatchObject({ messageType: 31, fromId: uid, status: 'offline' });
      });
    }
    expect(asking.frames.slice(1)).toMatchObject([
      { messageType: 31, fromId: 'acme_u1', status: 'online' },
      { messageType: 31, fromId: 'acme_u1', status: 'offline' },
    ]);
    expect(JSON.stringify(listening.frames)).not.toContain('nordbau');
  });

  it('of which there are many fill no list, and no more than 10,000 of a company are in one', async () => {
    const many = Array.from({ length: 10_100 }, (_, user) => `acme_${user}`);
    const { ask } = await running({ secretKey, users: [...many, 'nordbau_u1'] });
    expect((await ask('/api/users', phoneToken('acme_u1'))).body).toHaveLength(10_000);
    expect((await ask('/api/users', phoneToken('nordbau_u1'))).body).toEqual(['nordbau_u1']);
  });
});

it('lists those who are on other routers: who was there first, and who comes', async () => {
  const store = memoryStore();
  const first = await running({ secretKey, presence: { store } });
  await first.client(undefined, { token: phoneToken('acme_u1') });
  await until(async () => expect(await first.router.presence.countOnline()).toBe(1));
  const second = await running({ secretKey, presence: { store } });
  await first.client(undefined, { token: phoneToken('acme_u2') });
  await until(async () => {
    expect((await second.ask('/api/users', phoneToken('acme_u3'))).body).toEqual(['acme_u1', 'acme_u2']);
  });
});

describe('calls', () => {
  it('are from the user of the socket, whatever the frame says', async () => {
    const { client } = await running({ secretKey });
    const forger = await client(undefined, { token: phoneToken('acme_u1') });
    const callee = await client(undefined, { token: phoneToken('acme_u2') });
    const audio = Buffer.alloc(160, 7);
    for (const fromId of ['acme_boss', 'acme_u10', 7, null, ['acme_u1'], { toString: 'acme_u1' }]) {
      forger.send([1, 3, fromId, 'acme_u2', audio]);
      await until(() => expect(callee.frames).toHaveLength(1));
      expect(callee.frames.pop()).toEqual([1, 3, 'acme_u1', 'acme_u2', audio]);
    }
    forger.send([1, 1, 'acme_boss', 'acme_u2', 'hi']);
    await until(() => expect(callee.frames).toEqual([[1, 1, 'acme_u1', 'acme_u2', 'hi']]));
    await until(() => expect(forger.frames).toEqual([[1, 6, 'acme_u1', 'acme_u2', 'hi']]));
  });

  it('from a user with a number for an id keep their bytes, in either form', async () => {
    const { client } = await running({ secretKey });
    const caller = await client(undefined, { token: sign({ uid: 7, company: 'acme' }) });
    const callee = await client(undefined, { token: phoneToken('acme_u2') });
    const frames = [7, '7'].map((fromId) => Buffer.from(encode([1, 3, fromId, 'acme_u2', null])));
    for (const frame of frames) caller.socket.send(frame);
    await until(() => expect(callee.raw).toEqual(frames));
  });

  it('to another company are answered as if nobody were there', async () => {
    const { client } = await running({ secretKey });
    const caller = await client(undefined, { token: phoneToken('acme_u1') });
    const stranger = await client(undefined, { token: phoneToken('nordbau_u1') });
    for (const toId of ['nordbau_u1', 'nordbau_nobody', 'acme_nobody']) {
      caller.send([1, 1, 'acme_u1', toId, null]);
      await until(() => expect(caller.frames).toHaveLength(1));
      expect(caller.frames.pop()).toEqual([1, 8, 'acme_u1', toId, 'Offline']);
    }
    expect(stranger.frames).toEqual([]);
  });

  it('to a phone that reads nothing are dropped, and not kept', async () => {
    const { client } = await running({ secretKey });
    const caller = await client(undefined, { token: phoneToken('acme_u1') });
    const callee = await client(undefined, { token: phoneToken('acme_u2') });
    callee.socket.pause();
    const payload = new Uint8Array(200_000);
    for (let frame = 0; frame < 500; frame += 1) caller.send([1, 3, 'acme_u1', 'acme_u2', payload]);
    caller.send([1, 1, 'acme_u1', 'acme_nobody', null]);
    await until(() => expect(caller.frames).toHaveLength(1));
    callee.socket.resume();
    // What had left the router is read; then there is room again.
    await until(() => {
      caller.send([1, 2, 'acme_u1', 'acme_u2', null]);
      expect(callee.frames.at(-1)).toEqual([1, 2, 'acme_u1', 'acme_u2', null]);
    });
    // 100 MB were sent; sockets of the system hold some megabytes on the way.
    expect(callee.raw.filter(({ length }) => length > 1_000).length).toBeLessThan(250);
  });
});

describe('a token that ends', () => {
  const clock = () => fakeClock(Date.now());
  const options = (time: ReturnType<typeof fakeClock>): PresenceOptions => ({
    clock: time,
    store: memoryStore({ now: time.now }),
    pingIntervalMs: false,
  });
  const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds;

  // In seconds from now: iat, exp, and the age that is allowed.
  it.each<[string, { iat?: number; exp?: number }, object]>([
    ['its exp', { exp: 100 }, {}],
    ['its age', { iat: -3_500 }, { maxTokenAgeS: 3_600 }],
    ['its age, before its exp', { iat: -3_500, exp: 1_000 }, { maxTokenAgeS: 3_600 }],
    ['its exp, before its age', { iat: 0, exp: 100 }, { maxTokenAgeS: 3_600 }],
  ])('ends what a dashboard watches, and a phone, with 4001: by %s', async (_name, { iat, exp }, config) => {
    const time = clock();
    const claims = {
      ...(iat !== undefined && { iat: inSeconds(iat) }),
      ...(exp !== undefined && { exp: inSeconds(exp) }),
    };
    const { client } = await running({ secretKey, presence: options(time), ...config });
    const sockets = [
      (await client([dashboardToken('acme_desk', claims), 'web'])).socket,
      (await client(undefined, { token: phoneToken('acme_u1', claims) })).socket,
    ];
    const codes: unknown[] = [];
    for (const socket of sockets) socket.on('close', (code) => codes.push(code));
    await time.advance(90_000);
    expect(sockets.map(({ readyState }) => readyState)).toEqual([WebSocket.OPEN, WebSocket.OPEN]);
    await time.advance(12_000);
    await until(() => expect(codes).toEqual([4001, 4001]));
  });

  it('calls nobody any more, also where its client ignores the close', async () => {
    const time = clock();
    const token = phoneToken('acme_u1', { exp: inSeconds(100) });
    const { client, router } = await running({ secretKey, presence: options(time) });
    const callee = await client(undefined, { token: phoneToken('acme_u2') });
    const { socket, closed, bytes, text } = rawClient(router.port);
    socket.write(upgrade(`token: ${token}`));
    await until(() => expect(text()).toContain('\r\n\r\n'));
    const call = (payload: string) => socket.write(maskedFrame(encode([1, 3, 'acme_u1', 'acme_u2', payload])));
    call('before');
    await until(() => expect(callee.frames).toHaveLength(1));
    await time.advance(102_000);
    // The code of a close frame.
    await until(() => expect(bytes().includes(Buffer.from([0x0f, 0xa1]))).toBe(true));
    call('after');
    // The answer to the close, which it does send in the end: the router reads one after the other.
    socket.write(Buffer.from([0x88, 0x80, 0, 0, 0, 0]));
    await closed;
    expect(callee.frames).toEqual([[1, 3, 'acme_u1', 'acme_u2', 'before']]);
  });

  it.each<[string, () => string, object, number | 'open']>([
    ['without exp is good', () => sign({ uid: 'acme_u1' }, { noTimestamp: true }), {}, 'open'],
    [
      'without iat is not, where age counts',
      () => sign({ uid: 'acme_u1' }, { noTimestamp: true }),
      { maxTokenAgeS: 60 },
      401,
    ],
    [
      'that is a plain string is not, where age counts',
      () => jwt.sign('acme_u1', secretKey),
      { maxTokenAgeS: 60 },
      401,
    ],
    ['that is too old', () => sign({ uid: 'acme_u1', iat: inSeconds(-61) }), { maxTokenAgeS: 60 }, 401],
    ['that is young enough', () => sign({ uid: 'acme_u1', iat: inSeconds(0) }), { maxTokenAgeS: 60 }, 'open'],
    ['whose exp is beyond every date', () => sign({ uid: 'acme_u1', exp: 1e300 }), {}, 'open'],
    ['that does not begin yet', () => sign({ uid: 'acme_u1', nbf: inSeconds(3_600) }), {}, 401],
  ])('%s', async (_name, token, config, expected) => {
    const { handshake, ask, router } = await running({ secretKey, ...config });
    const answer = await handshake({ token: token() });
    expect(typeof answer === 'number' ? answer : 'open').toBe(expected);
    expect((await ask('/api/users', token())).status).toBe(expected === 'open' ? 200 : expected);
    await until(async () => expect(await router.presence.countOnline()).toBe(expected === 'open' ? 1 : 0));
  });
});

describe('a token', () => {
  const config = { secretKey, issuer: 'https://id.example', audience: 'router' };
  const good = { uid: 'acme_u1', iss: 'https://id.example', aud: 'router' };

  it.each<[string, string, number | 'open']>([
    ['of this issuer for this router', sign(good), 'open'],
    ['for several', sign({ ...good, aud: ['other', 'router'] }), 'open'],
    ['of another issuer', sign({ ...good, iss: 'https://id.example.evil' }), 401],
    ['of no issuer', sign({ uid: 'acme_u1', aud: 'router' }), 401],
    ['for another router', sign({ ...good, aud: 'other' }), 401],
    ['for none', sign({ uid: 'acme_u1', iss: 'https://id.example' }), 401],
    ['that is a plain string', jwt.sign('acme_u1', secretKey), 401],
  ])('where issuer and audience count: %s', async (_name, token, expected) => {
    const { handshake, ask } = await running(config);
    const answer = await handshake({ token });
    expect(typeof answer === 'number' ? answer : 'open').toBe(expected);
    expect((await ask(STATUS, token, ['acme_u1'])).status).toBe(expected === 'open' ? 200 : expected);
  });

  it.each<[string, string]>([
    ['by HS384', sign({ uid: 'acme_u1' }, { algorithm: 'HS384' })],
    ['by HS512', sign({ uid: 'acme_u1' }, { algorithm: 'HS512' })],
    ['by nothing', jwt.sign({ uid: 'acme_u1' }, '', { algorithm: 'none' })],
    ['of null', signed('null')],
    ['of a list', signed('["acme_u1"]')],
  ])('%s is a 401, and ends nothing', async (_name, token) => {
    const { handshake, ask } = await running({ secretKey });
    expect(await handshake({ token })).toBe(401);
    expect((await ask('/api/users', token)).status).toBe(401);
  });
});

/** A token whose payload is any JSON. */
function signed(payload: string): string {
  return jwt.sign(payload, secretKey, { header: { alg: 'HS256', typ: 'JWT' } });
}

describe('pages of other origins', () => {
  const desk = 'https://desk.example';

  it.each<[string, string | undefined, readonly string[], number | 'open']>([
    ['no page, but a phone', undefined, [], 'open'],
    ['a page of this router', 'http://HOST', [], 'open'],
    ['the same behind TLS', 'https://HOST', [], 'open'],
    ['another one', 'https://evil.example', [], 403],
    ['another one, with a list', 'https://evil.example', [desk], 403],
    ['one of the list', desk, [desk], 'open'],
    ['one of the list, by another scheme', 'http://desk.example', [desk], 403],
    ['one whose name begins alike', 'https://desk.example.evil', [desk], 403],
    ['this router on another port', 'http://127.0.0.1:1', [], 403],
    ['this router as the name of a user', 'http://HOST@evil.example', [], 403],
    ['a file, or a sandboxed frame', 'null', [], 403],
    ['nothing that is an origin', '%zz', [], 403],
    ['an empty one', '', [], 403],
    ['any, where that is wanted', 'https://any.example', ['*'], 'open'],
  ])('%s', async (_name, origin, allowedOrigins, expected) => {
    const { handshake, router } = await running({ allowedOrigins });
    const own = `127.0.0.1:${router.port}`;
    const answer = await handshake({
      token: 'u',
      ...(origin !== undefined && { origin: origin.replace('HOST', own) }),
    });
    expect(typeof answer === 'number' ? answer : 'open').toBe(expected);
    await until(async () => expect(await router.presence.countOnline()).toBe(expected === 'open' ? 1 : 0));
  });

  it('of the list may ask the status endpoint, too', async () => {
    const { statusUrl } = await running({ allowedOrigins: [desk] });
    const allowed = async (origin: string) => {
      const response = await fetch(statusUrl, { method: 'POST', headers: { origin }, body: '{"userIds":["u"]}' });
      return response.headers.get('access-control-allow-origin');
    };
    expect(await allowed(desk)).toBe(desk);
    expect(await allowed('https://evil.example')).toBe(null);
  });

  it('are origins without a path, which would never match', async () => {
    await expect(running({ allowedOrigins: ['https://desk.example/'] })).rejects.toThrow('without a path');
  });
});

describe('pages of the router', () => {
  const policyOf = async (port: number, host: string): Promise<string> => {
    const request = httpRequest({ port, host: '127.0.0.1', headers: { host } }).end();
    const [response] = await once(request, 'response');
    response.resume();
    return response.headers['content-security-policy'];
  };

  it.each<[string, string]>([
    ['router.example', "'self' ws://router.example wss://router.example"],
    ['127.0.0.1:3000', "'self' ws://127.0.0.1:3000 wss://127.0.0.1:3000"],
    ['[::1]:3000', "'self' ws://[::1]:3000 wss://[::1]:3000"],
    ['*', "'self'"],
    ['x; script-src *', "'self'"],
    ['x, default-src *', "'self'"],
    ['x *', "'self'"],
    ["x' 'unsafe-inline'", "'self'"],
  ])('may connect to it, and to nothing else: %s', async (host, sources) => {
    const { router } = await running();
    const policy = await policyOf(router.port, host);
    expect(/connect-src ([^;]*)/.exec(policy)?.[1]).toBe(sources);
    expect(policy).not.toMatch(/ wss?:(\s|;|$)|\*|unsafe/);
  });
});

describe('requests that mean no good', () => {
  it.each([
    '/%',
    '/%zz',
    '/%00',
    '/%c0%ae%c0%ae/.env',
    '/..%2f..%2fpackage.json',
    '/api/users/../../.env',
    '/api/users%00',
    '/?%',
    'http://evil/api/users',
    '*',
  ])('%s is answered, and shows no file', async (path) => {
    const { router, ask } = await running({ secretKey });
    const { socket, closed, text } = rawClient(router.port);
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    await closed;
    expect(text()).toMatch(path.startsWith('/?') ? /^HTTP\/1.1 200 / : /^HTTP\/1.1 40[04] /);
    expect((await ask('/api/users', phoneToken('acme_u1'))).status).toBe(200);
  });

  it('with more headers than anybody needs are a 431, also as a handshake', async () => {
    const { router, ask } = await running({ secretKey });
    for (const start of ['GET /api/users HTTP/1.1\r\nHost: x', upgrade().trimEnd()]) {
      const { socket, closed, text } = rawClient(router.port);
      socket.write(`${start}\r\ntoken: ${'x'.repeat(100_000)}\r\n\r\n`);
      await closed;
      expect(text()).toMatch(/^HTTP\/1.1 431 /);
    }
    expect((await ask('/api/users', phoneToken('acme_u1'))).status).toBe(200);
  });

  it.each([
    ['POST', '/', 405],
    ['POST', '/api/users', 405],
    ['DELETE', '/dashboard.js', 405],
    ['HEAD', '/', 200],
  ])('%s %s is a %i', async (method, path, status) => {
    const { http } = await running();
    expect((await fetch(`${http}${path}`, { method })).status).toBe(status);
  });
});

describe('where it listens', () => {
  // All of 127.0.0.0/8 is this machine; who listens on 127.0.0.1 only is not found at 127.0.0.2.
  const isFound = async (port: number): Promise<boolean> => {
    const { socket, closed } = rawClient(port, '127.0.0.2');
    const connected = new Promise((resolve) => socket.on('connect', resolve));
    return Promise.race([connected.then(() => true), closed.then(() => false)]);
  };

  it.each<[string, object, boolean]>([
    ['without authentication: on this machine', {}, false],
    ['without authentication, where that is wanted: everywhere', { host: '0.0.0.0' }, true],
    ['with authentication: everywhere', { secretKey }, true],
    ['with authentication, where that is wanted: on this machine', { secretKey, host: '127.0.0.1' }, false],
  ])('%s', async (_name, config, found) => {
    const { router } = await running(config);
    expect(await isFound(router.port)).toBe(found);
  });
});
