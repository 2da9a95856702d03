import {
  checkClose,
  checkDeliver,
  checkIdentity,
  checkListener,
  checkPage,
  checkRead,
  checkSocket,
  checkTransport,
} from '../config/arguments';
import { closedError, PresenceError } from '../public/errors';
import type { Identity, Presence, TransportAttachment } from '../public/types';
import { toUserId, toUserIds } from '../public/user-id';
import { inertAttachment } from './inert-attachment';

/**
 * A presence with `enabled: false`. It validates its arguments, adds no listener, and rejects queries, since "all users are
 * offline" would be false.
 * @internal
 */
export function disabledPresence(nodeId: string): Presence {
  let closed = false;
  let serial = 0;
  const refuse = (): Promise<never> =>
    Promise.reject(
      closed ? closedError() : new PresenceError('ERR_PRESENCE_DISABLED', 'presence is disabled (enabled: false)'),
    );
  const attach = (identity: Identity): TransportAttachment => {
    serial += 1;
    return inertAttachment(checkIdentity(identity).userId, `${nodeId}:${serial}`);
  };
  return {
    nodeId,
    ready: () => (closed ? refuse() : Promise.resolve()),
    attachToSocket(socket, identity) {
      checkSocket(socket);
      return attach(identity);
    },
    attach(transport, identity) {
      checkTransport(transport);
      return attach(identity);
    },
    getStatuses(ids) {
      toUserIds(ids, 'ids');
      return refuse();
    },
    listOnline(page = {}) {
      checkPage(page);
      return refuse();
    },
    isOnline(id) {
      toUserId(id, 'id');
      return undefined;
    },
    countOnline: refuse,
    health: () => ({ status: closed ? 'closed' : 'disabled', asOf: null, problems: [] }),
    onUpdate(listener, options = {}) {
      checkListener(listener, options);
      return () => undefined;
    },
    changes: {
      read: async (page = {}) => {
        checkRead(page);
        return refuse();
      },
      deliver(name, handler, options = {}) {
        checkDeliver(name, handler, options);
        return () => Promise.resolve();
      },
      deliveries: refuse,
    },
    close(options = {}) {
      checkClose(options);
      closed = true;
      return Promise.resolve();
    },
  };
}
