import { median } from '../measure.mjs';
import { Clients } from '../peers/clients.mjs';
import { CALLED, Entrant } from '../peers/lineup.mjs';
import type { PeerName } from '../peers/node.mjs';
import type { Section } from '../report.mjs';

const PEERS: readonly PeerName[] = ['ours', 'guide', 'socketio', 'floor'];

/** A user comes and goes, and very many dashboards on real sockets are told. */
export async function run(quick: boolean): Promise<Section[]> {
  const sizes = quick ? [50, 100] : [1_000, 10_000];
  const [changes, rounds] = quick ? [4, 3] : [10, 7];
  const found = new Map<string, number[]>();
  for (const size of sizes) {
    const entrants = await Promise.all(PEERS.map((name) => Entrant.start(name, { listens: true })));
    const clients = await Promise.all(
      entrants.map(async ({ name, node }) => {
        const all = await Clients.start();
        const { value: port } = await node.ask('listen');
        await all.connect({
          port,
          from: 0,
          count: size,
          kind: 'dashboard',
          protocol: name === 'socketio' ? 'socket.io' : 'ws',
        });
        // Until the snapshots have come.
        await all.untilMessages(Number.POSITIVE_INFINITY);
        return all;
      }),
    );
    for (let round = -1; round < rounds; round += 1) {
      for (const [index, { name, node }] of entrants.entries()) {
        const before = (await (clients[index] as Clients).count()).messages;
        const { cpu } = await node.ask('change', { from: 0, count: changes });
        const told = await (clients[index] as Clients).untilMessages(before + size * changes * 2);
        if (told !== before + size * changes * 2) throw new Error(`${name}: ${told - before} frames instead`);
        if (round >= 0) found.set(`${name} ${size}`, [...(found.get(`${name} ${size}`) ?? []), cpu / changes / 2]);
      }
    }
    for (const all of clients) await all.end();
    for (const entrant of entrants) await entrant.end();
  }
  const of = (name: PeerName, size: number): number[] => found.get(`${name} ${size}`) ?? [];
  const vsFloor = (name: PeerName, size: number): number =>
    median(of(name, size).map((cpu, round) => cpu / (of('floor', size)[round] as number)));
  const [few, many] = sizes as [number, number];
  const shown = (size: number): string => size.toLocaleString('en');
  return [
    {
      id: 'watchers',
      title: 'A change that very many dashboards see',
      text: `A user comes or goes, and every dashboard on a real WebSocket is sent a frame: CPU of the router for one change, from the user's socket through Redis to the last dashboard. Medians of ${rounds} alternating rounds. socket.io is not told by a user's socket here, but by a call of emit. The floor is one frame, encoded once, and a loop of ws.send; it does not ask Redis.`,
      columns: ['', ...sizes.flatMap((size) => [`${shown(size)} dashboards, µs`, `× floor at ${shown(size)}`])],
      rows: PEERS.map((name) => [
        CALLED[name],
        ...sizes.flatMap((size) => [median(of(name, size)), vsFloor(name, size)]),
      ]),
      compared: {
        columns: sizes.map((size) => `${shown(size)} dashboards, µs`),
        why: {
          [CALLED.guide]:
            'it looks at no socket before it sends: one that is slow is sent more and more, and its memory grows',
        },
      },
      chart: { column: `${shown(many)} dashboards, µs` },
      figures: { few: vsFloor('ours', few), many: vsFloor('ours', many) },
    },
  ];
}
