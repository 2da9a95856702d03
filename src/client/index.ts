/**
 * The client for dashboards, in browsers and Node.
 * @module voiceping-presence/client
 */

import type { UserId } from '../public/types';
import { createBackoff } from './backoff';
import { createConversation } from './conversation';
import { createCredentials } from './credentials';
import { delayOf, globals } from './globals';
import { createLink, type Link, type LinkEnd } from './link';
import { createListeners, type Refusal } from './listeners';
import { fetchStatuses, type StatusAnswer } from './status-request';
import type { PresenceClient, PresenceClientOptions } from './types';
import { createView } from './view';
import { watchWaking } from './waking';

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

/** Close codes: the client is not allowed; its credentials have expired; it sent too many requests. */
const NOT_ALLOWED = 1008;
const UNAUTHORIZED = 4001;
const TOO_MANY_REQUESTS = 4029;
const MAX_ANSWER_MS = 10_000;
const MAX_REASON = 256;

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
  const { url, statusUrl, deviceId = 'web', WebSocket = globals().WebSocket } = options;
  const { minBackoffMs = 1_000, maxBackoffMs = 30_000, probeMs = 30_000, logger = console } = options;
  if (!/^wss?:\/\//.test(url)) throw new TypeError(`url is ${url}; it is ws:// or wss://`);
  if (WebSocket !== undefined && WebSocket !== false && typeof WebSocket !== 'function')
    throw new TypeError(`WebSocket is ${WebSocket}; it is that of ws`);
  if (!/^(string|function|undefined)$/.test(typeof (options.token ?? undefined)))
    throw new TypeError(`token is a ${typeof options.token}; it is a string, or a function that gives one`);
  if (logger && typeof logger.warn !== 'function') throw new TypeError('logger has no warn(); it is { warn(message) }');

  const view = createView(toIds(options.ids ?? true));
  const credentials = createCredentials(options.token);
  const listeners = createListeners();
  const backoff = createBackoff(minBackoffMs, maxBackoffMs);
  const answerMs = Math.min(MAX_ANSWER_MS, probeMs / 3);
  const { become } = listeners;
  const warned = new Set<string>();
  let link: Link | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** The number of the current turn. A new turn ends all that the last one had started. */
  let turn = 0;
  let isShown = false;
  let isLoaded = false;
  let isEnded = false;
  /** Whether the client may connect before the wait is over when the machine wakes: not after 4029. */
  let mayHurry = true;
  /** The number of attempts in a row whose connection was never open. */
  let unopened = 0;
  let isChecking = false;
  /** Whether a new token was requested at once since the last connection that lasted. */
  let isRenewed = false;
  /** Ends the wait for a token that does not come. */
  let onLateToken: (() => void) | undefined;
  let stopWaking: (() => void) | undefined;
  const conversation = createConversation({
    view,
    listeners,
    answerMs,
    send: (frame) => link?.send(frame) === true,
    onUnanswered: () => link?.giveUp(),
    onWhole() {
      isShown = true;
      backoff.live();
      listeners.shown();
    },
    onNotAllowed: (error) =>
      warn(
        'not-allowed',
        `the router refuses to be asked who is online: ${error}. It sets no authorizeWatch, or that says no.`,
      ),
  });

  function warn(what: string, message: string): void {
    if (!warned.has(what) && logger) logger.warn(`voiceping-presence: ${message}`);
    warned.add(what);
  }

  /** Ends the current turn and starts another one. Returns a function that says whether that is still the current one. */
  function begin(): () => boolean {
    turn += 1;
    const mine = turn;
    clearTimeout(timer);
    credentials.forget();
    conversation.stop();
    link?.drop();
    link = undefined;
    onLateToken = undefined;
    return () => mine === turn;
  }

  function later(run: () => void, ms: number): void {
    clearTimeout(timer);
    timer = setTimeout(run, delayOf(ms));
  }

  function askToken(use: (token: string | undefined) => void, fail: () => void): void {
    onLateToken = fail;
    // The token may never come.
    later(fail, probeMs);
    credentials.ask(use, (error) => {
      warn('token', `there is no token: ${String(error).slice(0, MAX_REASON)}`);
      fail();
    });
  }

  function connect(): void {
    const isMine = begin();
    stopWaking = stopWaking ?? watchWaking(onWake);
    become('connecting');
    // A listener may have closed the client.
    if (isMine()) askToken(open, () => lose());
  }

  function open(token: string | undefined): void {
    clearTimeout(timer);
    if (!WebSocket) return;
    conversation.restart();
    if (!isLoaded) load(token);
    link = createLink({
      url,
      WebSocket,
      probeMs,
      answerMs,
      onOpen() {
        unopened = 0;
        backoff.opened();
        conversation.open();
      },
      onFrame: conversation.hear,
      onEnd,
      probe: conversation.probe,
    });
    try {
      link.open(token ? [token, deviceId] : []);
    } catch (error) {
      // The token is not a valid subprotocol, so another attempt would fail too.
      stop({ refused: String(error).slice(0, MAX_REASON) });
    }
  }

  function onEnd({ code, reason, status, wasOpen, silentSince }: LinkEnd): void {
    const why = typeof reason === 'string' ? reason.slice(0, MAX_REASON) : '';
    if (status === 401) refuse('unauthorized', 'the router answered 401');
    else if (status === 403) refuse('not-allowed', 'the router answered 403');
    else if (code === UNAUTHORIZED) refuse('unauthorized', why || 'the credentials have ended');
    // A router that could not identify the client in time may succeed at the next attempt.
    else if (code === NOT_ALLOWED && !/try again$/.test(why))
      refuse('not-allowed', why || 'this client is not allowed');
    else {
      unopened = wasOpen ? 0 : unopened + 1;
      lose({}, silentSince, code === TOO_MANY_REQUESTS);
      if (unopened > 0 && unopened % 2 === 0) check();
    }
  }

  function lose(refusal: Refusal = {}, heardAt?: number, isFlood = false): void {
    begin();
    later(connect, backoff.next(isFlood));
    mayHurry = !isFlood;
    const wasLive = listeners.connection.state === 'live';
    // This comes last, since a listener may close the client.
    become('offline', refusal, wasLive && heardAt !== undefined ? new Date(heardAt).toISOString() : undefined);
  }

  /** The router does not admit this client. Only another token can help. */
  function refuse(refusedCode: string, refused: string): void {
    const refusal = { refused, refusedCode };
    if (backoff.lasted()) isRenewed = false;
    if (refusedCode !== 'unauthorized' || !credentials.canChange) stop(refusal);
    else if (!isRenewed && credentials.canAsk) {
      isRenewed = true;
      const isMine = begin();
      become('offline', refusal);
      if (isMine()) renew();
      // A token that was accepted before, even briefly, may be again; one that never was is as good as the last.
    } else if (!isRenewed || backoff.isLive) {
      isRenewed = true;
      lose(refusal);
    } else stop(refusal);
  }

  /** Requests a token, and connects only if it is a new one. */
  function renew(): void {
    const { token } = credentials;
    begin();
    const stay = (): void => {
      const { refused, refusedCode } = listeners.connection;
      const isMine = stop({ refused, refusedCode });
      // Requesting a token costs the router nothing, so it is repeated.
      if (isMine() && refusedCode === 'unauthorized') later(renew, maxBackoffMs);
    };
    askToken((other) => {
      if (other === token) {
        stay();
        return;
      }
      const isMine = begin();
      become('connecting');
      if (isMine()) open(other);
    }, stay);
  }

  function stop(refusal?: Refusal): () => boolean {
    const isMine = begin();
    if (isEnded || !credentials.canAsk) {
      stopWaking?.();
      stopWaking = undefined;
    }
    become('closed', refusal);
    return isMine;
  }

  /** Loads the statuses of listed ids over HTTP, where there is a status endpoint, until the socket delivers them. */
  function load(token: string | undefined): void {
    isLoaded = true;
    if (!statusUrl || view.ids === true || view.ids.length === 0) return;
    const show = ({ users }: StatusAnswer): void => {
      if (isShown || isEnded) return;
      const watched = users.filter(view.isWatched);
      for (const user of watched) view.users.set(user.userId, user);
      listeners.tell(watched);
    };
    // A failure is ignored, since the socket delivers the statuses a little later.
    fetchStatuses(statusUrl, token, view.ids).then(show, () => undefined);
  }

  /** Asks the status endpoint why the router does not accept connections, since a browser does not tell. */
  function check(): void {
    if (!statusUrl || isChecking) return;
    const { token } = credentials;
    isChecking = true;
    const judge = ({ status }: Pick<StatusAnswer, 'status'>): void => {
      isChecking = false;
      // Meanwhile the client may have connected, or have got another token.
      if (unopened === 0 || token !== credentials.token || listeners.connection.state === 'closed') return;
      if (status === 401) refuse('unauthorized', 'the status endpoint answered 401');
      if (status === 403) refuse('not-allowed', 'the status endpoint answered 403');
    };
    fetchStatuses(statusUrl, token, view.ids === true ? [] : view.ids).then(judge, () => judge({ status: 0 }));
  }

  /** The machine, the page or the network has slept, so the connection may be dead without an event. */
  function onWake(): void {
    const { state } = listeners.connection;
    if (link) link.wake();
    else if (onLateToken && credentials.isAsking) {
      later(onLateToken, answerMs);
      onLateToken = undefined;
    } else if (credentials.isAsking) return;
    else if (state === 'offline' && mayHurry) connect();
    else if (state === 'closed') renew();
  }

  if (WebSocket) connect();
  else {
    const refused = 'there is no WebSocket here, so the client does not connect; before Node 22, pass that of ws';
    if (WebSocket === undefined) warn('WebSocket', refused);
    stop({ refused, refusedCode: 'unsupported' });
  }

  return {
    get connection() {
      return listeners.connection;
    },
    get ready() {
      return listeners.ready;
    },
    getStatus: (id) => view.users.get(String(id)),
    getAll: () => Array.from(view.users.values()),
    watch: (ids) => conversation.watch(toIds(ids)),
    onChange: listeners.onChange,
    onConnectionChange: listeners.onConnectionChange,
    reconnect(token) {
      if (isEnded || !WebSocket) return;
      if (token !== undefined) credentials.replace(token);
      isRenewed = false;
      // A listener that reconnects at every loss must still wait, or it would never back off.
      if (listeners.isTelling) lose();
      else connect();
    },
    close() {
      isEnded = true;
      stop(listeners.connection.state === 'closed' ? listeners.connection : undefined);
    },
  };
}

function toIds(ids: true | Iterable<UserId>): string[] | true {
  if (ids === true) return ids;
  // A string would be taken for a list of letters.
  if (typeof ids !== 'object') throw new TypeError(`ids is ${ids}; it is a list`);
  return Array.from(new Set(Array.from(ids, String)));
}
