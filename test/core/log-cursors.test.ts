import { expect, it } from 'vitest';
import { type LoggedChanges, memoryStore, type PresenceStatus, type PresenceStore } from 'voiceping-presence';
import { type FakeSocket, fakeClock } from 'voiceping-presence/testing';
import { watchFrame } from '../../src/client/codec';
import { router } from './world';

// On a store with several counters of versions, such as a Cluster, clients resume by the log.

interface Frame {
  messageType: number;
  fromId?: string;
  users?: PresenceStatus[];
  resumed?: boolean;
  cursor?: string;
}
const framesOf = (socket: FakeSocket) => socket.frames as Frame[];
const last = (socket: FakeSocket) => framesOf(socket).slice(-1)[0];
const shown = (frame: Frame | undefined) => frame?.users?.map(({ userId, status }) => `${userId} ${status}`).sort();

/** A store without a counter, whose log the test may hold up. */
async function world() {
  const clock = fakeClock();
  const memory = memoryStore({ now: clock.now });
  const log = memory.log as NonNullable<PresenceStore['log']>;
  const says = { isTold: true, fails: false, reads: 0, hold: Promise.resolve() };
  let head = await log.head();
  memory.subscribe({
    onTransition: ({ version }) => {
      head = `${head.split('.')[0]}.${version}`;
    },
    onGap: () => undefined,
    onDue: () => undefined,
    onLost: () => undefined,
    onError: () => undefined,
  });
  const store: PresenceStore = {
    beat: (node) => memory.beat(node),
    apply: (node, ops) => memory.apply(node, ops),
    refresh: (node, signs) => memory.refresh(node, signs),
    release: (node) => memory.release(node),
    read: (userIds) => memory.read(userIds),
    count: () => memory.count(),
    subscribe: (feed) => memory.subscribe(feed),
    list: async (page) => {
      const { sequence: _, ...listed } = await memory.list(page);
      return listed;
    },
    log: {
      head: () => log.head(),
      oldest: () => log.oldest(),
      claim: (...args) => log.claim(...args),
      advance: (...args) => log.advance(...args),
      deliveries: () => log.deliveries(),
      toldTo: () => head,
      hasTold: () => says.isTold,
      read: async (page): Promise<LoggedChanges> => {
        says.reads += 1;
        const read = await log.read(page);
        await says.hold;
        if (says.fails) throw new Error('away');
        return read;
      },
    },
  };
  const options = { store, authorizeWatch: () => true, graceMs: 0 };
  const [east, west] = [await router(options, clock), await router(options, clock)];
  const ask = async (at: typeof east, ids: true | string[], cursor?: string) => {
    const socket = await at.connect('d', { track: false });
    socket.receive(watchFrame(ids, cursor, 1));
    await clock.settle();
    return socket;
  };
  return { clock, says, east, west, ask };
}

it.each([[true as const], [['a', 'b', 'c']]])(
  'a client that comes back is told only what has changed, also on another router (%j)',
  async (ids) => {
    const { clock, east, west, ask } = await world();
    const phones = await Promise.all(['a', 'b', 'c'].map((userId) => east.connect(userId)));
    const first = await ask(east, ids);
    expect(last(first)).toMatchObject({ resumed: false, cursor: expect.any(String) });
    const cursor = last(first)?.cursor;
    first.close();
    phones[0]?.close();
    await west.connect('x');
    const again = await ask(west, ids, cursor);
    await clock.advance(1_000);
    expect(last(again)).toMatchObject({ messageType: 32, resumed: true });
    expect(shown(last(again))).toEqual(ids === true ? ['a offline', 'x online'] : ['a offline']);
  },
);

it('a change has a cursor at most once a second, and all that was sent before it is up to that', async () => {
  const { clock, east, west, ask } = await world();
  const socket = await ask(east, true);
  for (let user = 0; user < 40; user += 1) {
    await east.connect(`u${user}`);
    await clock.advance(100);
  }
  const sent = framesOf(socket).filter(({ messageType }) => messageType === 31);
  const withCursor = sent.filter(({ cursor }) => cursor !== undefined);
  expect(withCursor.length).toBeGreaterThan(1);
  expect(withCursor.length).toBeLessThanOrEqual(4);
  const [one] = withCursor as [Frame];
  const before = sent.slice(0, sent.indexOf(one)).map(({ fromId }) => fromId);
  const again = await ask(west, true, one.cursor);
  await clock.advance(1_000);
  expect(last(again)?.resumed).toBe(true);
  const repeated = last(again)?.users?.map(({ userId }) => userId) ?? [];
  expect(repeated).toContain(one.fromId);
  expect(repeated.filter((userId) => before.includes(userId))).toEqual([]);
});

it('while a change waits for the limit of changes, none has a cursor that is beyond it', async () => {
  const { clock, east, west, ask } = await world();
  const socket = await ask(east, true);
  for (let round = 0; round < 30; round += 1) {
    await east.connect(`u${round}`);
    for (let times = 0; times < 4; times += 1) (await east.connect('flapping')).close();
    await clock.advance(100);
  }
  // The one that waited is the last one of its user; with the cursor of an earlier change it would be lost to who resumes.
  for (const { cursor } of framesOf(socket).filter(({ cursor: of }) => of !== undefined)) {
    const again = await ask(west, true, cursor);
    await clock.advance(300);
    if (last(again)?.resumed === true) expect(shown(last(again))).toContain('flapping offline');
  }
});

it('who changes while the log is read is shown, and who waits for the limit of changes', async () => {
  const { clock, says, east, west, ask } = await world();
  const first = await ask(east, true);
  const cursor = last(first)?.cursor;
  let release = (): void => undefined;
  says.hold = new Promise((resolve) => {
    release = resolve;
  });
  const again = await ask(west, true, cursor);
  await east.connect('meanwhile');
  // More often than dashboards are told.
  for (let times = 0; times < 12; times += 1) (await east.connect('flapping')).close();
  await clock.settle();
  release();
  await clock.advance(100);
  expect(last(again)).toMatchObject({ resumed: true });
  expect(shown(last(again))).toEqual(['flapping offline', 'meanwhile online']);
});

it('a router that has not received what the log has waits for it, and for two seconds at most', async () => {
  const { clock, says, east, west, ask } = await world();
  const cursor = last(await ask(east, true))?.cursor;
  await east.connect('a');
  says.isTold = false;
  const again = await ask(west, true, cursor);
  await clock.advance(1_000);
  expect(framesOf(again)).toEqual([]);
  says.isTold = true;
  await clock.advance(200);
  expect(last(again)).toMatchObject({ resumed: true, users: [{ userId: 'a' }] });
  says.isTold = false;
  const never = await ask(west, true, cursor);
  await clock.advance(3_000);
  expect(last(never)).toMatchObject({ resumed: false, users: [{ userId: 'a' }] });
});

it('a cursor that nobody gave, or a log that cannot be read, is answered with everybody', async () => {
  const { clock, says, east, ask } = await world();
  await east.connect('a');
  const cursor = last(await ask(east, true))?.cursor;
  for (const [asked, fails] of [
    ['nonsense', false],
    [cursor, true],
  ] as const) {
    says.fails = fails;
    const socket = await ask(east, true, asked);
    await clock.advance(1_000);
    expect(last(socket)).toMatchObject({ resumed: false, users: [{ userId: 'a' }] });
  }
  expect(east.errors).toEqual([]);
});

it('clients that come back at once resume, but very many are shown everybody', async () => {
  const { clock, says, east, west, ask } = await world();
  await east.connect('a');
  const cursor = last(await ask(east, true))?.cursor;
  let release = (): void => undefined;
  says.hold = new Promise((resolve) => {
    release = resolve;
  });
  const first = await ask(west, true, cursor);
  // It began before, and the log that it reads does not have this change; those who come now must see it all the same.
  await east.connect('b');
  const others: FakeSocket[] = [];
  for (let count = 0; count < 20; count += 1) {
    others.push(await ask(west, true, cursor));
    if (count === 5) await east.connect('c');
  }
  expect(says.reads).toBe(16);
  release();
  await clock.advance(1_000);
  for (const socket of [first, ...others.slice(0, 15)]) {
    expect(last(socket)?.resumed).toBe(true);
    expect(shown(last(socket))).toEqual(['b online', 'c online']);
  }
  for (const socket of others.slice(15)) expect(shown(last(socket))).toEqual(['a online', 'b online', 'c online']);
});
