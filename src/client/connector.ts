import { createBackoff } from './backoff';
import { createConversation } from './conversation';
import { createCredentials } from './credentials';
import { globals } from './globals';
import { createLink, type Link, type LinkEnd } from './link';
import type { Listeners, Refusal } from './listeners';
import { createStatusEndpoint } from './status-endpoint';
import { createTimer } from './timer';
import type { PresenceClientOptions, TokenSource } from './types';
import type { View } from './view';
import { watchWaking } from './waking';

/** Close codes: the client is not allowed; its credentials have expired; it sent too many requests. */
const NOT_ALLOWED = 1008;
const UNAUTHORIZED = 4001;
const TOO_MANY_REQUESTS = 4029;
const MAX_ANSWER_MS = 10_000;
const MAX_REASON = 256;

/**
 * What a client is doing:
 *
 * - `asking`: it waits for a token
 * - `linked`: it has a connection, or attempts to open one
 * - `waiting`: it waits before the next attempt, at most until the machine wakes
 * - `throttled`: it waits after a close with 4029, even if the machine wakes meanwhile
 * - `closed`: it does not connect, unless it gets another token
 */
type State =
  | { readonly kind: 'linked'; readonly link: Link }
  | { readonly kind: 'asking' | 'waiting' | 'throttled' | 'closed'; readonly link?: undefined };

/** Decides when a client connects, with which token, and when it gives up. @internal */
export interface Connector {
  watch(ids: readonly string[] | true): void;
  reconnect(token?: TokenSource): void;
  close(): void;
}

/** @internal */
export function createConnector(options: PresenceClientOptions, view: View, listeners: Listeners): Connector {
  const { url, statusUrl, deviceId = 'web', WebSocket = globals().WebSocket } = options;
  const { minBackoffMs = 1_000, maxBackoffMs = 30_000, probeMs = 30_000, logger = console } = options;
  const answerMs = Math.min(MAX_ANSWER_MS, probeMs / 3);
  const credentials = createCredentials(options.token, probeMs, answerMs, (error) =>
    warn('token', `there is no token: ${String(error).slice(0, MAX_REASON)}`),
  );
  const endpoint = createStatusEndpoint(statusUrl, view, listeners);
  const backoff = createBackoff(minBackoffMs, maxBackoffMs);
  const later = createTimer();
  const { become } = listeners;
  const warned = new Set<string>();
  let state: State = { kind: 'closed' };
  let isEnded = false;
  /** The number of attempts in a row whose connection was never open. */
  let unopened = 0;
  /** Whether a new token was requested at once since the last connection that lasted. */
  let isRenewed = false;
  let stopWaking: (() => void) | undefined;
  const conversation = createConversation({
    view,
    listeners,
    answerMs,
    send: (frame) => state.link?.send(frame) === true,
    onUnanswered: () => state.link?.giveUp(),
    onWhole() {
      endpoint.outdate();
      backoff.live();
      listeners.shown();
    },
    onNotAllowed: (error) =>
      warn(
        'not-allowed',
        `the router does not let this client watch: ${error}. Its authorizeWatch is not set, or refuses.`,
      ),
  });

  function warn(what: string, message: string): void {
    if (!warned.has(what) && logger) logger.warn(`voiceping-presence: ${message}`);
    warned.add(what);
  }

  /** Ends the waits and the connection of the present state, and enters another. Returns a check whether that one still lasts. */
  function enter(next: State): () => boolean {
    const { link } = state;
    state = next;
    later();
    credentials.forget();
    conversation.stop();
    link?.drop();
    return () => state === next;
  }

  function connect(): void {
    const isMine = enter({ kind: 'asking' });
    stopWaking = stopWaking ?? watchWaking(onWake);
    become('connecting');
    // A listener may have closed the client.
    if (isMine()) credentials.ask(open, () => lose());
  }

  function open(token: string | undefined): void {
    if (!WebSocket) return;
    conversation.restart();
    endpoint.load(token);
    const link = createLink({
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
    enter({ kind: 'linked', link });
    try {
      link.open(token ? [token, deviceId] : []);
    } catch (error) {
      // The token is not a valid subprotocol, so another attempt would fail too.
      stop({ refused: String(error).slice(0, MAX_REASON) });
    }
  }

  function onEnd({ code, reason, status, wasOpen, heardAt }: LinkEnd): void {
    const why = typeof reason === 'string' ? reason.slice(0, MAX_REASON) : '';
    if (refuseBy(status, 'the router')) return;
    if (code === UNAUTHORIZED) refuse('unauthorized', why || 'the credentials have ended');
    // A router that could not identify the client in time may succeed at the next attempt.
    else if (code === NOT_ALLOWED && !/try again$/.test(why))
      refuse('not-allowed', why || 'this client is not allowed');
    else {
      unopened = wasOpen ? 0 : unopened + 1;
      lose({}, heardAt, code === TOO_MANY_REQUESTS);
      if (unopened > 0 && unopened % 2 === 0) check();
    }
  }

  function lose(refusal: Refusal = {}, heardAt?: number, isFlood = false): void {
    enter({ kind: isFlood ? 'throttled' : 'waiting' });
    later(connect, backoff.next(isFlood));
    const wasLive = listeners.connection.state === 'live';
    // This comes last, since a listener may close the client.
    become('offline', refusal, wasLive && heardAt !== undefined ? new Date(heardAt).toISOString() : undefined);
  }

  /** Returns whether an HTTP status says that the router does not admit this client. */
  function refuseBy(status: number | undefined, who: string): boolean {
    const isUnauthorized = status === 401;
    const isRefused = isUnauthorized || status === 403;
    if (isRefused) refuse(isUnauthorized ? 'unauthorized' : 'not-allowed', `${who} answered ${status}`);
    return isRefused;
  }

  /** The router does not admit this client. Only another token can help. */
  function refuse(refusedCode: string, refused: string): void {
    const refusal = { refused, refusedCode };
    if (backoff.lasted()) isRenewed = false;
    if (refusedCode !== 'unauthorized' || credentials.kind === 'string') stop(refusal);
    else if (!isRenewed && credentials.kind === 'function') {
      isRenewed = true;
      const isMine = enter({ kind: 'asking' });
      become('offline', refusal);
      if (isMine()) renew();
      // Credentials that were just accepted may be accepted again, and a cookie may be renewed. Others would be refused again.
    } else if (!isRenewed || backoff.isLive) {
      isRenewed = true;
      lose(refusal);
    } else stop(refusal);
  }

  /** Requests a token, and connects only if it is a new one. */
  function renew(): void {
    const { token } = credentials;
    enter({ kind: 'asking' });
    const stay = (): void => {
      const { refused, refusedCode } = listeners.connection;
      const isMine = stop({ refused, refusedCode });
      // Requesting a token costs the router nothing, so it is repeated.
      if (isMine() && refusedCode === 'unauthorized') later(renew, maxBackoffMs);
    };
    credentials.ask((other) => {
      if (other === token) {
        stay();
        return;
      }
      const isMine = enter({ kind: 'asking' });
      become('connecting');
      if (isMine()) open(other);
    }, stay);
  }

  function stop(refusal?: Refusal): () => boolean {
    const isMine = enter({ kind: 'closed' });
    if (isEnded || credentials.kind !== 'function') {
      stopWaking?.();
      stopWaking = undefined;
    }
    become('closed', refusal);
    return isMine;
  }

  /** Asks the status endpoint whether the token is refused: the router then refuses it, too. */
  function check(): void {
    const { token } = credentials;
    endpoint.check(token, (status) => {
      // The client may have connected or received another token meanwhile.
      if (unopened === 0 || token !== credentials.token || listeners.connection.state === 'closed') return;
      refuseBy(status, 'the status endpoint');
    });
  }

  /** The machine, the page or the network was suspended, so the connection may be dead without an event. */
  function onWake(): void {
    if (state.link) state.link.wake();
    else if (state.kind === 'asking') credentials.hurry();
    else if (state.kind === 'waiting') connect();
    else if (state.kind === 'closed') renew();
  }

  if (WebSocket) connect();
  else {
    const refused = 'there is no WebSocket here; before Node 22, pass that of ws';
    if (WebSocket === undefined) warn('WebSocket', refused);
    stop({ refused, refusedCode: 'unsupported' });
  }

  return {
    watch: conversation.watch,
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
      endpoint.outdate();
      stop(listeners.connection.state === 'closed' ? listeners.connection : undefined);
    },
  };
}
