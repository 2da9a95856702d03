/**
 * UTF-8 without TextEncoder and TextDecoder: Node 8 does not have them as globals, React Native has only one of them, and jsdom
 * under jest has neither.
 */

/** Encodes a text as UTF-8. A lone surrogate becomes U+FFFD. @internal */
export function encodeUtf8(text: string): number[] {
  // Under the flag `u` only a lone surrogate is a character of this class.
  const escaped = encodeURIComponent(text.replace(/[\ud800-\udfff]/gu, '\ufffd'));
  return (escaped.match(/%..|./g) ?? []).map((byte) =>
    byte.length > 1 ? Number.parseInt(byte.slice(1), 16) : byte.charCodeAt(0),
  );
}

/** Decodes UTF-8. @throws URIError for other bytes @internal */
export function decodeUtf8(utf8: Uint8Array): string {
  let escaped = '';
  for (const byte of utf8)
    escaped += byte < 0x80 && byte !== 0x25 ? String.fromCharCode(byte) : `%${byte.toString(16)}`;
  return decodeURIComponent(escaped);
}
