import { median } from '../measure.mjs';
import { Clients } from '../peers/clients.mjs';
import { CALLED, Entrant } from '../peers/lineup.mjs';
import type { PeerName } from '../peers/node.mjs';
import type { Section } from '../report.mjs';

const PEERS: readonly PeerName[] = ['ours', 'guide', 'socketio', 'floor'];
const PING_MS = 10_000;

/** Users on real WebSockets: what they cost when they come, and when they do nothing. */
export async function run(quick: boolean): Promise<Section[]> {
  const [count, seconds, rounds] = quick ? [200, 3, 2] : [10_000, 10, 5];
  const ids = { from: 0, count: 1_000 };
  const entrants = await Promise.all(
    PEERS.map(async (name) => ({
      ...(await connected(name, count)),
      idle: [] as number[],
      idleRedis: [] as number[],
      queries: [] as number[],
    })),
  );
  for (let round = 0; round < rounds; round += 1) {
    // CPU is that of each process, so all can be idle at the same time, and what the machine does meets all.
    await Promise.all(
      entrants.map(async ({ entrant, idle, idleRedis }) => {
        const { cpu, redis } = await entrant.cost('idle', { from: 0, count: seconds * 1_000 });
        idle.push(cpu / seconds / 1_000);
        idleRedis.push(redis.cpu / seconds / 1_000);
      }),
    );
    for (const { entrant, other, queries } of entrants) {
      if (entrant.name !== 'floor') queries.push((await other.ask('statuses', ids)).ms);
    }
  }
  for (const { entrant, clients } of entrants) {
    const { connected: left } = await clients.count();
    if (left !== count) throw new Error(`${entrant.name}: ${left} of ${count} are still connected`);
    await clients.end();
    await entrant.end();
  }
  const rows = entrants.map(({ entrant, join, heap, idle, idleRedis, queries }) => [
    entrant.name === 'floor' ? 'floor: an idle ws server' : CALLED[entrant.name],
    join,
    heap,
    median(idle),
    median(idleRedis),
    queries.length === 0 ? undefined : median(queries),
  ]) as Array<[string, number, number, number, number, number | undefined]>;
  const [ours, , socketio, floor] = rows as [
    (typeof rows)[number],
    (typeof rows)[number],
    (typeof rows)[number],
    (typeof rows)[number],
  ];
  return [
    {
      id: 'sockets',
      title: `${count.toLocaleString('en')} users on real WebSockets`,
      text: `Connected, then idle, pinged every ${PING_MS / 1_000} s, twelve times as often as phones. CPU of the router for one user who connects; its heap a user, sockets included; CPU of the router and of Redis in each second in which nobody does anything, in milliseconds; how long another router takes to say of 1,000 of them whether they are online. Medians of ${rounds} rounds, all at the same time. Of socket.io pings never reach Redis, and nobody is known to be offline by them.`,
      columns: [
        '',
        'connect, Node µs',
        'heap a user, bytes',
        'idle, Node ms/s',
        'idle, Redis ms/s',
        '1,000 statuses, ms',
      ],
      rows,
      compared: {
        columns: [
          'connect, Node µs',
          'heap a user, bytes',
          'idle, Node ms/s',
          'idle, Redis ms/s',
          '1,000 statuses, ms',
        ],
        why: {
          [CALLED.guide]: 'it keeps nothing of a user but what two listeners hold',
          [CALLED.socketio]:
            'its pings stay between client and router: when a router dies, nothing knows when its users were last seen',
        },
      },
      chart: { column: 'idle, Node ms/s' },
      figures: {
        idleOverFloor: ours[3] - floor[3],
        heapOverFloor: ours[2] - floor[2],
        statusesVsSocketio: (socketio[5] ?? Number.NaN) / (ours[5] ?? Number.NaN),
      },
    },
  ];
}

async function connected(name: PeerName, count: number) {
  const settings = { pingIntervalMs: PING_MS, ttlMs: PING_MS * 3 };
  const entrant = await Entrant.start(name, settings);
  const other = await entrant.add(settings);
  const { value: port } = await entrant.node.ask('listen');
  const clients = await Clients.start();
  const protocol = name === 'socketio' ? 'socket.io' : 'ws';
  // The first are for what is loaded only once.
  const first = Math.min(500, count / 2);
  await clients.connect({ port, from: 0, count: first, kind: 'user', protocol });
  const heapBefore = (await entrant.node.ask('heap')).value;
  const cpuBefore = (await entrant.node.ask('cpu')).value;
  await clients.connect({ port, from: first, count: count - first, kind: 'user', protocol });
  await entrant.node.ask('idle', { from: 0, count: 1_000 });
  const join = ((await entrant.node.ask('cpu')).value - cpuBefore) / (count - first);
  const heap = ((await entrant.node.ask('heap')).value - heapBefore) / (count - first);
  return { entrant, other, clients, join, heap };
}
