import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { encode } from '@msgpack/msgpack';
import jwt from 'jsonwebtoken';
import { describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { CROWD } from '../../examples/phones/crowd';
import { credentialsOf } from '../../examples/router/credentials';
import { onCleanup, running, until } from './running';

describe('credentials on connect', () => {
  it.each<[string, Record<string, string>, object | undefined]>([
    ['headers token and device_id', { token: 't', device_id: 'd' }, { token: 't', deviceId: 'd' }],
    ['headers as the SDK sends them', { voicepingtoken: 't', deviceid: 'd' }, { token: 't', deviceId: 'd' }],
    ['subprotocols', { 'sec-websocket-protocol': 't, d' }, { token: 't', deviceId: 'd' }],
    ['subprotocols without a space', { 'sec-websocket-protocol': 't,d' }, { token: 't', deviceId: 'd' }],
    ['headers before subprotocols', { token: 't', 'sec-websocket-protocol': 'x, d' }, { token: 't', deviceId: 'd' }],
    ['no device', { token: 't' }, { token: 't' }],
    ['the token as the device', { token: 't', device_id: 't' }, { token: 't' }],
    ['the token as a subprotocol, too', { token: 't', 'sec-websocket-protocol': 'x, t' }, { token: 't' }],
    ['UTF-8 in a header', { token: Buffer.from('é👷').toString('latin1') }, { token: 'é👷' }],
    ['Latin-1 in a header', { token: 'caf\u00e9' }, { token: 'caf\u00e9' }],
    ['nothing', {}, undefined],
    ['an empty token', { token: '' }, undefined],
  ])('%s', (_name, headers, expected) => {
    expect(credentialsOf(headers)).toEqual(expected);
  });

  it('real clients connect by headers and by subprotocols, with and without a space', async () => {
    const { client, statuses, phone, ws } = await running();
    await client(undefined, { token: 'by-header' });
    await client(['by-protocol', 'Pixel9']);
    phone('acme_👷');
    const bare = new WebSocket(ws, { headers: { 'Sec-WebSocket-Protocol': 'no-space,Pixel9' } });
    onCleanup(() => bare.terminate());
    // ws refuses an answer with a protocol that it did not ask for; by then the router has us.
    bare.on('error', () => undefined);
    await until(async () => {
      const online = await statuses(['by-header', 'by-protocol', 'acme_👷']);
      expect(Object.values(online).map(({ status }) => status)).toEqual(['online', 'online', 'online']);
    });
    await until(async () => expect((await statuses(['no-space']))['no-space']?.lastSeen).not.toBeNull());
  });

  it.each<[string, Record<string, string>]>([
    ['no token', {}],
    ['an id of over 256 bytes', { token: 'x'.repeat(257) }],
  ])('%s is 401', async (_name, headers) => {
    const { ws } = await running();
    const socket = new WebSocket(ws, { headers });
    const [, response] = await once(socket, 'unexpected-response');
    expect(response.statusCode).toBe(401);
  });
});

describe('with USE_AUTHENTICATION', () => {
  const secretKey = 'your-secret-key';
  const status = async (ws: string, token: string): Promise<number> => {
    const socket = new WebSocket(ws, { headers: { token } });
    onCleanup(() => socket.terminate());
    return Promise.race([
      once(socket, 'open').then(() => 101),
      once(socket, 'unexpected-response').then(([, response]) => response.statusCode as number),
    ]);
  };

  it.each(['uid', 'user_id', 'userId', 'sub', 'id'])('the id comes from the claim %s', async (claim) => {
    const { ws, router } = await running({ secretKey });
    expect(await status(ws, jwt.sign({ [claim]: 'acme_u1', aud: 'x' }, secretKey))).toBe(101);
    await until(async () => {
      expect((await router.presence.listOnline()).users.map(({ userId }) => userId)).toEqual(['acme_u1']);
    });
  });

  it('or from a payload that is a plain string, quoted or not', async () => {
    const { ws, router } = await running({ secretKey });
    const sign = (payload: string) => {
      const body = [{ typ: 'JWT', alg: 'HS256' }, payload]
        .map((part) => Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url'))
        .join('.');
      return `${body}.${createHmac('sha256', secretKey).update(body).digest('base64url')}`;
    };
    expect(await status(ws, sign('"acme_u1"'))).toBe(101);
    expect(await status(ws, jwt.sign('acme_u2', secretKey))).toBe(101);
    await until(async () => {
      expect((await router.presence.listOnline()).users.map(({ userId }) => userId).sort()).toEqual([
        'acme_u1',
        'acme_u2',
      ]);
    });
  });

  it.each<[string, string]>([
    ['no JWT at all', 'acme_u1'],
    ['another secret', jwt.sign({ uid: 'acme_u1' }, 'guessed')],
    ['an expired one', jwt.sign({ uid: 'acme_u1', exp: 1 }, secretKey)],
    ['no id in it', jwt.sign({ name: 'u1' }, secretKey)],
    ['no signature', `${jwt.sign({ uid: 'acme_u1' }, '', { algorithm: 'none' })}`],
  ])('%s is 401', async (_name, token) => {
    const { ws, router } = await running({ secretKey });
    expect(await status(ws, token)).toBe(401);
    expect(await router.presence.countOnline()).toBe(0);
  });

  it('the endpoints ask for a token too, and a dashboard has a role', async () => {
    const { statusUrl, http, ws, client } = await running({ secretKey });
    const post = (headers: Record<string, string>) =>
      fetch(statusUrl, { method: 'POST', headers, body: JSON.stringify({ userIds: ['acme_u1'] }) }).then(
        ({ status }) => status,
      );
    expect(await post({})).toBe(401);
    expect(await post({ Authorization: 'Bearer nonsense' })).toBe(401);
    const token = jwt.sign({ uid: 'dispatcher', role: 'dashboard', company: 'acme' }, secretKey);
    expect(await post({ Authorization: `Bearer ${token}` })).toBe(200);
    expect((await fetch(`${http}/api/users`)).status).toBe(401);
    const { frames } = await client([token, 'web']);
    expect(await status(ws, jwt.sign({ uid: 'acme_u1' }, secretKey))).toBe(101);
    await until(() => {
      expect(frames).toEqual([{ messageType: 32, users: [expect.objectContaining({ userId: 'acme_u1' })] }]);
    });
  });
});

describe('private calls', () => {
  it('are forwarded as arrays, with their bytes unchanged, to every device of the one who is called', async () => {
    const { client, statuses } = await running();
    const caller = await client(undefined, { token: 'acme_u1', device_id: 'Pixel 9' });
    const callees = [await client(undefined, { token: 'acme_u2' }), await client(undefined, { token: 'acme_u2' })];
    const bystander = await client(undefined, { token: 'acme_u3' });
    await until(async () => expect((await statuses(['acme_u2']))['acme_u2']?.status).toBe('online'));
    const start = Buffer.from(encode([1, 1, 'acme_u1', 'acme_u2', 'hi']));
    const audio = Buffer.from(encode([1, 3, 'acme_u1', 'acme_u2', Buffer.alloc(160, 7)]));
    // A longer form of the same number: decoded and encoded anew the bytes would differ.
    const odd = Buffer.concat([Buffer.from([0x95, 0xcc, 0x01, 0x03]), audio.subarray(3)]);
    for (const frame of [start, audio, odd]) caller.socket.send(frame);
    for (const { raw } of callees) await until(() => expect(raw).toEqual([start, audio, odd]));
    await until(() => expect(caller.frames).toEqual([[1, 6, 'acme_u1', 'acme_u2', 'hi']]));
    expect(bystander.raw).toEqual([]);
  });

  it('to somebody who is not there fail at once', async () => {
    const { client } = await running();
    const caller = await client(undefined, { token: 'acme_u1' });
    caller.send([1, 1, 'acme_u1', 'acme_u2', null]);
    await until(() => expect(caller.frames).toEqual([[1, 8, 'acme_u1', 'acme_u2', 'Offline']]));
  });

  it('garbage disturbs nobody', async () => {
    const { client, statuses } = await running();
    const phone = await client(undefined, { token: 'acme_u1' });
    for (const frame of [
      Buffer.from([0x94, 1]),
      Buffer.alloc(100, 0x95),
      Buffer.from([0xc0]),
      'text',
      encode([0, 4, 'x']),
    ]) {
      phone.socket.send(frame);
    }
    phone.send([1, 1, 'acme_u1', 'nobody', null]);
    await until(() => expect(phone.frames).toHaveLength(1));
    expect((await statuses(['acme_u1']))['acme_u1']?.status).toBe('online');
  });
});

describe('clients that mean no good', () => {
  const raw = (port: number) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    return socket;
  };
  const UPGRADE = [
    'GET / HTTP/1.1',
    'Host: x',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  ].join('\r\n');

  it('an upgrade that is refused, and reset, ends nothing and leaves nothing behind', async () => {
    const { router, statuses } = await running();
    for (let count = 0; count < 20; count += 1) {
      const socket = raw(router.port);
      socket.write(`${UPGRADE}\r\n\r\n`, () => socket.resetAndDestroy());
    }
    // One that keeps its half of the connection open.
    const half = connect({ port: router.port, host: '127.0.0.1', allowHalfOpen: true });
    half.on('error', () => undefined);
    half.resume();
    half.write(`${UPGRADE}\r\n\r\n`);
    await once(half, 'end');
    expect(await statuses(['u'])).toMatchObject({ u: { status: 'offline' } });
    await router.close();
    half.destroy();
  });

  it('a frame that breaks the protocol costs its sender the connection, and nobody else', async () => {
    const { router, client, statuses } = await running();
    await client(undefined, { token: 'bystander' });
    const socket = raw(router.port);
    socket.write(`${UPGRADE}\r\ntoken: attacker\r\n\r\n`);
    await once(socket, 'data');
    socket.write(Buffer.from([0xf2, 0x80, 0, 0, 0, 0]));
    await once(socket, 'close');
    await until(async () => expect((await statuses(['bystander']))['bystander']?.status).toBe('online'));
  });

  it('frames that promise millions of elements, nest, name odd recipients or are huge end nothing', async () => {
    const { client, statuses } = await running();
    const nested = (depth: number): unknown => (depth === 0 ? 0 : [nested(depth - 1)]);
    for (const frame of [
      encode([1, 1, 'u', { toString: 1 }, null]),
      encode([1, 1, nested(90), 'nobody', null]),
      Buffer.concat([Buffer.from([0x95, 1, 1]), ...Array(30).fill(Buffer.from([0xdd, 0x01, 0xc0, 0, 0]))]),
      Buffer.alloc(200_000, 0x95),
      Buffer.alloc(5_000_000, 0x91),
    ]) {
      const attacker = await client(undefined, { token: 'attacker' });
      attacker.socket.on('error', () => undefined);
      attacker.socket.send(frame);
    }
    const phone = await client(undefined, { token: 'acme_u1' });
    phone.send([1, 1, 'acme_u1', 'nobody', null]);
    await until(() => expect(phone.frames).toEqual([[1, 8, 'acme_u1', 'nobody', 'Offline']]));
    expect((await statuses(['acme_u1']))['acme_u1']?.status).toBe('online');
  });

  it.each(['\ud800', 1.5, '', 'x'.repeat(257)])('a token for the id %o is 401, and is listed nowhere', async (uid) => {
    const { handshake, ask, router } = await running({ secretKey: 'secret' });
    const token = jwt.sign({ uid, company: 'acme' }, 'secret');
    expect(await handshake({ token })).toBe(401);
    expect((await ask('/api/users', token)).status).toBe(401);
    expect(await router.presence.countOnline()).toBe(0);
  });
});

describe('pages', () => {
  it('are served from a list, with a policy that lets no foreign script run', async () => {
    const { http } = await running({ users: CROWD });
    for (const path of ['/', '/dashboard.js', '/dashboard.css', '/client.js']) {
      const response = await fetch(`${http}${path}`);
      expect(response.status).toBe(200);
      expect(response.headers.get('content-security-policy')).toContain("default-src 'self'");
      expect((await response.text()).length).toBeGreaterThan(500);
    }
    for (const path of ['/../package.json', '/%2e%2e/package.json', '/.env', '//evil', '//', '/dashboard.js/']) {
      expect((await fetch(`${http}${path}`)).status).toBe(404);
    }
    expect(await (await fetch(`${http}/api/users`)).json()).toEqual(CROWD);
  });
});
