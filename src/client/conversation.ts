import { PING, type Said, SNAPSHOT, UPDATE, WATCH, watchFrame } from './codec';
import type { Listeners } from './listeners';
import { createRequestPacer } from './request-pacer';
import type { View } from './view';

/** Temporary refusals: the same request may be granted later. */
const PASSING = ['too-many-requests', 'timeout'];

/** @internal */
export interface ConversationOptions {
  readonly view: View;
  readonly listeners: Listeners;
  readonly answerMs: number;
  /** Returns false where no connection is open. */
  send(frame: Uint8Array): boolean;
  /** The router has answered neither of two requests. */
  onUnanswered(): void;
  /** The view is complete. */
  onWhole(): void;
  /** The router does not let this client watch; `error` is its reason. */
  onNotAllowed(error: string): void;
}

/** The protocol on a connection: requests, their answers, and updates. @internal */
export interface Conversation {
  /** A new connection is being opened, so the state of the last one no longer applies. */
  restart(): void;
  /** The connection is open. */
  open(): void;
  /** Sends the cheapest frame that the router answers. */
  probe(): void;
  hear(said: Said): void;
  watch(ids: readonly string[] | true): void;
  stop(): void;
}

/** @internal */
export function createConversation(options: ConversationOptions): Conversation {
  const { view, listeners, answerMs, onUnanswered, onWhole, onNotAllowed } = options;
  const { become, tell } = listeners;
  /** Counts connections, so that a frame of an earlier one changes nothing. */
  let turn = 0;
  /** The ids of the next request, where they differ from those of the view. */
  let wanted: readonly string[] | true | undefined;
  /** Whether the router has lost contact with its store, by its last PRESENCE_STALE. */
  let isStale = false;
  const requests = createRequestPacer({ answerMs, send, isExcused: () => isStale, onUnanswered });

  /** Sends a ping or a request. A request resumes at the cursor; without one, or for other ids, it gets a complete snapshot. */
  function send(isPing: boolean): boolean {
    if (isPing) return options.send(PING);
    const ids = wanted ?? view.ids;
    const request = (view.asked + 1) & 127;
    if (!options.send(watchFrame(ids, wanted ? undefined : view.cursor, request))) return false;
    view.asked = request;
    if (wanted) view.watch(wanted);
    wanted = undefined;
    return true;
  }

  function refused({ error, code, request }: Extract<Said, { kind: typeof WATCH }>): void {
    // An earlier request was refused: a newer one is due or was sent, or the refusal has no number and none is pending.
    if (requests.isDue || (request === undefined ? !requests.isPending : request !== view.asked)) requests.progress();
    else if (code && PASSING.includes(code)) requests.backOff();
    else {
      requests.settle();
      if (code === 'not-allowed') onNotAllowed(error);
      become(listeners.connection.state, { refused: error, refusedCode: code });
    }
  }

  return {
    restart() {
      isStale = false;
      view.restart();
    },
    open: requests.restart,
    probe() {
      // A request without a cursor would cause a complete snapshot, and a router that has lost its store cannot resume.
      if (view.cursor && !isStale) requests.ask();
      else requests.ping();
    },
    hear(said) {
      if (said.kind === UPDATE) {
        tell(view.update(said));
      } else if (said.kind === SNAPSHOT) {
        const before = turn;
        tell(view.show(said));
        // A listener has closed the client, or has connected it again.
        if (turn !== before) return;
        // The answer to an earlier request must not clear the refusal of a later one.
        const isAnswer = (said.request ?? view.asked) === view.asked;
        if (said.more || !isAnswer) requests.progress();
        if (said.more) return;
        if (isAnswer) requests.granted();
        onWhole();
        become(isStale ? 'stale' : 'live', isAnswer ? {} : listeners.connection);
      } else if (said.kind === WATCH) refused(said);
      else {
        isStale = said.stale;
        if (isStale) become('stale', listeners.connection, said.asOf);
        else if (view.isWhole) become('live', listeners.connection);
      }
    },
    watch(ids) {
      wanted = ids;
      requests.ask();
    },
    stop() {
      turn += 1;
      requests.stop();
    },
  };
}
