// Node 8 has these in `util` only, and msgpack wants them as globals. The CommonJS build injects this file.
import { TextDecoder as UtilTextDecoder, TextEncoder as UtilTextEncoder } from 'node:util';

/** Before Node 12 there is no `encodeInto`, which msgpack calls for every text of more than 50 characters. */
class OldTextEncoder extends UtilTextEncoder {
  override encodeInto(text: string, target: Uint8Array): { read: number; written: number } {
    const bytes = this.encode(text);
    target.set(bytes);
    return { read: text.length, written: bytes.length };
  }
}

export const TextDecoder = UtilTextDecoder;
export const TextEncoder = 'encodeInto' in UtilTextEncoder.prototype ? UtilTextEncoder : OldTextEncoder;

// A global since Node 10.
export { URLSearchParams } from 'node:url';
