import { shown } from './errors';

type Thing = { readonly [name: string]: unknown };

/** What people hand in by mistake, where one thing is wanted and another one has been at hand. */
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

/** The first row that fits counts. */
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

/** What somebody has handed in, where that can be told. @internal */
export function lookalikeOf(value: unknown): Lookalike | undefined {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return undefined;
  try {
    return ROWS.find(([, isOne]) => isOne(value as unknown as Thing))?.[0];
  } catch {
    // A getter that throws: it is none of these.
    return undefined;
  }
}

/** The same as it stands in an error. @internal */
export function named(value: unknown): string {
  return lookalikeOf(value) ?? shown(value);
}
