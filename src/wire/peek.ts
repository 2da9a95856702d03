import { bytesOf } from './frame-bytes';

/** The bytes of `messageType` as a MessagePack key: a fixstr of 11. */
const KEY = [0xab, ...Array.from('messageType', (char) => char.charCodeAt(0))];

/** A frame of presence has few keys; a larger map is not searched. */
const MAX_KEYS = 15;
/** Enough for the keys and values before the message type: the search skips no scalar of more than 257 bytes. */
const HEAD_BYTES = 8_192;

/**
 * The message type of a frame in either dialect, read from its first bytes without decoding it:
 * `[channelType, messageType, ...]`, or a map with a key `messageType` that only scalars precede.
 * `undefined` for anything else: nil, text, garbage, audio, a Blob. Never throws.
 * @internal
 */
export function peekMessageType(frame: unknown): number | undefined {
  const data = bytesOf(frame, HEAD_BYTES);
  if (data === undefined || data.length < 3) return undefined;
  const first = data[0] as number;
  // A fixarray that starts with a positive fixint: nearly every frame of the VoicePing router.
  if (first >= 0x92 && first <= 0x9f) return (data[1] as number) <= 0x7f ? smallInteger(data, 2) : undefined;
  if (first >= 0x81 && first <= 0x80 + MAX_KEYS) return typeInMap(data, first - 0x80);
  return undefined;
}

/** A positive fixint or a uint8. */
function smallInteger(data: Uint8Array, at: number): number | undefined {
  const byte = data[at];
  if (byte === undefined || byte <= 0x7f) return byte;
  return byte === 0xcc ? data[at + 1] : undefined;
}

function typeInMap(data: Uint8Array, keys: number): number | undefined {
  let at = 1;
  for (let key = 0; key < keys; key += 1) {
    if (KEY.every((byte, index) => data[at + index] === byte)) return smallInteger(data, at + KEY.length);
    const value = afterScalar(data, at);
    const next = value === undefined ? undefined : afterScalar(data, value);
    if (next === undefined || next >= data.length) return undefined;
    at = next;
  }
  return undefined;
}

/** Lengths of the scalars of fixed size between 0xc0 and 0xdf, by their first byte. */
const LENGTHS: { readonly [first: number]: number } = {
  192: 1, // nil
  194: 1, // false
  195: 1, // true
  202: 5, // float 32
  203: 9, // float 64
  204: 2, // uint 8 to 64
  205: 3,
  206: 5,
  207: 9,
  208: 2, // int 8 to 64
  209: 3,
  210: 5,
  211: 9,
};

/** Where the scalar at `at` ends; `undefined` for a container, an extension or the end of the data. */
function afterScalar(data: Uint8Array, at: number): number | undefined {
  const first = data[at];
  if (first === undefined) return undefined;
  if (first <= 0x7f || first >= 0xe0) return at + 1;
  if (first >= 0xa0 && first <= 0xbf) return at + 1 + (first & 0x1f);
  // str 8, bin 8
  if (first === 0xd9 || first === 0xc4) {
    const length = data[at + 1];
    return length === undefined ? undefined : at + 2 + length;
  }
  const length = LENGTHS[first];
  return length === undefined ? undefined : at + length;
}
