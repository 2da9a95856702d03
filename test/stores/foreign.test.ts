import { readFileSync } from 'node:fs';
import { transformSync } from 'esbuild';
import { describe, expect, it } from 'vitest';
import type { memoryStore } from 'voiceping-presence';
import { fakeClock, type StoreBackend, storeConformance } from 'voiceping-presence/testing';
import * as errors from '../../src/errors';
import * as minHeap from '../../src/min-heap';
import { FAULTS, type Fault } from './foreign-faults';

const SOURCE = readFileSync(new URL('../../src/stores/memory.ts', import.meta.url), 'utf8');
const MODULES: { readonly [name: string]: unknown } = { '../errors': errors, '../min-heap': minHeap };

/** The memory store with one fault. */
function plant({ find, put }: Fault): typeof memoryStore {
  const parts = SOURCE.split(find);
  if (parts.length !== 2) throw new Error(`stands in the source ${parts.length - 1} times, and not once: ${find}`);
  const { code } = transformSync(parts.join(put), { loader: 'ts', format: 'cjs', target: 'node20' });
  const module = { exports: {} as { memoryStore: typeof memoryStore } };
  new Function('module', 'exports', 'require', code)(module, module.exports, (name: string) => MODULES[name]);
  return module.exports.memoryStore;
}

/** The first case that fails over a store on a fake clock. */
async function judge(make: typeof memoryStore): Promise<string | undefined> {
  const open = async (): Promise<StoreBackend> => {
    const clock = fakeClock();
    const store = make({ now: clock.now });
    return {
      store: () => store,
      async pass(ms, everyMs, whileAlive) {
        for (let left = ms; left > 0; left -= everyMs) {
          await clock.advance(Math.min(left, everyMs));
          await whileAlive();
        }
      },
      standStill: (ms) => clock.advance(ms),
      arrive: () => clock.settle(),
    };
  };
  for (const { name, run } of storeConformance(open)) {
    const hasFailed = await run().then(
      () => false,
      () => true,
    );
    if (hasFailed) return name;
  }
  return undefined;
}

describe('of a foreign store the conformance suite', () => {
  it('finds nothing to say where there is no fault', async () => {
    expect(await judge(plant({ what: 'nothing', find: SOURCE, put: SOURCE }))).toBeUndefined();
  });

  for (const fault of FAULTS) {
    it(`notices: ${fault.what}`, async () => expect(await judge(plant(fault)), 'no case fails').toBeDefined());
  }
});
