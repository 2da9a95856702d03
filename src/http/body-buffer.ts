const FIRST_BYTES = 4_096;

/**
 * The bytes of a body, in one buffer that doubles when it is full. Keeping the chunks would cost a hundred bytes for each,
 * and a client may send them one byte at a time.
 * @internal
 */
export class BodyBuffer {
  private bytes: Buffer = Buffer.alloc(0);
  private size = 0;

  push(chunk: Uint8Array): void {
    const size = this.size + chunk.length;
    if (size > this.bytes.length) {
      const grown = Buffer.alloc(Math.max(size, this.bytes.length * 2, FIRST_BYTES));
      grown.set(this.bytes.subarray(0, this.size));
      this.bytes = grown;
    }
    this.bytes.set(chunk, this.size);
    this.size = size;
  }

  /** Returns the bytes that were pushed, and empties the buffer. */
  take(): Buffer {
    const taken = this.bytes.subarray(0, this.size) as Buffer;
    this.bytes = Buffer.alloc(0);
    this.size = 0;
    return taken;
  }
}
