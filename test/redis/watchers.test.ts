import { Cluster } from 'ioredis';
import { afterEach, expect, it } from 'vitest';
import { createPresence, type Presence } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { type FakeSocket, fakeSocket } from 'voiceping-presence/testing';
import { readFrame, SNAPSHOT, UPDATE, watchFrame } from '../../src/client/codec';
import { createView, type View } from '../../src/client/view';
import { random } from '../random';
import { RedisCluster } from './cluster';
import { RedisServer } from './server';
import { until } from './wait';

const MOVES = Number(process.env['MOVES'] ?? 10_000);
const USERS = Array.from({ length: 200 }, (_, index) => `u${index}`);

const endings: Array<() => unknown> = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

/** A dashboard that is cut, stalls, and resumes where it was, on any router. */
class Dashboard {
  readonly view: View;
  readonly problems: string[] = [];
  resumed = 0;
  private socket: FakeSocket | undefined;
  private read = 0;
  private readonly versions = new Map<string, number>();

  constructor(ids: true | string[]) {
    this.view = createView(ids);
  }

  connect(presence: Presence): void {
    this.look();
    this.socket?.close();
    this.socket = fakeSocket();
    this.read = 0;
    presence.attachToSocket(this.socket, { userId: 'dashboard', track: false });
    this.view.asked = (this.view.asked + 1) % 128;
    this.socket.receive(watchFrame(this.view.ids, this.view.cursor, this.view.asked));
  }

  stall(bytes: number): void {
    if (this.socket !== undefined) this.socket.bufferedAmount = bytes;
  }

  look(): void {
    const { socket, view } = this;
    if (socket === undefined) return;
    for (; this.read < socket.sent.length; this.read += 1) {
      const said = readFrame(socket.sent[this.read]);
      if (said?.kind === SNAPSHOT) {
        view.show(said);
        if (said.resumed === true) this.resumed += 1;
      }
      if (said?.kind !== UPDATE) continue;
      const { userId } = said.user;
      // On one connection and over all of them, an older state never follows a newer one.
      const told = this.versions.get(userId) ?? 0;
      if (said.version <= told) this.problems.push(`${userId} went back from ${told} to ${said.version}`);
      this.versions.set(userId, said.version);
      view.update(said);
    }
    // They are read, and would only fill the heap.
    socket.sent.length = 0;
    this.read = 0;
  }
}

/** `SEED=1234 npx vitest run test/redis/watchers` replays it, as far as Redis takes the same time. */
it.each([
  ['on one server', MOVES],
  ['on a Cluster', Math.ceil(MOVES / 8)],
])(
  '%s: dashboards are cut, stall, move and go on %d times under constant change, and end up with the truth',
  async (where, moves) => {
    const dice = random();
    console.log(`seed ${dice.seed}`);
    const server = where === 'on a Cluster' ? await RedisCluster.start() : await RedisServer.start();
    endings.push(() => server.remove());
    const storeOf = () => {
      if (server instanceof RedisServer) return redisStore({ host: '127.0.0.1', port: server.port });
      const client = new Cluster(server.nodes);
      endings.push(() => client.disconnect());
      return redisStore({ client });
    };
    const routers = await Promise.all(
      [0, 1, 2].map(async () => {
        const presence = createPresence({
          graceMs: 0,
          store: storeOf(),
          authorizeWatch: () => true,
        });
        endings.push(() => presence.close());
        await presence.ready();
        return presence;
      }),
    );
    const phones = new Map<string, FakeSocket>();
    const dashboards = Array.from(
      { length: 60 },
      (_, index) => new Dashboard(index % 2 === 0 ? true : USERS.filter(() => dice.chance(0.2))),
    );
    for (const dashboard of dashboards) dashboard.connect(dice.pick(routers) as Presence);
    let changes = 0;
    for (let move = 0; move < moves; move += 1) {
      const userId = dice.pick(USERS) as string;
      const phone = phones.get(userId);
      if (phone !== undefined) {
        phone.close();
        phones.delete(userId);
      } else {
        const socket = fakeSocket();
        (dice.pick(routers) as Presence).attachToSocket(socket, { userId });
        phones.set(userId, socket);
      }
      changes += 1;
      const dashboard = dice.pick(dashboards) as Dashboard;
      if (dice.chance(0.2)) dashboard.stall(dice.pick([0, 100_000]) as number);
      (dice.pick(dashboards) as Dashboard).connect(dice.pick(routers) as Presence);
      if (move % 4 === 3) await new Promise((resolve) => setImmediate(resolve));
      if (move % 100 === 99) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    for (const dashboard of dashboards) dashboard.stall(0);
    const wrong = (): string[] =>
      dashboards.flatMap((dashboard) => {
        dashboard.look();
        const { ids, users } = dashboard.view;
        return (ids === true ? USERS : ids).filter(
          (userId) => (users.get(userId)?.status ?? 'offline') !== (phones.has(userId) ? 'online' : 'offline'),
        );
      });
    await until('every dashboard sees the truth', () => wrong().length === 0, 15_000);
    expect(dashboards.flatMap(({ problems }) => problems)).toEqual([]);
    const resumed = dashboards.reduce((sum, dashboard) => sum + dashboard.resumed, 0);
    console.log(`${changes} changes, ${resumed} of ${moves} connections went on where the one before was`);
    expect(resumed).toBeGreaterThan(moves / 20);
  },
  120_000,
);
