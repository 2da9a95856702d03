import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import jwt from 'jsonwebtoken';
import type { Page } from 'playwright-core';
import { expect } from 'vitest';
import { fakeSocket } from 'voiceping-presence/testing';
import { WebSocketServer } from 'ws';
import { Phone } from '../../examples/phones/phone';
import { startRouter } from '../../examples/router/router';
import { onCleanup, running, until } from '../examples/running';
import { describe, it } from '../side-by-side';
import { withChromium } from './chromium';

/** The dashboard in real Chromium, against the real example router. */

const EVIL = '<img src=x onerror=alert(1)>';

const chromium = withChromium();

async function open(url: string, options = {}): Promise<{ page: Page; problems: string[] }> {
  const opened = await chromium.open(url, options);
  await opened.page.waitForSelector('[data-state=live]');
  return opened;
}

/** Which list a user is in, as somebody sees it. */
const isIn = async (page: Page, list: 'online' | 'offline', userId: string): Promise<boolean> =>
  (
    await page
      .locator(`#${list} .user`)
      .evaluateAll((all) => all.map((user) => (user as unknown as { dataset: { userId: string } }).dataset.userId))
  ).includes(userId);

const shows = (page: Page, list: 'online' | 'offline', userId: string) =>
  until(async () => expect(await isIn(page, list, userId), `${userId} in ${list}`).toBe(true));

/** From now on keeps every class that a user's card has had: a flicker of any length is in it. */
const recordClasses = (page: Page, userId: string) =>
  page.evaluate(
    `{
      const card = Array.from(document.querySelectorAll('.user')).find((each) => each.dataset.userId === ${JSON.stringify(userId)});
      window.seenClasses = new Set(card.classList);
      new MutationObserver(() => card.classList.forEach((name) => window.seenClasses.add(name)))
        .observe(card, { attributes: true, attributeFilter: ['class'] });
    }`,
  );
const recordedClasses = (page: Page) => page.evaluate('Array.from(window.seenClasses)') as Promise<string[]>;

describe('the dashboard', () => {
  it('sees phones connect, drop, come back without a flicker, close, and freeze until their time-out', async () => {
    const { http, phone, router } = await running({
      users: ['acme_known'],
      presence: { ttlMs: 2_000, pingIntervalMs: 300, graceMs: 3_000 },
    });
    const { page, problems } = await open(http);
    await shows(page, 'offline', 'acme_known');
    expect(await page.locator('#offline .user .seen').textContent()).toBe('never seen');

    const handset = phone('acme_u1', { reconnectMs: 500 });
    await shows(page, 'online', 'acme_u1');
    expect(await page.locator('#online-count').textContent()).toBe('1');
    expect(await page.locator('#all-count').textContent()).toBe('2');

    // Two lose their connection; one is back within the grace, and when the other one's has run out, so has that of both.
    const lost = phone('acme_u2', { reconnectMs: 60_000 });
    await shows(page, 'online', 'acme_u2');
    await recordClasses(page, 'acme_u1');
    handset.drop();
    lost.drop();
    await until(() => expect(handset.isConnected).toBe(false));
    await until(() => expect(handset.isConnected).toBe(true));
    await shows(page, 'offline', 'acme_u2');
    expect(await recordedClasses(page)).not.toContain('offline');

    handset.close();
    await shows(page, 'offline', 'acme_u1');
    await until(async () => expect(await page.locator('#online-count').textContent()).toBe('0'));

    handset.connect();
    await shows(page, 'online', 'acme_u1');
    handset.freeze();
    await shows(page, 'offline', 'acme_u1');
    expect(await router.presence.countOnline()).toBe(0);
    expect(problems).toEqual([]);
  }, 60_000);

  it.each([
    [EVIL, EVIL],
    ['__proto__', '__proto__'],
    ['a:b/c d', 'a:b/c d'],
    ['👷🏽_é', 'é'],
    ['"><script>alert(1)</script>', '"><script>alert(1)</script>'],
  ])('shows %s as text', async (userId, name) => {
    const { http, phone } = await running();
    const { page, problems } = await open(http);
    phone(userId);
    await shows(page, 'online', userId);
    expect(await page.locator('#online .user').count()).toBe(1);
    expect(await page.locator('#online .user .name').textContent()).toBe(name);
    expect(await page.locator('main img, main script').count()).toBe(0);
    await page.reload();
    await page.waitForSelector('[data-state=live]');
    await shows(page, 'online', userId);
    expect(problems).toEqual([]);
  });

  it('says how old its state is while the router is away, and is right again when it is back', async () => {
    const first = await startRouter({ port: 0 });
    const handset = new Phone({ url: `ws://127.0.0.1:${first.port}`, userId: 'acme_u1', reconnectMs: 600_000 });
    onCleanup(() => handset.close());
    handset.connect();
    const { page } = await open(`http://127.0.0.1:${first.port}`);
    await shows(page, 'online', 'acme_u1');

    await first.close();
    const bar = page.locator('#stale');
    await bar.waitFor({ state: 'visible' });
    expect(await bar.textContent()).toMatch(/Connection lost: this is the state of .*\d\d:\d\d/);
    // Silence is no news: nobody is shown offline for it.
    expect(await isIn(page, 'online', 'acme_u1')).toBe(true);

    const second = await startRouter({ port: first.port, users: ['acme_new'] });
    onCleanup(() => second.close());
    await bar.waitFor({ state: 'hidden', timeout: 20_000 });
    await shows(page, 'offline', 'acme_new');
    await shows(page, 'offline', 'acme_u1');
  }, 60_000);

  // The load was asked before a phone came, and answered after the page had seen it come.
  it('lets no older answer undo what it has heard since', async () => {
    const { http, phone } = await running({ users: ['acme_u1'] });
    const { page } = await chromium.open('');
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    await page.route('**/api/presence/status', async (route) => {
      const response = await route.fetch();
      await held;
      await route.fulfill({ response });
    });
    const asked = page.waitForRequest('**/api/presence/status');
    await page.goto(http);
    await asked;
    phone('acme_u1');
    await shows(page, 'online', 'acme_u1');
    release();
    await page.waitForSelector('[data-state=live]');
    expect(await isIn(page, 'online', 'acme_u1')).toBe(true);
  });

  it('shows when a phone that froze was last seen, not when that was noticed', async () => {
    const { http, phone, statuses } = await running({ presence: { ttlMs: 2_000, pingIntervalMs: 300 } });
    const { page } = await open(http);
    const handset = phone('acme_u1', { pingIntervalMs: 60_000 });
    await shows(page, 'online', 'acme_u1');
    handset.freeze();
    await shows(page, 'offline', 'acme_u1');
    const lastSeen = (await statuses(['acme_u1']))['acme_u1']?.lastSeen ?? '';
    const expected = await page.evaluate(`\`last seen \${new Date(${JSON.stringify(lastSeen)}).toLocaleString()}\``);
    await until(async () => expect(await page.locator('#offline .seen').getAttribute('title')).toBe(expected));
  });

  it('finds users, and keeps the filter for those who come', async () => {
    const { http, phone } = await running({ users: ['acme_omar', 'nordbau_freja'] });
    const { page } = await open(http);
    await page.fill('#search', 'OMAR');
    await until(async () => expect(await page.locator('.user:visible').count()).toBe(1));
    phone('harbour_elena');
    await until(async () => expect(await page.locator('#online-count').textContent()).toBe('1'));
    expect(await page.locator('.user:visible').count()).toBe(1);
    await page.fill('#search', 'omar Acme');
    await until(async () => expect(await page.locator('.user:visible').count()).toBe(1));
    await page.fill('#search', 'nobody of that name');
    await until(async () => expect(await page.locator('#offline-empty').textContent()).toBe('No match here.'));
    await page.fill('#search', '');
    await until(async () => expect(await page.locator('.user:visible').count()).toBe(3));
    await until(async () => expect(await page.locator('#offline-shown').textContent()).toBe('2'));
  });

  it('shows the first of thousands, counts all, and finds each', async () => {
    const { http, router } = await running();
    for (let user = 0; user < 3_000; user += 1) {
      router.presence.attachToSocket(fakeSocket(), { userId: `acme_${String(user).padStart(4, '0')}` });
    }
    const { page, problems } = await open(http);
    await until(async () => expect(await page.locator('#online-count').textContent()).toBe('3000'));
    expect(await page.locator('.user').count()).toBe(300);
    expect(await page.locator('#online-empty').textContent()).toContain('2700 more');
    await page.fill('#search', '2999');
    await until(async () => expect(await page.locator('.user').count()).toBe(1));
    expect(await isIn(page, 'online', 'acme_2999')).toBe(true);
    expect(problems).toEqual([]);
  });

  it.each(['light', 'dark'] as const)('is readable in the %s scheme, on a desk and on a phone', async (colorScheme) => {
    const { http, phone } = await running({ users: ['acme_away'] });
    phone('acme_here');
    for (const viewport of [
      { width: 1280, height: 800 },
      { width: 360, height: 740 },
    ]) {
      const { page } = await open(http, { colorScheme, viewport });
      await shows(page, 'online', 'acme_here');
      // Nothing is cut off at the side, and text stands out: WCAG 2.2, 1.4.3.
      expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
      const contrast = (await page.evaluate(CONTRAST)) as Array<{ text: string; ratio: number }>;
      expect(contrast.length).toBeGreaterThan(5);
      for (const { text, ratio } of contrast) expect(ratio, text).toBeGreaterThanOrEqual(4.5);
    }
  });
});

/** What comes of a WebSocket that a page opens: its protocol, or that it failed. */
const connect = (page: Page, url: string, protocols: string[]) =>
  page.evaluate(
    `new Promise((resolve) => {
      const socket = new WebSocket(${JSON.stringify(url)}, ${JSON.stringify(protocols)});
      socket.onopen = () => resolve('protocol ' + socket.protocol);
      socket.onerror = () => resolve('failed');
    })`,
  );

/** A page of another origin. */
async function strange(): Promise<string> {
  const server = createServer((_, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end('<link rel="icon" href="data:,">');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onCleanup(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('with authentication', () => {
  const secretKey = 'a secret of thirty-two bytes, and more';
  const sign = (claims: object) => jwt.sign(claims, secretKey);

  it('the dashboard shows its own company, also who comes later, and nobody else', async () => {
    const { http, handshake } = await running({ secretKey, users: ['acme_away', 'nordbau_away'] });
    await handshake({ token: sign({ uid: 'acme_u1' }) });
    await handshake({ token: sign({ uid: 'nordbau_u1' }) });
    const { page, problems } = await chromium.open('');
    await page.clock.install();
    await page.goto(`${http}/#token=${sign({ uid: 'desk', role: 'dashboard', company: 'acme' })}`);
    await page.waitForSelector('[data-state=live]');
    await shows(page, 'online', 'acme_u1');
    await shows(page, 'offline', 'acme_away');

    await handshake({ token: sign({ uid: 'acme_u2' }) });
    await handshake({ token: sign({ uid: 'nordbau_u2' }) });
    await until(async () => {
      await page.clock.fastForward(10_000);
      expect(await isIn(page, 'online', 'acme_u2')).toBe(true);
    });
    expect(await page.content()).not.toContain('nordbau');
    expect(await page.locator('#all-count').textContent()).toBe('3');
    expect(problems).toEqual([]);
  });

  it('a browser is named its device id, and gives up where it offers nothing but its token', async () => {
    const { http, ws } = await running({ secretKey });
    const { page } = await chromium.open(http);
    const token = sign({ uid: 'acme_u1' });
    expect(await connect(page, ws, [token, 'Chromium'])).toBe('protocol Chromium');
    expect(await connect(page, ws, [token])).toBe('failed');
  });
});

describe('a page', () => {
  it('of the router may connect to the router, and to nobody else', async () => {
    const other = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    onCleanup(() => other.close());
    let connections = 0;
    other.on('connection', () => {
      connections += 1;
    });
    const { http, ws } = await running();
    const { page, problems } = await open(http);
    expect(await connect(page, ws, ['acme_u1', 'Chromium'])).toBe('protocol Chromium');
    expect(problems).toEqual([]);
    const { port } = other.address() as AddressInfo;
    expect(await connect(page, `ws://127.0.0.1:${port}`, [])).toBe('failed');
    expect(problems.join()).toContain('Content Security Policy');
    expect(connections).toBe(0);
  });

  it('of another origin may connect only where the router names it', async () => {
    const origin = await strange();
    const { page } = await chromium.open(origin);
    for (const [allowedOrigins, expected] of [
      [[], 'failed'],
      [[origin], 'protocol Chromium'],
    ] as const) {
      const { ws } = await running({ allowedOrigins });
      expect(await connect(page, ws, ['acme_u1', 'Chromium'])).toBe(expected);
    }
  });
});

/** The contrast of every text that stands on a page, against the nearest background behind it. */
const CONTRAST = `(() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = channels(color).map((value) => {
      const share = value / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const backgroundOf = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor;
      if (channels(color)[3] !== 0) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  return Array.from(document.querySelectorAll('h1, h2, p, strong, .name, .group, .seen'))
    .filter((element) => element.checkVisibility() && element.textContent.trim() !== '')
    .map((element) => {
      const [a, b] = [luminance(getComputedStyle(element).color), luminance(backgroundOf(element))];
      return { text: element.textContent.trim(), ratio: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) };
    });
})()`;
