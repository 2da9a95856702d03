import { describe, expect, it } from 'vitest';
import { createPresence, memoryStore, type OnAnswer, type PresenceStore } from 'voiceping-presence';
import { type FakeClock, fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { withDeadline } from '../../src/diagnostics/call-timeout';
import { withCallbackDeadline } from '../../src/diagnostics/callback-deadline';

/** A store whose queries take `answers` partial answers, one every `everyMs`. The last one completes the query. */
function slowStore(now: () => number, clock: ReturnType<typeof fakeClock>) {
  const behind = memoryStore({ now });
  const pace = { answers: 1, everyMs: 0 };
  const slowly = async <T>(onAnswer: OnAnswer | undefined, ask: () => Promise<T>): Promise<T> => {
    for (let answer = 0; answer < pace.answers; answer += 1) {
      await new Promise<void>((resolve) => clock.setTimeout(resolve, pace.everyMs));
      onAnswer?.();
    }
    return ask();
  };
  const store: PresenceStore = {
    beat: (node) => behind.beat(node),
    apply: (node, ops) => behind.apply(node, ops),
    refresh: (node, signs) => behind.refresh(node, signs),
    release: (node) => behind.release(node),
    subscribe: (feed) => behind.subscribe(feed),
    read: (ids, onAnswer) => slowly(onAnswer, () => behind.read(ids)),
    list: (page, onAnswer) => slowly(onAnswer, () => behind.list(page)),
    count: (onAnswer) => slowly(onAnswer, () => behind.count()),
  };
  return { store, pace };
}

const outcome = (promise: Promise<unknown>): { is: string } => {
  const seen = { is: 'pending' };
  promise.then(
    () => {
      seen.is = 'answered';
    },
    (error: Error) => {
      seen.is = error.message;
    },
  );
  return seen;
};

describe('a query to a store that takes several answers', () => {
  const QUERIES = ['getStatuses', 'listOnline', 'countOnline'] as const;

  it.each(QUERIES)('(%s) is never given up while answers arrive', async (query) => {
    const clock = fakeClock();
    const { store, pace } = slowStore(clock.now, clock);
    const presence = createPresence({ clock, store, commandTimeoutMs: 2_000 });
    await presence.ready();
    Object.assign(pace, { answers: 16, everyMs: 1_999 });
    const seen = outcome(query === 'getStatuses' ? presence.getStatuses(['u']) : presence[query]());
    await clock.advance(15 * 1_999);
    expect(seen.is).toBe('pending');
    await clock.advance(1_999);
    expect(seen.is).toBe('answered');
  });

  it.each(QUERIES)('(%s) is given up once none has come for commandTimeoutMs', async (query) => {
    const clock = fakeClock();
    const { store, pace } = slowStore(clock.now, clock);
    const presence = createPresence({ clock, store, commandTimeoutMs: 2_000 });
    await presence.ready();
    const list = outcome(presence.listOnline());
    await clock.advance(10);
    expect(list.is).toBe('answered');
    Object.assign(pace, { answers: 3, everyMs: 1_000 });
    const seen = outcome(query === 'getStatuses' ? presence.getStatuses(['u']) : presence[query]());
    await clock.advance(1_500);
    pace.everyMs = 5_000;
    // The second answer comes after two seconds, and the third would after seven.
    await clock.advance(2_499);
    expect(seen.is).toBe('pending');
    await clock.advance(2);
    expect(seen.is).toMatch(/did not answer within 2000 ms/);
  });

  it('dashboards become live, however many answers that takes', async () => {
    const clock = fakeClock();
    const { store, pace } = slowStore(clock.now, clock);
    Object.assign(pace, { answers: 16, everyMs: 300 });
    const errors: unknown[] = [];
    const presence = createPresence({ clock, store, commandTimeoutMs: 2_000, onError: (error) => errors.push(error) });
    await presence.ready();
    const told: string[] = [];
    presence.onUpdate(({ userId }) => told.push(userId));
    await clock.advance(60_000);
    expect(errors).toEqual([]);
    expect(presence.health().status).toBe('ok');
  });
});

describe('what changes in a store that takes several answers', () => {
  it('is not given up while answers arrive; but it is where time is up to close', async () => {
    const clock = fakeClock();
    const { store } = slowStore(clock.now, clock);
    const { apply } = store;
    store.apply = async (node, ops, onAnswer) => {
      for (let answer = 0; answer < 4; answer += 1) {
        await new Promise<void>((resolve) => clock.setTimeout(resolve, 900));
        onAnswer?.();
      }
      return apply(node, ops);
    };
    const errors: string[] = [];
    const onError = (_: unknown, { stage }: { stage: string }) => errors.push(stage);
    const presence = createPresence({ clock, store, commandTimeoutMs: 1_000, onError });
    await presence.ready();
    const attachment = presence.attachToSocket(fakeSocket(), { userId: 'u' });
    const ready = outcome(attachment.ready);
    await clock.advance(3_599);
    expect(ready.is).toBe('pending');
    await clock.advance(1);
    expect(ready.is).toBe('answered');
    expect(errors).toEqual([]);
    presence.attachToSocket(fakeSocket(), { userId: 'v' });
    await clock.advance(1_000);
    const closed = outcome(presence.close());
    await clock.advance(1_000);
    expect(closed.is).toBe('answered');
  });
});

describe('a deadline', () => {
  it('keeps no timer after the end, whatever is said then', async () => {
    const clock = fakeClock();
    const late: OnAnswer[] = [];
    const ask = (answer: Promise<void>) => (onAnswer: OnAnswer) => {
      late.push(onAnswer);
      return answer;
    };
    await withDeadline(clock, 1_000, ask(Promise.resolve()));
    await expect(withDeadline(clock, 1_000, ask(Promise.reject(new Error('no'))))).rejects.toThrow('no');
    const hangs = outcome(withDeadline(clock, 1_000, ask(new Promise(() => undefined))));
    await clock.advance(1_000);
    expect(hangs.is).toMatch(/did not answer/);
    for (const onAnswer of late) onAnswer();
    expect(clock.timers).toBe(0);
  });

  // Timers run before sockets are read: a router that had stood still reported a time-out of a store that had answered.
  it.each([
    ['a store', (clock: FakeClock, answer: Promise<void>) => withDeadline(clock, 1_000, () => answer)],
    ['a function', (clock: FakeClock, answer: Promise<void>) => withCallbackDeadline(clock, 1_000, 'f', () => answer)],
  ])('of %s lets a process that stood still read what was answered meanwhile', async (_, within) => {
    for (const isAnswered of [true, false]) {
      const clock = fakeClock();
      let answer = (): void => undefined;
      const seen = outcome(
        within(
          clock,
          new Promise((resolve) => {
            answer = resolve;
          }),
        ),
      );
      await clock.jump(5_000);
      expect(seen.is).toBe('pending');
      if (isAnswered) answer();
      await clock.advance(100);
      expect(seen.is).toMatch(isAnswered ? /^answered$/ : /did not answer within 1000 ms/);
      expect(clock.timers).toBe(0);
    }
  });
});
