import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import type { Page } from 'playwright-core';
import { expect } from 'vitest';
import { createPresence } from 'voiceping-presence';
import { createStatusHandler } from 'voiceping-presence/http';
import { fakeSocket } from 'voiceping-presence/testing';
import { attachPresence } from 'voiceping-presence/ws';
import { WebSocketServer } from 'ws';
import { Phone } from '../../examples/phones/phone';
import { onCleanup, running, until } from '../examples/running';
import { sections } from '../package/pages';
import { freePort, RedisServer } from '../redis/server';
import { it } from '../side-by-side';
import { withChromium } from './chromium';

// The client and the React hook in real Chromium, as the README has them; and routers that die under an open page.

const root = fileURLToPath(new URL('../..', import.meta.url));
const chromium = withChromium();

/** The only block of a language under a heading of the README. */
function readme(title: string, language: string): string {
  const section = sections().get(title) ?? '';
  const [, code] = new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 's').exec(section) ?? [];
  return String(code);
}

/** A page with some HTML and a module, bundled as a user's bundler does. */
async function page(html: string, code: string, loader: 'js' | 'jsx', mode = 'production') {
  const { outputFiles } = buildSync({
    stdin: { contents: code, resolveDir: root, loader },
    bundle: true,
    format: 'esm',
    write: false,
    jsx: 'automatic',
    tsconfig: `${root}tsconfig.json`,
    define: { 'process.env.NODE_ENV': JSON.stringify(mode) },
  });
  const server = createServer((request, response) => {
    const isScript = request.url === '/page.js';
    response.writeHead(200, { 'content-type': isScript ? 'text/javascript' : 'text/html' });
    response.end(
      isScript
        ? outputFiles[0]?.text
        : `<!doctype html><link rel="icon" href="data:,">${html}<script type="module" src="/page.js"></script>`,
    );
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onCleanup(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const classesOf = (open: Page): Promise<string[]> =>
  open.evaluate(
    `Array.from(document.querySelectorAll('li'), (item) => item.textContent + ' ' + item.className)`,
  ) as Promise<string[]>;

it('the fifteen lines of the README show who comes and goes', async () => {
  const { ws, phone } = await running({ allowedOrigins: ['*'] });
  const code = readme('A dashboard in fifteen lines', 'js').replace('wss://router.example', ws);
  expect(code.trim().split('\n').length).toBeLessThanOrEqual(17);
  const { page: open, problems } = await chromium.open(await page('<ul id="users"></ul><p id="bar"></p>', code, 'js'));
  const evil = '<img src=x onerror=alert(1)>';
  const phones = [phone('acme_u1'), phone(evil)];
  await until(async () => expect((await classesOf(open)).sort()).toEqual([`${evil} online`, 'acme_u1 online']));
  phones[0]?.close();
  await until(async () => expect((await classesOf(open)).sort()).toEqual([`${evil} online`, 'acme_u1 offline']));
  expect(await open.locator('#bar').textContent()).toBe('');
  expect(problems).toEqual([]);
});

it('the React hook renders what it watches, and no more', async () => {
  const { ws, phone } = await running({
    allowedOrigins: ['*'],
    presence: { authorizeWatch: (_, ids) => ids !== true },
  });
  const code = readme('The same with React', 'jsx').replace('wss://router.example', ws);
  const app = `${code}
    import { createRoot } from 'react-dom/client';
    const root = createRoot(document.querySelector('#app'));
    window.show = (...users) => root.render(<App users={users} />);
    window.known = () => client.getAll().map(({ userId }) => userId).sort().join();
    window.show('acme_u1', 'acme_u2');`;
  const { page: open, problems } = await chromium.open(await page('<ul id="app"></ul>', app, 'jsx'));
  await until(async () => expect(await classesOf(open)).toEqual(['acme_u1 offline', 'acme_u2 offline']));
  const phones = [phone('acme_u1'), phone('acme_u3')];
  await until(async () => expect(await classesOf(open)).toEqual(['acme_u1 online', 'acme_u2 offline']));
  expect(await open.evaluate('window.known()')).toBe('acme_u1,acme_u2');
  await open.evaluate(`window.show('acme_u3', 'acme_u1')`);
  await until(async () => expect(await classesOf(open)).toEqual(['acme_u3 online', 'acme_u1 online']));
  await until(async () => expect(await open.evaluate('window.known()')).toBe('acme_u1,acme_u3'));
  phones[1]?.close();
  await until(async () => expect(await classesOf(open)).toEqual(['acme_u3 offline', 'acme_u1 online']));
  expect(problems).toEqual([]);
});

// Each render was a subscription of its own, and each mount a request for everything.
it('components that render all the time, in StrictMode and with ids made anew, subscribe and ask once', async () => {
  const { ws, phone } = await running({ allowedOrigins: ['*'] });
  const phones = [phone('acme_u1'), phone('acme_u2')];
  const app = `
    import { createElement, StrictMode, useEffect, useState } from 'react';
    import { createRoot } from 'react-dom/client';
    import { createPresenceClient } from 'voiceping-presence/client';
    import { PresenceProvider, usePresence, usePresenceConnection } from 'voiceping-presence/react';
    const client = createPresenceClient({ url: '${ws}', token: 'dashboard_1', ids: [] });
    window.counts = { onChange: 0, onConnectionChange: 0, watch: 0, renders: 0 };
    window.watched = [];
    const counted = Object.create(client, Object.fromEntries(['onChange', 'onConnectionChange', 'watch'].map((name) => [name, {
      value(argument) {
        window.counts[name] += 1;
        if (name === 'watch') window.watched.push([...argument].sort().join());
        return client[name](argument);
      },
    }])));
    function Dots({ users }) {
      const [, again] = useState(0);
      useEffect(() => {
        const timer = setInterval(() => again((count) => count + 1), 5);
        return () => clearInterval(timer);
      }, []);
      window.counts.renders += 1;
      const { state } = usePresenceConnection();
      return usePresence([...users]).map((user, index) =>
        createElement('li', { key: index, className: state === 'live' ? user?.status : 'unknown' }, users[index]));
    }
    const root = createRoot(document.querySelector('#app'));
    // Two providers of one client, and the same user in both.
    window.show = (...lists) => root.render(createElement(StrictMode, null, lists.map((users, index) =>
      createElement(PresenceProvider, { key: users.join(), client: counted }, createElement(Dots, { users })))));
    window.show(['acme_u1'], ['acme_u1', 'acme_u2']);`;
  const { page: open, problems } = await chromium.open(await page('<ul id="app"></ul>', app, 'jsx', 'development'));
  const all = ['acme_u1 online', 'acme_u1 online', 'acme_u2 online'];
  await until(async () => expect(await classesOf(open)).toEqual(all));
  await until(async () => expect(await open.evaluate('window.counts.renders')).toBeGreaterThan(200));
  // Two components, each mounted twice by StrictMode.
  expect(await open.evaluate('window.counts')).toMatchObject({ onChange: 4, onConnectionChange: 4, watch: 1 });
  // Who is still wanted by another stays as it is; and only who is new is asked for.
  await open.evaluate(`window.show(['acme_u2', 'acme_u1'])`);
  await until(async () => expect(await classesOf(open)).toEqual(['acme_u2 online', 'acme_u1 online']));
  await open.evaluate(`window.show(['acme_u1'])`);
  await until(async () => expect(await classesOf(open)).toEqual(['acme_u1 online']));
  expect(await open.evaluate('window.watched')).toEqual(['acme_u1,acme_u2', 'acme_u1']);
  for (const one of phones) one.close();
  await until(async () => expect(await classesOf(open)).toEqual(['acme_u1 offline']));
  expect(problems).toEqual([]);
});

// React renders twice where they differ, and says so.
it('a page that a server has rendered begins as the server did, whatever the client knows by then', async () => {
  const { ws, phone } = await running({ allowedOrigins: ['*'] });
  const phones = [phone('acme_u1')];
  const app = `
    import { createElement } from 'react';
    import { hydrateRoot } from 'react-dom/client';
    import { renderToString } from 'react-dom/server.browser';
    import { createPresenceClient } from 'voiceping-presence/client';
    import { PresenceProvider, usePresence, usePresenceConnection } from 'voiceping-presence/react';
    function Dot() {
      const [user] = usePresence(['acme_u1']);
      return createElement('li', { className: user?.status ?? 'unknown' }, usePresenceConnection().state);
    }
    const rendered = (client) => createElement(PresenceProvider, { client }, createElement(Dot));
    const options = { url: '${ws}', token: 'dashboard_1', ids: ['acme_u1'] };
    window.html = renderToString(rendered(createPresenceClient({ ...options, WebSocket: false })));
    document.querySelector('#app').innerHTML = window.html;
    window.mended = [];
    const client = createPresenceClient(options);
    client.ready.then(() => hydrateRoot(document.querySelector('#app'), rendered(client), {
      onRecoverableError: (error) => window.mended.push(String(error)),
    }));`;
  const { page: open, problems } = await chromium.open(await page('<ul id="app"></ul>', app, 'jsx', 'development'));
  await until(async () => expect(await classesOf(open)).toEqual(['live online']));
  expect(await open.evaluate('window.html')).toBe('<li class="unknown">connecting</li>');
  expect(await open.evaluate('window.mended')).toEqual([]);
  expect(problems).toEqual([]);
  for (const one of phones) one.close();
});

async function routerProcess(port: number, redis: RedisServer): Promise<ChildProcess> {
  const child = fork(`${root}examples/router/main.ts`, [], {
    execArgv: ['--import', 'tsx'],
    silent: true,
    env: { ...process.env, PORT: String(port), REDIS_HOST: '127.0.0.1', REDIS_PORT: String(redis.port) },
  });
  onCleanup(() => child.kill('SIGKILL'));
  let said = '';
  child.stdout?.on('data', (data) => {
    said += String(data);
  });
  await until(() => expect(said).toContain(`http://localhost:${port}`));
  return child;
}

const isIn = (open: Page, list: string, userId: string) =>
  until(async () => expect(await open.locator(`#${list} .user[data-user-id="${userId}"]`).count()).toBe(1), 40_000);

it('a router dies under an open dashboard, another one starts: it says how old its state is, and is right again', async () => {
  const redis = await RedisServer.start();
  onCleanup(() => redis.remove());
  const port = await freePort();
  const first = await routerProcess(port, redis);
  const phone = (userId: string) => {
    const handset = new Phone({ url: `ws://127.0.0.1:${port}`, userId, reconnectMs: 1_000 });
    onCleanup(() => handset.close());
    handset.connect();
    return handset;
  };
  const phones = ['acme_u1', 'acme_u2'].map(phone);
  const { page: open, problems } = await chromium.open(`http://127.0.0.1:${port}`);
  await isIn(open, 'online', 'acme_u1');
  await isIn(open, 'online', 'acme_u2');

  first.kill('SIGKILL');
  const bar = open.locator('#stale');
  await bar.waitFor({ state: 'visible' });
  expect(await bar.textContent()).toMatch(/Connection lost: this is the state of .*\d\d:\d\d/);
  await isIn(open, 'online', 'acme_u1');
  phones[0]?.close();
  await routerProcess(port, redis);
  phone('acme_u3');
  await bar.waitFor({ state: 'hidden', timeout: 30_000 });
  await isIn(open, 'online', 'acme_u2');
  await isIn(open, 'online', 'acme_u3');
  // Its router was killed: it takes a lease to be certain.
  await isIn(open, 'offline', 'acme_u1');
  expect(problems.filter((problem) => !/WebSocket connection|ERR_CONNECTION/.test(problem))).toEqual([]);
}, 90_000);

it('Redis is away for ten seconds: the page says so, turns nobody grey, and is right again', async () => {
  const redis = await RedisServer.start();
  onCleanup(() => redis.remove());
  const port = await freePort();
  await routerProcess(port, redis);
  const phone = (userId: string) => {
    const handset = new Phone({ url: `ws://127.0.0.1:${port}`, userId });
    onCleanup(() => handset.close());
    handset.connect();
    return handset;
  };
  const stays = phone('acme_u1');
  const leaves = phone('acme_u2');
  const { page: open } = await chromium.open(`http://127.0.0.1:${port}`);
  await isIn(open, 'online', 'acme_u1');
  await isIn(open, 'online', 'acme_u2');
  await open.evaluate(`
    window.wasOffline = false;
    new MutationObserver(() => {
      if (document.querySelector('#offline .user[data-user-id="acme_u1"]')) window.wasOffline = true;
    }).observe(document.body, { childList: true, subtree: true });`);

  const pausedAt = Date.now();
  redis.pause();
  const bar = open.locator('#stale');
  await bar.waitFor({ state: 'visible', timeout: 20_000 });
  expect(await bar.textContent()).toMatch(/The router cannot hear its store: this is the state of .*\d\d:\d\d/);
  leaves.close();
  phone('acme_u3');
  await until(() => expect(Date.now() - pausedAt).toBeGreaterThan(10_000));
  redis.resume();
  await bar.waitFor({ state: 'hidden', timeout: 30_000 });
  await isIn(open, 'offline', 'acme_u2');
  await isIn(open, 'online', 'acme_u3');
  await isIn(open, 'online', 'acme_u1');
  expect(stays.isConnected).toBe(true);
  expect(await open.evaluate('window.wasOffline')).toBe(false);
}, 90_000);

it("the guide's own dashboard page works unchanged, but for its addresses and the binaryType", async () => {
  const presence = createPresence();
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const html = readFileSync(new URL('../guide/dashboard.html', import.meta.url), 'utf8')
    .replace('ws://localhost:3000', `ws://${address}`)
    .replace('http://localhost:3000', `http://${address}`)
    .replace('ws = new WebSocket(ROUTER_URL, [TOKEN, DEVICE_ID]);', "$& ws.binaryType = 'arraybuffer';");
  const answerStatus = createStatusHandler(presence, { authorize: 'everybody' });
  server.on('request', (request, response) => {
    if (request.url === '/api/presence/status') void answerStatus(request, response);
    else response.writeHead(200, { 'content-type': 'text/html' }).end(html);
  });
  const wss = new WebSocketServer({ server });
  attachPresence(presence, wss, { identify: () => ({ userId: 'dashboard', track: false, watch: true }) });
  onCleanup(async () => {
    for (const socket of wss.clients) socket.terminate();
    server.close();
    await presence.close();
  });
  const phone = (userId: string) => {
    const socket = fakeSocket();
    presence.attachToSocket(socket, { userId });
    return socket;
  };
  const { page: open, problems } = await chromium.open('');
  await open.route('**/msgpack.min.js', (route) =>
    route.fulfill({ path: `${root}node_modules/@msgpack/msgpack/dist.umd/msgpack.min.js` }),
  );
  const known = phone('123');
  // Its snapshot the page does not look at: who comes before the socket is open it would miss.
  const connected = open.waitForEvent('console', (message) => message.text() === 'WebSocket connected');
  await open.goto(`http://${address}`);
  await connected;
  const dots = () =>
    open.evaluate(
      `Array.from(document.querySelectorAll('.user-card'), (card) =>
        card.textContent.replace(/\\s+/g, ' ').trim() + '|' + card.querySelector('.status-indicator').className)`,
    ) as Promise<string[]>;
  const dotOf = async (userId: string) => (await dots()).find((card) => card.includes(userId))?.split('|')[1];
  await until(async () => expect(await dotOf('123')).toBe('status-indicator online'));
  expect(await dotOf('456')).toBe('status-indicator offline');
  phone('456');
  await until(async () => expect(await dotOf('456')).toBe('status-indicator online'));
  known.close();
  await until(async () => expect(await dotOf('123')).toBe('status-indicator offline'));
  expect(problems).toEqual([]);
});
