/** The kind of a value, from its header. Its length counts bytes, elements or pairs. */
type Kind = 'scalar' | 'text' | 'bytes' | 'array' | 'map';

/** A byte order mark is kept, since it may be part of an id. */
const UTF8 = { fatal: true, ignoreBOM: true };
/** Above this many bytes TextDecoder is faster than a loop. */
const SHORT = 48;

/**
 * Reads MessagePack from untrusted clients. It allocates no memory for data that a header only announces: a length is never
 * more than the bytes that are left, and containers nest at most as deep as the caller allows. Integers beyond 2^53 are
 * rounded, so `Number.isSafeInteger` is false for them.
 *
 * @throws RangeError where the bytes are not MessagePack, end too soon or nest too deeply; text that is not UTF-8 throws too
 * @internal
 */
export class MsgpackReader {
  private at = 0;
  private readonly view: DataView;
  /** The length and the scalar of the last header. */
  private length = 0;
  private value: unknown;
  private decoder: InstanceType<typeof TextDecoder> | undefined;

  /** `decode`: decodes UTF-8 where there is no TextDecoder, and throws for other bytes. */
  constructor(
    private readonly bytes: Uint8Array,
    private readonly decode?: (utf8: Uint8Array) => string,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isAtEnd(): boolean {
    return this.at === this.bytes.length;
  }

  /** The number of elements of the array that comes next. `undefined` where something else comes, which stays unread. */
  array(): number | undefined {
    return this.container('array');
  }

  /** The number of pairs of the map that comes next. `undefined` where something else comes, which stays unread. */
  map(): number | undefined {
    return this.container('map');
  }

  /** Reads a value in which containers nest at most `depth` deep; 0: a scalar, text or bytes. Maps have no prototype. */
  read(depth: number): unknown {
    const kind = this.header();
    if (kind === 'scalar') return this.value;
    const { length } = this;
    if (kind === 'text') return this.text(length);
    if (kind === 'bytes') return this.bytes.subarray(this.at, this.skipBytes(length));
    if (depth === 0) throw new RangeError('too deep');
    if (kind === 'array') {
      const array: unknown[] = [];
      for (let index = 0; index < length; index += 1) array.push(this.read(depth - 1));
      return array;
    }
    const map: { [key: string]: unknown } = Object.create(null);
    for (let index = 0; index < length; index += 1) {
      const key = this.read(0);
      map[String(key)] = this.read(depth - 1);
    }
    return map;
  }

  /** Skips a value in which containers nest at most `depth` deep. */
  skip(depth: number): void {
    const kind = this.header();
    if (kind === 'scalar') return;
    const { length } = this;
    if (kind === 'text' || kind === 'bytes') {
      this.skipBytes(length);
      return;
    }
    if (depth === 0) throw new RangeError('too deep');
    for (let left = kind === 'map' ? length * 2 : length; left > 0; left -= 1) this.skip(depth - 1);
  }

  private container(wanted: Kind): number | undefined {
    const { at } = this;
    if (this.header() === wanted) return this.length;
    this.at = at;
    return undefined;
  }

  private header(): Kind {
    const { view } = this;
    const first = this.unsigned(1);
    if (first <= 0x7f) return this.scalar(first);
    if (first >= 0xe0) return this.scalar(first - 0x100);
    if (first <= 0x8f) return this.sized('map', first & 0x0f, 2);
    if (first <= 0x9f) return this.sized('array', first & 0x0f, 1);
    if (first <= 0xbf) return this.sized('text', first & 0x1f, 1);
    switch (first) {
      case 0xc0:
        return this.scalar(null);
      case 0xc2:
        return this.scalar(false);
      case 0xc3:
        return this.scalar(true);
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.sized('bytes', this.unsigned(1 << (first - 0xc4)), 1);
      case 0xca:
        return this.scalar(view.getFloat32(this.take(4)));
      case 0xcb:
        return this.scalar(view.getFloat64(this.take(8)));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.scalar(this.unsigned(1 << (first - 0xcc)));
      case 0xcf:
        return this.scalar(this.unsigned(4) * 2 ** 32 + this.unsigned(4));
      case 0xd0:
        return this.scalar(view.getInt8(this.take(1)));
      case 0xd1:
        return this.scalar(view.getInt16(this.take(2)));
      case 0xd2:
        return this.scalar(view.getInt32(this.take(4)));
      case 0xd3:
        return this.scalar(view.getInt32(this.take(4)) * 2 ** 32 + this.unsigned(4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.sized('text', this.unsigned(1 << (first - 0xd9)), 1);
      case 0xdc:
      case 0xdd:
        return this.sized('array', this.unsigned(2 << (first - 0xdc)), 1);
      case 0xde:
      case 0xdf:
        return this.sized('map', this.unsigned(2 << (first - 0xde)), 2);
      default:
        // An extension type, which presence does not use, or the unused byte 0xc1.
        throw new RangeError('no value');
    }
  }

  private scalar(value: unknown): Kind {
    this.value = value;
    return 'scalar';
  }

  /** Each element takes at least `leastBytes`, so a length that does not fit in the rest of the frame is false. */
  private sized(kind: Kind, length: number, leastBytes: number): Kind {
    if (length * leastBytes > this.bytes.length - this.at) throw new RangeError('too short');
    this.length = length;
    return kind;
  }

  private unsigned(size: number): number {
    const at = this.take(size);
    if (size === 1) return this.view.getUint8(at);
    return size === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  /** Moves past the next `size` bytes, and returns where they begin. */
  private take(size: number): number {
    const { at } = this;
    this.skipBytes(size);
    return at;
  }

  private skipBytes(size: number): number {
    this.at += size;
    if (this.at > this.bytes.length) throw new RangeError('too short');
    return this.at;
  }

  private text(length: number): string {
    const { bytes, at } = this;
    const end = this.skipBytes(length);
    if (length <= SHORT) {
      let text = '';
      let index = at;
      for (; index < end; index += 1) {
        const byte = bytes[index] as number;
        if (byte > 0x7f) break;
        text += String.fromCharCode(byte);
      }
      if (index === end) return text;
    }
    const utf8 = bytes.subarray(at, end);
    if (this.decode !== undefined) return this.decode(utf8);
    this.decoder = this.decoder ?? new TextDecoder('utf-8', UTF8);
    return this.decoder.decode(utf8);
  }
}
