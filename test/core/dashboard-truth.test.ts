import { describe, expect, it } from 'vitest';
import { type FakeSocket, fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { readFrame, SNAPSHOT, UPDATE, watchFrame } from '../../src/client/codec';
import { createView, type View } from '../../src/client/view';
import { faultyStore } from './faulty-store';
import { router } from './world';

const dashboard = { track: false };
const limits = { updatesPerUserPerSecond: 1_000 };

/** The view of a dashboard after these frames, as the client computes it. */
function shownBy(socket: FakeSocket, view: View = createView(true)): View {
  for (const data of socket.sent) {
    const said = readFrame(data);
    if (said?.kind === UPDATE) view.update(said);
    else if (said?.kind === SNAPSHOT) view.show(said);
  }
  return view;
}

const onlineIn = (view: View): string[] =>
  Array.from(view.users.values())
    .filter(({ status }) => status === 'online')
    .map(({ userId }) => userId)
    .sort();

describe('a dashboard ends up with the truth', () => {
  it('where more changes during a long snapshot than is kept for it', async () => {
    const { connect, clock } = await router({ authorizeWatch: () => true, limits });
    const phones: FakeSocket[] = [];
    for (let user = 0; user < 1_200; user += 1) phones.push(await connect(`u${user}`));
    const socket = await connect('dash', dashboard);
    const { send } = socket;
    // The socket accepts the first frame, and no further one for a while.
    socket.send = (data) => {
      send.call(socket, data);
      socket.bufferedAmount = 100_000;
    };
    socket.receive(watchFrame(true, undefined, 1));
    await clock.settle();
    expect(socket.sent).toHaveLength(1);
    // These users were in the first part of the snapshot.
    for (const phone of phones.slice(0, 400)) phone.close();
    await clock.advance(1_000);
    socket.send = send;
    socket.bufferedAmount = 0;
    await clock.advance(5_000);
    const view = createView(true);
    view.asked = 1;
    expect(onlineIn(shownBy(socket, view))).toEqual(
      phones
        .slice(400)
        .map((_, index) => `u${index + 400}`)
        .sort(),
    );
  });

  it('where the store fails in the middle of showing it everybody', async () => {
    const clock = fakeClock();
    const { store } = faultyStore(clock.now);
    const { connect } = await router({ store }, clock);
    for (let user = 0; user < 1_200; user += 1) await connect(`u${user}`);
    const { read } = store;
    let reads = 0;
    store.read = (ids) => {
      reads += 1;
      return reads === 2 ? Promise.reject(new Error('connect ECONNREFUSED')) : read(ids);
    };
    const socket = await connect('dash', { ...dashboard, watch: true });
    await clock.advance(10_000);
    expect(onlineIn(shownBy(socket))).toHaveLength(1_200);
  });

  it('also where it is lost while it catches up: what it has seen last is what its cursor says', async () => {
    const { connect, clock } = await router({ authorizeWatch: () => true, limits });
    const socket = await connect('dash', dashboard);
    socket.receive(watchFrame(true, undefined, 1));
    await clock.settle();
    socket.bufferedAmount = 100_000;
    const flaps = await connect('flaps');
    await connect('stays');
    flaps.close();
    await clock.settle();
    const { send } = socket;
    // The socket accepts one of the two pending frames, and then loses its connection.
    socket.send = (data) => {
      send.call(socket, data);
      socket.bufferedAmount = 100_000;
    };
    socket.bufferedAmount = 0;
    await clock.advance(100);
    const view = createView(true);
    view.asked = 1;
    shownBy(socket, view);
    socket.drop();
    const next = await connect('dash', dashboard);
    view.restart();
    view.asked = 2;
    next.receive(watchFrame(true, view.cursor, 2));
    await clock.advance(3_000);
    expect(onlineIn(shownBy(next, view))).toEqual(['stays']);
    expect(view.users.get('flaps')?.status).not.toBe('online');
  });

  it('and hears of nobody else once it narrows what it watches', async () => {
    const { presence, connect, clock } = await router();
    const socket = fakeSocket();
    const attachment = presence.attachToSocket(socket, { userId: 'dash', ...dashboard, watch: true });
    await clock.settle();
    attachment.watch(['a']);
    await clock.settle();
    socket.sent.length = 0;
    await connect('b');
    await connect('a');
    expect(socket.frames).toMatchObject([{ messageType: 31, fromId: 'a' }]);
  });

  // The first router had shown a user whose change the second one missed. After its gap, the second one did not send the offline.
  it('where it comes from a router that was ahead, and this one finds out that it has missed something', async () => {
    const clock = fakeClock();
    const { store, link, direct } = faultyStore(clock.now);
    const behind = await router({ store, authorizeWatch: () => true }, clock);
    const ahead = await router({ store: direct(), authorizeWatch: () => true }, clock);
    await behind.connect('other', { ...dashboard, watch: true });
    await clock.advance(10_000);
    const first = await ahead.connect('dash', dashboard);
    first.receive(watchFrame(true, undefined, 1));
    await clock.settle();
    link.deaf = true;
    const leaves = await ahead.connect('leaves');
    link.deaf = false;
    await ahead.connect('stays');
    const view = createView(true);
    view.asked = 1;
    expect(onlineIn(shownBy(first, view))).toEqual(['leaves', 'stays']);
    first.drop();
    const next = await behind.connect('dash', dashboard);
    view.restart();
    view.asked = 2;
    next.receive(watchFrame(true, view.cursor, 2));
    await clock.settle();
    // This router has not received that the user came online, so it emits no offline now.
    leaves.close();
    await clock.settle();
    link.hear();
    await clock.advance(3_000);
    expect(onlineIn(shownBy(next, view))).toEqual(['stays']);
  });
});
