import { backOffMs } from './backoff';

/** Between two requests on one connection. A router takes five a second, and no more than ten at once. */
const REQUEST_MS = 500;
/** The longest back-off. @internal */
export const LONGEST_PAUSE_MS = 30_000;

/** @internal */
export interface RequestPacerOptions {
  /** An answer is waited for so long; then it asks again. */
  readonly answerMs: number;
  /** Sends a request, or asks nothing but whether the router is there. False where there is no open connection. */
  send(what: 'request' | 'ping'): boolean;
  /** Whether the router has said that it cannot answer now. */
  isExcused(): boolean;
  /** It has asked twice, and there was no answer. */
  onUnanswered(): void;
}

/** Decides when requests are sent, and whether they are answered. @internal */
export interface RequestPacer {
  /** Whether a request waits to be sent. */
  readonly isDue: boolean;
  /** Whether an answer is waited for. */
  readonly isPending: boolean;
  /** Sends one as soon as that may be. Those that are asked for until then are one. */
  ask(): void;
  /** Asks only whether the router is there, where nothing else is to be asked. */
  ping(): void;
  /** The router wants to be asked later: sends one then, and none before. Each time in a row is longer. */
  backOff(): void;
  /** The router is answering, but not yet, or not what was asked last. */
  progress(): void;
  /** The router has refused for good: no other answer is waited for. */
  settle(): void;
  /** The router has answered: nor is one, and the next back-off is as short as the first. */
  granted(): void;
  /** There is a new connection, whose requests are counted anew: sends one at once. */
  restart(): void;
  /** Sends no more. */
  stop(): void;
}

/** @internal */
export function createRequestPacer({ answerMs, send, isExcused, onUnanswered }: RequestPacerOptions): RequestPacer {
  let backOffs = 0;
  let isPingDue = false;
  /** Whether the request that is waited for has been asked twice. */
  let isRepeated = false;
  /** Runs while nothing may be sent. */
  let pausing: ReturnType<typeof setTimeout> | undefined;
  /** Runs while an answer is waited for. */
  let waiting: ReturnType<typeof setTimeout> | undefined;

  function pause(ms: number): void {
    clearTimeout(pausing);
    pausing = setTimeout(() => {
      pausing = undefined;
      flush();
    }, ms);
  }

  function flush(): void {
    if (pausing || !(pacer.isDue || isPingDue) || !send(pacer.isDue ? 'request' : 'ping')) return;
    isPingDue = false;
    // Of requests that follow each other without an answer the first counts.
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
        // It may have come before the router was ready for it.
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
      pause(backOffMs(backOffs));
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
