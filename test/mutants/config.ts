import type { Mutant } from './mutant';

const LOOKALIKES = 'src/public/lookalikes.ts';
const VALIDATION = 'src/config/validation.ts';

export const CONFIG: readonly Mutant[] = [
  {
    id: 'seconds-taken-for-milliseconds',
    fault: 'ttlMs: 75 is refused without the hint that seconds were given.',
    file: VALIDATION,
    find: "const meant = value > 0 && value * 1000 >= min ? `: did you mean ${value * 1000}?` : '';",
    put: "const meant = '';",
    tests: ['test/core/presence.test.ts'],
  },
  {
    id: 'timer-overflows',
    fault: 'A TTL of a month is accepted, and every phone times out at once, since timers of Node overflow.',
    file: VALIDATION,
    find: 'if (value > MAX_MS) throw optionError(`${name} is ${value}; it is in milliseconds and at most ${MAX_MS}`);',
    put: '',
    tests: ['test/core/presence.test.ts'],
  },
  {
    id: 'not-a-number-is-a-duration',
    fault: 'A duration that was computed from an unset variable is accepted, and nothing ever times out.',
    file: VALIDATION,
    find: "if (typeof value !== 'number' || Number.isNaN(value)) throw",
    put: "if (typeof value !== 'number') throw",
    tests: ['test/core/presence.test.ts'],
  },
  {
    id: 'text-is-a-flag',
    fault: "enabled: 'false' switches presence on.",
    file: VALIDATION,
    find: "if (typeof value !== 'boolean') throw optionError(`${name} is ${shown(value)}; it is true or false`);",
    put: "if (typeof value !== 'boolean') return Boolean(value);",
    tests: ['test/core/misuse.test.ts', 'test/core/presence.test.ts'],
  },
  {
    id: 'clock-without-a-timer',
    fault: 'A clock that lacks a function is accepted, and fails at the first timer.',
    file: VALIDATION,
    find: "const functions: Array<keyof Clock> = ['now', 'setTimeout', 'clearTimeout'];",
    put: "const functions: Array<keyof Clock> = ['now', 'setTimeout'];",
    tests: ['test/config/handed-in.test.ts'],
  },
  {
    id: 'engine-taken-for-ws',
    fault: 'The error for the engine of socket.io calls it a server of ws.',
    file: LOOKALIKES,
    find: "['a server of engine.io', (thing) => has(thing, 'handleUpgrade', 'handleRequest')],",
    put: '',
    tests: ['test/config/handed-in.test.ts'],
  },
  {
    id: 'getter-that-throws',
    fault: 'An option whose getter throws gives that error, and not the one that names the option.',
    file: LOOKALIKES,
    find: '} catch { return undefined; }',
    put: '} catch (error) { throw error; }',
    tests: ['test/config/handed-in.test.ts'],
  },
  {
    id: 'store-not-awaited',
    fault: 'The error for a promise in place of a store does not say that it is a promise.',
    file: LOOKALIKES,
    find: "['a promise', (thing) => has(thing, 'then')],",
    put: '',
    tests: ['test/config/handed-in.test.ts'],
  },
  {
    id: 'http-server-as-ws-server',
    fault: 'An HTTP server in place of one of ws causes no error, and no phone is ever attached.',
    file: VALIDATION,
    find: 'if (hint !== undefined) throw optionError(`${name} is ${what}; ${rule}: ${hint}`);',
    put: '',
    tests: ['test/config/handed-in.test.ts'],
  },
];
