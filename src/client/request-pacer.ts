import { floodWaitMs } from './backoff';

/** The time between two requests on one connection. A router accepts five a second, and at most ten at once. */
const REQUEST_MS = 500;

/** @internal */
export interface RequestPacerOptions {
  /** How long to wait for an answer before the request is repeated. */
  readonly answerMs: number;
  /** Sends a ping or a request. Returns false where no connection is open. */
  send(isPing: boolean): boolean;
  /** Whether the router has announced that it cannot answer now. */
  isExcused(): boolean;
  /** Neither the request nor its repetition was answered. */
  onUnanswered(): void;
}

/** Decides when requests are sent, and whether they are answered. @internal */
export interface RequestPacer {
  /** Whether a request waits to be sent. */
  readonly isDue: boolean;
  /** Whether a request has not been answered yet. */
  readonly isPending: boolean;
  /** Sends a request as soon as the pace allows. Calls until then are combined into one request. */
  ask(): void;
  /** Sends a ping, unless a request is due, which is as good. */
  ping(): void;
  /** The router has refused for now: the request is repeated after a wait, which grows with each refusal in a row. */
  backOff(): void;
  /** The router has sent a part of the answer, or an answer to an earlier request: restarts the wait. */
  progress(): void;
  /** The router has refused for good, so no further answer is due. */
  settle(): void;
  /** The router has answered: no further answer is due, and the back-off is reset. */
  granted(): void;
  /** There is a new connection, with a pace of its own: sends a request at once. */
  restart(): void;
  /** Cancels all waits and requests. */
  stop(): void;
}

/** @internal */
export function createRequestPacer({ answerMs, send, isExcused, onUnanswered }: RequestPacerOptions): RequestPacer {
  let backOffs = 0;
  let isPingDue = false;
  /** Whether the pending request was sent a second time. */
  let isRepeated = false;
  /** Runs while nothing may be sent. */
  let pausing: ReturnType<typeof setTimeout> | undefined;
  /** Runs while a request is pending. */
  let waiting: ReturnType<typeof setTimeout> | undefined;

  function pause(ms: number): void {
    clearTimeout(pausing);
    pausing = setTimeout(() => {
      pausing = undefined;
      flush();
    }, ms);
  }

  function flush(): void {
    if (pausing || !(pacer.isDue || isPingDue) || !send(!pacer.isDue)) return;
    isPingDue = false;
    // Where several requests follow without an answer, the time counts from the first.
    if (pacer.isDue && !waiting) wait();
    pacer.isDue = false;
    pause(REQUEST_MS);
  }

  function wait(): void {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (isExcused()) wait();
      else if (isRepeated) onUnanswered();
      else {
        // The first request may have arrived before the router was ready for it.
        isRepeated = true;
        wait();
        pacer.ask();
      }
    }, answerMs);
  }

  function settle(): void {
    clearTimeout(waiting);
    waiting = undefined;
    isRepeated = false;
  }

  function stop(): void {
    settle();
    clearTimeout(pausing);
    pausing = undefined;
    isPingDue = false;
  }

  const pacer = {
    isDue: false,
    get isPending() {
      return waiting !== undefined;
    },
    ask() {
      pacer.isDue = true;
      flush();
    },
    ping() {
      isPingDue = true;
      flush();
    },
    backOff() {
      settle();
      pause(floodWaitMs(backOffs));
      backOffs += 1;
      pacer.isDue = true;
    },
    progress() {
      if (!waiting) return;
      isRepeated = false;
      wait();
    },
    settle,
    granted() {
      settle();
      backOffs = 0;
    },
    restart() {
      stop();
      pacer.ask();
    },
    stop,
  };
  return pacer;
}
