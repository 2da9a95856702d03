import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createPresence } from 'voiceping-presence';

const WARNED = Symbol.for('voiceping-presence.open-warned');
const ENTRIES = [
  () => import('voiceping-presence/http'),
  () => import('voiceping-presence/express'),
  () => import('voiceping-presence/koa'),
  () => import('voiceping-presence/fastify'),
  () => import('voiceping-presence/fetch'),
];

interface Entry {
  createStatusHandler(presence: unknown, options?: object): unknown;
}

/** Each with a copy of its own of all that it imports, as the CommonJS entries have. */
async function entries(): Promise<Entry[]> {
  const loaded: Entry[] = [];
  for (const load of ENTRIES) {
    vi.resetModules();
    loaded.push((await load()) as Entry);
  }
  return loaded;
}

let warnings: unknown[][];
let before: unknown;
beforeEach(() => {
  before = Reflect.get(process, WARNED);
  Reflect.deleteProperty(process, WARNED);
  warnings = [];
  vi.spyOn(process, 'emitWarning').mockImplementation((...args: unknown[]) => {
    warnings.push(args);
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  Reflect.set(process, WARNED, before);
});

describe('a status handler without authorize', () => {
  it('warns once a process, across entries', async () => {
    for (const { createStatusHandler } of await entries()) {
      createStatusHandler(createPresence());
      createStatusHandler(createPresence(), { cors: true });
    }
    expect(warnings).toEqual([
      [
        expect.stringMatching(/everybody .* may ask who is online\. .*authorize: 'everybody'/),
        { code: 'VP_PRESENCE_OPEN' },
      ],
    ]);
  });

  it.each<[string, object, unknown]>([
    ["authorize is 'everybody'", { authorize: 'everybody' }, undefined],
    ['authorize is a function', { authorize: () => true }, undefined],
    ['presence is disabled, so that nobody gets an answer', {}, createPresence({ enabled: false })],
  ])('warns of nothing where %s', async (_name, options, presence) => {
    for (const { createStatusHandler } of await entries()) createStatusHandler(presence ?? createPresence(), options);
    expect(warnings).toEqual([]);
  });

  it('warns where presence is an object of the caller, which answers', async () => {
    const [http] = await entries();
    http?.createStatusHandler({ getStatuses: () => Promise.resolve({}) });
    expect(warnings).toHaveLength(1);
  });

  it.each<[string, unknown]>([
    ['no process', undefined],
    ['a process that knows no warnings', { env: {} }],
  ])('is made all the same in a runtime with %s', async (_name, stand) => {
    const [, , , , fetchEntry] = await entries();
    const presence = createPresence();
    vi.stubGlobal('process', stand);
    const handle = fetchEntry?.createStatusHandler(presence);
    vi.unstubAllGlobals();
    expect(handle).toBeTypeOf('function');
    expect(warnings).toEqual([]);
  });
});
