import { existsSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { random } from '../random';
import { sleep, until } from '../redis/wait';
import { Child, checkOpenFiles } from './child';
import type { HonestCommands, HonestSettings } from './honest-process';
import type { HostileCommands, HostileSettings } from './hostile-process';
import type { RouterCommands, RouterSettings } from './router-process';

const IS_WHOLE = process.env['SIEGE'] === '1';
const option = (name: string, small: number, whole: number): number =>
  Number(process.env[`SIEGE_${name}`] ?? (IS_WHOLE ? whole : small));

/** Hostile connections, and the processes that hold them. */
const HOSTILE = option('HOSTILE', 600, 10_000);
const GENERATORS = option('GENERATORS', 1, 2);
/** Frames a second that they try to send, and those that they must have sent. */
const RATE = option('RATE', 6_000, 26_000);
const LEAST_RATE = option('LEAST_RATE', 1_000, 20_000);
/** New connections a second: while the siege is built up, and of those that the router has closed. */
const CONNECTS = option('CONNECTS', 1_000, 1_000);
const RECONNECTS = option('RECONNECTS', 50, 200);
const PHONES = option('PHONES', 60, 1_000);
const DASHBOARDS = option('DASHBOARDS', 2, 4);
const FRAME_MS = option('FRAME_MS', 100, 100);
/** How long it lasts once all are there, and how long after it memory is looked at. */
const SECONDS = option('SECONDS', 3, 40);
const REST_SECONDS = option('REST_SECONDS', 0.5, 60);
const MAX_P99_MS = option('MAX_P99_MS', Number.POSITIVE_INFINITY, 50);
/** Of resident memory, and for small ones what cannot be a share: code that was compiled since, and the like. */
const MAX_GROWTH = option('MAX_GROWTH', 1, 0.2);

/** How much more the router may ever hold, in MiB. */
const MAX_PEAK_MIB = option('MAX_PEAK_MIB', 100, 200);
/**
 * For the router. The malloc of glibc keeps most of what was freed (of 57 MiB it held, 47 were free), so that resident
 * memory would say little of what the router holds. jemalloc comes with Debian's redis-server.
 */
const ALLOCATOR =
  process.env['SIEGE_ALLOCATOR'] ??
  ['x86_64', 'aarch64'].map((cpu) => `/usr/lib/${cpu}-linux-gnu/libjemalloc.so.2`).find((file) => existsSync(file)) ??
  '';

const MIB = 2 ** 20;
const children: Array<{ end(): Promise<void> }> = [];
afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.end()));
});
function started<T extends { end(): Promise<void> }>(child: T): T {
  children.push(child);
  return child;
}

/**
 * Hostile connections, of which half read nothing and a quarter are nobody, beside honest phones that call each other.
 * `SIEGE=1 npx vitest run test/hostile/siege.test.ts` is the whole of it; each number above can be set alone, such as
 * `SIEGE_HOSTILE=1000`.
 */
it(
  `${HOSTILE} hostile connections are in the way of none of ${PHONES} honest phones`,
  async () => {
    checkOpenFiles(HOSTILE + PHONES + 200);
    const { seed } = random();
    console.log(`seed ${seed}`);
    const routerSettings: RouterSettings = { authorizeWatch: true };
    const router = started(
      new Child<RouterCommands>('the router', 'hostile/router-process', routerSettings, {
        flags: ['--expose-gc'],
        env: { LD_PRELOAD: ALLOCATOR },
      }),
    );
    const port = await router.ask('listen');
    const honestSettings: HonestSettings = { port, phones: PHONES, dashboards: DASHBOARDS, everyMs: FRAME_MS };
    const honest = started(new Child<HonestCommands>('the honest ones', 'hostile/honest-process', honestSettings));
    const share = Math.ceil(HOSTILE / GENERATORS);
    const generators = Array.from({ length: GENERATORS }, (_, index) => {
      const hostile: HostileSettings = {
        port,
        first: index * share,
        count: Math.min(share, HOSTILE - index * share),
        rate: RATE / GENERATORS,
        connects: CONNECTS / GENERATORS,
        reconnects: RECONNECTS / GENERATORS,
        seed: seed + index,
      };
      return started(new Child<HostileCommands>(`generator ${index}`, 'hostile/hostile-process', hostile));
    });
    const totals = async () => {
      const counts = await Promise.all(generators.map((generator) => generator.ask('count')));
      const sum = (of: (count: (typeof counts)[number]) => number) =>
        counts.reduce((total, each) => total + of(each), 0);
      return {
        at: performance.now(),
        sent: sum(({ sent }) => sent),
        open: sum(({ open }) => open),
        opened: sum(({ opened }) => opened),
        ended: sum(({ ended }) => ended),
        closed: (code: number) => sum(({ closes }) => closes[code] ?? 0),
      };
    };

    await honest.ask('connect');
    await honest.ask('call');
    await sleep(IS_WHOLE ? 5_000 : 500);
    const before = await router.ask('memory');
    await honest.ask('begin');
    await router.ask('begin');

    await Promise.all(generators.map((generator) => generator.ask('begin')));
    const first = await totals();
    const open: number[] = [];
    for (let second = 0; second < SECONDS; second += 1) {
      await sleep(1_000);
      open.push((await totals()).open);
    }
    const last = await totals();
    const besieged = await router.ask('report');
    const during = await honest.ask('report');
    await Promise.all(generators.map((generator) => generator.ask('end')));
    await sleep(REST_SECONDS * 1_000);
    // Whoever was closed and never said so is terminated five seconds later.
    const isAlone = async (): Promise<boolean> => (await router.ask('report')).sockets === PHONES + DASHBOARDS;
    await until('the hostile connections are gone', isAlone);
    const after = await router.ask('memory');
    const rested = await router.ask('report');
    const lost = await honest.ask('hangUp');
    const finallyHonest = await honest.ask('report');
    const left = await honest.ask('leave', PHONES - 1);

    const seconds = (last.at - first.at) / 1_000;
    const rate = Math.round((last.sent - first.sent) / seconds);
    const ms = (value: number) => `${value.toFixed(1)} ms`;
    const mib = (bytes: number) => `${(bytes / MIB).toFixed(1)} MiB`;
    console.log(
      [
        `hostile: ${rate} frames a second sent for ${seconds.toFixed(1)} s (${last.sent} in all), ` +
          `${Math.min(...open)} to ${Math.max(...open)} connections open, ${last.ended} ended, ${last.opened} opened; ` +
          `closed with 4029 ${last.closed(4029)}, with 1008 ${last.closed(1008)}, with 4008 ${last.closed(4008)}`,
        `router: ${besieged.frames} frames received, ${besieged.decisions} asked authorizeWatch, ` +
          `${Math.round(besieged.busy * 100)} % of its loop, of which the p99 is ${ms(besieged.p99)} and the longest ` +
          `turn ${ms(besieged.max)}; closes ${JSON.stringify(besieged.closes)}, errors ${JSON.stringify(rested.errors)}`,
        `honest: ${during.sent} frames, ${lost} lost, p50 ${ms(during.p50)}, p99 ${ms(during.p99)}, ` +
          `longest ${ms(during.max)} (its own loop p99 ${ms(during.own)}); with the end and the rest ` +
          `p99 ${ms(finallyHonest.p99)}, longest ${ms(finallyHonest.max)}; a phone that left was shown after ${ms(left)}`,
        `memory: resident ${mib(before.rss)} before, ${mib(after.highestRss)} at most, ${mib(after.rss)} ` +
          `${REST_SECONDS} s after; heap ${mib(before.heap)} before, ${mib(after.heap)} after; ` +
          `malloc is ${ALLOCATOR || "the system's"}`,
      ].join('\n'),
    );

    expect(rate, 'hostile frames a second').toBeGreaterThanOrEqual(LEAST_RATE);
    expect(Math.min(...open), 'hostile connections').toBeGreaterThanOrEqual(HOSTILE * 0.9);
    expect(last.closed(4029), 'connections closed for too many requests').toBeGreaterThan(0);
    expect(rested.changes.slice(0, 10), 'changes of honest users').toEqual([]);
    expect(finallyHonest.wrong.slice(0, 10), 'honest users shown offline').toEqual([]);
    expect(finallyHonest.missing, 'honest users not shown online, by dashboard').toEqual(
      Array.from({ length: DASHBOARDS }, () => 0),
    );
    expect(finallyHonest.closed.slice(0, 10), 'honest connections that were closed').toEqual([]);
    expect(lost, 'honest frames that were lost').toBe(0);
    expect(during.sent).toBeGreaterThan(((PHONES / 2) * SECONDS * 1_000) / FRAME_MS / 2);
    expect(during.p99, 'ms that honest frames wait, p99').toBeLessThanOrEqual(MAX_P99_MS);
    expect((after.highestRss - before.rss) / MIB, 'growth of resident memory at its peak').toBeLessThan(MAX_PEAK_MIB);
    expect(after.rss / before.rss - 1, 'growth of resident memory').toBeLessThanOrEqual(MAX_GROWTH);
  },
  (SECONDS + REST_SECONDS) * 2_000 + 90_000,
);
