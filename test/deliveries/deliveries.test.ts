import { expect, it, onTestFinished } from 'vitest';
import {
  type ChangeBatch,
  type ChangeLog,
  createPresence,
  isPresenceError,
  memoryStore,
  type Presence,
  type PresenceOptions,
  type PresenceStore,
} from 'voiceping-presence';
import { type FakeClock, fakeClock, fakeSocket } from 'voiceping-presence/testing';

interface Fleet {
  readonly clock: FakeClock;
  readonly store: PresenceStore;
  readonly errors: string[];
  router(options?: PresenceOptions): Presence;
}

function fleet(options: { logChanges?: number; logMs?: number } = {}): Fleet {
  const clock = fakeClock();
  const store = memoryStore({ now: clock.now, ...options });
  const errors: string[] = [];
  return {
    clock,
    store,
    errors,
    router(more = {}) {
      const presence = createPresence({
        store,
        clock,
        leaseMs: 3_000,
        onError: ({ message }, { stage }) => errors.push(`${stage}: ${message}`),
        ...more,
      });
      onTestFinished(() => presence.close());
      return presence;
    },
  };
}

const lines = ({ changes }: ChangeBatch): string[] => changes.map(({ userId, status }) => `${userId} ${status}`);

async function come(presence: Presence, ...userIds: string[]): Promise<void> {
  await Promise.all(userIds.map((userId) => presence.attachToSocket(fakeSocket(), { userId }).ready));
}

it('changes are read from the oldest on, by pages that go on at their cursors', async () => {
  const { router } = fleet();
  const presence = router();
  await come(presence, 'a', 'b', 'c');
  const first = await presence.changes.read({ limit: 2 });
  expect([lines(first), first.gap, first.more]).toEqual([['a online', 'b online'], false, true]);
  const second = await presence.changes.read({ since: first.cursor });
  expect([lines(second), second.more]).toEqual([['c online'], undefined]);
  expect(await presence.changes.read({ since: second.cursor })).toEqual({
    changes: [],
    cursor: second.cursor,
    gap: false,
  });
});

it('a cursor is that of a frame, and holds on every router', async () => {
  const { router, clock } = fleet();
  const [east, west] = [router(), router()];
  await come(east, 'a');
  const dashboard = fakeSocket();
  const authorized = createPresence({ store: memoryStore({ now: clock.now }), clock, authorizeWatch: () => true });
  onTestFinished(() => authorized.close());
  east.attachToSocket(dashboard, { userId: 'dash', track: false, watch: true });
  const { cursor } = await east.changes.read();
  await come(west, 'b');
  expect(lines(await west.changes.read({ since: cursor }))).toEqual(['b online']);
  // With the highest version that a client has seen, as frames have it.
  expect(lines(await west.changes.read({ since: `${cursor}.999` }))).toEqual(['b online']);
});

it('only the changes of some users, and the cursor moves on all the same', async () => {
  const { router } = fleet();
  const presence = router();
  await come(presence, 'a', 'b');
  const batch = await presence.changes.read({ ids: ['b', 7] });
  expect(lines(batch)).toEqual(['b online']);
  await come(presence, '7');
  expect(lines(await presence.changes.read({ since: batch.cursor, ids: [7] }))).toEqual(['7 online']);
});

it('past the reach of the log there is a gap, and everybody is listed, page by page', async () => {
  const { router } = fleet({ logChanges: 100 });
  const presence = router();
  const { cursor } = await presence.changes.read();
  const userIds = Array.from({ length: 2_500 }, (_, index) => `u${index}`);
  await come(presence, ...userIds);
  const listed: string[] = [];
  let batch = await presence.changes.read({ since: cursor });
  for (; ; batch = await presence.changes.read({ since: batch.cursor })) {
    expect([batch.gap, batch.changes.length]).toEqual([true, 0]);
    expect(batch.users?.length).toBeLessThanOrEqual(1_000);
    listed.push(...(batch.users ?? []).map(({ userId }) => userId));
    if (batch.more !== true) break;
    if (listed.length === 1_000) await come(presence, 'late');
  }
  expect(new Set(listed)).toEqual(new Set([...userIds, ...(listed.includes('late') ? ['late'] : [])]));
  expect(lines(await presence.changes.read({ since: batch.cursor }))).toEqual(['late online']);
});

it('a change is kept for logMs', async () => {
  const { router, clock } = fleet({ logMs: 60_000 });
  const presence = router();
  await come(presence, 'a');
  const { cursor } = await presence.changes.read();
  await come(presence, 'b');
  await clock.advance(59_000);
  expect(lines(await presence.changes.read({ since: cursor }))).toEqual(['b online']);
  await clock.advance(2_000);
  expect((await presence.changes.read({ since: cursor })).gap).toBe(true);
  expect(lines(await presence.changes.read())).toEqual([]);
});

it('misuse throws, and names the value and the rule', async () => {
  const { router, store } = fleet();
  const presence = router();
  const refusals: Array<readonly [run: () => unknown, message: RegExp]> = [
    [() => presence.changes.read({ limit: 0 }), /limit is 0; it is an integer from 1 to 10000/],
    [() => presence.changes.read({ since: 3 as never }), /since is 3; it is a cursor/],
    [() => presence.changes.read({ since: 'nonsense' }), /the cursor is "nonsense"; it is one that this store/],
    [() => presence.changes.read({ ids: 'abc' as never }), /ids is "abc"; a list of ids is wanted/],
    [() => presence.changes.read({ from: 'now' } as never), /"from" is no option/],
    [() => presence.changes.deliver('', () => undefined), /the name of a delivery is ""; it has 1 to 64/],
    [() => presence.changes.deliver('a|b', () => undefined), /the name of a delivery is "a\|b"/],
    [() => presence.changes.deliver('a', undefined as never), /handler is undefined; it is a function/],
    [() => presence.changes.deliver('a', () => undefined, { batch: 1_001 }), /batch is 1001; .* 1 to 1000/],
    [() => presence.changes.deliver('a', () => undefined, { from: 'then' as never }), /from is "then"/],
    [() => presence.changes.deliver('a', () => undefined, { timeoutMs: 0 }), /timeoutMs is 0/],
    [() => presence.changes.deliver('a', () => undefined, { resume: 1 as never }), /resume is 1/],
  ];
  for (const [run, message] of refusals) {
    const error = await Promise.resolve()
      .then(run)
      .catch((thrown: unknown) => thrown);
    expect(isPresenceError(error)).toBe(true);
    expect((error as Error).message).toMatch(message);
  }
  presence.changes.deliver('twice', () => undefined);
  expect(() => presence.changes.deliver('twice', () => undefined)).toThrow(
    /"twice" is delivered by this presence already/,
  );
  const without = createPresence({ store: { ...bare(store) } });
  onTestFinished(() => without.close());
  await expect(without.changes.read()).rejects.toMatchObject({ code: 'ERR_PRESENCE_UNSUPPORTED' });
  await expect(without.changes.deliveries()).rejects.toMatchObject({ code: 'ERR_PRESENCE_UNSUPPORTED' });
  expect(() => without.changes.deliver('a', () => undefined)).toThrow(
    expect.objectContaining({ code: 'ERR_PRESENCE_UNSUPPORTED' }),
  );
  const disabled = createPresence({ enabled: false });
  await expect(disabled.changes.read()).rejects.toMatchObject({ code: 'ERR_PRESENCE_DISABLED' });
  await disabled.changes.deliver('a', () => undefined)();
  await presence.close();
  await expect(presence.changes.read()).rejects.toMatchObject({ code: 'ERR_PRESENCE_CLOSED' });
  await presence.changes.deliver('a', () => undefined)();
});

/** A store without a log. */
function bare(store: PresenceStore): PresenceStore {
  return {
    beat: (node) => store.beat(node),
    apply: (node, ops) => store.apply(node, ops),
    refresh: (node, signs) => store.refresh(node, signs),
    release: (node) => store.release(node),
    read: (ids) => store.read(ids),
    list: (page) => store.list(page),
    count: () => store.count(),
    subscribe: (feed) => store.subscribe(feed),
  };
}

it('one router of the fleet delivers, each change once, in order', async () => {
  const { router, clock } = fleet();
  const [east, west] = [router(), router()];
  const told: string[] = [];
  for (const [name, presence] of [
    ['east', east],
    ['west', west],
  ] as const) {
    presence.changes.deliver('billing', (batch) => {
      told.push(...lines(batch).map((line) => `${name}: ${line}`));
    });
  }
  await clock.advance(100);
  await come(west, 'a');
  await come(east, 'b');
  await clock.advance(2_000);
  const [holder] = (told[0] ?? '').split(':');
  expect(told).toEqual([`${holder}: a online`, `${holder}: b online`]);
  const [info] = await west.changes.deliveries();
  expect(info).toMatchObject({ name: 'billing', lagMs: 0, lagChanges: 0, lastError: null, ended: false });
  expect(info?.router?.nodeId).toBe(holder === 'east' ? east.nodeId : west.nodeId);
});

it('another router takes over: at once after a stop or a close, and within a lease and a heartbeat of a death', async () => {
  const { router, clock, store } = fleet();
  const routers = [router(), router(), router()];
  const told: Array<[number, string]> = [];
  const stops: Array<() => Promise<void>> = [];
  for (const [index, presence] of routers.entries()) {
    stops.push(
      presence.changes.deliver('billing', (batch) => {
        for (const line of lines(batch)) told.push([index, line]);
      }),
    );
    await clock.advance(10);
  }
  const [first, second, third] = routers as [Presence, Presence, Presence];
  await clock.advance(1_000);
  await stops[0]?.();
  await stops[0]?.();
  await come(third, 'a');
  await clock.advance(2_000);
  expect(told.map(([, line]) => line)).toEqual(['a online']);
  expect(told[0]?.[0]).not.toBe(0);
  const holder = (await first.changes.deliveries())[0]?.router?.nodeId;
  const dying = holder === second.nodeId ? second : third;
  const other = dying === second ? third : second;
  // It is cut off from its store, and dies.
  const node = { nodeId: dying.nodeId, leaseMs: 3_000, ttlMs: 60_000 };
  await dying.close();
  await store.release(node);
  await come(other, 'b');
  await clock.advance(4_000);
  expect(told.map(([, line]) => line).filter((line) => line === 'b online')).toEqual(['b online']);
  expect((await other.changes.deliveries())[0]?.router?.nodeId).toBe(other.nodeId);
});

it('a handler that throws, or takes too long, gets the same changes again', async () => {
  const { router, clock, errors } = fleet();
  const presence = router();
  const calls: ChangeBatch[] = [];
  presence.changes.deliver(
    'billing',
    async (batch) => {
      calls.push(batch);
      if (calls.length === 1) throw new Error('no money');
      if (calls.length === 2) await new Promise(() => undefined);
    },
    { timeoutMs: 500 },
  );
  await clock.advance(100);
  await come(presence, 'a');
  await clock.advance(400);
  expect(calls.length).toBe(1);
  expect((await presence.changes.deliveries())[0]?.lastError).toBe('the handler of billing failed: no money');
  // It is the same even where more has happened.
  await come(presence, 'b');
  await clock.advance(1_000);
  expect(calls.length).toBe(2);
  await clock.advance(6_000);
  expect(calls.length).toBe(4);
  expect(calls.slice(0, 3).map(lines)).toEqual([['a online'], ['a online'], ['a online']]);
  expect(lines(calls[3] as ChangeBatch)).toEqual(['b online']);
  expect(errors).toEqual([
    'delivery: the handler of billing failed: no money',
    'delivery: the handler of billing failed: the handler of billing did not answer within 500 ms',
  ]);
  expect((await presence.changes.deliveries())[0]).toMatchObject({ lastError: null, lagChanges: 0 });
});

/** What a router logs, without its own name. */
function logOf(router: (options: PresenceOptions) => Presence): { presence: Presence; logged: string[] } {
  const logged: string[] = [];
  const keep = (line: string): void => void logged.push(line.replace(/^presence [^:]*: /, ''));
  const presence = router({ router: { name: 'r1' }, logger: { warn: keep, error: keep } });
  return { presence, logged };
}

it('each delivery that fails is logged by its name, and is a problem of its own until it works again', async () => {
  const { router, clock } = fleet();
  const { presence, logged } = logOf(router);
  const failing = new Set(['billing', 'audit', 'log']);
  for (const name of failing) {
    presence.changes.deliver(name, () => {
      if (failing.has(name)) throw new Error(`no ${name}`);
    });
  }
  await clock.advance(100);
  await come(presence, 'a');
  await clock.advance(400);
  const problems = () => presence.health().problems.map(({ stage, message }) => `${stage}: ${message}`);
  const problem = (name: string): string => `delivery: the handler of ${name} failed: no ${name}`;
  expect(logged.sort()).toEqual(
    ['audit', 'billing', 'log'].map((name) => `the handler of ${name} failed: no ${name} (stage delivery "${name}")`),
  );
  expect(problems().sort()).toEqual(['audit', 'billing', 'log'].map(problem));
  expect(presence.health().status).toBe('degraded');
  failing.delete('audit');
  await clock.advance(10_000);
  expect(problems().sort()).toEqual(['billing', 'log'].map(problem));
  expect(logged.filter((line) => line.includes('again'))).toEqual([
    expect.stringMatching(/^the delivery "audit" works again after \d\.\d s$/),
  ]);
  failing.clear();
  await clock.advance(60_000);
  expect(presence.health()).toMatchObject({ status: 'ok', problems: [] });
});

it('however many deliveries fail, the log names sixteen, and what fails besides', async () => {
  const { router, clock } = fleet();
  const { presence, logged } = logOf(router);
  for (let count = 0; count < 100; count += 1) {
    presence.changes.deliver(`d${count}`, () => {
      throw new Error('away');
    });
  }
  await clock.advance(100);
  await come(presence, 'a');
  await clock.advance(30_000);
  expect(presence.health().problems.length).toBe(100);
  expect(new Set(logged.map((line) => /"(d\d+)"/.exec(line)?.[1])).size).toBe(17);
  expect(logged.length).toBe(17);
  presence.onUpdate(() => {
    throw new Error('a listener');
  });
  await come(presence, 'b');
  await clock.advance(100);
  expect(logged[17]).toContain('a listener');
});

it('a router that has lost a delivery, or was told that it has ended, has no problem with it', async () => {
  const { router, clock } = fleet();
  const { presence, logged } = logOf(router);
  let answer: object = {};
  const stops = ['billing', 'audit'].map((name) =>
    presence.changes.deliver(name, () => {
      throw Object.assign(new Error('no'), answer);
    }),
  );
  await clock.advance(100);
  await come(presence, 'a');
  await clock.advance(400);
  expect(presence.health().problems.length).toBe(2);
  await stops[1]?.();
  expect(presence.health().problems.length).toBe(1);
  answer = { ended: true };
  await clock.advance(10_000);
  expect((await presence.changes.deliveries())[0]?.ended).toBe(true);
  expect(presence.health()).toMatchObject({ status: 'ok', problems: [] });
  expect(logged.filter((line) => line.includes('again'))).toEqual([]);
});

it('a change that comes while a handler is tried again follows at once', async () => {
  const { router, clock } = fleet();
  const presence = router();
  const told: Array<readonly [string, number]> = [];
  let fails = true;
  presence.changes.deliver('billing', (batch) => {
    if (fails) throw new Error('not now');
    told.push([lines(batch).join(), clock.now()]);
  });
  await clock.advance(300);
  await come(presence, 'a');
  await clock.advance(500);
  await come(presence, 'b');
  fails = false;
  await clock.advance(3_000);
  const [first, second] = told as [readonly [string, number], readonly [string, number]];
  expect([first[0], second[0]]).toEqual(['a online', 'b online']);
  expect(second[1] - first[1]).toBeLessThanOrEqual(200);
});

it('a handler that never ends is called a hundred times, and again once some calls have ended', async () => {
  const { router, clock } = fleet();
  const presence = router();
  const open: Array<() => void> = [];
  let isOpen = true;
  presence.changes.deliver('billing', () => (isOpen ? new Promise<void>((resolve) => open.push(resolve)) : undefined), {
    timeoutMs: 1_000,
  });
  await clock.advance(100);
  await come(presence, 'a');
  // Each attempt waits for a minute in the end.
  for (let minute = 0; minute < 150; minute += 1) await clock.advance(60_000);
  expect(open.length).toBe(100);
  expect((await presence.changes.deliveries())[0]?.lastError).toBe(
    'the handler of billing failed: 100 earlier calls of it have not ended',
  );
  isOpen = false;
  open[0]?.();
  await clock.advance(120_000);
  expect((await presence.changes.deliveries())[0]).toMatchObject({ lastError: null, lagChanges: 0 });
});

it('a handler may do what it likes with what it gets, and is given the same again', async () => {
  const { router, clock } = fleet();
  const presence = router();
  const got: string[] = [];
  let isAway = true;
  presence.changes.deliver('billing', (batch) => {
    for (let change = batch.changes.shift(); change !== undefined; change = batch.changes.shift()) {
      if (isAway && change.userId === 'b') throw new Error('away');
      got.push(change.userId);
      change.userId = 'nobody';
    }
    batch.cursor = 'elsewhere';
  });
  await clock.advance(100);
  await come(presence, 'a', 'b', 'c');
  await clock.advance(500);
  isAway = false;
  await clock.advance(5_000);
  expect(got).toEqual(['a', 'a', 'b', 'c']);
  expect((await presence.changes.deliveries())[0]).toMatchObject({ lagChanges: 0 });
});

it.each([
  ['undefined', undefined],
  ['without a prototype', Object.assign(Object.create(null), { retryAfterMs: 10 })],
  [
    'whose getters throw',
    Object.defineProperties(new Error('odd'), {
      retryAfterMs: {
        get() {
          throw new Error('getter');
        },
      },
    }),
  ],
  ['with half of a character', new Error(`${'x'.repeat(499)}😀\ud800`)],
])('an error %s is one like any other', async (_what, error) => {
  const { router, clock, errors } = fleet();
  const presence = router();
  let calls = 0;
  const stop = presence.changes.deliver('billing', () => {
    calls += 1;
    if (calls === 1) throw error;
  });
  await clock.advance(100);
  await come(presence, 'a');
  await clock.advance(5_000);
  expect(calls).toBe(2);
  expect(errors.length).toBe(1);
  expect(errors[0]).toMatch(/^delivery: the handler of billing failed: /);
  expect(errors[0]?.length).toBeLessThan(600);
  await stop();
});

it('a router that asks to resume does not revive what ends later', async () => {
  const { router, clock } = fleet();
  const [east, west] = [router(), router()];
  let calls = 0;
  const handler = (): void => {
    calls += 1;
    throw Object.assign(new Error('gone'), { ended: true });
  };
  for (const presence of [east, west]) presence.changes.deliver('billing', handler, { resume: true });
  await clock.advance(3_000);
  await come(east, 'a');
  await clock.advance(60_000);
  expect(calls).toBe(1);
  expect((await west.changes.deliveries())[0]).toMatchObject({ ended: true });
});

it('a receiver that asks for time gets it, and one that wants no more is left alone until it is resumed', async () => {
  const { router, clock } = fleet();
  const presence = router();
  const times: number[] = [];
  let answer: unknown = { retryAfterMs: 20_000 };
  const handler = (): void => {
    times.push(clock.now());
    if (answer !== undefined) throw Object.assign(new Error('not now'), answer);
  };
  const stop = presence.changes.deliver('billing', handler);
  await clock.advance(100);
  await come(presence, 'a');
  await clock.advance(19_000);
  expect(times.length).toBe(1);
  answer = { ended: true };
  await clock.advance(3_000);
  expect(times.length).toBe(2);
  expect((await presence.changes.deliveries())[0]).toMatchObject({ ended: true, router: null, lagChanges: 1 });
  answer = undefined;
  await clock.advance(60_000);
  await stop();
  const again = presence.changes.deliver('billing', handler);
  await clock.advance(10_000);
  expect(times.length).toBe(2);
  await again();
  presence.changes.deliver('billing', handler, { resume: true });
  await clock.advance(5_000);
  expect(times.length).toBe(3);
  expect((await presence.changes.deliveries())[0]).toMatchObject({ ended: false, lagChanges: 0, lastError: null });
});

it('a handler that is behind the log gets the gap, and the position moves after its last page', async () => {
  const { router, clock } = fleet({ logChanges: 100 });
  const presence = router();
  const batches: ChangeBatch[] = [];
  let isDown = true;
  presence.changes.deliver('billing', (batch) => {
    if (isDown) throw new Error('down');
    batches.push(batch);
  });
  await clock.advance(100);
  const { cursor } = (await presence.changes.deliveries())[0] as { cursor: string };
  await come(presence, ...Array.from({ length: 1_500 }, (_, index) => `u${index}`));
  await clock.advance(1_000);
  expect((await presence.changes.deliveries())[0]).toMatchObject({ cursor, lagChanges: 1_500 });
  expect((await presence.changes.deliveries())[0]?.lagMs).toBeGreaterThan(0);
  isDown = false;
  await clock.advance(120_000);
  expect(batches.map(({ gap, users = [] }) => [gap, users.length])).toEqual([
    [true, 1_000],
    [true, 500],
  ]);
  expect((await presence.changes.deliveries())[0]).toMatchObject({ lagChanges: 0, lastError: null });
});

it('a delivery begins with what happens from now on, or with the log', async () => {
  const { router, clock } = fleet();
  const presence = router();
  await come(presence, 'before');
  const told: { [name: string]: string[] } = { now: [], start: [] };
  for (const from of ['now', 'start'] as const) {
    presence.changes.deliver(from, (batch) => void told[from]?.push(...lines(batch)), { from });
  }
  await clock.advance(100);
  await come(presence, 'after');
  await clock.advance(2_000);
  expect(told).toEqual({ now: ['after online'], start: ['before online', 'after online'] });
});

it('a delivery may begin with a listing, whose pages have numbers and a time, and goes on with what happens', async () => {
  const { router, clock } = fleet();
  const presence = router();
  await clock.advance(100);
  await come(presence, ...Array.from({ length: 1_500 }, (_, index) => `u${index}`));
  const told: ChangeBatch[] = [];
  let fails = false;
  const handler = (batch: ChangeBatch): void => {
    told.push(batch);
    if (fails && batch.part === 1) throw new Error('the second page');
  };
  fails = true;
  const stop = presence.changes.deliver('sessions', handler, { from: 'listing' });
  await clock.advance(500);
  await stop();
  fails = false;
  const at = new Date(clock.now()).toISOString();
  presence.changes.deliver('sessions', handler, { from: 'listing' });
  await clock.advance(500);
  await come(presence, 'later');
  await clock.advance(500);
  expect(told.map(({ part, more, users = [], changes }) => [part, more, users.length, changes.length])).toEqual([
    [0, true, 1_000, 0],
    [1, undefined, 500, 0],
    // Nobody had the listing whole, so it begins anew.
    [0, true, 1_000, 0],
    [1, undefined, 500, 0],
    [undefined, undefined, 0, 1],
  ]);
  expect(told[2]?.asOf).toBe(at);
  await expect(presence.changes.read({ since: 'x~0~y' })).rejects.toThrow(/cursor is "x~0~y"/);
});

it('a handler is given a token, which grows whenever a router takes over', async () => {
  const { router, clock } = fleet();
  const [a, b] = [router(), router()];
  const tokens: Array<readonly [string, number]> = [];
  const startedAt = clock.now();
  const stop = a.changes.deliver('billing', (_, { token }) => tokens.push(['a', token]));
  await clock.advance(100);
  b.changes.deliver('billing', (_, { token }) => tokens.push(['b', token]));
  await come(a, 'u');
  await clock.advance(1_000);
  await stop();
  await come(a, 'v');
  await clock.advance(5_000);
  expect(tokens.map(([name]) => name)).toEqual(['a', 'b']);
  const [[, first], [, second]] = tokens as [readonly [string, number], readonly [string, number]];
  expect(first).toBeGreaterThanOrEqual(startedAt);
  expect(second).toBeGreaterThan(first);
});

it('stops at once, also where the store has never been there', async () => {
  const { clock, store, errors } = fleet();
  const never = new Promise<never>(() => undefined);
  const away = createPresence({
    store: { ...bare(store), log: store.log as ChangeLog, beat: () => never },
    clock,
    onError: ({ message }) => errors.push(message),
  });
  const stop = away.changes.deliver('billing', () => undefined);
  await clock.advance(60_000);
  let isStopped = false;
  void stop().then(() => {
    isStopped = true;
  });
  await clock.settle();
  expect(isStopped).toBe(true);
  void away.close();
  await clock.advance(60_000);
});

it('nothing is left of a delivery once the presence is closed', async () => {
  const { router, clock } = fleet();
  const presence = router();
  let isInside = 0;
  presence.changes.deliver('billing', async () => {
    isInside += 1;
    await new Promise(() => undefined);
  });
  await clock.advance(100);
  await come(presence, 'a');
  await clock.advance(500);
  expect(isInside).toBe(1);
  await presence.close();
  await clock.advance(60_000);
  expect([isInside, clock.timers]).toEqual([1, 0]);
});
