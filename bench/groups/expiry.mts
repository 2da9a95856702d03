import { median, sleep } from '../measure.mjs';
import { CALLED, Entrant } from '../peers/lineup.mjs';
import type { PeerName } from '../peers/node.mjs';
import type { Section } from '../report.mjs';

const PEERS: readonly PeerName[] = ['ours', 'guide', 'rivals/faye'];
const VICTIMS = { from: 1e7, count: 20 };
const TTL_MS = 4_000;

/** Phones fall silent, and the event that says so comes late. */
export async function run(quick: boolean): Promise<Section[]> {
  const [sizes, capMs] = quick ? [[100, 1_000], 8_000] : [[10_000, 100_000], 180_000];
  const found = new Map<string, number[]>();
  for (const size of sizes) {
    // Waiting costs nothing, so all wait at once.
    await Promise.all(PEERS.map(async (name) => found.set(`${name} ${size}`, await delays(name, size, capMs))));
  }
  const of = (name: PeerName, size: number): number[] => found.get(`${name} ${size}`) ?? [];
  const shown = (size: number): string => size.toLocaleString('en');
  const columns = sizes.flatMap((size) => [
    `${shown(size)} others: seen, of ${VICTIMS.count}`,
    `${shown(size)} others: median, s`,
    `${shown(size)} others: last, s`,
  ]);
  return [
    {
      id: 'expiry',
      title: 'Silence is found out',
      text: `${VICTIMS.count} phones fall silent on one router, and another router, whose other users are well, is to be told: how late the event is, after the TTL (${TTL_MS / 1_000} s) has run from the last sign of life. It was waited for ${capMs / 1_000} s; who was not told by then counts as ${capMs / 1_000}.`,
      columns: ['', ...columns],
      rows: PEERS.map((name) => [
        CALLED[name],
        ...sizes.flatMap((size) => {
          const all = of(name, size);
          return [all.filter((late) => late < capMs / 1_000).length, median(all), Math.max(...all)];
        }),
      ]),
      compared: { columns: columns.filter((column) => column.endsWith('s')) },
      chart: { column: columns.at(-1) as string },
      figures: {
        few: Math.max(...of('ours', sizes[0] as number)),
        many: Math.max(...of('ours', sizes[1] as number)),
        manyGuide: Math.max(...of('guide', sizes[1] as number)),
      },
    },
  ];
}

/** Of each victim, in seconds. */
async function delays(name: PeerName, others: number, capMs: number): Promise<number[]> {
  const entrant = await Entrant.start(name, { listens: true });
  await entrant.node.ask('join', { from: 0, count: others });
  const near = await entrant.add({ ttlMs: TTL_MS, pingIntervalMs: TTL_MS / 4, leaseMs: 15_000 });
  await near.ask('join', VICTIMS);
  await sleep(2_000);
  await near.ask('silence', VICTIMS);
  const dueAt = Date.now() + TTL_MS;
  const isVictim = (userId: string): boolean => Number(userId.slice('acme_u'.length)) >= VICTIMS.from;
  const seen = new Map<string, number>();
  let read = entrant.node.changes.length;
  while (Date.now() < dueAt + capMs && seen.size < VICTIMS.count) {
    await sleep(100);
    for (; read < entrant.node.changes.length; read += 1) {
      const [userId, online, at] = entrant.node.changes[read] as (typeof entrant.node.changes)[number];
      if (!online && isVictim(userId) && !seen.has(userId)) seen.set(userId, (at - dueAt) / 1_000);
    }
  }
  await entrant.end();
  const late = Array.from(seen.values(), (seconds) => Math.max(0, seconds));
  while (late.length < VICTIMS.count) late.push(capMs / 1_000);
  return late;
}
