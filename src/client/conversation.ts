import { PING, type Said, SNAPSHOT, UPDATE, WATCH, watchFrame } from './codec';
import type { Listeners } from './listeners';
import { createRequestPacer } from './request-pacer';
import type { View } from './view';

/** A refusal that passes: the same request may be granted later. */
const PASSING = ['too-many-requests', 'timeout'];

/** @internal */
export interface ConversationOptions {
  readonly view: View;
  readonly listeners: Listeners;
  readonly answerMs: number;
  /** False where no connection is open. */
  send(frame: Uint8Array): boolean;
  /** Asked twice, the router has not answered. */
  onUnanswered(): void;
  /** Everything has been shown. */
  onWhole(): void;
  /** The router lets nobody ask, in its words. */
  onNotAllowed(error: string): void;
}

/** What is said over a connection: requests, their answers, and what changes. @internal */
export interface Conversation {
  /** Another connection is opened: what was said on the last one holds no more. */
  restart(): void;
  /** It is open. */
  open(): void;
  /** Says something that is answered, and costs as little as can be. */
  probe(): void;
  hear(said: Said): void;
  watch(ids: readonly string[] | true): void;
  stop(): void;
}

/** @internal */
export function createConversation(options: ConversationOptions): Conversation {
  const { view, listeners, answerMs, onUnanswered, onWhole, onNotAllowed } = options;
  const { become, tell } = listeners;
  /** What it watches from its next request on. */
  let wanted: readonly string[] | true | undefined;
  /** What the router said last of its store. */
  let isStale = false;
  const requests = createRequestPacer({ answerMs, send, isExcused: () => isStale, onUnanswered });

  /** Goes on where it was; from the start, if that is nowhere, or others are wanted. */
  function send(what: 'request' | 'ping'): boolean {
    if (what === 'ping') return options.send(PING);
    const ids = wanted ?? view.ids;
    const request = (view.asked + 1) & 127;
    if (!options.send(watchFrame(ids, wanted ? undefined : view.cursor, request))) return false;
    view.asked = request;
    if (wanted) view.watch(wanted);
    wanted = undefined;
    return true;
  }

  function refused({ error, code, request }: Extract<Said, { kind: typeof WATCH }>): void {
    // An earlier request was refused, and other ids are wanted now; or one that it does not name, where none waits.
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
      // Without a cursor the answer would be everything, and a router that is stale has none.
      if (view.cursor && !isStale) requests.ask();
      else requests.ping();
    },
    hear(said) {
      if (said.kind === UPDATE) {
        tell(view.update(said));
      } else if (said.kind === SNAPSHOT) {
        tell(view.show(said));
        // The answer to an earlier request does not end the refusal of a later one.
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
    stop: requests.stop,
  };
}
