/** A client's frame of more bytes is not decoded. @internal */
export const MAX_FRAME_BYTES = 262_144;

/** What is used of a Blob, of whatever make. @internal */
export interface BlobLike {
  readonly size: number;
  arrayBuffer(): Promise<ArrayBuffer>;
}

/**
 * The bytes of a frame in whatever form a socket gives it: `ws` gives Buffers, and as its `binaryType` says an ArrayBuffer
 * or a list of Buffers. A typed array may be of another realm, as under a test runner.
 *
 * @param most - of a list only so many bytes are put together
 * @returns undefined for what is no bytes: text, a Blob
 * @internal
 */
export function bytesOf(data: unknown, most: number): Uint8Array | undefined {
  if (data instanceof Uint8Array) return data;
  if (Array.isArray(data)) return joined(data, most);
  try {
    // `new Uint8Array` throws for memory that has been handed to another thread.
    if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return isArrayBuffer(data) ? new Uint8Array(data) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether it is a Blob, which can be read later only. @internal */
export function isBlob(data: unknown): data is BlobLike {
  if (data instanceof Uint8Array) return false;
  const { size, arrayBuffer } = (data ?? {}) as Partial<BlobLike>;
  return typeof arrayBuffer === 'function' && typeof size === 'number';
}

/** By whose they are: the end of the last reading that was begun. */
const readings = new WeakMap<object, Promise<unknown>>();

/**
 * Reads a Blob, and hands on its bytes after those of the Blobs of the same owner that came before. One that is too long, or
 * that cannot be read, is passed by.
 * @internal
 */
export function readBlob(owner: object, blob: BlobLike, use: (bytes: Uint8Array) => void): void {
  if (blob.size > MAX_FRAME_BYTES) return;
  const bytes = blob.arrayBuffer().then(
    (buffer) => new Uint8Array(buffer),
    () => undefined,
  );
  const reading = Promise.all([bytes, readings.get(owner)]).then(([read]) => {
    if (read !== undefined) use(read);
  });
  readings.set(owner, reading);
}

function isArrayBuffer(data: unknown): data is ArrayBuffer {
  return data instanceof ArrayBuffer || Object.prototype.toString.call(data) === '[object ArrayBuffer]';
}

function joined(fragments: readonly unknown[], most: number): Uint8Array | undefined {
  if (fragments.length === 1) return bytesOf(fragments[0], most);
  const parts: Uint8Array[] = [];
  let size = 0;
  for (const fragment of fragments) {
    const part = Array.isArray(fragment) ? undefined : bytesOf(fragment, most);
    if (part === undefined) return undefined;
    parts.push(part);
    size += part.length;
    if (size >= most) break;
  }
  const bytes = new Uint8Array(Math.min(size, most));
  let at = 0;
  for (const part of parts) {
    bytes.set(part.subarray(0, bytes.length - at), at);
    at += Math.min(part.length, bytes.length - at);
  }
  return bytes;
}
