import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll } from 'vitest';
import { onCleanup } from '../examples/running';

/** Real Chromium for the tests of a file. */
export function withChromium(): { open(url: string, options?: object): Promise<{ page: Page; problems: string[] }> } {
  let browser: Browser;
  beforeAll(async () => {
    browser = await chromium.launch({
      executablePath: '/usr/bin/chromium',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    });
  });
  afterAll(() => browser.close());
  return {
    /** Whatever goes wrong on the page is in `problems`. */
    async open(url, options = {}) {
      const context = await browser.newContext(options);
      const page = await context.newPage();
      onCleanup(() => context.close());
      const problems: string[] = [];
      page.on('pageerror', (error) => problems.push(error.message));
      page.on('dialog', (dialog) => {
        problems.push(`dialog: ${dialog.message()}`);
        void dialog.dismiss();
      });
      page.on('console', (message) => {
        if (message.type() === 'error') problems.push(message.text());
      });
      if (url !== '') await page.goto(url);
      return { page, problems };
    },
  };
}
