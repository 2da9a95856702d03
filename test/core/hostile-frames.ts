const KEY = [0xab, ...Buffer.from('messageType')];

/** A PRESENCE_WATCH of 256 KiB: nested arrays, each with a header that claims a thousand elements. */
export const MAX_NESTED = Uint8Array.from([
  ...[0x82, ...KEY, 33, 0xa3, ...Buffer.from('ids')],
  ...Array.from({ length: 87_000 }, () => [0xdc, 0x03, 0xe8]).flat(),
]);
