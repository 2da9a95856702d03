/**
 * UTF-8 without TextEncoder and TextDecoder: Node 8 does not have them as globals, React Native has only one of them, and jsdom
 * under jest has neither.
 */

/** Encodes a text as UTF-8. A lone surrogate becomes U+FFFD. @internal */
export function encodeUtf8(text: string): number[] {
  const bytes: number[] = [];
  const whole = text.replace(/[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]/g, (unit) =>
    unit.length === 2 ? unit : '\ufffd',
  );
  const escaped = encodeURIComponent(whole);
  for (let at = 0; at < escaped.length; at += 1) {
    if (escaped[at] !== '%') bytes.push(escaped.charCodeAt(at));
    else {
      bytes.push(Number.parseInt(escaped.slice(at + 1, at + 3), 16));
      at += 2;
    }
  }
  return bytes;
}

/** Decodes UTF-8. @throws URIError for other bytes @internal */
export function decodeUtf8(utf8: Uint8Array): string {
  let escaped = '';
  for (const byte of utf8)
    escaped += byte < 0x80 && byte !== 0x25 ? String.fromCharCode(byte) : `%${byte.toString(16)}`;
  return decodeURIComponent(escaped);
}
