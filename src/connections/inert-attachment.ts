import { toExpiry, toInterest } from '../config/arguments';
import type { Attachment } from '../public/types';

/** For a socket that is closed already, or a presence that is closed or disabled: does nothing. @internal */
export function inertAttachment(userId: string, connectionId: string): Attachment {
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
  };
}
