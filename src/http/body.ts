import type { IncomingMessage } from 'node:http';
import { MAX_BODY_BYTES, MAX_DISCARDED_BYTES, type StatusBody, type StatusRequest } from './status';

/**
 * A request of node:http as the neutral core takes it. Where something before us has read the body, what it made of it
 * is used.
 *
 * @param parsed - what a body parser left, if there was one
 * @internal
 */
export function fromIncoming<Request>(
  incoming: IncomingMessage,
  parsed: unknown,
  original: Request,
): StatusRequest<Request> {
  return {
    method: incoming.method ?? '',
    header(name) {
      const value = incoming.headers[name];
      return Array.isArray(value) ? value.join(', ') : value;
    },
    async body() {
      if (!isConsumed(incoming)) return readBytes(incoming);
      if (parsed instanceof Uint8Array || typeof parsed === 'string') return { bytes: parsed };
      return { parsed };
    },
    original,
  };
}

/**
 * Whether the stream was read to its end. A parser that does not care for the content type leaves `{}` and an unread
 * stream, so what it left says nothing by itself.
 */
function isConsumed(incoming: IncomingMessage): boolean {
  const state = (incoming as { _readableState?: { endEmitted?: boolean } })._readableState;
  return incoming.readableEnded ?? state?.endEmitted ?? false;
}

/** What an answer varies by already, and what it varies by besides. @internal */
export function joinedVary(present: number | string | readonly string[] | undefined, added: string): string {
  const names = String(present ?? '') // a list becomes one with commas
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name.toLowerCase() !== added.toLowerCase());
  return names.concat(added).join(', ');
}

function readBytes(incoming: IncomingMessage): Promise<StatusBody> {
  return new Promise((resolve) => {
    const broken = () => resolve('ended');
    // Gone before we came: no event will ever say so.
    if ((incoming as { aborted?: boolean }).aborted || incoming.destroyed) {
      broken();
      return;
    }
    const chunks: Buffer[] = [];
    let size = 0;
    if (Number(incoming.headers['content-length']) > MAX_BODY_BYTES) {
      size = MAX_BODY_BYTES + 1;
      resolve('tooLarge');
    }
    // What is too large is still read, to no use but one: a connection closed on unread data is reset, and the sender
    // would never see the answer. RFC 9112, section 9.6.
    incoming.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MAX_BODY_BYTES) {
        chunks.push(chunk);
        return;
      }
      chunks.length = 0;
      resolve('tooLarge');
      if (size > MAX_DISCARDED_BYTES) incoming.destroy();
    });
    incoming.on('end', () => resolve({ bytes: Buffer.concat(chunks) }));
    for (const event of ['error', 'aborted', 'close']) incoming.on(event, broken);
  });
}
