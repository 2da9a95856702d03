import { shown } from './errors';

type Thing = { readonly [name: string]: unknown };

/** The things that callers often pass by mistake. */
export type Lookalike =
  | 'a promise'
  | 'a presence'
  | 'a store'
  | 'an ioredis client'
  | 'a client of the package redis'
  | 'a server of ws'
  | 'a server of socket.io'
  | 'a server of engine.io'
  | 'an http server'
  | 'an app of a web framework'
  | 'a socket of socket.io'
  | 'a socket'
  | 'a function';

/** The first row that matches counts. */
const ROWS: ReadonlyArray<readonly [name: Lookalike, isOne: (thing: Thing) => boolean]> = [
  ['a promise', (thing) => has(thing, 'then')],
  ['a presence', (thing) => has(thing, 'attachToSocket', 'getStatuses')],
  ['a store', (thing) => has(thing, 'beat', 'apply', 'subscribe')],
  ['an ioredis client', (thing) => has(thing, 'evalsha', 'duplicate') && typeof thing['status'] === 'string'],
  [
    'a client of the package redis',
    (thing) => has(thing, 'send_command') || (has(thing, 'sendCommand') && 'isOpen' in thing),
  ],
  ['a server of engine.io', (thing) => has(thing, 'handleUpgrade', 'handleRequest')],
  ['a server of ws', (thing) => has(thing, 'handleUpgrade')],
  [
    'a socket of socket.io',
    (thing) => has(thing, 'emit') && ('handshake' in thing || has(thing['io'], 'reconnection')),
  ],
  ['a server of socket.io', (thing) => has(thing, 'emit', 'to', 'in', 'use')],
  ['an http server', (thing) => has(thing, 'listen', 'getConnections')],
  ['an app of a web framework', (thing) => has(thing, 'listen') && (has(thing, 'use') || has(thing, 'register'))],
  ['a socket', (thing) => has(thing, 'send', 'on') && typeof thing['readyState'] === 'number'],
  ['a function', (thing) => typeof thing === 'function'],
];

function has(thing: unknown, ...functions: readonly string[]): boolean {
  return functions.every((name) => typeof (thing as Thing | null | undefined)?.[name] === 'function');
}

/** Recognizes a value that was passed by mistake; `undefined` for one that is not in the table. @internal */
export function lookalikeOf(value: unknown): Lookalike | undefined {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return undefined;
  try {
    return ROWS.find(([, isOne]) => isOne(value as unknown as Thing))?.[0];
  } catch {
    // A getter threw, so it is none of these.
    return undefined;
  }
}

/** The name of a value in an error message: its row in the table, or else the value itself. @internal */
export function named(value: unknown): string {
  return lookalikeOf(value) ?? shown(value);
}
