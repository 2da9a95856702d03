import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { createPresence } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { RedisServer } from '../../test/redis/server';
import { doneDuring, median, sleep } from '../measure.mjs';
import { BareSocket } from '../peers/peer.mjs';
import type { Section } from '../report.mjs';

const DELIVERER = fileURLToPath(new URL('../peers/deliverer.mts', import.meta.url));
const TICK_MS = 20;
const CHANGES_A_SECOND = 1_000;

/** Changes that are delivered to a handler: when they come, and what that costs Redis. */
export async function run(quick: boolean): Promise<Section[]> {
  const [rounds, roundMs] = quick ? [3, 2_000] : [7, 10_000];
  const server = await RedisServer.start();
  const redis = new Redis({ port: server.port });
  const presence = createPresence({ store: redisStore({ client: new Redis({ port: server.port }) }), graceMs: 0 });
  await presence.ready();
  const child = fork(DELIVERER, [String(server.port)], { execArgv: ['--import', 'tsx'] });
  await once(child, 'message');
  const ask = async (what: 'start' | 'stop'): Promise<void> => {
    child.send(what);
    for (;;) if ((await once(child, 'message'))[0] === what) return;
  };
  const closedAt = new Map<string, number>();
  const delays: number[] = [];
  child.on('message', (told: { at: number; gone: string[] } | string) => {
    if (typeof told === 'string') return;
    for (const userId of told.gone) {
      const at = closedAt.get(userId);
      if (at === undefined) continue;
      delays.push(told.at - at);
      closedAt.delete(userId);
    }
  });
  let serial = 0;
  let isMeasured = false;
  /** As many phones come as go, so that the number of users stays what it is. */
  const churn = async (ms: number): Promise<number> => {
    const until = Date.now() + ms;
    const sockets: Array<readonly [string, BareSocket]> = [];
    const [startedAt, first] = [Date.now(), serial];
    while (Date.now() < until) {
      const due = ((Date.now() - startedAt) * CHANGES_A_SECOND) / 2_000;
      for (; serial - first < due; serial += 1) {
        const userId = `acme_u${serial}`;
        const socket = new BareSocket();
        presence.attachToSocket(socket, { userId });
        sockets.push([userId, socket]);
        const [goneId, gone] = (sockets.length > 50 ? sockets.shift() : undefined) ?? [];
        if (goneId === undefined || gone === undefined) continue;
        if (isMeasured) closedAt.set(goneId, Date.now());
        gone.close(1000);
      }
      await sleep(TICK_MS);
    }
    for (const [, socket] of sockets) socket.close(1000);
    // What is under way ends within the round.
    await sleep(500);
    return 2 * (serial - first);
  };
  const costOf = async (): Promise<number> => {
    let changes = 0;
    const { cpu } = await doneDuring(redis, async () => {
      changes = await churn(roundMs);
    });
    return cpu / changes;
  };
  await churn(2_000);
  const [without, withOne, ratios]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < rounds; round += 1) {
    const bare = await costOf();
    await ask('start');
    await sleep(1_000);
    isMeasured = true;
    const told = await costOf();
    isMeasured = false;
    await ask('stop');
    without.push(bare);
    withOne.push(told);
    ratios.push(told / bare);
  }
  child.kill();
  await presence.close();
  redis.disconnect();
  await server.remove();
  delays.sort((a, b) => a - b);
  const at = (part: number): number => delays[Math.floor((delays.length - 1) * part)] ?? Number.NaN;
  return [
    {
      id: 'deliveries',
      title: 'Changes are delivered to a handler',
      text: `${CHANGES_A_SECOND.toLocaleString('en')} changes a second on one router; another one, which listens for changes as every router with dashboards does, delivers them. From the close of a socket to the call of the handler, and the CPU of Redis a change, with the delivery and without. ${rounds} alternating rounds of ${roundMs / 1_000} s; ${delays.length.toLocaleString('en')} leaves were timed.`,
      columns: ['', 'p50, ms', 'p99, ms', 'worst, ms', 'Redis CPU a change, µs'],
      rows: [
        ['nothing is delivered', undefined, undefined, undefined, median(without)],
        ['one delivery', at(0.5), at(0.99), at(1), median(withOne)],
      ],
      figures: { p99: at(0.99), redisVsNone: median(ratios), lost: closedAt.size },
    },
  ];
}
