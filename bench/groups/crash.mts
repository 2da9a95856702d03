import { median, sleep } from '../measure.mjs';
import { CALLED, Entrant } from '../peers/lineup.mjs';
import type { PeerName } from '../peers/node.mjs';
import type { Settings } from '../peers/peer.mjs';
import type { Section } from '../report.mjs';

interface Case {
  readonly peer: PeerName;
  readonly how: string;
  readonly settings: Partial<Settings>;
}

const CASES: readonly Case[] = [
  { peer: 'ours', how: 'lease 1.5 s', settings: { leaseMs: 1_500 } },
  { peer: 'ours', how: 'lease 15 s, the default', settings: { leaseMs: 15_000 } },
  { peer: 'guide', how: 'TTL 10 s; 360 s is its default', settings: { ttlMs: 10_000 } },
  { peer: 'rivals/deepstream', how: 'its defaults', settings: {} },
  { peer: 'rivals/metroplex', how: 'interval 15 s; 300 s is its default', settings: { leaseMs: 15_000 } },
  { peer: 'rivals/faye', how: 'TTL 10 s; 96 s is its default', settings: { ttlMs: 10_000 } },
];

const PING_MS = 20_000;
/** So many of those who are gone are asked about. */
const SAMPLE = 200;
const FLUSHES = 3;
const FLUSH_CAP_MS = 30_000;

/** A router is killed; and Redis loses everything. */
export async function run(quick: boolean): Promise<Section[]> {
  const [users, capMs] = quick ? [500, 20_000] : [12_500, 180_000];
  const rows = await Promise.all(CASES.map((one) => killed(one, users, capMs)));
  const flushed = [];
  for (const name of ['ours', 'guide'] as const) flushed.push(await flush(name, quick ? 2_000 : 100_000));
  return [
    {
      id: 'crash',
      title: 'A router is killed',
      text: `A router with ${users.toLocaleString('en')} users gets SIGKILL. After how long another router answers of ${SAMPLE} of them that they are offline, and after how long it has been told so of all; how many events those were, of ${users.toLocaleString('en')}. Waited for: ${capMs / 1_000} s.`,
      columns: ['', 'settings', 'answers offline, s', 'told of all, s', 'events'],
      chart: { column: 'told of all, s', besides: 'settings' },
      compared: {
        columns: ['answers offline, s', 'told of all, s'],
        why: {
          [CALLED['rivals/deepstream']]:
            'its nodes say every five seconds that they are there; with a lease as short ours is sooner',
          [CALLED.guide]: 'its TTL is ten seconds here; with its default it takes six minutes',
          [CALLED['rivals/faye']]: 'its TTL is ten seconds here; with its default it takes a minute and a half',
        },
      },
      rows: CASES.map(({ peer, how }, index) => {
        const { answered, told, events } = rows[index] as Killed;
        return [CALLED[peer], how, answered ?? 'not yet', told ?? (events === 0 ? 'never' : 'not yet'), events];
      }),
      figures: {
        shortLease: rows[0]?.told ?? Number.NaN,
        lease: rows[1]?.told ?? Number.NaN,
        eventsOver: (rows[0]?.events ?? 0) - users,
      },
    },
    {
      id: 'flush',
      title: 'Redis loses everything',
      text: `FLUSHALL under ${quick ? '2,000' : '100,000'} users whose connections are well, and who are pinged every ${PING_MS / 1_000} s. After how long each has a key again by which operators see that it is online, and how many were told offline. The median of ${FLUSHES} times; waited for: ${FLUSH_CAP_MS / 1_000} s.`,
      columns: ['', 'all keys are back, s', 'told offline'],
      rows: flushed.map(({ name, seconds, offline }) => [CALLED[name], seconds ?? 'never', offline]),
      figures: { seconds: flushed[0]?.seconds ?? Number.NaN, offline: flushed[0]?.offline ?? Number.NaN },
    },
  ];
}

interface Killed {
  readonly answered: number | undefined;
  readonly told: number | undefined;
  readonly events: number;
}

async function killed({ peer, settings }: Case, count: number, capMs: number): Promise<Killed> {
  const entrant = await Entrant.start(peer, { ...settings, listens: true });
  const dying = await entrant.add(settings);
  // Some learn of each other by what they say every few seconds.
  await sleep(7_000);
  await dying.ask('join', { from: 0, count });
  const online = async (): Promise<number> => (await entrant.node.ask('statuses', { from: 0, count })).value;
  for (const end = Date.now() + 60_000; (await online()) !== count; await sleep(500)) {
    if (Date.now() > end) throw new Error(`${peer}: not all joined`);
  }
  await dying.kill();
  const startedAt = Date.now();
  let answered: number | undefined;
  const offline = () => entrant.node.changes.filter(([, online, at]) => !online && at >= startedAt);
  // Asked about some, so that asking keeps nobody from finding out.
  const sample = { from: count - SAMPLE, count: SAMPLE };
  while (Date.now() < startedAt + capMs) {
    await sleep(100);
    if (answered === undefined && (await entrant.node.ask('statuses', sample)).value === 0) {
      answered = (Date.now() - startedAt) / 1_000;
    }
    const hasEvents = peer !== 'rivals/metroplex';
    if (answered !== undefined && (!hasEvents || new Set(offline().map(([userId]) => userId)).size >= count)) break;
  }
  // Whatever is told twice is told soon.
  await sleep(2_000);
  const all = offline();
  const isComplete = new Set(all.map(([userId]) => userId)).size >= count;
  const first = new Map<string, number>();
  for (const [userId, , at] of all) if (!first.has(userId)) first.set(userId, at);
  const told = isComplete ? (Math.max(...first.values()) - startedAt) / 1_000 : undefined;
  await entrant.end();
  return { answered, told, events: all.length };
}

async function flush(name: 'ours' | 'guide', count: number) {
  // Signs of life come all along, as they do from phones that are well.
  const entrant = await Entrant.start(name, { pingIntervalMs: PING_MS, ttlMs: PING_MS * 3, listens: true });
  const { node, redis } = entrant;
  await node.ask('join', { from: 0, count });
  const joinedAt = Date.now();
  const times: number[] = [];
  for (let round = 0; round < FLUSHES; round += 1) {
    await sleep(PING_MS);
    await redis.flushall();
    const startedAt = Date.now();
    // Of ours, a key a user, and a few buckets and control keys; the guide has two keys a user.
    while ((await redis.dbsize()) < count && Date.now() < startedAt + FLUSH_CAP_MS) await sleep(20);
    times.push((Date.now() - startedAt) / 1_000);
  }
  const seconds = median(times) < FLUSH_CAP_MS / 1_000 ? median(times) : undefined;
  const offline = node.changes.filter(([, online, at]) => !online && at >= joinedAt).length;
  await entrant.end();
  return { name, seconds, offline };
}
