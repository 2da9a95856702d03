/** What a socket of socket.io 3 or 4 has for its adapters, which encode a packet once for all sockets of a room. */
interface Internals {
  readonly nsp?: { readonly name?: unknown };
  readonly client?: {
    readonly encoder?: Encoder;
    _packet?(packets: unknown, options: { readonly preEncoded: true; readonly compress: true }): void;
  };
  notifyOutgoingListeners?(packet: object): void;
}

interface Encoder {
  encode(packet: object): unknown;
}

/** The type of an event, in the protocol of socket.io. */
const EVENT = 2;

/** The packets of what goes to many sockets, by encoder and namespace. */
const packetsOf = new WeakMap<object, Map<Encoder, Map<string, unknown>>>();

/**
 * Emits an event that other sockets are sent, too, and encodes it once for all of them.
 *
 * @param shared - the same object for all of them; `undefined` for an event to one socket
 * @returns whether it was emitted; false where socket.io does not offer it
 * @internal
 */
export function emitShared(socket: object, shared: object | undefined, data: readonly unknown[]): boolean {
  const { client, nsp, notifyOutgoingListeners } = socket as Internals;
  const encoder = client?.encoder;
  if (shared === undefined || typeof nsp?.name !== 'string' || typeof encoder?.encode !== 'function') return false;
  if (typeof client?._packet !== 'function' || typeof notifyOutgoingListeners !== 'function') return false;
  const packet = { type: EVENT, nsp: nsp.name, data };
  const ofShared = packetsOf.get(shared) ?? new Map<Encoder, Map<string, unknown>>();
  packetsOf.set(shared, ofShared);
  const ofEncoder = ofShared.get(encoder) ?? new Map<string, unknown>();
  ofShared.set(encoder, ofEncoder);
  if (!ofEncoder.has(nsp.name)) ofEncoder.set(nsp.name, encoder.encode(packet));
  // As a broadcast to a room does it.
  notifyOutgoingListeners.call(socket, packet);
  client._packet(ofEncoder.get(nsp.name), { preEncoded: true, compress: true });
  return true;
}
