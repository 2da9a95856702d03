import { toExpiry, toInterest } from '../config/arguments';
import type { TransportAttachment } from '../public/types';

/** An attachment that does nothing: for a closed socket, or a closed or disabled presence. @internal */
export function inertAttachment(userId: string, connectionId: string): TransportAttachment {
  return {
    userId,
    connectionId,
    ready: Promise.resolve(),
    touch: () => undefined,
    watch: (ids) => {
      toInterest(ids);
    },
    expireAt: (at) => {
      toExpiry(at, 'at');
    },
    detach: () => Promise.resolve(),
    received: () => undefined,
    pinged: () => undefined,
    closed: () => undefined,
  };
}
