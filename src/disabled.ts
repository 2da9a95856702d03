import { checkIdentity, checkListener, checkPage, checkSocket } from './arguments';
import { inertAttachment } from './attachment';
import { PresenceError } from './errors';
import { toUserIds } from './ids';
import { checkedMs } from './options';
import type { Presence } from './types';

/**
 * Presence with `enabled: false`: checks its arguments as ever, adds no listener, and answers no query, since
 * "everybody is offline" would be a lie.
 * @internal
 */
export function disabledPresence(nodeId: string): Presence {
  let closed = false;
  let serial = 0;
  const refuse = (): Promise<never> =>
    Promise.reject(
      closed
        ? new PresenceError('ERR_PRESENCE_CLOSED', 'presence is closed')
        : new PresenceError('ERR_PRESENCE_DISABLED', 'presence is disabled (enabled: false)'),
    );
  return {
    nodeId,
    ready: () => (closed ? refuse() : Promise.resolve()),
    attachToSocket(socket, identity) {
      checkSocket(socket);
      serial += 1;
      return inertAttachment(checkIdentity(identity).userId, `${nodeId}:${serial}`);
    },
    getStatuses(ids) {
      toUserIds(ids, 'ids');
      return refuse();
    },
    listOnline(page = {}) {
      checkPage(page);
      return refuse();
    },
    countOnline: refuse,
    onUpdate(listener, options = {}) {
      checkListener(listener, options.ids);
      return () => undefined;
    },
    close(options = {}) {
      checkedMs('handoverMs', options.handoverMs, 0, 0);
      closed = true;
      return Promise.resolve();
    },
  };
}
