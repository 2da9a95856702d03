// Node 8 has these in `util` only; msgpack wants them as globals. The CommonJS build injects this file.
export { TextDecoder, TextEncoder } from 'node:util';
