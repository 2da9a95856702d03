/**
 * The client for dashboards, in browsers and Node.
 * @module voiceping-presence/client
 */

import { createConnector } from './connector';
import { createListeners } from './listeners';
import { checkOptions, toIds } from './options';
import type { PresenceClient, PresenceClientOptions } from './types';
import { createView } from './view';

export type { PresenceStatus, UserId } from '../public/types';
export type {
  Connection,
  PresenceChange,
  PresenceClient,
  PresenceClientOptions,
  TokenSource,
  WebSocketClass,
  WebSocketLike,
} from './types';

/**
 * The client for dashboards. It connects to a router, keeps a live view of who is online, and resumes where it was after each
 * lost connection. The router must allow it to watch, by `authorizeWatch`. It also takes frames that a router sends without a
 * request (`watch: true` in the identity), and cannot resume those.
 *
 * Where there is no WebSocket, for example where a server renders a page, the client is `closed` and its view is empty.
 *
 * @throws TypeError for an invalid url, token, WebSocket, logger or list of ids
 *
 * @example
 * const client = createPresenceClient({ url: 'wss://router.example', token: () => session.token, ids: ['acme_u1'] });
 * client.onChange((changed) => changed.forEach(({ userId, status }) => paint(userId, status)));
 * client.onConnectionChange(({ state, asOf }) => (bar.textContent = state === 'live' ? '' : `showing state of ${asOf}`));
 */
export function createPresenceClient(options: PresenceClientOptions): PresenceClient {
  checkOptions(options);
  const view = createView(toIds(options.ids ?? true));
  const listeners = createListeners();
  const { watch, reconnect, close } = createConnector(options, view, listeners);
  return {
    get connection() {
      return listeners.connection;
    },
    get ready() {
      return listeners.ready;
    },
    getStatus: (id) => view.users.get(String(id)),
    getAll: () => Array.from(view.users.values()),
    watch: (ids) => watch(toIds(ids)),
    onChange: listeners.onChange,
    onConnectionChange: listeners.onConnectionChange,
    reconnect,
    close,
  };
}
