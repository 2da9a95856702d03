import { describe, expect, it } from 'vitest';
import { createPresence, memoryStore, type PresenceOp, type PresenceStore } from 'voiceping-presence';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { untilSure } from '../../src/replication/until-sure';

/** A store that has lost its data, until `state.isSure`. `state.registered` counts the calls of `registered`. */
function forgetful(commandTimeoutMs = 2_000) {
  const clock = fakeClock();
  const behind = memoryStore({ now: clock.now });
  const state = {
    isSure: false,
    asked: 0,
    registered: 0,
    ops: [] as number[],
    fails: false,
    isKnown: true,
    isHeld: false,
    answer: undefined as (() => void) | undefined,
  };
  const ask = async <T>(run: () => Promise<T>): Promise<T> => {
    state.asked += 1;
    return run();
  };
  const store: PresenceStore = {
    beat: async (node) => {
      if (state.fails) throw new Error('it is away');
      const answer = await behind.beat(node);
      return { ...answer, known: answer.known && state.isKnown };
    },
    apply: async (node, ops: readonly PresenceOp[]) => {
      state.ops.push(ops.length);
      if (state.fails) throw new Error('it is away');
      const answer = await behind.apply(node, ops);
      if (state.isHeld) await new Promise<void>((resolve) => (state.answer = resolve));
      return answer;
    },
    refresh: (node, signs) => behind.refresh(node, signs),
    release: (node) => behind.release(node),
    registered: async () => {
      state.registered += 1;
    },
    subscribe: (feed) => behind.subscribe(feed),
    read: (ids) =>
      ask(async () => {
        const { now, users } = await behind.read(ids);
        if (state.isSure) return { now, users };
        return { now, users: users.map((user) => ({ ...user, online: false, isUnsure: true })) };
      }),
    list: (page) => ask(async () => ({ ...(await behind.list(page)), isUnsure: !state.isSure })),
    count: () => ask(async () => (state.isSure ? behind.count() : undefined)),
  };
  const presence = createPresence({ clock, store, commandTimeoutMs, onError: () => undefined });
  return { clock, state, presence };
}

describe.each(['getStatuses', 'listOnline', 'countOnline'] as const)('%s of a store that is not sure', (query) => {
  const run = ({ presence }: ReturnType<typeof forgetful>): Promise<unknown> =>
    query === 'getStatuses' ? presence.getStatuses(['u']) : presence[query]();

  it('asks again until it is', async () => {
    const rig = forgetful();
    const { clock, state, presence } = rig;
    await presence.ready();
    state.asked = 0;
    let answer: unknown;
    void run(rig).then((value) => {
      answer = value;
    });
    await clock.advance(500);
    expect(answer).toBe(undefined);
    expect(state.asked).toBeGreaterThan(5);
    state.isSure = true;
    await clock.advance(100);
    expect(answer).not.toBe(undefined);
    const { asked } = state;
    await clock.advance(5_000);
    expect(state.asked).toBe(asked);
  });

  it('rejects after commandTimeoutMs, saying why, and never says offline', async () => {
    const rig = forgetful();
    const { clock, presence } = rig;
    await presence.ready();
    let failure: unknown;
    run(rig).catch((error: unknown) => {
      failure = error;
    });
    await clock.advance(1_900);
    expect(failure).toBe(undefined);
    await clock.advance(200);
    expect(failure).toMatchObject({
      code: 'ERR_PRESENCE_STORE',
      message: expect.stringContaining('not every router has registered its users again'),
    });
  });
});

it('a router answers for its own users, whatever the store is sure of', async () => {
  const { clock, presence } = forgetful();
  presence.attachToSocket(fakeSocket(), { userId: 'own' });
  await clock.settle();
  expect(await presence.getStatuses(['own'])).toMatchObject({ own: { status: 'online' } });
});

describe('a store is told that it knows everybody again', () => {
  it('once, after the last batch', async () => {
    const { clock, state, presence } = forgetful();
    for (let user = 0; user < 2_500; user += 1) presence.attachToSocket(fakeSocket(), { userId: user });
    await clock.settle();
    expect(state.ops).toEqual([1_000, 1_000, 500]);
    expect(state.registered).toBe(1);
    await clock.advance(60_000);
    expect(state.registered).toBe(1);
  });

  it('also where there is nobody', async () => {
    const { clock, state } = forgetful();
    await clock.settle();
    expect(state.registered).toBe(1);
  });

  // The batch in flight was the last one before, but it did not contain the users to be registered again.
  it('not for a batch that was under way when it turned out to know nobody', async () => {
    const { clock, state, presence } = forgetful();
    await clock.advance(4_000);
    expect(state.registered).toBe(1);
    state.isHeld = true;
    presence.attachToSocket(fakeSocket(), { userId: 'u' });
    await clock.settle();
    state.isKnown = false;
    await clock.advance(1_500);
    state.isKnown = true;
    state.answer?.();
    await clock.settle();
    expect([state.ops, state.registered]).toEqual([[1, 1], 1]);
    state.answer?.();
    await clock.settle();
    expect(state.registered).toBe(2);
  });

  it('not while it is away', async () => {
    const { clock, state, presence } = forgetful();
    presence.attachToSocket(fakeSocket(), { userId: 'u' });
    state.fails = true;
    await clock.advance(1_000);
    expect(state.registered).toBe(0);
    state.fails = false;
    await clock.advance(5_000);
    expect(state.registered).toBeGreaterThan(0);
  });
});

it('is asked again within commandTimeoutMs, however short that is', async () => {
  const { clock, state, presence } = forgetful(40);
  await presence.ready();
  const answer = presence.countOnline();
  await clock.advance(5);
  state.isSure = true;
  await clock.advance(35);
  expect(await answer).toBe(0);
});

// The time ends during one more call to a distant server. The error names the doubt of its last answer, and not a time-out.
it('says why where the time is up before one more answer, also by a timer that is early', async () => {
  const clock = fakeClock();
  const early = { ...clock, setTimeout: (run: () => void, ms: number) => clock.setTimeout(run, Math.max(0, ms - 1)) };
  const answers = [Promise.resolve(undefined), new Promise<undefined>(() => undefined)];
  let failure: unknown;
  untilSure(
    early,
    300,
    () => answers.shift() as Promise<undefined>,
    (answer) => answer !== undefined,
  ).catch((error: unknown) => {
    failure = error;
  });
  await clock.advance(400);
  expect(failure).toMatchObject({
    message: expect.stringContaining('not every router has registered its users again'),
  });
});

// A store that connects on demand would have connected again, and that connection would never have been closed.
it('a query that is asked again asks nobody any more once the presence is closed', async () => {
  const { clock, state, presence } = forgetful();
  await presence.ready();
  let failure: unknown;
  presence.countOnline().catch((error: unknown) => {
    failure = error;
  });
  await clock.settle();
  await presence.close();
  const { asked } = state;
  await clock.advance(100);
  expect(state.asked).toBe(asked);
  expect(failure).toMatchObject({ code: 'ERR_PRESENCE_CLOSED' });
});
