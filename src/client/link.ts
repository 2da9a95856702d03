import { LONGEST_PAUSE_MS } from './backoff';
import { readFrame, type Said } from './codec';
import { createTimer } from './timer';
import type { WebSocketClass, WebSocketLike } from './types';

const OPEN = 1;

/** How a link ended. @internal */
export interface LinkEnd {
  /** The close code. */
  readonly code?: unknown;
  readonly reason?: unknown;
  /** The HTTP status with which the router refused the upgrade. `ws` reports it; browsers do not. */
  readonly status?: number | undefined;
  readonly wasOpen: boolean;
  /** The link was given up, and this is the time of its last frame; `undefined` where none arrived. */
  readonly heardAt?: number | undefined;
}

/** @internal */
export interface LinkOptions {
  readonly url: string;
  readonly WebSocket: WebSocketClass;
  readonly probeMs: number;
  readonly answerMs: number;
  onOpen(): void;
  onFrame(said: Said): void;
  /** Sends a frame that is answered: no frame has arrived for a while, or the machine has slept. */
  probe(): void;
  /** At most once, and not after `drop`. */
  onEnd(end: LinkEnd): void;
}

/** One connection to a router, from the attempt to its end. @internal */
export interface Link {
  /** @throws the error of the WebSocket for invalid subprotocols */
  open(protocols: string[]): void;
  readonly isOpen: boolean;
  /** Returns false where the link is not open. */
  send(frame: Uint8Array): boolean;
  /** Checks at once whether the link is alive. */
  wake(): void;
  /** Ends the link as if its probe had not been answered. */
  giveUp(): void;
  /** Closes the socket without waiting for its close event, which may come much later where the connection is dead. */
  drop(): void;
}

/** @internal */
export function createLink({ url, WebSocket, probeMs, answerMs, onOpen, onFrame, probe, onEnd }: LinkOptions): Link {
  const later = createTimer();
  let socket: WebSocketLike | undefined;
  let isOver = false;
  let wasOpen = false;
  let status: number | undefined;
  let heardAt: number | undefined;
  /** Whether the link is being checked: a frame that is answered is to be sent, or was sent. */
  let probing: 'no' | 'due' | 'sent' = 'no';

  function end(how: Omit<LinkEnd, 'wasOpen' | 'status'>): void {
    if (isOver) return;
    link.drop();
    onEnd({ ...how, wasOpen, status });
  }

  const giveUp = (): void => end({ heardAt });

  function isAlive(): void {
    probing = 'no';
    later(ask, probeMs);
  }

  function ask(): void {
    if (link.isOpen) {
      probing = 'due';
      // The probe may have to wait for the request pacer, but not for ever.
      later(giveUp, probeMs + LONGEST_PAUSE_MS);
      probe();
    } else giveUp();
  }

  function awaitAnswer(): void {
    probing = 'sent';
    later(giveUp, answerMs);
  }

  const link: Link = {
    open(protocols) {
      if (isOver) return;
      socket = new WebSocket(url, protocols);
      socket.binaryType = 'arraybuffer';
      socket.onopen = () => {
        wasOpen = true;
        isAlive();
        onOpen();
      };
      socket.onmessage = ({ data }: { data: unknown }) => {
        const said = readFrame(data);
        // An invalid frame does not prove that the link is alive.
        if (!said) return;
        heardAt = Date.now();
        isAlive();
        onFrame(said);
      };
      socket.onerror = (error?: { readonly message?: unknown }) => {
        const [, answer] = /Unexpected server response: (\d+)/.exec(String(error?.message)) ?? [];
        status = answer === undefined ? status : Number(answer);
      };
      socket.onclose = ({ code, reason }: { readonly code?: unknown; readonly reason?: unknown } = {}) =>
        end({ code, reason });
    },
    get isOpen() {
      return socket?.readyState === OPEN;
    },
    send(frame) {
      if (!socket || !link.isOpen) return false;
      socket.send(frame);
      // The first frame after the probe was requested starts the time for the answer. Later ones do not restart it.
      if (probing === 'due') awaitAnswer();
      return true;
    },
    wake() {
      if (isOver || probing !== 'no') return;
      if (link.isOpen) ask();
      // The handshake that was sent before the machine slept may never be answered.
      else awaitAnswer();
    },
    giveUp,
    drop() {
      isOver = true;
      later();
      if (!socket) return;
      // onerror stays, since ws throws an error event without a listener.
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
      socket = undefined;
    },
  };
  later(giveUp, probeMs);
  return link;
}
