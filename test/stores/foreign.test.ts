import { readFileSync } from 'node:fs';
import { transformSync } from 'esbuild';
import { describe, expect, it } from 'vitest';
import { memoryStore } from 'voiceping-presence';
import { type FakeClock, fakeClock, type StoreBackend, storeConformance } from 'voiceping-presence/testing';
import * as errors from '../../src/public/errors';
import * as minHeap from '../../src/public/min-heap';
import * as logCursor from '../../src/stores/log-cursor';
import * as logOptions from '../../src/stores/log-options';
import * as transitions from '../../src/stores/transitions';
import * as clockBackend from './clock-backend';
import { type Fault, MEMORY_FAULTS, REMOTE_FAULTS, RULE_FAULTS } from './foreign-faults';
import type { openRemote } from './remote-memory';

interface Original {
  /** Of the module, and of the parts of it that it imports, by the names by which they are imported. */
  readonly sources: { readonly [name: string]: string };
  /** What else they import. */
  readonly modules: { readonly [name: string]: unknown };
}

const WHOLE = './whole';

function original(path: string, modules: Original['modules'], parts: readonly string[] = []): Original {
  const read = (file: string): string => readFileSync(new URL(file, new URL(path, import.meta.url)), 'utf8');
  const sources: { [name: string]: string } = { [WHOLE]: read('') };
  for (const part of parts) sources[part] = read(`${part}.ts`);
  return { sources, modules };
}

const RULE = original('../../src/stores/transitions.ts', {});
const MEMORY = original(
  '../../src/stores/memory/memory-store.ts',
  {
    '../../public/errors': errors,
    '../../public/min-heap': minHeap,
    '../transitions': transitions,
    '../log-options': logOptions,
    '../log-cursor': logCursor,
  },
  ['./feed-queue', './steady-clock', './memory-log', './options'],
);
const REMOTE = original('remote-memory.ts', { 'voiceping-presence': { memoryStore }, './clock-backend': clockBackend });

/** The module with one fault, or with none. */
function plant({ sources, modules }: Original, fault?: Fault): unknown {
  if (fault !== undefined) {
    const count = Object.values(sources).reduce((sum, source) => sum + source.split(fault.find).length - 1, 0);
    if (count !== 1) throw new Error(`stands in the source ${count} times, and not once: ${fault.find}`);
  }
  const load = (name: string): unknown => {
    const source = sources[name];
    if (source === undefined) return modules[name];
    const edited = fault === undefined ? source : source.split(fault.find).join(fault.put);
    const { code } = transformSync(edited, { loader: 'ts', format: 'cjs', target: 'node20' });
    const module = { exports: {} };
    new Function('module', 'exports', 'require', code)(module, module.exports, load);
    return module.exports;
  };
  return load(WHOLE);
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

function openByRule(fault?: Fault): (clock: FakeClock) => StoreBackend {
  const store = { ...MEMORY, modules: { ...MEMORY.modules, '../transitions': plant(RULE, fault) } };
  const faulty = plant(store) as { memoryStore: typeof memoryStore };
  return (clock) => clockBackend.onClock(clock, faulty.memoryStore({ now: clock.now }));
}

function openMemory(fault?: Fault): (clock: FakeClock) => StoreBackend {
  const faulty = plant(MEMORY, fault) as { memoryStore: typeof memoryStore };
  return (clock) => clockBackend.onClock(clock, faulty.memoryStore({ now: clock.now }));
}

function openFaultyRemote(fault?: Fault): (clock: FakeClock) => StoreBackend {
  return (plant(REMOTE, fault) as { openRemote: typeof openRemote }).openRemote;
}

describe.each([
  ['by the rule', openByRule, RULE_FAULTS],
  ['in memory', openMemory, MEMORY_FAULTS],
  ['on a server', openFaultyRemote, REMOTE_FAULTS],
] as const)('of a foreign store %s the conformance suite', (_where, open, faults) => {
  it('finds nothing to say where there is no fault', async () => {
    expect(await judge(open())).toBeUndefined();
  });

  for (const fault of faults) {
    it(`notices: ${fault.what}`, async () => expect(await judge(open(fault)), 'no case fails').toBeDefined());
  }
});
