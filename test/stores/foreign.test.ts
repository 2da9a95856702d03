import { readFileSync } from 'node:fs';
import { transformSync } from 'esbuild';
import { describe, expect, it } from 'vitest';
import { memoryStore } from 'voiceping-presence';
import { type FakeClock, fakeClock, type StoreBackend, storeConformance } from 'voiceping-presence/testing';
import * as errors from '../../src/public/errors';
import * as minHeap from '../../src/public/min-heap';
import * as transitions from '../../src/stores/transitions';
import * as clockBackend from './clock-backend';
import { type Fault, MEMORY_FAULTS, REMOTE_FAULTS, RULE_FAULTS } from './foreign-faults';
import type { openRemote } from './remote-memory';

interface Original {
  readonly source: string;
  /** What it imports. */
  readonly modules: { readonly [name: string]: unknown };
}

const original = (path: string, modules: Original['modules']): Original => ({
  source: readFileSync(new URL(path, import.meta.url), 'utf8'),
  modules,
});

const RULE = original('../../src/stores/transitions.ts', {});
const MEMORY = original('../../src/stores/memory/memory-store.ts', {
  '../../public/errors': errors,
  '../../public/min-heap': minHeap,
  '../transitions': transitions,
});
const REMOTE = original('remote-memory.ts', { 'voiceping-presence': { memoryStore }, './clock-backend': clockBackend });

/** The module with one fault. */
function plant({ source, modules }: Original, { find, put }: Fault): unknown {
  const parts = source.split(find);
  if (parts.length !== 2) throw new Error(`stands in the source ${parts.length - 1} times, and not once: ${find}`);
  const { code } = transformSync(parts.join(put), { loader: 'ts', format: 'cjs', target: 'node20' });
  const module = { exports: {} };
  new Function('module', 'exports', 'require', code)(module, module.exports, (name: string) => modules[name]);
  return module.exports;
}

/** The first case that fails. */
async function judge(open: (clock: FakeClock) => StoreBackend): Promise<string | undefined> {
  for (const { name, run } of storeConformance(async () => open(fakeClock()))) {
    const hasFailed = await run().then(
      () => false,
      () => true,
    );
    if (hasFailed) return name;
  }
  return undefined;
}

function openByRule(fault: Fault): (clock: FakeClock) => StoreBackend {
  const store = { ...MEMORY, modules: { ...MEMORY.modules, '../transitions': plant(RULE, fault) } };
  const { source } = store;
  const faulty = plant(store, { what: 'nothing', find: source, put: source }) as { memoryStore: typeof memoryStore };
  return (clock) => clockBackend.onClock(clock, faulty.memoryStore({ now: clock.now }));
}

function openMemory(fault: Fault): (clock: FakeClock) => StoreBackend {
  const faulty = plant(MEMORY, fault) as { memoryStore: typeof memoryStore };
  return (clock) => clockBackend.onClock(clock, faulty.memoryStore({ now: clock.now }));
}

function openFaultyRemote(fault: Fault): (clock: FakeClock) => StoreBackend {
  return (plant(REMOTE, fault) as { openRemote: typeof openRemote }).openRemote;
}

describe.each([
  ['by the rule', RULE, openByRule, RULE_FAULTS],
  ['in memory', MEMORY, openMemory, MEMORY_FAULTS],
  ['on a server', REMOTE, openFaultyRemote, REMOTE_FAULTS],
] as const)('of a foreign store %s the conformance suite', (_where, { source }, open, faults) => {
  it('finds nothing to say where there is no fault', async () => {
    expect(await judge(open({ what: 'nothing', find: source, put: source }))).toBeUndefined();
  });

  for (const fault of faults) {
    it(`notices: ${fault.what}`, async () => expect(await judge(open(fault)), 'no case fails').toBeDefined());
  }
});
