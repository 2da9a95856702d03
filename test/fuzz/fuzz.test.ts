import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { random } from '../random';
import { changesTarget } from './changes-target';
import { clientTarget } from './client-target';
import { routerTarget } from './router-target';
import { statusTarget } from './status-target';
import type { Target } from './target';

/** In all; `FUZZ_FRAMES=5000000 npx vitest run test/fuzz` for a long one, and `SEED=…` to have one again. */
const FRAMES = Number(process.env['FUZZ_FRAMES'] ?? 100_000);
/** Frames that come at once. */
const ROUND = 100;
/** What is learned in the first frames stays: shapes, code that was compiled, the users that there are. */
const WARM_UP = 0.2;
const MAX_HEAP_BYTES = 4 * 2 ** 20;
/** Of one turn of the loop: frames come by the hundred here, and the machine may be busy. */
const MAX_DELAY_MS = 2_000;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
function heap(): number {
  for (let times = 0; times < 5; times += 1) collect();
  return process.memoryUsage().heapUsed;
}

async function feed(target: Target, frames: number): Promise<void> {
  for (let left = Math.round(frames); left > 0; left -= ROUND) {
    await target.feed(Math.min(left, ROUND));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const { seed } = random();
const dice = (offset: number) => random(seed + offset);
const targets: Array<{ name: string; share: number; make: () => Target | Promise<Target> }> = [
  { name: 'a router that may be asked', share: 0.1, make: () => routerTarget(dice(0), 'guide', true) },
  { name: 'a router that may be asked, arrays', share: 0.1, make: () => routerTarget(dice(1), 'router', true) },
  { name: 'a router that may not', share: 0.1, make: () => routerTarget(dice(2), 'guide', false) },
  { name: 'a router that may not, arrays', share: 0.1, make: () => routerTarget(dice(3), 'router', false) },
  { name: 'the client', share: 0.3, make: () => clientTarget(dice(4)) },
  { name: 'the status handler', share: 0.15, make: () => statusTarget(dice(5)) },
  { name: 'messages between routers', share: 0.15, make: () => changesTarget(dice(6)) },
];

describe(`what comes from outside, from seed ${seed}`, () => {
  for (const { name, share, make } of targets) {
    it(
      name,
      async () => {
        const target = await make();
        const frames = Math.ceil(FRAMES * share);
        await feed(target, frames * WARM_UP);
        const before = heap();
        const loop = monitorEventLoopDelay({ resolution: 5 });
        loop.enable();
        await feed(target, frames * (1 - WARM_UP));
        loop.disable();
        const wrong = await target.check();
        const grown = heap() - before;
        const { accepted, refused, ignored } = target.counts;
        const delay = loop.max / 1e6;
        console.log(
          `SEED=${seed} ${name}: ${frames} frames, ${accepted} accepted, ${refused} refused, ${ignored} ignored; ` +
            `heap ${(grown / 1_024).toFixed(0)} KiB more, longest turn ${delay.toFixed(0)} ms`,
        );
        expect(wrong, `SEED=${seed}`).toEqual([]);
        for (const kind of ['accepted', 'refused', 'ignored'] as const) {
          expect(target.counts[kind], kind).toBeGreaterThanOrEqual((target.floors[kind] * frames) / 1_000);
        }
        expect(grown, 'bytes of heap').toBeLessThan(MAX_HEAP_BYTES);
        expect(delay, 'ms of one turn').toBeLessThan(MAX_DELAY_MS);
      },
      60_000 + FRAMES,
    );
  }
});
