/** Between two requests on one connection. A router takes five a second, and no more than ten at once. */
const REQUEST_MS = 500;

/**
 * How long to wait, in milliseconds, after a router has said that it was asked too much: from 1 to 2 seconds at first, from
 * 15 to 30 in the end. It is random, so that those who were refused together do not come back together.
 *
 * @internal
 */
export function backOffMs(times: number): number {
  return Math.min(15_000, 1_000 * 2 ** times) * (1 + Math.random());
}

/** Decides when requests are sent. @internal */
export interface RequestPacer {
  /** Whether a request waits to be sent. */
  readonly isDue: boolean;
  /** Sends one as soon as that may be. Those that are asked for until then are one. */
  ask(): void;
  /** The router wants to be asked later: sends one then, and none before. Each time in a row is longer. */
  backOff(): void;
  /** The router has answered: the next back-off is as short as the first. */
  settle(): void;
  /** There is a new connection, whose requests are counted anew: sends one at once. */
  restart(): void;
  /** Sends no more. */
  stop(): void;
}

/**
 * @param send - sends a request; false where there is no open connection, and a new one will be told by `restart`
 * @internal
 */
export function createRequestPacer(send: () => boolean): RequestPacer {
  let backOffs = 0;
  /** Runs while nothing may be sent. */
  let timer: ReturnType<typeof setTimeout> | undefined;

  function pause(ms: number): void {
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = undefined;
      flush();
    }, ms);
  }

  function flush(): void {
    if (timer || !pacer.isDue || !send()) return;
    pacer.isDue = false;
    pause(REQUEST_MS);
  }

  function stop(): void {
    clearTimeout(timer);
    timer = undefined;
  }

  const pacer = {
    isDue: false,
    ask() {
      pacer.isDue = true;
      flush();
    },
    backOff() {
      pause(backOffMs(backOffs));
      backOffs += 1;
      pacer.isDue = true;
    },
    settle() {
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
