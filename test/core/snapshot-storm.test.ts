import { describe, expect, it } from 'vitest';
import { memoryStore, type PresenceStore } from 'voiceping-presence';
import { type FakeSocket, fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { readFrame, SNAPSHOT, UPDATE, watchFrame } from '../../src/client/codec';
import { createView, type View } from '../../src/client/view';
import { random } from '../random';
import { router } from './world';

const USERS = 2_500;
const CLIENTS = 100;

/** A dashboard with a link of its own, which reconnects with its cursor when the link breaks. */
interface Client {
  readonly view: View;
  readonly bytesPerTick: number;
  readonly asks: boolean;
  socket: FakeSocket | undefined;
  /** What the link has not delivered yet. */
  queue: Uint8Array[];
}

describe('dashboards that open together, while all is in motion', () => {
  it.each(['near', 'far', 'failing'] as const)(
    'all end with the truth, at whatever speed they read (a store that is %s)',
    async (kind) => {
      const dice = random();
      console.log(`dashboards that open together (${kind}): SEED=${dice.seed}`);
      const clock = fakeClock();
      const memory = memoryStore({ now: clock.now });
      let reads = 0;
      const later = (ms: number) => new Promise<void>((resolve) => clock.setTimeout(resolve, ms));
      const read: PresenceStore['read'] = async (ids) => {
        if (ids.length > 0) reads += 1;
        if (kind !== 'near' && ids.length > 0) await later(5 + dice.below(kind === 'far' ? 400 : 40));
        if (kind === 'failing' && ids.length > 0 && dice.chance(0.2)) throw new Error('connect ECONNREFUSED');
        return memory.read(ids);
      };
      const store: PresenceStore = Object.assign(Object.create(memory) as PresenceStore, { read });
      const { presence, connect } = await router(
        { store, authorizeWatch: () => true, limits: { updatesPerUserPerSecond: 5 }, graceMs: 0, ttlMs: 3_600_000 },
        clock,
      );
      const online = new Map<number, FakeSocket>();
      const come = (user: number): void => {
        const socket = fakeSocket();
        presence.attachToSocket(socket, { userId: `u${user}` });
        online.set(user, socket);
      };
      for (let user = 0; user < USERS; user += 1) if (user % 5 > 0) come(user);
      await clock.settle();

      const clients: Client[] = [];
      const open = async (client: Client): Promise<void> => {
        const socket = await connect('dash', client.asks ? { track: false } : { track: false, watch: true });
        client.socket = socket;
        client.queue = [];
        client.view.restart();
        if (!client.asks) return;
        client.view.asked += 1;
        socket.receive(watchFrame(true, client.view.cursor, client.view.asked));
      };
      const deliver = ({ socket, view, queue, bytesPerTick }: Client): void => {
        if (socket === undefined) return;
        queue.push(...socket.sent.splice(0));
        for (let bytes = bytesPerTick; bytes > 0 && queue.length > 0; ) {
          const data = queue.shift() as Uint8Array;
          bytes -= data.length;
          const said = readFrame(data);
          if (said?.kind === UPDATE) view.update(said);
          else if (said?.kind === SNAPSHOT) view.show(said);
        }
        socket.bufferedAmount = queue.reduce((sum, { length }) => sum + length, 0);
      };
      const change = (): void => {
        const user = dice.below(USERS);
        const socket = online.get(user);
        if (socket === undefined) come(user);
        else if (dice.chance(0.5)) {
          online.delete(user);
          socket.close();
        } else {
          // Away and back at one stroke.
          socket.close();
          come(user);
        }
      };
      let broken = 0;
      for (let tick = 0; tick < 250; tick += 1) {
        for (let opening = dice.below(4); opening > 0 && clients.length < CLIENTS; opening -= 1) {
          const asks = dice.chance(0.7);
          const bytesPerTick = dice.pick([2_000, 8_000, 40_000, 1_000_000]);
          const client = { view: createView(true), bytesPerTick, asks, socket: undefined, queue: [] };
          clients.push(client);
          await open(client);
        }
        for (let changes = dice.below(12); changes > 0; changes -= 1) change();
        // A client that sends requests resumes with its cursor; the others would not know who has gone.
        const victim = dice.chance(0.2) ? dice.pick(clients.concat([])) : undefined;
        if (victim?.asks === true && victim.socket !== undefined) {
          victim.socket.drop();
          broken += 1;
          await open(victim);
        }
        await clock.advance(10);
        for (const client of clients) deliver(client);
      }
      expect(clients).toHaveLength(CLIENTS);
      expect(broken).toBeGreaterThan(10);
      const readsInStorm = reads;
      for (
        let tick = 0;
        tick < 3_000 && clients.some(({ socket, queue }) => queue.length > 0 || socket?.sent.length !== 0);
        tick += 1
      ) {
        await clock.advance(50);
        for (const client of clients) deliver(client);
      }
      await clock.advance(20_000);
      for (let tick = 0; tick < 600; tick += 1) {
        await clock.advance(50);
        for (const client of clients) deliver(client);
      }
      const truth = Array.from(online.keys(), (user) => `u${user}`).sort();
      let compared = 0;
      for (const { view } of clients) {
        const shown = Array.from(view.users.values()).filter(({ status }) => status === 'online');
        expect(shown.map(({ userId }) => userId).sort()).toEqual(truth);
        compared += shown.length;
      }
      expect(compared).toBeGreaterThan(CLIENTS * 500);
      // Each for itself, they would have read every page of the roster.
      expect(readsInStorm).toBeLessThan((CLIENTS * USERS) / 500);
      await presence.close();
      expect(clock.timers).toBe(0);
    },
    60_000,
  );

  it('are sent the same frames, encoded once, each with the number of its own request', async () => {
    const { connect, clock } = await router({ authorizeWatch: () => true });
    for (let user = 0; user < 1_100; user += 1) void connect(`u${user}`);
    await clock.settle();
    const ask = async (request: number): Promise<FakeSocket> => {
      const socket = await connect('dash', { track: false });
      socket.receive(watchFrame(true, undefined, request));
      return socket;
    };
    const [first, second, other] = await Promise.all([ask(1), ask(1), ask(7)]);
    const plain = await connect('plain', { track: false, watch: true });
    await clock.settle();
    for (const { sent } of [first, second, other, plain]) expect(sent).toHaveLength(3);
    // The very same bytes, but for the last part, which has the cursor.
    for (const part of [0, 1]) expect(second?.sent[part]).toBe(first?.sent[part]);
    expect(other?.sent[0]).not.toBe(first?.sent[0]);
    expect(other?.frames).toMatchObject([
      { request: 7, part: 0, more: true, users: { length: 500 } },
      { request: 7, part: 1, more: true, users: { length: 500 } },
      { request: 7, part: 2, more: false, users: { length: 100 } },
    ]);
    expect(plain.frames[2]).toEqual({ messageType: 32, users: expect.anything() });
  });
});
