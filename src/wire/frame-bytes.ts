/** A longer frame from a client is not decoded. @internal */
export const MAX_FRAME_BYTES = 262_144;

/** The part of a Blob that is used, of any implementation. @internal */
export interface BlobLike {
  readonly size: number;
  arrayBuffer(): Promise<ArrayBuffer>;
}

/**
 * The bytes of a frame in any form that a socket gives: `ws` gives Buffers or, depending on its `binaryType`, an ArrayBuffer
 * or a list of Buffers. A typed array may be of another realm, as under a test runner.
 *
 * @param most - how many bytes of a list are joined at most
 * @returns `undefined` for text and for a Blob
 * @internal
 */
export function bytesOf(data: unknown, most: number): Uint8Array | undefined {
  if (data instanceof Uint8Array) return data;
  if (Array.isArray(data)) return joined(data, most);
  try {
    // `new Uint8Array` throws for memory that was transferred to another thread.
    if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return isArrayBuffer(data) ? new Uint8Array(data) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether it is a Blob, whose bytes can only be read asynchronously. @internal */
export function isBlob(data: unknown): data is BlobLike {
  if (data instanceof Uint8Array) return false;
  try {
    const { size, arrayBuffer } = (data ?? {}) as Partial<BlobLike>;
    return typeof arrayBuffer === 'function' && typeof size === 'number';
  } catch {
    return false;
  }
}

/** For each owner, the end of the last read that was started. */
const readings = new WeakMap<object, Promise<unknown>>();

/**
 * Reads a Blob, and passes its bytes to `use` after those of earlier Blobs of the same owner. One that is too long or cannot
 * be read is ignored.
 * @internal
 */
export function readBlob(owner: object, blob: BlobLike, use: (bytes: Uint8Array) => void): void {
  if (blob.size > MAX_FRAME_BYTES) return;
  const bytes = Promise.resolve()
    .then(() => blob.arrayBuffer())
    .then(
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
